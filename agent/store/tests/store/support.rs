//! Events to store, and a store to put them in.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::event::{Event, EventData, Evidence, Kind, Phase, Severity};
use aimass_core::finding::{Attributes, ModelRef};
use aimass_core::frame::TimeSource;
use aimass_core::geometry::Region;
use aimass_core::runtime::clock::{SharedClock, SimulatedClock, SystemClock};
use aimass_core::traits::Outbox;
use aimass_store::{EVENTS_LOST, Loss, LossReason, Opened, SinkHandle, Store, StoreConfig, Tuning};
use jiff::Timestamp;
use ulid::Ulid;

pub(crate) const NOON: i64 = 1_795_000_000;

/// An event of the node, as a camera would make it.
pub(crate) fn event(severity: Severity, n: u64) -> Event {
    let score = 0.5 + (n % 997) as f32 / 2000.0;
    stamp(EventData {
        time: Timestamp::from_millisecond(NOON * 1000 + n as i64).unwrap(),
        time_source: TimeSource::Clock,
        source: "dock".parse().unwrap(),
        kind: Kind::Object,
        phase: Phase::Began,
        severity,
        label: "person".into(),
        score: Some(score),
        region: Some(Region { x: score / 3.0, y: score / 2.0, w: 0.0814 * score, h: 0.3371 * score }),
        track: Some(n),
        occurrence_id: Some(Ulid::new()),
        zone: None,
        line: None,
        attributes: Attributes::new(),
        model: Some(ModelRef { name: "coco-ssd-lite".into(), version: "1".into(), sha256: "7c".repeat(32) }),
        evidence: Some(Evidence { frames: 6, peak_score: score, stationary_s: 0.25 }),
    })
}

pub(crate) fn stamp(what: EventData) -> Event {
    Event {
        schema: 2,
        id: Ulid::new(),
        boot: Ulid::from_parts(1_790_000_000_000, 1),
        seq: 0,
        replay: false,
        clock_synchronized: true,
        site: "warehouse-1".parse().unwrap(),
        node: "dock-3".parse().unwrap(),
        config_version: 7,
        what,
    }
}

pub(crate) fn infos(count: u64) -> Vec<Event> {
    (0..count).map(|n| event(Severity::Info, n)).collect()
}

pub(crate) fn config(folder: &Path) -> StoreConfig {
    StoreConfig { path: folder.join("state/agent.db"), ..StoreConfig::default() }
}

/// Commits at once, so that tests do not wait for company.
pub(crate) fn eager() -> Tuning {
    Tuning { commit_window: Duration::ZERO, ..Tuning::default() }
}

pub(crate) fn open(folder: &Path) -> (Store, Opened) {
    open_tuned(folder, eager(), SystemClock::shared())
}

pub(crate) fn open_tuned(folder: &Path, tuning: Tuning, clock: SharedClock) -> (Store, Opened) {
    Store::open_tuned(&config(folder), tuning, clock, stamp).unwrap()
}

pub(crate) fn simulated() -> (SimulatedClock, SharedClock) {
    let clock = SimulatedClock::at(Timestamp::from_second(NOON).unwrap());
    (clock.clone(), Arc::new(clock))
}

pub(crate) async fn close(store: Store) {
    store.close(Duration::from_secs(60)).await.unwrap();
}

/// Everything that is pending, read in pages.
pub(crate) async fn all_pending(sink: &SinkHandle) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    loop {
        let page = sink.pending(all.last().map_or(0, |e| e.seq), 100).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

pub(crate) fn receipts(events: &[Event]) -> Vec<Loss> {
    events.iter().filter(|e| &*e.what.label == EVENTS_LOST).map(|e| Loss::of(e).unwrap()).collect()
}

pub(crate) fn lost_by(events: &[Event], reason: LossReason) -> u64 {
    receipts(events).iter().filter(|l| l.reason == reason).map(|l| l.count).sum()
}

pub(crate) fn seqs(events: &[Event]) -> Vec<u64> {
    events.iter().map(|e| e.seq).collect()
}

/// Waits until the receipt for a loss has been stored.
pub(crate) async fn receipt_within(sink: &SinkHandle, reason: LossReason) -> Loss {
    let look = async {
        let mut seen = 0;
        loop {
            let pending = all_pending(sink).await;
            if let Some(loss) = receipts(&pending).into_iter().find(|l| l.reason == reason) {
                return loss;
            }
            seen = pending.last().map_or(seen, |e| e.seq);
            sink.wait_beyond(seen).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), look).await.expect("a receipt within a minute")
}
