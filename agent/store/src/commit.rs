//! The commit: events get their numbers, and whoever waits gets the answer.
//!
//! Invariant: the ledger in memory changes only after the commit; a commit that fails uses up no number.

use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::codec;
use crate::database::{self, FileId, beside};
use crate::error::{ErrorKind, StoreError};
use crate::ledger::{Ledger, RECEIPT};
use crate::losses::{Loss, LossReason};
use crate::recovery;
use crate::writer::{Group, NewRow, Writer};

/// Contexts of one generation; beyond it a new one begins, so that the map in memory stays small.
const MAX_CONTEXTS: usize = 2048;

impl Writer {
    /// Commits what waits and answers.
    pub(crate) fn commit_group(&mut self) {
        let group = std::mem::take(&mut self.group);
        if group.accepts.is_empty() && group.puts.is_empty() {
            return;
        }
        let outcome = self.commit(&group);
        let now = self.clock.monotonic();
        match &outcome {
            Ok(first) => {
                if !group.rows.is_empty()
                    && let Some((lasted, times)) = self.trouble.over(now)
                {
                    tracing::info!(lasted_s = lasted.as_secs(), attempts = times, "Events are stored again.");
                }
                let mut next = *first;
                for (count, reply) in group.accepts {
                    reply.send(Ok((next..next + count as u64).collect())).ok();
                    next += count as u64;
                }
            }
            Err(error) => {
                if !group.rows.is_empty()
                    && let Some(attempts) = self.trouble.came(now)
                {
                    tracing::error!(%error, events = group.rows.len(), attempts, "Events could not be stored.");
                }
                for (_, reply) in group.accepts {
                    reply.send(Err(error.clone())).ok();
                }
            }
        }
        for reply in group.puts {
            reply.send(outcome.as_ref().map(|_| ()).map_err(Clone::clone)).ok();
        }
        if outcome.is_ok() {
            self.mind_the_size();
        }
    }

    /// Something was written: what is too much goes in the next round, so that nobody waits for it.
    fn mind_the_size(&mut self) {
        if self.is_over_size().unwrap_or(false) {
            self.housekeeping_due = Duration::ZERO;
        }
    }

    /// Writes the group, repairing what can be repaired. Returns the `seq` of its first event.
    fn commit(&mut self, group: &Group) -> Result<u64, StoreError> {
        let error = match self.write(group) {
            Ok(first) => return Ok(first),
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::Corrupt => {
                self.replace_damaged(&error)?;
                self.write(group)
            }
            ErrorKind::DiskFull => {
                let error = match self.shrink_wal().and_then(|()| self.write(group)) {
                    Err(error) if error.kind() == ErrorKind::DiskFull => error,
                    other => return other,
                };
                // Once in a while only: events that are given up for nothing would be a bad bargain.
                let now = self.clock.monotonic();
                let lately = self.room_tried.is_some_and(|then| now < then + self.tuning.housekeeping);
                if lately || !self.make_room(group.rows.len()).unwrap_or(false) {
                    return Err(error);
                }
                let outcome = self.write(group);
                self.room_tried = outcome.is_err().then_some(now);
                outcome
            }
            _ => Err(error),
        }
    }

    /// One transaction: events, values, receipts that are due and, when its time has come, the ledger.
    fn write(&mut self, group: &Group) -> Result<u64, StoreError> {
        self.open_db()?;
        let now = self.clock.monotonic();
        let losses = self.due_losses(now);
        let receipts: Vec<NewRow> = losses.iter().filter_map(|loss| self.receipt(loss)).collect();
        let count = (group.rows.len() + receipts.len()) as u64;
        let (last, delivered) = (self.ledger.last_seq, self.ledger.delivered());
        if count > 0 {
            self.seqs.reserve(last, count, delivered)?;
        }
        if self.contexts.len() >= MAX_CONTEXTS {
            self.contexts.clear();
            self.generation = last + 1;
        }
        let mut ledger = self.ledger.clone();
        ledger.tick = self.age.tick();
        ledger.wall = ledger.wall.max(self.age.wall());
        if !losses.is_empty() {
            ledger.owed.take(|reason| losses.iter().any(|l| l.reason == reason));
        }
        let keep_ledger = !losses.is_empty()
            || self.cursors_moved.is_some_and(|since| since + self.tuning.cursor_along <= now);
        let mut added = Vec::new();
        let written = self.db.as_ref().map(|db| -> rusqlite::Result<()> {
            let step = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
            for row in group.rows.iter().chain(&receipts) {
                ledger.last_seq += 1;
                let context = match self.contexts.get(&row.parts.context) {
                    Some(&id) => id,
                    None => {
                        let id = add_context(db, self.generation, &row.parts.context)?;
                        self.contexts.insert(row.parts.context.clone(), id);
                        added.push(&row.parts.context);
                        id
                    }
                };
                insert(db, ledger.last_seq, ledger.tick, context, row)?;
                ledger.counts[row.level] += 1;
            }
            for (name, document) in &group.values {
                match document {
                    Some(document) => db
                        .prepare_cached("INSERT OR REPLACE INTO value (name, document) VALUES (?1, ?2)")?
                        .execute(params![name, document])?,
                    None => db.prepare_cached("DELETE FROM value WHERE name = ?1")?.execute([name])?,
                };
            }
            for cursor in ledger.sinks.values_mut() {
                cursor.depth += count;
            }
            if keep_ledger {
                ledger.write(db)?;
            }
            step.commit()
        });
        if let Some(Err(error)) = written {
            for context in added {
                self.contexts.remove(context);
            }
            return Err(StoreError::sqlite(&self.path, "cannot write", &error));
        }
        self.commits += 1;
        self.ledger = ledger;
        if keep_ledger {
            (self.cursors_moved, self.acked_since) = (None, 0);
        }
        for loss in &losses {
            self.told.insert(loss.reason, now);
        }
        for (name, document) in &group.values {
            match document {
                Some(document) => self.values.insert(name.clone(), document.clone()),
                None => self.values.remove(name),
            };
        }
        self.newest.send_if_modified(|newest| {
            let is_new = *newest != self.ledger.last_seq;
            *newest = self.ledger.last_seq;
            is_new
        });
        Ok(last + 1)
    }

    /// Writes the books by themselves.
    pub(crate) fn write_ledger(&mut self) -> Result<(), StoreError> {
        self.open_db()?;
        self.ledger.tick = self.age.tick();
        self.ledger.wall = self.ledger.wall.max(self.age.wall());
        self.ledger.trim();
        let Writer { db: Some(db), ledger, path, .. } = self else {
            return Err(StoreError::Closed);
        };
        ledger.write(db).map_err(|e| StoreError::sqlite(path, "cannot write the cursors", &e))?;
        self.commits += 1;
        (self.cursors_moved, self.acked_since) = (None, 0);
        // The books grow too: with numbers that were given up, with digits.
        self.mind_the_size();
        Ok(())
    }

    /// Losses that a receipt is due for.
    fn due_losses(&self, now: Duration) -> Vec<Loss> {
        let is_due = |reason: LossReason| {
            self.told.get(&reason).is_none_or(|then| now >= *then + self.tuning.receipt_every)
        };
        if self.ledger.owed.any(is_due) { self.ledger.owed.clone().take(is_due) } else { Vec::new() }
    }

    fn receipt(&self, loss: &Loss) -> Option<NewRow> {
        let event = (self.stamp)(loss.happening(self.clock.wall()));
        tracing::error!(
            first_seq = loss.first_seq, last_seq = loss.last_seq, count = loss.count, reason = ?loss.reason,
            "Events were lost before they could be delivered."
        );
        codec::encode(&event).ok().map(|parts| NewRow { level: RECEIPT, parts })
    }

    /// Sends the receipts that are due, if any.
    pub(crate) fn tell_losses(&mut self) {
        if self.due_losses(self.clock.monotonic()).is_empty() {
            return;
        }
        match self.write(&Group::default()) {
            Ok(_) => self.mind_the_size(),
            Err(error) => {
                tracing::warn!(%error, "A loss receipt could not be stored; it will be tried again.");
            }
        }
    }

    /// Makes sure that there is a database, and that it is still the file that its name says.
    pub(crate) fn open_db(&mut self) -> Result<(), StoreError> {
        let here = (FileId::at(&self.path), FileId::at(&beside(&self.path, "-wal")));
        if self.db.is_some() && here == self.files {
            return Ok(());
        }
        if let Some(db) = self.db.take() {
            tracing::error!(path = %self.path.display(), "The event store's file was moved or deleted; it is put back.");
            if let Err(error) = recovery::put_back(db, &self.path, &*self.clock) {
                tracing::error!(%error, "The event store could not be put back.");
            }
        }
        self.reopen()
    }

    /// The database said that it is damaged: a new one takes its place.
    pub(crate) fn replace_damaged(&mut self, error: &StoreError) -> Result<(), StoreError> {
        tracing::error!(%error, "The event store is damaged; it is moved aside and a new one begun.");
        drop(self.db.take());
        self.quarantined.push(recovery::quarantine(&self.path, &*self.clock)?);
        self.reopen()
    }

    /// Opens whatever lies at the path now, and makes it agree with what we know.
    fn reopen(&mut self) -> Result<(), StoreError> {
        let db = match database::open(&self.path, self.tuning.page_limit) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.quarantined.push(recovery::quarantine(&self.path, &*self.clock)?);
                database::open(&self.path, self.tuning.page_limit)?
            }
            other => other?,
        };
        let failed = |e: rusqlite::Error| StoreError::sqlite(&self.path, "cannot read it", &e);
        let newest: u64 =
            db.query_row("SELECT coalesce(max(seq), 0) FROM event", [], |row| row.get(0)).map_err(failed)?;
        let events: u64 = self.ledger.counts.iter().sum();
        // The events are in it, or there were none; otherwise it is a new file.
        if events > 0 && newest != self.ledger.last_seq {
            let mut ledger = Ledger { counts: Default::default(), ..self.ledger.clone() };
            let delivered = ledger.delivered();
            let count = ledger.sinks.values().map(|c| c.depth).max().unwrap_or(0);
            if count > 0 {
                let (first_seq, last_seq) = (delivered + 1, ledger.last_seq);
                ledger.lost += count;
                ledger.owed.add(Loss { first_seq, last_seq, count, reason: LossReason::StoreQuarantined });
            }
            let last_seq = ledger.last_seq;
            recovery::forget_events(&mut ledger, last_seq);
            db.execute("DELETE FROM event", []).map_err(failed)?;
            self.ledger = ledger;
            self.acked.values_mut().for_each(std::collections::BTreeSet::clear);
        }
        recovery::save(&db, &self.path, &self.ledger, &self.values)?;
        self.contexts.clear();
        self.decoder.clear();
        self.generation = self.ledger.last_seq + 1;
        self.hints = Default::default();
        self.files = (FileId::at(&self.path), FileId::at(&beside(&self.path, "-wal")));
        self.db = Some(db);
        self.housekeeping_due = Duration::ZERO;
        Ok(())
    }
}

fn add_context(db: &Connection, generation: u64, document: &str) -> rusqlite::Result<i64> {
    db.prepare_cached("INSERT INTO context (generation, document) VALUES (?1, ?2)")?
        .insert(params![generation, document])
}

fn insert(db: &Connection, seq: u64, tick: u64, context: i64, row: &NewRow) -> rusqlite::Result<()> {
    let parts = &row.parts;
    db.prepare_cached(
        "INSERT INTO event (seq, level, tick, at, context, id, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![seq, row.level, tick, parts.at_ms, context, parts.id, parts.body])?;
    Ok(())
}
