//! Times beyond 2038 and files beyond 2 GiB: what a signed 32-bit number cannot hold, on boards with 32-bit words as
//! on others. The files are sparse: nothing of that size is written.

use std::fs::{File, FileTimes, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aimass_core::event::Severity;
use aimass_core::runtime::clock::{SimulatedClock, SystemClock};
use aimass_store::EventQuery;
use jiff::Timestamp;
use rusqlite::Connection;

use crate::support::*;

/// 1 March 2045, in seconds since 1970.
const IN_2045: i64 = 2_371_939_200;
const TWO_GIB: u64 = 1 << 31;

#[test]
fn files_beyond_2_gib_are_written_where_they_should_be() {
    let folder = tempfile::tempdir().unwrap();
    for at in [TWO_GIB - 2, 2 * TWO_GIB - 2, 5 * TWO_GIB] {
        let path = folder.path().join(at.to_string());
        let mut file = File::create_new(&path).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(b"across").unwrap();
        file.sync_all().unwrap();
        drop(file);

        let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        assert_eq!((file.metadata().unwrap().len(), file.metadata().unwrap().size()), (at + 6, at + 6));
        let mut found = [0; 6];
        file.read_exact_at(&mut found, at).unwrap();
        assert_eq!(&found, b"across");
        assert_eq!(file.seek(SeekFrom::End(-3)).unwrap(), at + 3);
        let mut rest = String::new();
        file.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "oss");
        file.set_len(at + 1).unwrap();
        assert_eq!(path.metadata().unwrap().len(), at + 1);
    }
}

#[test]
fn times_of_files_beyond_2038_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("late");
    let late = SystemTime::UNIX_EPOCH + Duration::from_secs(IN_2045.unsigned_abs());
    File::create_new(&path).unwrap().set_times(FileTimes::new().set_modified(late)).unwrap();
    let facts = path.metadata().unwrap();
    assert_eq!((facts.modified().unwrap(), facts.mtime()), (late, IN_2045));
}

#[test]
fn sqlite_reads_and_writes_pages_beyond_2_gib() {
    const PAGE_BYTES: u64 = 65_536;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.db");
    let small = Connection::open(&path).unwrap();
    small
        .execute_batch("PRAGMA page_size = 65536; CREATE TABLE t (n INTEGER PRIMARY KEY, bytes BLOB)")
        .unwrap();
    drop(small);
    // The file's head says that there are more pages, and a hole is there: new pages come after it.
    let pages = u32::try_from(TWO_GIB / PAGE_BYTES + 8).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(u64::from(pages) * PAGE_BYTES).unwrap();
    file.write_all_at(&pages.to_be_bytes(), 28).unwrap();
    drop(file);

    let bytes: Vec<u8> = (0..500_000_u32).map(|n| (n % 251) as u8).collect();
    let large = Connection::open(&path).unwrap();
    large.execute("INSERT INTO t VALUES (1, ?1)", [&bytes]).unwrap();
    drop(large);
    assert!(path.metadata().unwrap().len() > TWO_GIB + 8 * PAGE_BYTES, "the row lies beyond 2 GiB");
    let again = Connection::open(&path).unwrap();
    let found: Vec<u8> = again.query_row("SELECT bytes FROM t WHERE n = 1", [], |row| row.get(0)).unwrap();
    assert!(found == bytes, "read back otherwise than written");
}

#[tokio::test]
async fn events_of_2045_are_stored_and_found_by_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let clock = SimulatedClock::at(Timestamp::from_second(IN_2045).unwrap());
    let (store, _) = open_tuned(folder.path(), eager(), Arc::new(clock));
    let time = Timestamp::from_millisecond(IN_2045 * 1000 + 123).unwrap();
    let mut late = event(Severity::Notice, 1);
    late.what.time = time;
    store.accept(vec![late]).await.unwrap();
    close(store).await;

    let mut reader = aimass_store::Reader::open(&config(folder.path()).path).unwrap();
    let since = Some(Timestamp::from_second(IN_2045).unwrap());
    let found = reader.events(&EventQuery { since, limit: 10, ..EventQuery::default() }).unwrap();
    assert_eq!(found.iter().map(|e| e.what.time).collect::<Vec<_>>(), [time]);
    assert!(found[0].what.time.to_string().starts_with("2045-03-01T00:00:00.123"));
}

/// Under a clock that was set forward (`cross/test.sh` does so), or after 2038.
#[test]
fn the_clock_of_the_system_is_read_as_it_stands() {
    let now = SystemClock::shared().wall();
    if let Some(least) = std::env::var("AIMASS_NOW_AT_LEAST").ok().filter(|t| !t.is_empty()) {
        let least: Timestamp = least.parse().unwrap();
        assert!(now >= least, "the clock says {now}, and should be past {least}");
    } else {
        assert!(now.as_second() > NOON - 400 * 86_400, "the clock says {now}");
    }
}
