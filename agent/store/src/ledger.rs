//! The store's books: counts, cursors and what is still to be told, in one small row.
//!
//! Invariant: the ledger on disk is true as of its `last_seq`; whoever deletes rows writes it in the same
//! transaction. So at start only the rows above `last_seq` have to be counted.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::losses::Owed;

/// Levels of events: info, notice, alarm, loss receipt. What is lost first comes first.
pub(crate) const LEVELS: usize = 4;
/// The level of a loss receipt.
pub(crate) const RECEIPT: usize = 3;
/// The ledger's row in the table `value`.
const ROW: &str = "s/ledger";

/// The books, as they are written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    /// The highest `seq` that was ever accepted.
    pub(crate) last_seq: u64,
    /// Events that exist, by level.
    pub(crate) counts: [u64; LEVELS],
    /// Events that were lost, ever.
    pub(crate) lost: u64,
    /// The age clock at the time of writing.
    pub(crate) tick: u64,
    /// The latest wall time ever seen, in seconds since 1970.
    pub(crate) wall: i64,
    /// Cursors by sink.
    pub(crate) sinks: BTreeMap<String, Cursor>,
    /// Losses that no receipt has told yet.
    #[serde(default)]
    pub(crate) owed: Owed,
    /// Events above a sink's cursor that its peer can never take, by sink: acknowledged over restarts too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) never: BTreeMap<String, BTreeSet<u64>>,
}

/// How many of those are kept for a sink. Those beyond are sent, and given up, once more after a crash.
const MOST_NEVER: usize = 256;

/// How far a sink is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The sink has everything up to here.
    pub(crate) seq: u64,
    /// Events above that exist, acknowledged out of order or not.
    pub(crate) depth: u64,
}

impl Ledger {
    /// The ledger as written, brought up to date with the rows that came after it.
    pub(crate) fn load(db: &Connection) -> rusqlite::Result<Ledger> {
        let text: Option<String> =
            db.query_row("SELECT document FROM value WHERE name = ?1", [ROW], |row| row.get(0)).optional()?;
        let mut ledger = match text {
            Some(text) => Ledger::parse(&text).ok_or_else(|| {
                rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
                    Some("the ledger cannot be read".into()),
                )
            })?,
            None => Ledger::default(),
        };
        let mut later =
            db.prepare("SELECT level, count(*), max(seq) FROM event WHERE seq > ?1 GROUP BY level")?;
        let mut rows = later.query([ledger.last_seq])?;
        let mut newest = ledger.last_seq;
        while let Some(row) = rows.next()? {
            let (level, count, seq): (usize, u64, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            ledger.counts[level.min(LEVELS - 1)] += count;
            newest = newest.max(seq);
            for cursor in ledger.sinks.values_mut() {
                cursor.depth += count;
            }
        }
        ledger.last_seq = newest;
        Ok(ledger)
    }

    /// Reads what [`Ledger::write`] wrote. The checksum comes first: one flipped digit in a cursor would silently
    /// keep events from a sink.
    pub(crate) fn parse(text: &str) -> Option<Ledger> {
        let (sum, json) = text.split_at_checked(16)?;
        (u64::from_str_radix(sum, 16).ok()? == checksum(json)).then(|| serde_json::from_str(json).ok())?
    }

    /// Writes it, within the caller's transaction.
    pub(crate) fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        let json =
            serde_json::to_string(self).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
        let text = format!("{:016x}{json}", checksum(&json));
        db.prepare_cached("INSERT OR REPLACE INTO value (name, document) VALUES (?1, ?2)")?
            .execute(params![ROW, text])?;
        Ok(())
    }

    /// Notes that a sink's peer can never take an event.
    pub(crate) fn never_taken(&mut self, sink: &str, seq: u64) {
        let of_sink = self.never.entry(sink.to_owned()).or_default();
        if of_sink.len() < MOST_NEVER {
            of_sink.insert(seq);
        }
    }

    /// Forgets what the cursors have passed.
    pub(crate) fn trim(&mut self) {
        self.never.retain(|sink, seqs| {
            let cursor = self.sinks.get(sink).map_or(u64::MAX, |c| c.seq);
            *seqs = seqs.split_off(&cursor.saturating_add(1));
            !seqs.is_empty()
        });
    }

    /// What is acknowledged above the cursors as far as the disk knows, by sink.
    pub(crate) fn acked(&self) -> BTreeMap<String, BTreeSet<u64>> {
        let of_sink = |name: &String| self.never.get(name).cloned().unwrap_or_default();
        self.sinks.keys().map(|name| (name.clone(), of_sink(name))).collect()
    }

    /// Up to where all sinks have everything. Without any sink, nothing is owed to anybody.
    pub(crate) fn delivered(&self) -> u64 {
        self.sinks.values().map(|c| c.seq).min().unwrap_or(self.last_seq)
    }
}

/// FNV-1a: against decay, not against people.
fn checksum(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Moves a cursor over everything that is acknowledged or does not exist.
pub(crate) fn advance(
    db: &Connection,
    cursor: &mut Cursor,
    acked: &mut BTreeSet<u64>,
    last_seq: u64,
) -> rusqlite::Result<()> {
    let mut next_row = db.prepare_cached("SELECT seq FROM event WHERE seq > ?1 ORDER BY seq LIMIT 1")?;
    while cursor.seq < last_seq {
        let next = match acked.first() {
            Some(&first) if first == cursor.seq + 1 => Some(first),
            _ => next_row.query_row([cursor.seq], |row| row.get(0)).optional()?,
        };
        match next {
            Some(seq) if acked.remove(&seq) => {
                cursor.seq = seq;
                cursor.depth = cursor.depth.saturating_sub(1);
            }
            // All before the next event is gone; the event itself is still owed.
            Some(seq) => {
                cursor.seq = seq - 1;
                break;
            }
            None => cursor.seq = last_seq,
        }
    }
    Ok(())
}
