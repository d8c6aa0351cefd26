//! Watches the node: samples counters, collects the health document, tells it over MQTT.
//!
//! Owner: the task `monitor`, woken every ten seconds. Invariant: it only reads; that the clock is
//! not set it says as everyone else does, through the task `events`.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aimass_core::id::Name;
use aimass_core::runtime::worker::{Health as WorkerStatus, Heartbeat, WorkerRegistry};
use aimass_mqtt::{LinkState, LinkStatus, RetainedStates};
use aimass_store::{Stats, Store};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::board::process;
use crate::governor::GovernorHealth;
use crate::health::MQTT_SINK;
use crate::health::document::{
    BrokerHealth, BrokerState, ConnectionState, HEALTH_SCHEMA, HealthDocument, HealthState, OutboxHealth,
    SourceHealth, WorkerHealth, WorkerState,
};
use crate::identity::{Node, VERSION, clock_ok};
use crate::pipeline::source_health::{ClockWatch, NodeHealthReporter};
use crate::pipeline::views::SourceView;

/// Rates and stage times are means over at least this.
const SAMPLE: Duration = Duration::from_secs(10);
/// How often the health is told over MQTT: every so many samples.
const SAMPLES_PER_MESSAGE: u32 = 6;
/// A worker that shows no life for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// How long the store may take to answer: a card that tidies itself up can hold a commit up for a while.
const STORE_PATIENCE: Duration = Duration::from_secs(120);

/// Stage names, in the order of the data.
const STAGES: [&str; 5] = ["gate", "preprocess", "infer", "postprocess", "track"];

/// The counters of a source at a moment.
#[derive(Debug, Clone, Copy, Default)]
struct Snapshot {
    at: Duration,
    seen: u64,
    analysed: u64,
    stage_us: [u64; 5],
}

impl Snapshot {
    fn of(view: &SourceView, at: Duration) -> Self {
        let c = &view.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let stage_us = [&c.gate_us, &c.prepare_us, &c.infer_us, &c.decode_us, &c.track_us].map(get);
        Snapshot { at, seen: get(&c.seen), analysed: get(&c.analysed), stage_us }
    }
}

/// The sources as they are now.
type Sources = watch::Receiver<Arc<Vec<Arc<SourceView>>>>;

/// What the last sample knew. A source that is missing there began after it.
#[derive(Default)]
struct Sampled {
    before: HashMap<Name, Snapshot>,
    /// One sample later: `before` is never so new that a rate would be one of some milliseconds.
    newer: HashMap<Name, Snapshot>,
    store: OutboxHealth,
}

/// Collects the health of the node.
#[derive(Clone)]
pub struct Monitor {
    node: Node,
    sources: Sources,
    workers: WorkerRegistry,
    store: Store,
    link: watch::Receiver<Option<watch::Receiver<LinkStatus>>>,
    governor: watch::Receiver<Arc<GovernorHealth>>,
    sampled: Arc<Mutex<Sampled>>,
}

impl Monitor {
    /// Watches these.
    pub fn new(
        node: Node,
        sources: Sources,
        workers: WorkerRegistry,
        store: Store,
        link: watch::Receiver<Option<watch::Receiver<LinkStatus>>>,
        governor: watch::Receiver<Arc<GovernorHealth>>,
    ) -> Self {
        let sampled = Arc::default();
        Monitor { node, sources, workers, store, link, governor, sampled }
    }

    /// Samples every ten seconds, tells the health every minute; runs until it is aborted.
    pub async fn run(self, board: Arc<RetainedStates>, node: NodeHealthReporter) {
        let mut clock = ClockWatch::new(clock_ok);
        let mut every = tokio::time::interval(SAMPLE);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut samples = 0u32;
        // The store's thread shows life by answering.
        let pulse = Heartbeat::new("store", self.node.clock.clone());
        self.workers.register(&pulse);
        loop {
            every.tick().await;
            if let Some(report) = clock.look(&self.node.clock) {
                node.sight(report).await;
            }
            pulse.extend_deadline(STORE_PATIENCE);
            let store = self.ask_store().await;
            pulse.suspend();
            self.sampled.lock().unwrap_or_else(PoisonError::into_inner).store = store;
            if samples.is_multiple_of(SAMPLES_PER_MESSAGE) {
                let text = serde_json::to_string(&self.collect()).unwrap_or_default();
                if let Err(error) = board.set("health", text, false) {
                    tracing::warn!(%error, "The health could not be told.");
                }
            }
            samples = samples.wrapping_add(1);
            let at = self.node.clock.monotonic();
            let sources = self.sources.borrow().clone();
            let now = sources.iter().map(|s| (s.id.clone(), Snapshot::of(s, at))).collect();
            let mut sampled = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
            sampled.before = std::mem::replace(&mut sampled.newer, now);
        }
    }

    async fn ask_store(&self) -> OutboxHealth {
        match self.store.stats().await {
            Ok(stats) => outbox_health(&stats, self.node.clock.wall()),
            Err(error) => OutboxHealth { last_error: Some(error.to_string()), ..OutboxHealth::default() },
        }
    }

    /// The health now. The outbox's figures are at most one sample old.
    pub fn collect(&self) -> HealthDocument {
        let now = self.node.clock.monotonic();
        let governor = GovernorHealth::clone(&self.governor.borrow());
        let sampled = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        let views = self.sources.borrow().clone();
        let sources: Vec<SourceHealth> = views
            .iter()
            .map(|view| {
                let known = sampled.before.get(&view.id).or_else(|| sampled.newer.get(&view.id));
                let before = known.copied().unwrap_or_default();
                let mut health = source_health(view, &before, &Snapshot::of(view, now));
                if let Some(share) = governor.camera(&health.id) {
                    health.fps_allowed = share.fps_allowed.min(health.fps_configured);
                }
                health
            })
            .collect();
        let outbox = OutboxHealth { newest_seq: self.store.newest(), ..sampled.store.clone() };
        drop(sampled);
        let workers: Vec<WorkerHealth> = self.workers.list().into_iter().map(worker_health).collect();
        let broker = self.broker();
        let problems = problems(&sources, &workers, &broker, &outbox);
        let (rss_bytes, peak_rss_bytes) = process::memory_bytes();
        HealthDocument {
            schema: HEALTH_SCHEMA,
            healthy: problems.is_empty(),
            problems,
            time: self.node.clock.wall(),
            site: self.node.site.clone(),
            node: self.node.id.clone(),
            version: VERSION.to_owned(),
            boot: self.node.boot.to_string(),
            uptime_s: now.as_secs_f64(),
            config_version: self.node.config_version(),
            rss_bytes,
            peak_rss_bytes,
            cpu_seconds_total: process::cpu_seconds(),
            temperatures_c: process::temperatures_c(),
            governor,
            broker,
            outbox,
            sources,
            workers,
        }
    }

    fn broker(&self) -> BrokerHealth {
        let link = self.link.borrow().clone();
        let Some(link) = link else {
            return BrokerHealth::default();
        };
        let status = link.borrow();
        BrokerHealth {
            state: match status.state {
                LinkState::Connecting => BrokerState::Connecting,
                LinkState::Online => BrokerState::Online,
                LinkState::Stopping => BrokerState::Stopping,
                LinkState::Stopped => BrokerState::Stopped,
            },
            url: Some(status.url.clone()),
            subscription_error: status.subscription_error.clone(),
            last_error: status.last_error.as_ref().map(ToString::to_string),
            reconnects_total: status.reconnects,
            in_flight: u64::from(status.in_flight),
            delivered_total: status.acked_total,
        }
    }
}

/// The figures of the events that wait for the broker; the store may have other sinks.
fn outbox_health(stats: &Stats, now: Timestamp) -> OutboxHealth {
    let sink = stats.sinks.get(MQTT_SINK);
    let oldest = sink.and_then(|s| s.oldest);
    OutboxHealth {
        depth: sink.map_or(0, |s| s.depth),
        oldest_age_s: oldest.map(|time| now.duration_since(time).as_secs_f64().max(0.0)),
        bytes: stats.bytes,
        newest_seq: stats.last_seq,
        lost_total: stats.lost,
        last_error: None,
    }
}

fn source_health(view: &SourceView, before: &Snapshot, now: &Snapshot) -> SourceHealth {
    let (status, stream) = (view.status(), view.stream().unwrap_or_default());
    let seconds = (now.at.saturating_sub(before.at)).as_secs_f64().max(0.001);
    // Saturating: a source that was removed and came back counts from 0 again.
    let since = |now: u64, before: u64| now.saturating_sub(before);
    let rate = |now: u64, before: u64| (since(now, before) as f64 / seconds) as f32;
    let mut stage_ms = BTreeMap::new();
    let mut stage_seconds_total = BTreeMap::new();
    for (n, stage) in STAGES.into_iter().enumerate() {
        // The gate sees every frame, the other stages those that are analysed.
        let frames = if n == 0 { since(now.seen, before.seen) } else { since(now.analysed, before.analysed) };
        let us = since(now.stage_us[n], before.stage_us[n]);
        stage_ms.insert(stage.into(), if frames > 0 { us as f64 / frames as f64 / 1000.0 } else { 0.0 });
        stage_seconds_total.insert(stage.into(), now.stage_us[n] as f64 / 1e6);
    }
    let c = &view.counters;
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    SourceHealth {
        id: view.id.to_string(),
        kind: view.facts().kind,
        state: status.state,
        error: view.problem().or(status.error),
        misconfigured: view.is_misconfigured(),
        width: stream.width,
        height: stream.height,
        description: stream.description,
        fps_configured: view.facts().fps_wanted,
        fps_allowed: view.facts().fps_wanted,
        fps_received: rate(now.seen, before.seen),
        fps_analysed: rate(now.analysed, before.analysed),
        frames_received_total: now.seen,
        frames_skipped_total: get(&c.idle),
        frames_dropped_total: get(&c.replaced),
        frames_analysed_total: now.analysed,
        errors_total: get(&c.errors),
        reconnects_total: get(&c.reconnects),
        inferences_total: get(&c.inferences),
        stage_ms,
        stage_seconds_total,
        motion: view.motion.load(Ordering::Relaxed),
        health: view.sight().and_then(HealthState::named),
        level: view.level().map(Into::into),
    }
}

fn worker_health(worker: WorkerStatus) -> WorkerHealth {
    WorkerHealth {
        name: worker.name,
        state: worker.state,
        restarts_total: u64::from(worker.restarts),
        heartbeat_age_s: worker.heartbeat_age_s,
        last_error: worker.last_error,
    }
}

/// What is wrong, one line each.
fn problems(
    sources: &[SourceHealth],
    workers: &[WorkerHealth],
    broker: &BrokerHealth,
    outbox: &OutboxHealth,
) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let troubled = matches!(source.state, ConnectionState::Failed | ConnectionState::Stalled);
        // Also while the next attempt runs, and of a file that ended because its chain cannot run.
        if let Some(error) = &source.error {
            found.push(format!("source {}: {error}", source.id));
        } else if troubled {
            found.push(format!("source {}: {}", source.id, source.state));
        } else if let Some(health) =
            source.health.filter(|s| ![HealthState::Ok, HealthState::Ended].contains(s))
        {
            found.push(format!("source {}: {health}", source.id));
        }
    }
    for worker in workers {
        if worker.state == WorkerState::Failed {
            found.push(format!(
                "worker {}: failed: {}",
                worker.name,
                worker.last_error.as_deref().unwrap_or("?")
            ));
        } else if worker.state == WorkerState::Running && worker.heartbeat_age_s > STUCK_AFTER.as_secs_f64() {
            found.push(format!("worker {}: no heartbeat for {:.0} s", worker.name, worker.heartbeat_age_s));
        }
    }
    if broker.state == BrokerState::Connecting {
        found.push(format!("broker: {}", broker.last_error.as_deref().unwrap_or("connecting")));
    }
    if let Some(error) = &broker.subscription_error {
        found.push(format!("broker: {error}"));
    }
    if let Some(error) = &outbox.last_error {
        found.push(format!("store: {error}"));
    }
    found
}

#[cfg(test)]
mod tests {
    use aimass_store::SinkStats;

    use super::*;

    #[test]
    fn the_outbox_s_health_is_of_the_sink_named_mqtt_whichever_others_there_are() {
        let now: Timestamp = "2026-11-23T08:15:30Z".parse().unwrap();
        let oldest = "2026-11-23T08:15:20Z".parse().ok();
        let archive = SinkStats { cursor: 9, depth: 0, oldest: None };
        let mqtt = SinkStats { cursor: 2, depth: 7, oldest };
        let mut stats = Stats {
            last_seq: 9,
            events: 9,
            bytes: 4096,
            bytes_max: 8192,
            lost: 1,
            quarantines: 0,
            quarantined: None,
            commits: 3,
            sinks: [("archive".to_owned(), archive), (MQTT_SINK.to_owned(), mqtt)].into(),
        };
        let health = outbox_health(&stats, now);
        assert_eq!((health.depth, health.oldest_age_s, health.lost_total), (7, Some(10.0), 1));
        stats.sinks.remove(MQTT_SINK);
        assert_eq!(outbox_health(&stats, now).depth, 0, "without a broker nothing waits for one");
    }
}
