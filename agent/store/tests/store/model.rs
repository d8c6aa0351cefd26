//! The store against a model that fits on a page: a map of events and a set of acknowledged numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aimass_core::event::Severity;
use aimass_core::traits::{NeverTaken, Outbox};
use aimass_store::{EventQuery, Tuning};
use proptest::prelude::*;
use ulid::Ulid;

use crate::support::*;

const SINKS: [&str; 2] = ["mqtt", "hub"];

#[derive(Debug, Clone)]
enum Step {
    Accept(u8, u8),
    Acknowledge(bool, prop::sample::Index),
    GiveUp(bool, prop::sample::Index),
    Reopen,
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u8..60, 0u8..3).prop_map(|(n, s)| Step::Accept(n, s)),
        6 => (any::<bool>(), any::<prop::sample::Index>()).prop_map(|(s, i)| Step::Acknowledge(s, i)),
        1 => (any::<bool>(), any::<prop::sample::Index>()).prop_map(|(s, i)| Step::GiveUp(s, i)),
        1 => Just(Step::Reopen),
        1 => (0u16..40).prop_map(Step::Wait),
    ]
}

/// What the store must remember.
#[derive(Default)]
struct Model {
    ids: BTreeMap<u64, Ulid>,
    acked: [BTreeSet<u64>; 2],
    /// Ever acknowledged, even if a restart forgot it.
    delivered: [BTreeSet<u64>; 2],
    /// Never taken by the peer: a restart does not forget it.
    never: [BTreeSet<u64>; 2],
}

async fn run(steps: Vec<Step>, max_bytes: Option<u64>) {
    let folder = tempfile::tempdir().unwrap();
    let (time, clock) = simulated();
    let tuning = Tuning { max_bytes, receipt_every: Duration::ZERO, ..eager() };
    let mut model = Model::default();
    let (mut store, _) = open_tuned(folder.path(), tuning.clone(), clock.clone());
    let mut sinks = [store.sink(SINKS[0]).await.unwrap(), store.sink(SINKS[1]).await.unwrap()];
    for step in steps {
        match step {
            Step::Accept(count, severity) => {
                let severity = [Severity::Info, Severity::Notice, Severity::Alarm][usize::from(severity)];
                let events: Vec<_> = (0..count).map(|n| event(severity, n.into())).collect();
                let ids: Vec<_> = events.iter().map(|e| e.id).collect();
                let given = store.accept(events).await.unwrap();
                model.ids.extend(given.into_iter().zip(ids));
            }
            Step::Acknowledge(second, which) => {
                let n = usize::from(second);
                let pending = sinks[n].pending(0, 64).await.unwrap();
                if !pending.is_empty() {
                    let seq = pending[which.index(pending.len())].seq;
                    sinks[n].acknowledge(seq).await.unwrap();
                    model.acked[n].insert(seq);
                    model.delivered[n].insert(seq);
                }
            }
            Step::GiveUp(second, which) => {
                let n = usize::from(second);
                let pending = sinks[n].pending(0, 64).await.unwrap();
                if !pending.is_empty() {
                    let seq = pending[which.index(pending.len())].seq;
                    sinks[n].give_up(seq, NeverTaken::Refused).await.unwrap();
                    model.acked[n].insert(seq);
                    model.never[n].insert(seq);
                }
            }
            Step::Reopen => {
                close(store).await;
                (store, _) = open_tuned(folder.path(), tuning.clone(), clock.clone());
                sinks = [store.sink(SINKS[0]).await.unwrap(), store.sink(SINKS[1]).await.unwrap()];
                let stats = store.stats().await.unwrap();
                for (n, name) in SINKS.into_iter().enumerate() {
                    // Only the cursor survives, and what was given up.
                    model.acked[n] =
                        (1..=stats.sinks[name].cursor).chain(model.never[n].iter().copied()).collect();
                }
            }
            Step::Wait(hours) => time.advance(Duration::from_secs(3600 * u64::from(hours))),
        }
        check(&store, &sinks, &mut model).await;
    }
    close(store).await;
}

async fn check(store: &aimass_store::Store, sinks: &[aimass_store::SinkHandle; 2], model: &mut Model) {
    // The store tidies up between two commands, when it likes: ask until nothing changed while we asked.
    let all = EventQuery { limit: 10_000, ..EventQuery::default() };
    let (stats, listed, pending) = loop {
        let stats = store.stats().await.unwrap();
        let listed = store.events(all.clone()).await.unwrap();
        let pending = [seqs(&all_pending(&sinks[0]).await), seqs(&all_pending(&sinks[1]).await)];
        if store.stats().await.unwrap() == stats {
            break (stats, listed, pending);
        }
    };
    assert_eq!(stats.events, listed.len() as u64);
    assert!(stats.bytes <= stats.bytes_max, "{stats:?}");
    let exist: BTreeSet<u64> = listed.iter().map(|e| e.seq).collect();
    for event in &listed {
        // Receipts are the store's own.
        let id = model.ids.entry(event.seq).or_insert(event.id);
        assert_eq!(*id, event.id);
    }
    for (n, pending) in pending.iter().enumerate() {
        let cursor = stats.sinks[SINKS[n]].cursor;
        let expected: Vec<u64> = exist.iter().copied().filter(|s| !model.acked[n].contains(s)).collect();
        assert_eq!(*pending, expected);
        assert_eq!(stats.sinks[SINKS[n]].depth, expected.len() as u64);
        assert!(expected.first().is_none_or(|&s| s > cursor), "the cursor is below what is owed");
    }
    // Whatever is gone was delivered to all, or counted.
    let undelivered = (1..=stats.last_seq)
        .filter(|s| !exist.contains(s) && model.delivered.iter().any(|had| !had.contains(s)))
        .count() as u64;
    assert!(stats.lost >= undelivered, "{} lost, {undelivered} missing", stats.lost);
    assert_eq!(*model.ids.keys().next_back().unwrap_or(&0), stats.last_seq);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps, None));
    }

    #[test]
    fn the_store_does_what_the_model_does_when_there_is_little_space(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps, Some(60 << 10)));
    }
}
