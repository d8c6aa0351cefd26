//! When the file is damaged, gone or older than it should be: move it aside, begin anew, and owe a receipt.
//!
//! Invariant: nothing is deleted but the third-oldest damaged file; `seq` goes on above all that was ever given.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aimass_core::runtime::clock::Clock;
use rusqlite::{Connection, OpenFlags, params};

use crate::database::{self, beside};
use crate::error::{ErrorKind, StoreError};
use crate::ledger::{Cursor, Ledger};
use crate::losses::{Loss, LossReason};
use crate::seqfile::{Reserved, SeqFile};

/// Damaged databases that are kept for whoever wants to look.
const KEPT: usize = 2;
/// Prefix of the program's values in the table `value`.
pub(crate) const USER: &str = "u/";

/// A store that is open and in order.
pub(crate) struct Begun {
    pub(crate) db: Connection,
    pub(crate) ledger: Ledger,
    /// The program's values, by name with prefix.
    pub(crate) values: BTreeMap<String, String>,
    pub(crate) quarantined: Option<PathBuf>,
    pub(crate) seqs: SeqFile,
}

/// Opens the store; one that cannot be used is replaced.
pub(crate) fn begin(path: &Path, page_limit: Option<u32>, clock: &dyn Clock) -> Result<Begun, StoreError> {
    let side = beside(path, ".seq");
    let reserved = SeqFile::read(&side);
    let length = std::fs::metadata(path).ok().map(|m| m.len());
    let mut quarantined = None;
    // With a side file there were events: an empty file is not a beginning but a loss.
    let gone = reserved.is_some() && length.unwrap_or(0) == 0;
    if gone && length.is_some() {
        quarantined = Some(quarantine(path, clock)?);
    }
    let opened = if gone { None } else { Some(open_and_load(path, page_limit)) };
    let (db, mut ledger, values) = match opened {
        Some(Ok(whole)) => whole,
        Some(Err(error)) if error.kind() == ErrorKind::Corrupt => {
            tracing::error!(%error, "The event store is damaged; it is moved aside and a new one begun.");
            let (old, values) = salvage(path);
            quarantined = Some(quarantine(path, clock)?);
            let db = database::open(path, page_limit)?;
            let ledger = begin_anew(&db, path, old, reserved, &values)?;
            (db, ledger, values)
        }
        Some(Err(error)) => return Err(error),
        None => {
            tracing::error!(path = %path.display(), "The event store is gone; a new one is begun.");
            let db = database::open(path, page_limit)?;
            let ledger = begin_anew(&db, path, None, reserved, &BTreeMap::new())?;
            (db, ledger, BTreeMap::new())
        }
    };
    if let Some(reserved) = reserved.filter(|r| ledger.last_seq + 1 < r.from) {
        // Somebody put an older copy of the file back.
        tracing::error!(path = %path.display(), "The event store is older than it should be; seq goes on above.");
        let first = ledger.last_seq + 1;
        owe(&mut ledger, first, reserved.to);
        ledger.last_seq = reserved.to;
        save(&db, path, &ledger, &BTreeMap::new())?;
    }
    let seqs = SeqFile::new(side, reserved.map_or(0, |r| r.to));
    Ok(Begun { db, ledger, values, quarantined, seqs })
}

fn open_and_load(
    path: &Path,
    page_limit: Option<u32>,
) -> Result<(Connection, Ledger, BTreeMap<String, String>), StoreError> {
    let failed = |e: rusqlite::Error| StoreError::sqlite(path, "cannot read it", &e);
    let db = database::open(path, page_limit)?;
    let ledger = Ledger::load(&db).map_err(failed)?;
    let values = read_values(&db).map_err(failed)?;
    Ok((db, ledger, values))
}

/// The program's values. One that is no text any more is left out.
fn read_values(db: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    let mut statement = db.prepare(
        "SELECT CAST(name AS BLOB), CAST(document AS BLOB) FROM value WHERE name >= 'u/' AND name < 'u0'",
    )?;
    let mut rows = statement.query([])?;
    let mut values = BTreeMap::new();
    while let Some(row) = rows.next()? {
        match (String::from_utf8(row.get(0)?), String::from_utf8(row.get(1)?)) {
            (Ok(name), Ok(document)) => drop(values.insert(name, document)),
            _ => tracing::error!("A stored value cannot be read; it is given up."),
        }
    }
    Ok(values)
}

/// What can still be read of a damaged file's books and values.
fn salvage(path: &Path) -> (Option<Ledger>, BTreeMap<String, String>) {
    let Ok(db) = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE) else {
        return (None, BTreeMap::new());
    };
    let values = read_values(&db).unwrap_or_default();
    let text =
        db.query_row("SELECT document FROM value WHERE name = 's/ledger'", [], |row| row.get::<_, String>(0));
    (text.ok().and_then(|t| Ledger::parse(&t)), values)
}

/// The first ledger of a store that replaces one.
fn begin_anew(
    db: &Connection,
    path: &Path,
    old: Option<Ledger>,
    reserved: Option<Reserved>,
    values: &BTreeMap<String, String>,
) -> Result<Ledger, StoreError> {
    let mut ledger = old.unwrap_or_default();
    let known = ledger.last_seq;
    let delivered = match (ledger.sinks.is_empty(), reserved) {
        (false, _) => ledger.delivered(),
        (true, Some(reserved)) => reserved.delivered,
        (true, None) => known,
    };
    let last = known.max(reserved.map_or(0, |r| r.to));
    if last > delivered {
        owe(&mut ledger, delivered + 1, last);
    }
    forget_events(&mut ledger, last);
    save(db, path, &ledger, values)?;
    Ok(ledger)
}

/// No event is left; the sinks have nothing to wait for.
pub(crate) fn forget_events(ledger: &mut Ledger, last_seq: u64) {
    ledger.last_seq = last_seq;
    ledger.counts = Default::default();
    ledger.never.clear();
    for cursor in ledger.sinks.values_mut() {
        *cursor = Cursor { seq: last_seq, depth: 0 };
    }
}

fn owe(ledger: &mut Ledger, first_seq: u64, last_seq: u64) {
    let count = last_seq + 1 - first_seq;
    ledger.lost += count;
    ledger.owed.add(Loss { first_seq, last_seq, count, reason: LossReason::StoreQuarantined });
}

/// Writes books and values into a database that has none.
pub(crate) fn save(
    db: &Connection,
    path: &Path,
    ledger: &Ledger,
    values: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    let all = || {
        let step = db.unchecked_transaction()?;
        for (name, document) in values {
            db.execute(
                "INSERT OR REPLACE INTO value (name, document) VALUES (?1, ?2)",
                params![name, document],
            )?;
        }
        ledger.write(db)?;
        step.commit()
    };
    all().map_err(|e| StoreError::sqlite(path, "cannot begin it", &e))
}

/// Moves the database and its companions to `<path>.broken-<time>`. No connection may be open.
pub(crate) fn quarantine(path: &Path, clock: &dyn Clock) -> Result<PathBuf, StoreError> {
    let stamp = clock.wall().strftime("%Y%m%dT%H%M%SZ").to_string();
    let target = (0u32..)
        .map(|n| {
            beside(path, &if n == 0 { format!(".broken-{stamp}") } else { format!(".broken-{stamp}.{n}") })
        })
        .find(|p| !p.exists())
        .unwrap_or_else(|| beside(path, ".broken"));
    for companion in ["", "-wal", "-shm"] {
        match std::fs::rename(beside(path, companion), beside(&target, companion)) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(StoreError::io(path, "cannot move the damaged file aside", &e)),
        }
    }
    prune(path);
    Ok(target)
}

/// Keeps the newest damaged files only: they must not fill the disk.
fn prune(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return;
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let prefix = format!("{name}.broken-");
    let mut broken: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|e| e.file_name().to_str().is_some_and(|n| n.starts_with(&prefix)))
        .filter(|e| e.file_name().to_str().is_some_and(|n| !n.ends_with("-wal") && !n.ends_with("-shm")))
        .map(|e| e.path())
        .collect();
    broken.sort();
    for old in broken.iter().rev().skip(KEPT) {
        for companion in ["", "-wal", "-shm"] {
            // Space is all that is lost when this fails.
            std::fs::remove_file(beside(old, companion)).ok();
        }
    }
}

/// The file was deleted, moved or replaced while it was open: writes all that is still reachable through the open
/// handle to a new file in its place. The caller reopens.
pub(crate) fn put_back(db: Connection, path: &Path, clock: &dyn Clock) -> Result<(), StoreError> {
    let part = beside(path, ".part");
    let failed = |e: std::io::Error| StoreError::io(path, "cannot put it back", &e);
    std::fs::remove_file(&part).ok();
    let empty = std::fs::OpenOptions::new().write(true).create_new(true).open(&part).map_err(failed)?;
    database::make_private(&part).map_err(failed)?;
    db.execute("VACUUM INTO ?1", [part.to_string_lossy()])
        .map_err(|e| StoreError::sqlite(path, "cannot put it back", &e))?;
    empty.sync_all().map_err(failed)?;
    // Before anything takes its name: closing deletes the WAL by name.
    drop(db);
    if path.exists() {
        quarantine(path, clock)?;
    }
    for companion in ["-wal", "-shm"] {
        std::fs::remove_file(beside(path, companion)).ok();
    }
    std::fs::rename(&part, path).map_err(failed)
}
