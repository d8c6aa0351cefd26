//! Events that the broker can never take: pending no longer, told by a receipt, kept in the history.

use std::path::Path;
use std::time::Duration;

use aimass_core::traits::{NeverTaken, Outbox};
use aimass_store::{EventQuery, Loss, LossReason, Tuning};

use crate::support::*;

/// The folder as a power cut would leave it now.
fn as_it_lies(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let state = copy.path().join("state");
    std::fs::create_dir_all(&state).unwrap();
    for entry in std::fs::read_dir(folder.join("state")).unwrap().flatten() {
        let name = entry.file_name();
        if !name.to_str().unwrap().ends_with("-shm") {
            std::fs::copy(entry.path(), state.join(name)).unwrap();
        }
    }
    copy
}

fn one(seq: u64, reason: LossReason) -> Loss {
    Loss { first_seq: seq, last_seq: seq, count: 1, reason }
}

#[tokio::test]
async fn an_event_that_is_too_large_for_the_broker_leaves_a_receipt_and_stays_in_the_history() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    let sink = store.sink("mqtt").await.unwrap();
    store.accept(infos(10)).await.unwrap();
    sink.give_up(4, NeverTaken::TooLarge).await.unwrap();
    sink.give_up(4, NeverTaken::TooLarge).await.unwrap();
    let pending = all_pending(&sink).await;
    assert_eq!(seqs(&pending), [1, 2, 3, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(receipts(&pending), [one(4, LossReason::TooLarge)]);
    let history = store.events(EventQuery { limit: 100, ..EventQuery::default() }).await.unwrap();
    assert_eq!(
        seqs(&history),
        (1..=11).collect::<Vec<_>>(),
        "the event is still there for whoever asks the node"
    );
    assert_eq!(store.stats().await.unwrap().lost, 1);
    close(store).await;
}

#[tokio::test]
async fn a_power_cut_after_an_event_was_given_up_neither_revives_it_nor_loses_the_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    let sink = store.sink("mqtt").await.unwrap();
    store.accept(infos(10)).await.unwrap();
    let before = as_it_lies(folder.path());
    sink.give_up(4, NeverTaken::Refused).await.unwrap();
    // The second receipt of this reason is owed for ten minutes: it lies in the ledger only.
    sink.give_up(7, NeverTaken::Refused).await.unwrap();
    let after = as_it_lies(folder.path());
    close(store).await;

    // Cut before: nothing is given up, nothing is told. It is offered, and refused, again.
    let (store, _) = open(before.path());
    let sink = store.sink("mqtt").await.unwrap();
    let pending = all_pending(&sink).await;
    assert_eq!(seqs(&pending), (1..=10).collect::<Vec<_>>());
    close(store).await;

    let (store, _) = open(after.path());
    let sink = store.sink("mqtt").await.unwrap();
    // After a start a receipt that is owed is due at once.
    receipt_within(&sink, LossReason::RefusedByBroker).await;
    let told = loop {
        let pending = all_pending(&sink).await;
        if lost_by(&pending, LossReason::RefusedByBroker) >= 2 {
            break pending;
        }
        sink.wait_beyond(pending.last().map_or(0, |e| e.seq)).await;
    };
    let left = seqs(&told);
    assert!(!left.contains(&4) && !left.contains(&7), "{left:?}");
    assert_eq!(lost_by(&told, LossReason::RefusedByBroker), 2);
    assert_eq!(store.stats().await.unwrap().lost, 2);
    close(store).await;
}

#[tokio::test]
async fn many_of_one_reason_are_told_together_and_the_cursor_passes_them() {
    let folder = tempfile::tempdir().unwrap();
    let (time, clock) = simulated();
    let (store, _) =
        open_tuned(folder.path(), Tuning { receipt_every: Duration::from_secs(600), ..eager() }, clock);
    let sink = store.sink("mqtt").await.unwrap();
    store.accept(infos(20)).await.unwrap();
    for seq in 5..=9 {
        sink.give_up(seq, NeverTaken::TooLarge).await.unwrap();
    }
    assert_eq!(lost_by(&all_pending(&sink).await, LossReason::TooLarge), 1, "the others are gathered");
    time.advance(Duration::from_secs(601));
    store.accept(infos(1)).await.unwrap();
    let pending = all_pending(&sink).await;
    let last = receipts(&pending).pop().unwrap();
    assert_eq!(last, Loss { first_seq: 6, last_seq: 9, count: 4, reason: LossReason::TooLarge });
    for event in &pending {
        sink.acknowledge(event.seq).await.unwrap();
    }
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.sinks["mqtt"].cursor, stats.sinks["mqtt"].depth), (stats.last_seq, 0));
    close(store).await;
    let (store, _) = open(folder.path());
    assert_eq!(store.stats().await.unwrap().sinks["mqtt"].depth, 0);
    close(store).await;
}

#[tokio::test]
async fn what_a_refused_receipt_told_is_told_again() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) =
        open_tuned(folder.path(), Tuning { receipt_every: Duration::ZERO, ..eager() }, simulated().1);
    let sink = store.sink("mqtt").await.unwrap();
    store.accept(infos(3)).await.unwrap();
    sink.give_up(2, NeverTaken::TooLarge).await.unwrap();
    let receipt = all_pending(&sink).await.pop().unwrap();
    sink.give_up(receipt.seq, NeverTaken::Refused).await.unwrap();
    let told = receipts(&all_pending(&sink).await);
    assert!(told.contains(&one(2, LossReason::TooLarge)), "{told:?}");
    assert!(told.contains(&one(receipt.seq, LossReason::RefusedByBroker)), "{told:?}");
    close(store).await;
}

#[tokio::test]
async fn what_is_noted_of_events_that_were_given_up_stays_within_the_store_s_size() {
    let folder = tempfile::tempdir().unwrap();
    let (_time, clock) = simulated();
    let tuning = Tuning { max_bytes: Some(60 << 10), receipt_every: Duration::ZERO, ..eager() };
    let (store, _) = open_tuned(folder.path(), tuning, clock);
    let sink = store.sink("mqtt").await.unwrap();
    while store.stats().await.unwrap().bytes < 58 << 10 {
        store.accept(infos(4)).await.unwrap();
    }
    // Every second one, so that no cursor moves over them and each must be remembered.
    for event in all_pending(&sink).await.iter().step_by(2) {
        sink.give_up(event.seq, NeverTaken::Refused).await.unwrap();
        // It tidies up between two batches of commands, and a batch is 256 at most.
        let mut stats = store.stats().await.unwrap();
        for _ in 0..256 {
            if stats.bytes > stats.bytes_max {
                stats = store.stats().await.unwrap();
            }
        }
        assert!(stats.bytes <= stats.bytes_max, "{stats:?}");
    }
    close(store).await;
}
