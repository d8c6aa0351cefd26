//! What the link carries through a real Mosquitto, and what it costs when idle. Prints one JSON object.
//!
//! `cargo run --release -p aimass-link --example throughput [events] [idle seconds]`

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::clock::{Stopwatch, SystemClock};
use aimass_link::{BrokerConfig, Link, LinkState, NodeIdentity};
use harness::broker::Broker;

#[path = "../tests/wire/memory_outbox.rs"]
#[expect(clippy::unwrap_used, dead_code, reason = "shared with the tests, which use all of it")]
mod memory_outbox;

use memory_outbox::MemoryOutbox;

/// CPU time of this process in clock ticks (1/100 s), and resident memory in KiB.
fn usage() -> Option<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    Some((ticks, rss.trim().trim_end_matches(" kB").parse().ok()?))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> std::io::Result<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|a| a.parse::<u64>().ok());
    let (events, idle_s) = (numbers.next().unwrap_or(20_000), numbers.next().unwrap_or(30));
    let broker = Broker::plain().await;
    let outbox = MemoryOutbox::new();
    outbox.accept_many(usize::try_from(events).unwrap_or(usize::MAX));
    let name = |text: &str| text.parse().map_err(std::io::Error::other);
    let identity = NodeIdentity {
        site: name("bench")?,
        node: name("bench")?,
        boot: ulid::Ulid::from_parts(1, 1),
        version: env!("CARGO_PKG_VERSION").into(),
        config_version: 0,
    };
    let mut watch = Stopwatch::start();
    let clock = SystemClock::shared();
    let link =
        Link::spawn(BrokerConfig::new(broker.url()), identity, outbox.clone(), Arc::default(), clock, |_| {});
    let link = link.map_err(std::io::Error::other)?;
    drop(link.status().wait_for(|s| s.state == LinkState::Online).await);
    let online = watch.lap();
    outbox.drained_to(0, Duration::from_secs(600)).await;
    let delivered = watch.lap();
    let before = usage().unwrap_or_default();
    tokio::time::sleep(Duration::from_secs(idle_s)).await;
    let after = usage().unwrap_or_default();
    let doubles = outbox.acked().len() as u64 - events;
    let figures = serde_json::json!({
        "events": events,
        "events_per_s": (events as f64 / delivered.as_secs_f64()).round(),
        "acked_twice": doubles,
        "online_after_ms": online.as_millis() as u64,
        "idle_cpu_percent": (after.0 - before.0) as f64 / idle_s.max(1) as f64,
        "rss_kib": after.1,
    });
    writeln!(std::io::stdout(), "{figures}")
}
