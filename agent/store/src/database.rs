//! The file: opening, pragmas, migrations, checks.
//!
//! Called by the thread that opens the store and by the `store` thread, never by both at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::error::{ErrorKind, StoreError};

/// The schema's version, kept in `user_version`.
pub(crate) const SCHEMA_VERSION: u32 = 2;
/// Marks the file as ours: "AIMS".
const APPLICATION_ID: i32 = 0x4149_4d53;
/// Up to this size, and always after a crash, the whole file is checked at start; a larger one that was closed
/// in order is not, because reading 256 MiB takes an SD card ten seconds.
const CHECKED_BYTES: u64 = 8 << 20;
/// Each step takes the schema from its index to the next version.
const MIGRATIONS: [&str; SCHEMA_VERSION as usize] = [
    "
    CREATE TABLE event (
        seq INTEGER PRIMARY KEY, level INTEGER NOT NULL, tick INTEGER NOT NULL, at INTEGER NOT NULL,
        context INTEGER NOT NULL, id BLOB NOT NULL, body TEXT NOT NULL);
    CREATE TABLE context (id INTEGER PRIMARY KEY, generation INTEGER NOT NULL, document TEXT NOT NULL);
    CREATE TABLE value (name TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
",
    // Alarms and loss receipts, found among any number of others. Events below cost no page of it.
    "CREATE INDEX event_alarm ON event (seq) WHERE level >= 2;",
];

/// `path` with something added to its file name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The right to use the store; ends when dropped.
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would not do while a child that was just forked still has the file too.
        self.0.unlock().ok();
    }
}

/// Makes the folder and takes the lock.
pub(crate) fn lock(path: &Path) -> Result<Lock, StoreError> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty() && !f.exists()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|e| StoreError::io(path, "cannot make its folder", &e))?;
    }
    let name = beside(path, ".lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(|e| StoreError::io(&name, "cannot open the lock file", &e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut by = String::new();
            // Who it is only makes the message better.
            file.read_to_string(&mut by).ok();
            let by =
                by.trim().parse::<u32>().map_or("another process".into(), |pid| format!("process {pid}"));
            return Err(StoreError::InUse { path: path.into(), by });
        }
        Err(TryLockError::Error(e)) => return Err(StoreError::io(&name, "cannot lock it", &e)),
    }
    // A disk that is full may not keep us from opening; the lock itself is held all the same.
    if file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .is_err()
    {
        tracing::debug!("The lock file does not name its owner.");
    }
    Ok(Lock(file))
}

/// Opens the file for writing, makes or migrates it, and checks it.
///
/// # Errors
/// `Corrupt` if it should be moved away; `Foreign` if it is not ours to touch.
pub(crate) fn open(path: &Path, page_limit: Option<u32>) -> Result<Connection, StoreError> {
    let failed = |e: &rusqlite::Error| StoreError::opening(path, e);
    let crashed = std::fs::metadata(beside(path, "-wal")).is_ok_and(|m| m.len() > 0);
    let bytes = std::fs::metadata(path).map_or(0, |m| m.len());
    if header_is_damaged(path) {
        let problem = "its header is not what this program wrote; the file is damaged".into();
        return Err(StoreError::Database { kind: ErrorKind::Corrupt, path: path.into(), problem });
    }
    // Made by us, so that nobody else can ever read it.
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| StoreError::io(path, "cannot open it", &e))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags).map_err(|e| failed(&e))?;
    identify(&db, path)?;
    prepare(&db, page_limit).map_err(|e| failed(&e))?;
    migrate(&mut db).map_err(|e| failed(&e))?;
    if schema(&db).map_err(|e| failed(&e))? != expected_schema().map_err(|e| failed(&e))? {
        let problem = "its schema is not what this program wrote; the file is damaged".into();
        return Err(StoreError::Database { kind: ErrorKind::Corrupt, path: path.into(), problem });
    }
    if (crashed || bytes <= CHECKED_BYTES)
        && let Some(verdict) = damage(&db).map_err(|e| failed(&e))?
    {
        let problem = format!("the check found: {verdict}; the file is damaged");
        return Err(StoreError::Database { kind: ErrorKind::Corrupt, path: path.into(), problem });
    }
    Ok(db)
}

/// What the check finds. The whole check, because an alarm that its index does not know would wait for ever; an
/// index that is wrong is made anew from the table.
fn damage(db: &Connection) -> rusqlite::Result<Option<String>> {
    let check = || -> rusqlite::Result<Option<String>> {
        let verdict: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        Ok((verdict != "ok").then_some(verdict))
    };
    let Some(verdict) = check()? else { return Ok(None) };
    if !verdict.contains("event_alarm") {
        return Ok(Some(verdict));
    }
    tracing::warn!(verdict, "The event store's index of alarms is damaged; it is made anew.");
    db.execute_batch("REINDEX event_alarm")?;
    check()
}

/// Whether the file is ours, and of a version that we know; an empty one is.
pub(crate) fn identify(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let number = |pragma: &str| {
        db.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0))
            .map_err(|e| StoreError::opening(path, &e))
    };
    let foreign = |problem: String| StoreError::Foreign { path: path.into(), problem };
    let (id, version) = (number("application_id")?, number("user_version")?);
    if id != i64::from(APPLICATION_ID) && (id != 0 || version != 0 || number("schema_version")? != 0) {
        return Err(foreign("is a database of another program".into()));
    }
    if version > i64::from(SCHEMA_VERSION) {
        return Err(foreign(format!(
            "was written by a newer version of this program (schema {version}, known is {SCHEMA_VERSION})"
        )));
    }
    Ok(())
}

fn prepare(db: &Connection, page_limit: Option<u32>) -> rusqlite::Result<()> {
    db.pragma_update(None, "page_size", 512)?;
    db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    // FULL: the commit that accept() answers for is on the disk. NORMAL would lose all since the last checkpoint.
    db.pragma_update(None, "synchronous", "full")?;
    // 1 MiB of WAL: a page that many commits change reaches the database once. The file is reused, never cut,
    // so that a commit overwrites bytes that exist.
    db.pragma_update_and_check(None, "wal_autocheckpoint", 2000, |_| Ok(()))?;
    db.pragma_update(None, "cache_size", -1024)?;
    db.pragma_update(None, "temp_store", "memory")?;
    // A reader may hold its lock for a moment while the WAL is reset.
    db.busy_timeout(std::time::Duration::from_secs(2))?;
    if let Some(pages) = page_limit {
        db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    db.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn migrate(db: &mut Connection) -> rusqlite::Result<()> {
    let version: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version == SCHEMA_VERSION {
        return Ok(());
    }
    let step = db.transaction()?;
    for sql in &MIGRATIONS[version as usize..] {
        step.execute_batch(sql)?;
    }
    step.pragma_update(None, "application_id", APPLICATION_ID)?;
    step.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    step.commit()
}

/// Whether a file that is ours has format fields that we never write. SQLite takes one flipped bit in the write
/// version for a file that it may not write to, and no check would say why.
fn header_is_damaged(path: &Path) -> bool {
    let mut header = [0; 100];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    // The format fields: write and read version (1 before the WAL, 2 with it), reserved bytes, payload fractions.
    let plain = [[1, 1, 0, 64, 32, 32], [2, 2, 0, 64, 32, 32]];
    read.is_ok()
        && header[68..72] == APPLICATION_ID.to_be_bytes()
        && !plain.iter().any(|p| header[18..24] == *p)
}

/// The definitions of all tables. SQLite believes them as they stand: a flipped letter in one makes rows that
/// nobody finds again, and no check notices.
fn schema(db: &Connection) -> rusqlite::Result<Vec<Vec<u8>>> {
    let mut statement =
        db.prepare("SELECT CAST(sql AS BLOB) FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY 1")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

fn expected_schema() -> rusqlite::Result<Vec<Vec<u8>>> {
    let mut fresh = Connection::open_in_memory()?;
    migrate(&mut fresh)?;
    schema(&fresh)
}

/// Which file lies at a path, to notice when it was deleted or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(Option<(u64, u64)>);

impl FileId {
    pub(crate) fn at(path: &Path) -> FileId {
        FileId(std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino())))
    }
}

/// Makes a file readable by its owner only.
pub(crate) fn make_private(path: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}
