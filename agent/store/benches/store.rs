//! What the store costs: accepting one by one and in groups, and reading the outbox.

#![expect(clippy::unwrap_used, reason = "a benchmark ends there")]

#[path = "../tests/store/support.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

use aimass_core::event::Severity;
use aimass_core::traits::Outbox;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::*;
use tokio::runtime::Builder;

fn store(c: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    let mut group = c.benchmark_group("store");

    group.throughput(Throughput::Elements(1));
    group.bench_function("accept one alarm, synced", |b| {
        b.iter(|| runtime.block_on(store.accept(vec![event(Severity::Alarm, 1)])).unwrap());
    });
    for size in [16, 256] {
        group.throughput(Throughput::Elements(size));
        group.bench_function(format!("accept {size} at a time"), |b| {
            b.iter(|| runtime.block_on(store.accept(infos(size))).unwrap());
        });
    }

    let folder = tempfile::tempdir().unwrap();
    let (other, _) = open(folder.path());
    let sink = runtime.block_on(other.sink("mqtt")).unwrap();
    for _ in 0..40 {
        runtime.block_on(other.accept(infos(250))).unwrap();
    }
    for limit in [1, 16, 256] {
        group.throughput(Throughput::Elements(limit as u64));
        group.bench_function(format!("read {limit} pending of 10,000"), |b| {
            b.iter(|| runtime.block_on(sink.pending(5000, limit)).unwrap());
        });
    }
    group.finish();
    runtime.block_on(async {
        close(store).await;
        close(other).await;
    });
}

criterion_group!(benches, store);
criterion_main!(benches);
