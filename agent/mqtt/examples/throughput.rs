//! What goes from the real store through the real link to a real Mosquitto: how many events a second, and how long an
//! event that happens now takes to a subscriber while a backlog drains.
//!
//! `cargo run --release -p aimass-link --example throughput -- [EVENTS] [--json]`, 100,000 events by default. Three
//! parts: the backlog as fast as it goes; the same with live events beside it; and at the default rate. Times are from
//! the moment before the store is asked to accept (which waits up to 150 ms for company) to the subscriber.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aimass_core::event::Event;
use aimass_core::runtime::clock::{Stopwatch, SystemClock};
use aimass_mqtt::{BrokerConfig, Link, LinkHandle, LinkState, NodeIdentity};
use aimass_store::{SinkHandle, Store, StoreConfig};
use harness::broker::{Broker, BrokerSetup};
use harness::subscriber::Subscriber;
use serde_json::json;

#[path = "../tests/wire/memory_outbox.rs"]
#[expect(clippy::unwrap_used, dead_code, reason = "shared with the tests, which use all of it")]
mod memory_outbox;

/// Live events a second.
const LIVE_PER_S: u64 = 20;
/// The least number of live events that say something about the slowest of a hundred.
const LEAST_LIVE: usize = 200;
const PATIENCE: Duration = Duration::from_secs(900);

type Anyhow<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// An event as a camera makes it.
fn event(source: &str) -> Event {
    memory_outbox::MemoryOutbox::new().accept(source)
}

struct Bench {
    store: Store,
    sink: SinkHandle,
    broker: Broker,
}

impl Bench {
    async fn begin(folder: &Path) -> Anyhow<Bench> {
        let config = StoreConfig { path: folder.join("agent.db"), ..StoreConfig::default() };
        let (store, _) = Store::open(&config, SystemClock::shared(), |what| Event { what, ..event("node") })?;
        let sink = store.sink("mqtt").await?;
        Ok(Bench { store, sink, broker: BrokerSetup::new().quiet().start().await })
    }

    async fn store_backlog(&self, events: usize) -> Anyhow<()> {
        for portion in (0..events).collect::<Vec<_>>().chunks(1000) {
            self.store.accept(portion.iter().map(|_| event("dock")).collect()).await?;
        }
        Ok(())
    }

    fn link(&self, replay_per_s: u32) -> Anyhow<LinkHandle> {
        let identity = NodeIdentity {
            site: "site".parse()?,
            node: "node".parse()?,
            boot: ulid::Ulid::from_parts(1, 1),
            version: env!("CARGO_PKG_VERSION").into(),
            config_version: 0,
        };
        let config = BrokerConfig { replay_per_s, ..BrokerConfig::new(self.broker.url()) };
        Ok(Link::spawn(config, identity, self.sink.clone(), Arc::default(), SystemClock::shared(), |_| {})?)
    }

    /// Drains a backlog, with live events beside it or without, and tells how fast.
    async fn drain(&self, events: usize, replay_per_s: u32, with_live: bool) -> Anyhow<serde_json::Value> {
        let backlog = Subscriber::on(self.broker.port(), "aimass/v1/site/node/event/dock/#").await;
        let live = Arc::new(Subscriber::on(self.broker.port(), "aimass/v1/site/node/event/gate/#").await);
        self.store_backlog(events).await?;
        let mut watch = Stopwatch::start();
        let link = self.link(replay_per_s)?;
        link.status().wait_for(|s| s.state == LinkState::Online).await?;
        let took_ms: Arc<Mutex<Vec<f64>>> = Arc::default();
        let mut tasks = Vec::new();
        let mut every = tokio::time::interval(Duration::from_millis(1000 / LIVE_PER_S));
        let drained = backlog.wait_count(events, PATIENCE);
        tokio::pin!(drained);
        let (mut is_drained, mut rate) = (false, 0.0);
        while !is_drained || with_live && tasks.len() < LEAST_LIVE {
            tokio::select! {
                () = &mut drained, if !is_drained => {
                    is_drained = true;
                    rate = events as f64 / watch.lap().as_secs_f64();
                }
                _ = every.tick(), if with_live => {
                    let (store, live, took_ms) = (self.store.clone(), live.clone(), took_ms.clone());
                    let number = tasks.len() + 1;
                    tasks.push(tokio::spawn(async move {
                        let mut watch = Stopwatch::start();
                        store.accept(vec![event("gate")]).await?;
                        live.wait_count(number, PATIENCE).await;
                        let ms = watch.lap().as_secs_f64() * 1000.0;
                        took_ms.lock().unwrap_or_else(PoisonError::into_inner).push(ms);
                        Ok::<(), aimass_store::StoreError>(())
                    }));
                }
            }
        }
        for task in tasks {
            task.await??;
        }
        let mut took = took_ms.lock().unwrap_or_else(PoisonError::into_inner).clone();
        took.sort_by(f64::total_cmp);
        let of =
            |share: f64| took.get(((took.len() as f64 * share) as usize).min(took.len().saturating_sub(1)));
        let figures = json!({
            "backlog": events,
            "replay_per_s_limit": replay_per_s,
            "events_per_s": rate.round(),
            "live_events": took.len(),
            "live_p50_ms": of(0.5),
            "live_p99_ms": of(0.99),
            "live_max_ms": took.last(),
        });
        link.stop(PATIENCE).await;
        Ok(figures)
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Anyhow<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let events = arguments.iter().find_map(|a| a.parse::<usize>().ok()).unwrap_or(100_000);
    let folder = tempfile::tempdir_in(".")?;
    let bench = Bench::begin(folder.path()).await?;
    let parts = [
        ("backlog alone", bench.drain(events, 0, false).await?),
        ("backlog and live events", bench.drain(events, 0, true).await?),
        (
            "the same at the default rate",
            bench.drain(events / 10, BrokerConfig::new("").replay_per_s, true).await?,
        ),
    ];
    let mut out = std::io::stdout();
    if arguments.iter().any(|a| a == "--json") {
        let all: serde_json::Map<_, _> =
            parts.into_iter().map(|(name, f)| (name.replace(' ', "_"), f)).collect();
        writeln!(out, "{}", serde_json::Value::from(all))?;
    } else {
        for (name, f) in parts {
            writeln!(out, "{name}: {} events, {} events/s", f["backlog"], f["events_per_s"])?;
            if f["live_events"] != 0 {
                let [p50, p99, max] =
                    ["live_p50_ms", "live_p99_ms", "live_max_ms"].map(|k| f[k].as_f64().unwrap_or(0.0));
                let live = &f["live_events"];
                writeln!(out, "  {live} live events: p50 {p50:.0} ms, p99 {p99:.0} ms, slowest {max:.0} ms")?;
            }
        }
    }
    Ok(())
}
