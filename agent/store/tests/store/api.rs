//! Accepting, delivering, listing and values, and who may use the store.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use aimass_core::event::{Kind, Severity};
use aimass_core::runtime::clock::SystemClock;
use aimass_core::traits::Outbox;
use aimass_store::{ErrorKind, EventQuery, Reader, Store, Tuning};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn events_are_numbered_delivered_and_remembered_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let (store, opened) = open(folder.path());
    assert_eq!((opened.last_seq, opened.quarantined), (0, None));
    let sent = infos(5);
    assert_eq!(store.accept(sent.clone()).await.unwrap(), [1, 2, 3, 4, 5]);
    let sink = store.sink("mqtt").await.unwrap();
    let pending = all_pending(&sink).await;
    for (n, (mut was, is)) in sent.into_iter().zip(pending).enumerate() {
        was.seq = n as u64 + 1;
        assert_eq!(was, is);
    }
    // Out of order, twice, and for what was never there.
    for seq in [2, 2, 4, 1, 99] {
        sink.acknowledge(seq).await.unwrap();
    }
    assert_eq!(seqs(&all_pending(&sink).await), [3, 5]);
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.sinks["mqtt"].cursor, stats.sinks["mqtt"].depth, stats.events), (2, 2, 5));
    assert_eq!(stats.sinks["mqtt"].oldest.unwrap().as_millisecond(), NOON * 1000 + 2);
    close(store).await;

    let (store, opened) = open(folder.path());
    assert_eq!(opened.last_seq, 5);
    let sink = store.sink("mqtt").await.unwrap();
    // 4 comes again: only the cursor survives.
    assert_eq!(seqs(&all_pending(&sink).await), [3, 4, 5]);
    assert_eq!(store.stats().await.unwrap().sinks["mqtt"].depth, 3);
    assert_eq!(store.accept(infos(1)).await.unwrap(), [6]);
    close(store).await;
}

#[tokio::test]
async fn an_acknowledgement_is_written_along_with_a_later_event() {
    let folder = tempfile::tempdir().unwrap();
    let tuning = Tuning { cursor_along: Duration::ZERO, ..eager() };
    let (store, _) = open_tuned(folder.path(), tuning, SystemClock::shared());
    let sink = store.sink("mqtt").await.unwrap();
    store.accept(infos(3)).await.unwrap();
    sink.acknowledge(1).await.unwrap();
    sink.acknowledge(2).await.unwrap();
    store.accept(infos(1)).await.unwrap();
    // Another process looks at the file as it would be after a crash.
    let path = folder.path().join("state/agent.db");
    let db = rusqlite::Connection::open(path).unwrap();
    let ledger: String =
        db.query_row("SELECT document FROM value WHERE name = 's/ledger'", [], |r| r.get(0)).unwrap();
    let ledger: serde_json::Value = serde_json::from_str(&ledger[16..]).unwrap();
    assert_eq!(ledger["sinks"]["mqtt"], json!({"seq": 2, "depth": 2}));
    drop(db);
    close(store).await;
}

#[tokio::test]
async fn a_waiting_sink_wakes_when_an_event_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    let sink = store.sink("mqtt").await.unwrap();
    let waiter = sink.clone();
    let waiting = tokio::spawn(async move { waiter.wait_beyond(1).await });
    store.accept(infos(1)).await.unwrap();
    assert!(!waiting.is_finished());
    store.accept(infos(1)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("woken").unwrap();
    assert_eq!(sink.newest(), 2);
    close(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_accepters_share_commits_and_get_each_number_once() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open_tuned(folder.path(), Tuning::default(), SystemClock::shared());
    let tasks: Vec<_> = (0..40)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut got = Vec::new();
                for n in 0..5 {
                    got.extend(store.accept(infos(n % 3 + 1)).await.unwrap());
                }
                got
            })
        })
        .collect();
    let mut got = Vec::new();
    for task in tasks {
        got.extend(task.await.unwrap());
    }
    got.sort_unstable();
    assert_eq!(got, (1..=got.len() as u64).collect::<Vec<_>>());
    assert!(store.stats().await.unwrap().commits < 200, "commits are shared");
    close(store).await;
}

#[tokio::test]
async fn an_alarm_takes_what_waits_along_at_once() {
    let folder = tempfile::tempdir().unwrap();
    // Only an alarm can end this window within the test.
    let tuning = Tuning { commit_window: Duration::from_secs(3600), ..Tuning::default() };
    let (store, _) = open_tuned(folder.path(), tuning, SystemClock::shared());
    let other = store.clone();
    let info = tokio::spawn(async move { other.accept(infos(1)).await.unwrap() });
    let both = async {
        loop {
            let alarm = store.accept(vec![event(Severity::Alarm, 1)]).await.unwrap();
            if info.is_finished() || alarm[0] > 1 {
                break;
            }
        }
        info.await.unwrap()
    };
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("within a minute");
    close(store).await;
}

#[tokio::test]
async fn history_is_listed_by_time_kind_and_source_while_the_store_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    let mut sent = infos(20);
    sent[7].what.kind = Kind::Line;
    sent[8].what.source = "gate".parse().unwrap();
    store.accept(sent).await.unwrap();
    let ask = |q: EventQuery| {
        let store = store.clone();
        async move { seqs(&store.events(q).await.unwrap()) }
    };
    let all = EventQuery { limit: 100, ..EventQuery::default() };
    assert_eq!(ask(all.clone()).await.len(), 20);
    assert_eq!(ask(EventQuery { kind: Some(Kind::Line), ..all.clone() }).await, [8]);
    assert_eq!(ask(EventQuery { source: Some("gate".parse().unwrap()), ..all.clone() }).await, [9]);
    assert_eq!(ask(EventQuery { after_seq: 10, limit: 2, ..all.clone() }).await, [11, 12]);
    let since = jiff::Timestamp::from_millisecond(NOON * 1000 + 18).unwrap();
    assert_eq!(ask(EventQuery { since: Some(since), ..all.clone() }).await, [19, 20]);
    let newest = store.recent(EventQuery { limit: 3, ..all.clone() }).await.unwrap();
    assert_eq!(seqs(&newest), [20, 19, 18]);
    let path = config(folder.path()).path;
    assert_eq!(Reader::open(&path).unwrap().events(&all).unwrap().len(), 20);
    close(store).await;
    assert_eq!(Reader::open(&path).unwrap().events(&all).unwrap().len(), 20);
}

#[tokio::test]
async fn values_are_kept_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    store.put_value("line/door", &json!({"in": 3, "out": 1})).await.unwrap();
    store.put_value("gone", &json!(1)).await.unwrap();
    store.put_value("gone", &json!(null)).await.unwrap();
    let refused = store.put_value(&"k".repeat(200), &json!(1)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    close(store).await;
    let (store, _) = open(folder.path());
    assert_eq!(store.get_value("line/door").await.unwrap(), Some(json!({"in": 3, "out": 1})));
    assert_eq!(store.get_value("gone").await.unwrap(), None);
    close(store).await;
}

#[tokio::test]
async fn a_second_user_is_told_who_has_it_and_the_files_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    store.accept(infos(1)).await.unwrap();
    let second = Store::open(&config(folder.path()), SystemClock::shared(), stamp).err().unwrap();
    assert_eq!(second.kind(), ErrorKind::InUse);
    assert!(second.to_string().contains(&std::process::id().to_string()), "{second}");
    let state = folder.path().join("state");
    assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in std::fs::read_dir(&state).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
    close(store).await;
    close(open(folder.path()).0).await;
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    store.close(Duration::from_secs(60)).await.unwrap();
    assert_eq!(store.accept(infos(1)).await.unwrap_err().kind(), ErrorKind::Closed);
    store.close(Duration::from_secs(60)).await.unwrap();
    let path = config(folder.path()).path;
    assert!(!path.with_extension("db-wal").exists(), "the WAL was brought in");
}
