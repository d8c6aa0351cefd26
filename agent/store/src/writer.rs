//! The `store` thread: takes commands, gathers what can be committed together, keeps the books.
//!
//! Owns the only connection that writes. Accepted events wait in memory, not in an open transaction, so reads
//! between two commits see only what is on the disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::event::{Event, EventData, Severity};
use aimass_core::runtime::clock::SharedClock;
use rusqlite::{Connection, OptionalExtension};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};

use crate::age::AgeClock;
use crate::codec::{self, Parts};
use crate::config::{StoreConfig, Tuning};
use crate::database::{self, FileId, Lock, beside};
use crate::error::StoreError;
use crate::ledger::Ledger;
use crate::losses::LossReason;
use crate::reader::Decoder;
use crate::recovery::{self, USER};
use crate::repeated_error::Trouble;
use crate::retention::Hints;
use crate::seqfile::SeqFile;
use crate::store::Stats;

/// Where an answer goes.
pub(crate) type Answer<T> = oneshot::Sender<T>;
/// Where an answer goes that may be an error.
pub(crate) type Outcome<T> = Answer<Result<T, StoreError>>;
/// Makes an event of the node's own happening.
pub(crate) type Stamp = Box<dyn Fn(EventData) -> Event + Send>;

/// Rows that are committed together at most; more commands wait in the channel.
const GROUP_ROWS: usize = 1024;
/// Commands taken at a time at most.
const GROUP_COMMANDS: usize = 256;
/// The cursors are written after so many acknowledgements, whatever the time.
const MOST_UNWRITTEN: u32 = 1000;
const MAX_KEY_BYTES: usize = 128;
const MAX_KEYS: usize = 1024;
const MAX_VALUE_BYTES: usize = 64 * 1024;

/// What the handles ask for.
pub(crate) enum Command {
    Accept { events: Vec<Event>, reply: Outcome<Vec<u64>> },
    Pending { sink: Arc<str>, least: usize, after: u64, limit: usize, reply: Outcome<Vec<Event>> },
    GiveUp { sink: Arc<str>, seq: u64, reason: LossReason, reply: Outcome<()> },
    Acknowledge { sink: Arc<str>, seq: u64 },
    Register { sink: Arc<str>, reply: Outcome<()> },
    Remove { sink: Arc<str>, reply: Outcome<()> },
    Put { key: String, document: Option<String>, reply: Outcome<()> },
    Get { key: String, reply: Answer<Option<String>> },
    Stats { reply: Outcome<Stats> },
    Close { reply: Outcome<()> },
}

/// An event on its way into the table.
pub(crate) struct NewRow {
    pub(crate) level: usize,
    pub(crate) parts: Parts,
}

/// What waits for the next commit.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) rows: Vec<NewRow>,
    /// How many of the rows belong to whom, in order.
    pub(crate) accepts: Vec<(usize, Outcome<Vec<u64>>)>,
    /// Values to put, with their prefix.
    pub(crate) values: BTreeMap<String, Option<String>>,
    pub(crate) puts: Vec<Outcome<()>>,
    /// When it must be committed, on the monotonic clock.
    pub(crate) due: Option<Duration>,
}

/// The thread's state.
pub(crate) struct Writer {
    pub(crate) path: PathBuf,
    pub(crate) max_bytes: u64,
    pub(crate) max_days: u32,
    pub(crate) tuning: Tuning,
    pub(crate) clock: SharedClock,
    pub(crate) age: AgeClock,
    pub(crate) stamp: Stamp,
    /// `None` while the file cannot be opened; each command tries again.
    pub(crate) db: Option<Connection>,
    pub(crate) files: (FileId, FileId),
    pub(crate) ledger: Ledger,
    /// Acknowledged above the cursor, by sink.
    pub(crate) acked: BTreeMap<String, BTreeSet<u64>>,
    pub(crate) values: BTreeMap<String, String>,
    /// Ids of the contexts of this generation, by document.
    pub(crate) contexts: HashMap<String, i64>,
    pub(crate) generation: u64,
    pub(crate) decoder: Decoder,
    pub(crate) seqs: SeqFile,
    pub(crate) newest: watch::Sender<u64>,
    pub(crate) group: Group,
    /// Since when the ledger on disk is behind.
    pub(crate) cursors_moved: Option<Duration>,
    /// Acknowledgements since the cursors were written.
    pub(crate) acked_since: u32,
    pub(crate) housekeeping_due: Duration,
    pub(crate) told: HashMap<LossReason, Duration>,
    pub(crate) hints: Hints,
    pub(crate) room_tried: Option<Duration>,
    pub(crate) quarantined: Vec<PathBuf>,
    pub(crate) commits: u64,
    pub(crate) trouble: Trouble,
    // The last field: released after the connection is closed.
    _lock: Lock,
}

impl Writer {
    pub(crate) fn open(
        config: &StoreConfig,
        tuning: Tuning,
        clock: SharedClock,
        stamp: Stamp,
    ) -> Result<(Writer, watch::Receiver<u64>), StoreError> {
        let path = config.path.clone();
        let lock = database::lock(&path)?;
        let begun = recovery::begin(&path, tuning.page_limit, &*clock)?;
        let newest_tick: Option<u64> = begun
            .db
            .query_row("SELECT tick FROM event ORDER BY seq DESC LIMIT 1", [], |row| row.get(0))
            .optional()
            .map_err(|e| StoreError::sqlite(&path, "cannot read it", &e))?;
        let (tick, wall) = (begun.ledger.tick, begun.ledger.wall);
        let age = AgeClock::resume(clock.clone(), tick, wall, newest_tick.unwrap_or(0), config.max_days);
        let (sender, newest) = watch::channel(begun.ledger.last_seq);
        let now = clock.monotonic();
        let mut writer = Writer {
            files: (FileId::at(&path), FileId::at(&beside(&path, "-wal"))),
            max_bytes: tuning.max_bytes.unwrap_or(u64::from(config.max_mib) << 20),
            max_days: config.max_days,
            acked: begun.ledger.acked(),
            generation: begun.ledger.last_seq + 1,
            quarantined: begun.quarantined.into_iter().collect(),
            db: Some(begun.db),
            ledger: begun.ledger,
            values: begun.values,
            seqs: begun.seqs,
            contexts: HashMap::new(),
            decoder: Decoder::default(),
            newest: sender,
            group: Group::default(),
            cursors_moved: None,
            acked_since: 0,
            housekeeping_due: now,
            told: HashMap::new(),
            hints: Hints::default(),
            room_tried: None,
            commits: 0,
            trouble: Trouble::default(),
            path,
            tuning,
            clock,
            age,
            stamp,
            _lock: lock,
        };
        writer.ledger.wall = writer.ledger.wall.max(writer.age.wall());
        Ok((writer, newest))
    }

    pub(crate) fn quarantined(&self) -> Option<PathBuf> {
        self.quarantined.last().cloned()
    }

    /// The thread's life: until it is told to close, or all handles are gone.
    pub(crate) fn run(mut self, runtime: &Runtime, mut inbox: mpsc::Receiver<Command>) {
        loop {
            let wake = self.wake();
            let wait = wake.saturating_sub(self.clock.monotonic());
            let received = runtime.block_on(async { tokio::time::timeout(wait, inbox.recv()).await });
            let mut now = self.clock.monotonic();
            match received {
                Ok(Some(command)) => {
                    let mut next = Some(command);
                    let mut taken = 0;
                    // Whatever waits already goes into the same commit.
                    while let Some(command) = next {
                        if let Command::Close { reply } = command {
                            inbox.close();
                            let closed = self.finish();
                            drop(self);
                            reply.send(closed).ok();
                            return;
                        }
                        self.obey(command);
                        // Not for ever: a stream of acknowledgements must not put off a commit that is due.
                        taken += 1;
                        let full = taken >= GROUP_COMMANDS || self.group.rows.len() >= GROUP_ROWS;
                        next = if full { None } else { inbox.try_recv().ok() };
                    }
                    now = now.max(self.clock.monotonic());
                }
                Ok(None) => {
                    if let Err(error) = self.finish() {
                        tracing::error!(%error, "The event store did not close in order.");
                    }
                    return;
                }
                // A clock that stands still must not keep us from what is due.
                Err(_) => now = now.max(wake),
            }
            self.do_what_is_due(now);
        }
    }

    /// When something is due next.
    fn wake(&self) -> Duration {
        let cursors = self.cursors_due();
        [self.group.due, cursors].into_iter().flatten().fold(self.housekeeping_due, Duration::min)
    }

    /// When the cursors are written by themselves: after a while, or after many acknowledgements. So a node that
    /// keeps dying sooner than that does not send the same beginning for ever.
    fn cursors_due(&self) -> Option<Duration> {
        let wait = if self.acked_since >= MOST_UNWRITTEN { Duration::ZERO } else { self.tuning.cursor_alone };
        self.cursors_moved.map(|since| since + wait)
    }

    fn do_what_is_due(&mut self, now: Duration) {
        if self.group.due.is_some_and(|due| due <= now) || self.group.rows.len() >= GROUP_ROWS {
            self.commit_group();
        }
        if self.housekeeping_due <= now {
            self.housekeeping_due = now + self.tuning.housekeeping;
            if let Err(error) = self.keep_house() {
                tracing::warn!(%error, "The event store could not be tidied up; it will be tried again.");
            }
        }
        if self.cursors_due().is_some_and(|at| at <= now)
            && let Err(error) = self.write_ledger()
        {
            (self.cursors_moved, self.acked_since) = (Some(now), 0);
            tracing::warn!(%error, "The sinks' cursors could not be written; it will be tried again.");
        }
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        self.commit_group();
        self.write_ledger()?;
        let Some(db) = self.db.take() else { return Ok(()) };
        let failed = |e: &rusqlite::Error| StoreError::sqlite(&self.path, "cannot close it", e);
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(|e| failed(&e))?;
        db.close().map_err(|(_, e)| failed(&e))
    }

    fn obey(&mut self, command: Command) {
        // An answer that nobody waits for any more is no error.
        match command {
            Command::Accept { events, reply } => self.gather(events, reply),
            Command::Put { key, document, reply } => self.gather_value(key, document, reply),
            Command::Get { key, reply } => {
                drop(reply.send(self.values.get(&format!("{USER}{key}")).cloned()))
            }
            Command::Pending { sink, least, after, limit, reply } => {
                reply.send(self.pending(&sink, least, after, limit)).ok();
            }
            Command::GiveUp { sink, seq, reason, reply } => {
                reply.send(self.give_up_for(&sink, seq, reason)).ok();
            }
            Command::Acknowledge { sink, seq } => {
                if let Err(error) = self.acknowledge(&sink, seq) {
                    tracing::warn!(%error, seq, "An acknowledgement could not be noted; the event will come again.");
                }
            }
            Command::Register { sink, reply } => drop(reply.send(self.register(&sink))),
            Command::Remove { sink, reply } => {
                self.ledger.sinks.remove(&*sink);
                self.ledger.never.remove(&*sink);
                self.acked.remove(&*sink);
                reply.send(self.write_ledger()).ok();
            }
            Command::Stats { reply } => drop(reply.send(self.stats())),
            Command::Close { reply } => drop(reply.send(Ok(()))),
        }
    }

    fn gather(&mut self, events: Vec<Event>, reply: Outcome<Vec<u64>>) {
        let mut rows = Vec::with_capacity(events.len());
        for event in &events {
            match codec::encode(event) {
                Ok(parts) => rows.push(NewRow { level: level(event.what.severity), parts }),
                Err(problem) => {
                    let refused = format!("event {} cannot be stored: {problem}", event.id);
                    reply.send(Err(StoreError::Refused(refused))).ok();
                    return;
                }
            }
        }
        let alarm = events.iter().any(|e| e.what.severity == Severity::Alarm);
        self.group.accepts.push((rows.len(), reply));
        self.group.rows.append(&mut rows);
        self.commit_by(if alarm { Duration::ZERO } else { self.tuning.commit_window });
    }

    fn gather_value(&mut self, key: String, document: Option<String>, reply: Outcome<()>) {
        let name = format!("{USER}{key}");
        let size = document.as_ref().map_or(0, String::len);
        if key.len() > MAX_KEY_BYTES || size > MAX_VALUE_BYTES {
            let refused = format!("value {key} is too large: {size} bytes, the limit is {MAX_VALUE_BYTES}");
            reply.send(Err(StoreError::Refused(refused))).ok();
        } else if self.values.len() + self.group.values.len() >= MAX_KEYS && !self.values.contains_key(&name)
        {
            let refused = format!("value {key} is one too many: {MAX_KEYS} are kept");
            reply.send(Err(StoreError::Refused(refused))).ok();
        } else {
            self.group.values.insert(name, document);
            self.group.puts.push(reply);
            self.commit_by(self.tuning.commit_window);
        }
    }

    fn commit_by(&mut self, within: Duration) {
        let due = self.clock.monotonic() + within;
        self.group.due = Some(self.group.due.map_or(due, |d| d.min(due)));
    }
}

/// The severity as it stands in the table.
pub(crate) fn level(severity: Severity) -> usize {
    match severity {
        Severity::Info => 0,
        Severity::Notice => 1,
        Severity::Alarm => 2,
    }
}
