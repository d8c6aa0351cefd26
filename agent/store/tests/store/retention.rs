//! What goes when there is too much or it is too old, and who is told.

use std::sync::Arc;
use std::time::Duration;

use aimass_core::event::Severity;
use aimass_core::runtime::clock::SystemClock;
use aimass_core::traits::Outbox;
use aimass_store::{EventQuery, LossReason, Tuning};
use jiff::Timestamp;

use crate::support::*;

const DAY: Duration = Duration::from_secs(86_400);

fn small(bytes: u64) -> Tuning {
    Tuning { max_bytes: Some(bytes), receipt_every: Duration::ZERO, ..eager() }
}

#[tokio::test]
async fn delivered_history_goes_first_and_nobody_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open_tuned(folder.path(), small(200 << 10), SystemClock::shared());
    let sink = store.sink("mqtt").await.unwrap();
    for _ in 0..40 {
        for seq in store.accept(infos(100)).await.unwrap() {
            sink.acknowledge(seq).await.unwrap();
        }
    }
    store.accept(infos(10)).await.unwrap();
    let stats = store.stats().await.unwrap();
    assert!(stats.events < 2000, "{stats:?}");
    assert_eq!((stats.lost, stats.last_seq), (0, 4010));
    assert_eq!(all_pending(&sink).await.len(), 10);
    close(store).await;
}

#[tokio::test]
async fn undelivered_events_go_by_severity_then_age_and_receipts_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open_tuned(folder.path(), small(200 << 10), SystemClock::shared());
    let sink = store.sink("mqtt").await.unwrap();
    let severities = [Severity::Alarm, Severity::Notice, Severity::Info];
    for severity in severities {
        store.accept((0..300).map(|n| event(severity, n)).collect()).await.unwrap();
    }
    for _ in 0..10 {
        store.accept(infos(200)).await.unwrap();
    }
    let loss = receipt_within(&sink, LossReason::Size).await;
    assert!(loss.first_seq > 600, "infos go first: {loss:?}");
    let pending = all_pending(&sink).await;
    let given = store.newest();
    let missing = given - pending.len() as u64;
    assert_eq!(lost_by(&pending, LossReason::Size), missing);
    assert_eq!(store.stats().await.unwrap().lost, missing);
    let alarms =
        pending.iter().filter(|e| e.what.severity == Severity::Alarm).count() - receipts(&pending).len();
    let notices = pending.iter().filter(|e| e.what.severity == Severity::Notice).count();
    assert_eq!((alarms, notices), (300, 300));
    let stats = store.stats().await.unwrap();
    assert_eq!(stats.sinks["mqtt"].depth, pending.len() as u64);
    close(store).await;
}

#[tokio::test]
async fn what_is_too_old_goes_and_is_told_if_it_was_not_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let (time, clock) = simulated();
    let (store, _) = open_tuned(folder.path(), eager(), clock);
    let sink = store.sink("mqtt").await.unwrap();
    store.accept(infos(20)).await.unwrap();
    for seq in 1..=5 {
        sink.acknowledge(seq).await.unwrap();
    }
    time.advance(6 * DAY);
    store.accept(infos(10)).await.unwrap();
    assert_eq!(all_pending(&sink).await.len(), 25);
    time.advance(DAY + Duration::from_secs(1));
    // Anything wakes the thread.
    store.stats().await.unwrap();
    let loss = receipt_within(&sink, LossReason::Age).await;
    assert_eq!((loss.first_seq, loss.last_seq, loss.count), (6, 20, 15));
    assert_eq!(seqs(&all_pending(&sink).await), (21..=31).collect::<Vec<_>>());
    close(store).await;
}

#[tokio::test]
async fn a_clock_that_is_a_year_off_wipes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let year = 365 * 86_400;
    let (time, clock) = simulated();
    let (store, _) = open_tuned(folder.path(), eager(), clock.clone());
    store.sink("mqtt").await.unwrap();
    store.accept(infos(20)).await.unwrap();
    for jump in [year, -year, 0, 2 * year] {
        time.set_wall(Timestamp::from_second(NOON + jump).unwrap());
        time.advance(Duration::from_secs(120));
        store.accept(infos(1)).await.unwrap();
    }
    close(store).await;
    for jump in [0, 5 * year, -year, 6 * year] {
        time.set_wall(Timestamp::from_second(NOON + jump).unwrap());
        let (store, _) = open_tuned(folder.path(), eager(), clock.clone());
        assert_eq!(all_pending(&store.sink("mqtt").await.unwrap()).await.len(), 24, "{jump}");
        close(store).await;
    }
}

#[tokio::test]
async fn receipts_are_gathered_while_losses_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (time, clock) = simulated();
    let tuning = Tuning { max_bytes: Some(100 << 10), ..eager() };
    let (store, _) = open_tuned(folder.path(), tuning, clock);
    let sink = store.sink("mqtt").await.unwrap();
    for _ in 0..30 {
        store.accept(infos(100)).await.unwrap();
    }
    receipt_within(&sink, LossReason::Size).await;
    store.stats().await.unwrap();
    assert_eq!(receipts(&all_pending(&sink).await).len(), 1, "one for a start");
    time.advance(Duration::from_secs(700));
    store.accept(infos(1)).await.unwrap();
    store.accept(infos(1)).await.unwrap();
    let pending = all_pending(&sink).await;
    assert_eq!(receipts(&pending).len(), 2, "and one for all the rest");
    assert_eq!(lost_by(&pending, LossReason::Size), store.newest() - pending.len() as u64);
    close(store).await;
}

#[tokio::test]
async fn a_store_without_sinks_keeps_history_within_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open_tuned(folder.path(), small(100 << 10), Arc::new(SystemClock::new()));
    for _ in 0..30 {
        store.accept(infos(100)).await.unwrap();
    }
    let stats = store.stats().await.unwrap();
    assert!(stats.bytes <= stats.bytes_max, "{stats:?}");
    assert_eq!(stats.lost, 0);
    let newest = store.recent(EventQuery { limit: 1, ..EventQuery::default() }).await.unwrap();
    assert_eq!(seqs(&newest), [3000]);
    close(store).await;
}
