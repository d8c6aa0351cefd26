//! Files of older versions, and the index that version 2 added.

use std::path::Path;

use aimass_core::event::Severity;
use aimass_core::traits::Outbox;
use rusqlite::Connection;

use crate::support::*;

/// The tables as version 1 made them.
const VERSION_1: &str = "
    CREATE TABLE event (
        seq INTEGER PRIMARY KEY, level INTEGER NOT NULL, tick INTEGER NOT NULL, at INTEGER NOT NULL,
        context INTEGER NOT NULL, id BLOB NOT NULL, body TEXT NOT NULL);
    CREATE TABLE context (id INTEGER PRIMARY KEY, generation INTEGER NOT NULL, document TEXT NOT NULL);
    CREATE TABLE value (name TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
";

/// Every third event is an alarm; the first five are delivered.
async fn filled(folder: &Path) {
    let (store, _) = open(folder);
    let sink = store.sink("mqtt").await.unwrap();
    for n in 1..=90 {
        let severity = if n % 3 == 0 { Severity::Alarm } else { Severity::Info };
        store.accept(vec![event(severity, n)]).await.unwrap();
    }
    for seq in 1..=5 {
        sink.acknowledge(seq).await.unwrap();
    }
    close(store).await;
}

/// Makes the store's file anew as version 1 would have written it.
fn as_version_1(path: &Path) {
    let old = path.with_extension("old");
    let db = Connection::open(&old).unwrap();
    db.pragma_update(None, "page_size", 512).unwrap();
    db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())).unwrap();
    db.execute_batch(VERSION_1).unwrap();
    db.execute("ATTACH ?1 AS new", [path.to_str().unwrap()]).unwrap();
    db.execute_batch(
        "INSERT INTO event SELECT * FROM new.event; INSERT INTO context SELECT * FROM new.context;
         INSERT INTO value SELECT * FROM new.value; DETACH new;
         PRAGMA application_id = 0x41494d53; PRAGMA user_version = 1; PRAGMA wal_checkpoint(TRUNCATE);",
    )
    .unwrap();
    db.close().unwrap();
    std::fs::rename(&old, path).unwrap();
}

async fn holds_all(folder: &Path) {
    let (store, opened) = open(folder);
    assert_eq!((opened.quarantined, opened.schema_version), (None, 2));
    let sink = store.sink("mqtt").await.unwrap();
    let alarms = sink.pending_of(Severity::Alarm, 0, 100).await.unwrap();
    assert_eq!(seqs(&alarms), (6..=90).step_by(3).collect::<Vec<_>>());
    assert!(alarms.iter().all(|e| e.what.severity == Severity::Alarm));
    assert_eq!(seqs(&sink.pending_of(Severity::Alarm, 60, 4).await.unwrap()), [63, 66, 69, 72]);
    assert_eq!(seqs(&all_pending(&sink).await), (6..=90).collect::<Vec<_>>());
    close(store).await;
}

#[tokio::test]
async fn a_file_of_version_1_is_brought_up_to_date_with_all_that_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let path = config(folder.path()).path;
    as_version_1(&path);
    holds_all(folder.path()).await;
    let db = Connection::open(&path).unwrap();
    let version: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 2);
}

#[tokio::test]
async fn an_index_that_misses_alarms_is_made_anew_and_no_event_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let db = Connection::open(config(folder.path()).path).unwrap();
    let right: String = db
        .query_row("SELECT sql FROM sqlite_schema WHERE name = 'event_alarm'", [], |row| row.get(0))
        .unwrap();
    // An index that knows nothing, under the right definition.
    db.execute_batch("DROP INDEX event_alarm; CREATE INDEX event_alarm ON event (seq) WHERE level >= 9; PRAGMA writable_schema = ON;").unwrap();
    db.execute("UPDATE sqlite_schema SET sql = ?1 WHERE name = 'event_alarm'", [right]).unwrap();
    db.close().unwrap();
    holds_all(folder.path()).await;
}

#[tokio::test]
async fn alarms_and_receipts_are_found_among_many_others() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    let sink = store.sink("mqtt").await.unwrap();
    store.accept(infos(2000)).await.unwrap();
    store.accept(vec![event(Severity::Notice, 1), event(Severity::Alarm, 2)]).await.unwrap();
    store.accept(infos(500)).await.unwrap();
    assert_eq!(seqs(&sink.pending_of(Severity::Alarm, 0, 10).await.unwrap()), [2002]);
    assert_eq!(seqs(&sink.pending_of(Severity::Notice, 0, 10).await.unwrap()), [2001, 2002]);
    sink.acknowledge(2002).await.unwrap();
    assert!(sink.pending_of(Severity::Alarm, 0, 10).await.unwrap().is_empty());
    close(store).await;
}
