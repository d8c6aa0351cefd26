//! How many bytes the store writes for an event, one at a time: the figure that flash wear depends on.
//!
//! `cargo run -p aimass-store --example written -- [FOLDER] [EVENTS]`; FOLDER must lie on a disk, not in memory.
//! A tick of the simulated clock between events is what 10,000 events a day make: 8.64 s, so each is committed, and
//! synced, alone. "By calls" is what the store hands to write(): WAL, database and side file. "To blocks" is what the
//! file system makes of it: each sync writes whole blocks of 4 KiB and the journal, however little has changed.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for people")]

#[path = "../tests/store/support.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

use std::time::Duration;

use aimass_core::event::Severity;
use aimass_core::traits::Outbox;
use support::*;

/// Bytes given to write(), and bytes that reached the block layer.
fn written() -> (u64, u64) {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    let field = |name: &str| {
        let line = io.lines().find_map(|l| l.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    (field("wchar:"), field("write_bytes:"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().unwrap_or_else(|| ".".into());
    let count: u64 = arguments.next().map_or(10_000, |n| n.parse().unwrap());
    let folder = tempfile::tempdir_in(parent).unwrap();
    let (time, clock) = simulated();
    let (store, _) = open_tuned(folder.path(), eager(), clock);
    let sink = store.sink("mqtt").await.unwrap();
    let (mut json, before) = (0, written());
    for n in 0..count {
        let event = event(Severity::Info, n);
        json += serde_json::to_vec(&event).unwrap().len() as u64;
        let seq = store.accept(vec![event]).await.unwrap()[0];
        sink.acknowledge(seq).await.unwrap();
        time.advance(Duration::from_millis(8640));
    }
    let stats = store.stats().await.unwrap();
    close(store).await;
    let after = written();
    let each = |bytes: u64| bytes as f64 / count as f64;
    println!("events              {count}, {} commits", stats.commits);
    println!("JSON on the wire    {:.0} bytes an event", each(json));
    println!("stored              {:.0} bytes an event", each(stats.bytes));
    for (what, bytes) in [("written by calls", after.0 - before.0), ("written to blocks", after.1 - before.1)]
    {
        println!(
            "{what:<19} {:.0} bytes an event, {:.2} × its JSON",
            each(bytes),
            bytes as f64 / json as f64
        );
    }
}
