//! The outbox side of the thread: who is still owed what.
//!
//! Runs on the `store` thread. Invariant: what is acknowledged is noted in memory at once and on the disk later;
//! a cursor moves only over events that are acknowledged or gone.

use std::collections::{BTreeMap, BTreeSet};

use aimass_core::event::Event;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use crate::error::{ErrorKind, StoreError};
use crate::ledger::{Cursor, LEVELS, RECEIPT, advance};
use crate::losses::{Loss, LossReason};
use crate::reader::COLUMNS;
use crate::store::{SinkStats, Stats};
use crate::writer::Writer;

/// The most events that one question for pending ones is answered with.
const MAX_PENDING: usize = 1024;
const MAX_SINKS: usize = 16;
const MAX_SINK_NAME_BYTES: usize = 63;

impl Writer {
    pub(crate) fn register(&mut self, sink: &str) -> Result<(), StoreError> {
        if self.ledger.sinks.contains_key(sink) {
            return Ok(());
        }
        if sink.is_empty() || sink.len() > MAX_SINK_NAME_BYTES || self.ledger.sinks.len() >= MAX_SINKS {
            return Err(StoreError::Refused(format!(
                "sink {sink:?} cannot be added: 1 to {MAX_SINK_NAME_BYTES} bytes, {MAX_SINKS} sinks at most"
            )));
        }
        let depth = self.ledger.counts.iter().sum();
        self.ledger.sinks.insert(sink.into(), Cursor { seq: 0, depth });
        self.acked.insert(sink.into(), BTreeSet::new());
        self.write_ledger()
    }

    pub(crate) fn acknowledge(&mut self, sink: &str, seq: u64) -> Result<(), StoreError> {
        let moved = self.clock.monotonic();
        self.open_db()?;
        let Writer { db: Some(db), ledger, acked, path, .. } = self else {
            return Ok(());
        };
        let (Some(cursor), Some(acked)) = (ledger.sinks.get_mut(sink), acked.get_mut(sink)) else {
            return Ok(());
        };
        if seq <= cursor.seq || seq > ledger.last_seq || acked.contains(&seq) {
            return Ok(());
        }
        let failed = |e: rusqlite::Error| StoreError::sqlite(path, "cannot read it", &e);
        let exists = |db: &Connection| db.prepare_cached("SELECT 1 FROM event WHERE seq = ?1")?.exists([seq]);
        if exists(db).map_err(failed)? {
            acked.insert(seq);
            let before = cursor.seq;
            advance(db, cursor, acked, ledger.last_seq).map_err(failed)?;
            if cursor.seq != before {
                self.cursors_moved.get_or_insert(moved);
            }
            self.acked_since += 1;
        }
        Ok(())
    }

    /// The sink's peer can never take this event: it counts as acknowledged from now on, and a receipt is owed.
    /// Both stand in the ledger, which is one row: the disk has both or none.
    pub(crate) fn give_up_for(&mut self, sink: &str, seq: u64, reason: LossReason) -> Result<(), StoreError> {
        self.open_db()?;
        let pending = self.acked.get(sink).is_some_and(|acked| !acked.contains(&seq))
            && self.ledger.sinks.get(sink).is_some_and(|cursor| seq > cursor.seq);
        let Some(level) = self.level_of(seq)?.filter(|_| pending) else {
            return Ok(());
        };
        // Read first: what fails from here on must leave the books as they were.
        let told = if level == RECEIPT { self.told_by(seq)? } else { None };
        let before = self.ledger.clone();
        self.ledger.lost += 1;
        self.ledger.owed.add(Loss { first_seq: seq, last_seq: seq, count: 1, reason });
        if let Some(told) = told {
            // What it would have told must still be told.
            self.ledger.owed.add(told);
        }
        self.ledger.never_taken(sink, seq);
        if let Err(error) = self.write_ledger() {
            self.ledger = before;
            return Err(error);
        }
        self.acknowledge(sink, seq)?;
        self.tell_losses();
        Ok(())
    }

    fn level_of(&self, seq: u64) -> Result<Option<usize>, StoreError> {
        let found = self.with(|db| {
            db.prepare_cached("SELECT level FROM event WHERE seq = ?1")?
                .query_row([seq], |row| row.get::<_, usize>(0))
                .optional()
        })?;
        Ok(found.map(|level| level.min(LEVELS - 1)))
    }

    /// Events of at least a level.
    pub(crate) fn pending(
        &mut self,
        sink: &str,
        least: usize,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let answer = self.read_pending(sink, least, after, limit);
        match answer {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.replace_damaged(&error)?;
                self.read_pending(sink, least, after, limit)
            }
            other => other,
        }
    }

    fn read_pending(
        &mut self,
        sink: &str,
        least: usize,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        self.open_db()?;
        let Writer { db: Some(db), ledger, acked, path, decoder, .. } = self else {
            return Ok(Vec::new());
        };
        let (Some(cursor), Some(acked)) = (ledger.sinks.get(sink), acked.get(sink)) else {
            return Err(StoreError::Refused(format!("sink {sink:?} is not registered")));
        };
        let limit = limit.min(MAX_PENDING);
        let (mut events, mut unreadable) = (Vec::new(), Vec::new());
        let mut read = || -> rusqlite::Result<()> {
            let of_level = match least {
                0 => "event WHERE",
                1 => "event WHERE level >= 1 AND",
                _ => "event INDEXED BY event_alarm WHERE level >= 2 AND",
            };
            let sql = format!("SELECT {COLUMNS}, level FROM {of_level} seq > ?1 ORDER BY seq");
            let mut statement = db.prepare_cached(&sql)?;
            let mut rows = statement.query([after.max(cursor.seq)])?;
            while events.len() < limit {
                let Some(row) = rows.next()? else { break };
                let seq: u64 = row.get(0)?;
                if !acked.contains(&seq) {
                    match decoder.event(db, row)? {
                        Ok(event) => events.push(event),
                        Err(problem) => {
                            tracing::error!(seq, problem, "A stored event cannot be read; it is given up.");
                            unreadable.push((seq, row.get::<_, usize>(5)?.min(LEVELS - 1)));
                        }
                    }
                }
            }
            Ok(())
        };
        read().map_err(|e| StoreError::sqlite(path, "cannot read pending events", &e))?;
        if !unreadable.is_empty() {
            self.give_up(&unreadable, LossReason::Unreadable)?;
            self.tell_losses();
        }
        Ok(events)
    }

    pub(crate) fn stats(&mut self) -> Result<Stats, StoreError> {
        self.open_db()?;
        let bytes = self.used_bytes()?;
        let Writer { db: Some(db), ledger, acked, path, .. } = self else {
            return Err(StoreError::Closed);
        };
        let oldest = |after: u64, acked: &BTreeSet<u64>| -> rusqlite::Result<Option<i64>> {
            let mut statement = db.prepare_cached("SELECT seq, at FROM event WHERE seq > ?1 ORDER BY seq")?;
            let mut rows = statement.query([after])?;
            while let Some(row) = rows.next()? {
                if !acked.contains(&row.get(0)?) {
                    return row.get(1).map(Some);
                }
            }
            Ok(None)
        };
        let mut sinks = BTreeMap::new();
        for (name, cursor) in &ledger.sinks {
            let acked = &acked[name];
            let at = oldest(cursor.seq, acked).map_err(|e| StoreError::sqlite(path, "cannot read it", &e))?;
            let stats = SinkStats {
                cursor: cursor.seq,
                depth: cursor.depth.saturating_sub(acked.len() as u64),
                oldest: at.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            };
            sinks.insert(name.clone(), stats);
        }
        Ok(Stats {
            last_seq: ledger.last_seq,
            events: ledger.counts.iter().sum(),
            bytes,
            bytes_max: self.max_bytes,
            lost: ledger.lost,
            quarantines: self.quarantined.len() as u64,
            quarantined: self.quarantined.last().cloned(),
            commits: self.commits,
            sinks,
        })
    }
}
