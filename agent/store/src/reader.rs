//! Reading history without disturbing the writer: for the command line and the API.
//!
//! A [`Reader`] is used by one thread at a time and never writes. It should not live long between its calls in
//! the middle of a read: an open read keeps the WAL from being reused.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aimass_core::event::{Event, Kind};
use aimass_core::id::Name;
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};

use crate::codec::{self, Context};
use crate::database;
use crate::error::{ErrorKind, StoreError};

/// The most events that one question is answered with.
pub(crate) const MAX_LIMIT: usize = 10_000;

/// Which events are wanted, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Only those with a greater `seq`; 0 for all.
    pub after_seq: u64,
    /// Only those whose time is this or later.
    pub since: Option<Timestamp>,
    /// Only those of a kind.
    pub kind: Option<Kind>,
    /// Only those of a source.
    pub source: Option<Name>,
    /// At most so many; the store answers with 10,000 at most.
    pub limit: usize,
}

impl EventQuery {
    fn wants(&self, context: &Context, at_ms: i64) -> bool {
        self.since.is_none_or(|since| at_ms >= since.as_millisecond())
            && self.kind.is_none_or(|kind| context.kind == kind)
            && self.source.as_ref().is_none_or(|source| context.source == *source)
    }
}

/// What an event's row says, or why it cannot be read.
pub(crate) type Readable = Result<Event, String>;

/// Puts rows and contexts together.
#[derive(Default)]
pub(crate) struct Decoder {
    contexts: HashMap<i64, Arc<Context>>,
}

/// The columns that [`Decoder`] wants, in its order.
pub(crate) const COLUMNS: &str = "seq, at, context, id, body";

impl Decoder {
    pub(crate) fn context(&mut self, db: &Connection, id: i64) -> rusqlite::Result<Option<Arc<Context>>> {
        if let Some(known) = self.contexts.get(&id) {
            return Ok(Some(known.clone()));
        }
        // As bytes: a flipped bit that makes it no text costs the events of this context, not the whole store.
        let text: Option<Vec<u8>> = db
            .prepare_cached("SELECT CAST(document AS BLOB) FROM context WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?;
        let context = text.and_then(|t| serde_json::from_slice::<Context>(&t).ok()).map(Arc::new);
        if let Some(context) = &context {
            self.contexts.insert(id, context.clone());
        }
        Ok(context)
    }

    /// Forgets the contexts.
    pub(crate) fn clear(&mut self) {
        self.contexts.clear();
    }

    pub(crate) fn event(&mut self, db: &Connection, row: &Row<'_>) -> rusqlite::Result<Readable> {
        let Some(context) = self.context(db, row.get(2)?)? else {
            return Ok(Err("its context cannot be read".into()));
        };
        finish(&context, row)
    }
}

/// Bytes that are of another type than we write are an unreadable event, not a broken database.
fn finish(context: &Context, row: &Row<'_>) -> rusqlite::Result<Readable> {
    let id = row.get_ref(3)?.as_bytes().map_err(|e| e.to_string());
    let body = row.get_ref(4)?.as_bytes().map_err(|e| e.to_string());
    let (seq, at) = (row.get(0)?, row.get(1)?);
    Ok(id.and_then(|id| codec::decode(seq, context, at, id, body?)))
}

/// Lists the events of a store that another process, or another thread, may be writing.
pub struct Reader {
    db: Connection,
    path: PathBuf,
    decoder: Decoder,
}

impl Reader {
    /// Opens the store at `path` for reading.
    ///
    /// # Errors
    /// `NotFound`, `Foreign`, `Corrupt`, or `ReadOnly` when this user may not read it.
    pub fn open(path: &Path) -> Result<Reader, StoreError> {
        let failed = |e: rusqlite::Error| StoreError::sqlite(path, "cannot open it", &e);
        let found = std::fs::metadata(path).map_err(|e| StoreError::io(path, "cannot open it", &e))?;
        if found.len() == 0 {
            let problem = "it is empty; has the agent run yet?".into();
            return Err(StoreError::Database { kind: ErrorKind::NotFound, path: path.into(), problem });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags).map_err(failed)?;
        db.busy_timeout(std::time::Duration::from_secs(2)).map_err(failed)?;
        database::identify(&db, path)?;
        Ok(Reader { db, path: path.into(), decoder: Decoder::default() })
    }

    /// The events that the query wants, oldest first. Events that cannot be read are left out.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn events(&mut self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM event WHERE seq > ?1 ORDER BY seq");
        self.list(&sql, query)
    }

    /// The newest `limit` events that the query wants, newest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn recent(&mut self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM event WHERE seq > ?1 ORDER BY seq DESC");
        self.list(&sql, query)
    }

    fn list(&mut self, sql: &str, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        let Reader { db, path, decoder } = self;
        let limit = query.limit.min(MAX_LIMIT);
        let mut list = |out: &mut Vec<Event>| -> rusqlite::Result<()> {
            let mut statement = db.prepare_cached(sql)?;
            let mut rows = statement.query([query.after_seq])?;
            while out.len() < limit {
                let Some(row) = rows.next()? else { break };
                let Some(context) = decoder.context(db, row.get(2)?)? else {
                    continue;
                };
                if query.wants(&context, row.get(1)?) {
                    out.extend(finish(&context, row)?);
                }
            }
            Ok(())
        };
        let mut out = Vec::new();
        list(&mut out).map_err(|e| StoreError::sqlite(path, "cannot list events", &e))?;
        Ok(out)
    }
}
