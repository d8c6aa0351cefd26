//! Giving up what is too old or too much: history first, then the oldest of the lowest severity.
//!
//! Invariant: rows go in the same transaction that notes their loss in the ledger.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::error::StoreError;
use crate::ledger::{LEVELS, RECEIPT};
use crate::losses::{Loss, LossReason};
use crate::writer::Writer;

/// Rows given up in one transaction.
const CHUNK: usize = 512;
/// Chunks in one go; then commands have their turn.
const CHUNKS: usize = 8;

/// For each level, a `seq` up to which no event of it is left, so that looking for the oldest does not begin at
/// the front each time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hints([u64; LEVELS]);

impl Writer {
    /// What is due every minute, and after a commit that made the store too large.
    pub(crate) fn keep_house(&mut self) -> Result<(), StoreError> {
        self.open_db()?;
        let mut gone = 0;
        let mut more = false;
        for round in 0..CHUNKS {
            let expired = self.expired()?;
            let (victims, reason) = if !expired.is_empty() {
                (expired, LossReason::Age)
            } else if self.is_over(self.max_bytes - if gone > 0 { self.max_bytes / 20 } else { 0 })? {
                (self.victims(CHUNK)?, LossReason::Size)
            } else {
                break;
            };
            if victims.is_empty() {
                break;
            }
            gone += victims.len();
            self.give_up(&victims, reason)?;
            more = round + 1 == CHUNKS;
        }
        if gone > 0 {
            self.forget_contexts()?;
        }
        if more {
            self.housekeeping_due = self.clock.monotonic();
        }
        self.tell_losses();
        Ok(())
    }

    /// The disk is full: gives up enough for `rows` new ones. Returns false if there was nothing to give.
    pub(crate) fn make_room(&mut self, rows: usize) -> Result<bool, StoreError> {
        let victims = self.victims(CHUNK.max(rows))?;
        self.give_up(&victims, LossReason::DiskFull)?;
        Ok(!victims.is_empty())
    }

    /// Brings the WAL into the database and gives its space back.
    pub(crate) fn shrink_wal(&mut self) -> Result<(), StoreError> {
        self.open_db()?;
        let Writer { db: Some(db), path, .. } = self else {
            return Err(StoreError::Closed);
        };
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(|e| StoreError::sqlite(path, "cannot shrink its WAL", &e))
    }

    /// Deletes events; what some sink did not have is noted as lost.
    pub(crate) fn give_up(&mut self, victims: &[(u64, usize)], reason: LossReason) -> Result<(), StoreError> {
        let mut ledger = self.ledger.clone();
        ledger.tick = self.age.tick();
        ledger.wall = ledger.wall.max(self.age.wall());
        let mut noted: Option<Loss> = None;
        for &(seq, level) in victims {
            ledger.counts[level] = ledger.counts[level].saturating_sub(1);
            let mut lost = false;
            for (name, cursor) in &mut ledger.sinks {
                if seq > cursor.seq {
                    cursor.depth = cursor.depth.saturating_sub(1);
                    lost |= !self.acked[name].contains(&seq);
                }
            }
            for seqs in ledger.never.values_mut() {
                seqs.remove(&seq);
            }
            if lost {
                let loss = noted.get_or_insert(Loss { first_seq: seq, last_seq: seq, count: 0, reason });
                loss.first_seq = loss.first_seq.min(seq);
                loss.last_seq = loss.last_seq.max(seq);
                loss.count += 1;
                if level == RECEIPT
                    && let Some(told) = self.told_by(seq)?
                {
                    // What it would have told must still be told.
                    ledger.owed.add(told);
                }
            }
        }
        ledger.trim();
        if let Some(loss) = noted {
            ledger.lost += loss.count;
            ledger.owed.add(loss);
        }
        let Writer { db: Some(db), path, .. } = self else {
            return Err(StoreError::Closed);
        };
        let delete = || {
            let step = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
            let mut statement = db.prepare_cached("DELETE FROM event WHERE seq = ?1")?;
            for (seq, _) in victims {
                statement.execute([seq])?;
            }
            ledger.write(db)?;
            step.commit()
        };
        delete().map_err(|e| StoreError::sqlite(path, "cannot delete old events", &e))?;
        self.commits += 1;
        self.ledger = ledger;
        self.cursors_moved = None;
        for acked in self.acked.values_mut() {
            for (seq, _) in victims {
                acked.remove(seq);
            }
        }
        Ok(())
    }

    /// The loss that a receipt tells of.
    pub(crate) fn told_by(&mut self, seq: u64) -> Result<Option<Loss>, StoreError> {
        let Writer { db: Some(db), path, decoder, .. } = self else {
            return Err(StoreError::Closed);
        };
        let sql = format!("SELECT {} FROM event WHERE seq = ?1", crate::reader::COLUMNS);
        let event =
            db.prepare_cached(&sql).and_then(|mut s| s.query_row([seq], |row| decoder.event(db, row)));
        Ok(event
            .map_err(|e| StoreError::sqlite(path, "cannot read it", &e))?
            .ok()
            .as_ref()
            .and_then(Loss::of))
    }

    /// The oldest events that are past the age limit. Ticks never fall from one `seq` to the next.
    fn expired(&self) -> Result<Vec<(u64, usize)>, StoreError> {
        let Some(limit) = self.age.expired(self.max_days) else {
            return Ok(Vec::new());
        };
        let first = |db: &Connection| -> rusqlite::Result<Vec<(u64, usize)>> {
            let mut statement =
                db.prepare_cached("SELECT seq, level, tick FROM event ORDER BY seq LIMIT ?1")?;
            let mut rows = statement.query([CHUNK])?;
            let mut old = Vec::new();
            while let Some(row) = rows.next()? {
                if row.get::<_, u64>(2)? > limit {
                    break;
                }
                old.push((row.get(0)?, row.get::<_, usize>(1)?.min(LEVELS - 1)));
            }
            Ok(old)
        };
        self.with(first)
    }

    /// The next events to go for want of space: what all sinks have, then the rest, each by level and age.
    fn victims(&mut self, limit: usize) -> Result<Vec<(u64, usize)>, StoreError> {
        let delivered = self.ledger.delivered();
        for last in [delivered, u64::MAX >> 1] {
            for level in 0..LEVELS {
                let first = self.hints.0[level];
                if self.ledger.counts[level] == 0 || first >= last {
                    continue;
                }
                let oldest = |db: &Connection| -> rusqlite::Result<Vec<(u64, usize)>> {
                    db.prepare_cached(
                        "SELECT seq FROM event WHERE seq > ?1 AND seq <= ?2 AND level = ?3 ORDER BY seq LIMIT ?4",
                    )?
                    .query_map((first, last, level, limit), |row| Ok((row.get(0)?, level)))?
                    .collect()
                };
                let found = self.with(oldest)?;
                // The found ones are about to go; if that fails, the hint must still be true.
                self.hints.0[level] =
                    found.first().map_or(last.min(self.ledger.last_seq), |(seq, _)| seq - 1);
                if !found.is_empty() {
                    return Ok(found);
                }
            }
        }
        Ok(Vec::new())
    }

    /// Forgets the contexts that no event refers to any more.
    fn forget_contexts(&mut self) -> Result<(), StoreError> {
        let next = self.ledger.last_seq + 1;
        let forgotten = self.with(|db| {
            db.prepare_cached(
                "DELETE FROM context WHERE generation < (SELECT max(generation) FROM context
                 WHERE generation <= coalesce((SELECT min(seq) FROM event), ?1))",
            )?
            .execute([next])
        })?;
        if forgotten > 0 {
            self.decoder.clear();
        }
        Ok(())
    }

    pub(crate) fn used_bytes(&self) -> Result<u64, StoreError> {
        let number = |db: &Connection, sql| db.prepare_cached(sql)?.query_row([], |row| row.get::<_, u64>(0));
        self.with(|db| {
            let pages = number(db, "PRAGMA page_count")?.saturating_sub(number(db, "PRAGMA freelist_count")?);
            Ok(pages * number(db, "PRAGMA page_size")?)
        })
    }

    pub(crate) fn is_over_size(&self) -> Result<bool, StoreError> {
        self.is_over(self.max_bytes)
    }

    fn is_over(&self, bytes: u64) -> Result<bool, StoreError> {
        Ok(self.used_bytes()? > bytes)
    }

    pub(crate) fn with<T>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let db = self.db.as_ref().ok_or(StoreError::Closed)?;
        question(db).map_err(|e| StoreError::sqlite(&self.path, "cannot read it", &e))
    }
}
