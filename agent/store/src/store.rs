//! The handle: async questions to the `store` thread.
//!
//! Commands go through one channel of 256; when it is full, the caller waits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::event::{Event, EventData, Severity};
use aimass_core::runtime::clock::SharedClock;
use aimass_core::traits::{NeverTaken, Outbox, OutboxError};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::config::{StoreConfig, Tuning};
use crate::database::SCHEMA_VERSION;
use crate::error::{ErrorKind, StoreError};
use crate::reader::{EventQuery, Reader};
use crate::writer::{Answer, Command, Writer, level};

/// Commands that may wait.
const COMMANDS: usize = 256;
/// History questions answered at a time.
const READERS: usize = 2;

/// What was found when the store was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The highest `seq` that was ever given; 0 if none.
    pub last_seq: u64,
    /// Where a damaged database was moved, if there was one. A loss receipt tells of it too.
    pub quarantined: Option<PathBuf>,
    /// The version of the schema in the file.
    pub schema_version: u32,
}

/// How full the store is, and how far its sinks are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// The highest `seq` that was ever given.
    pub last_seq: u64,
    /// Events that exist: outbox and history.
    pub events: u64,
    /// Bytes in use, of pages that hold something.
    pub bytes: u64,
    /// The limit for `bytes`.
    pub bytes_max: u64,
    /// Events ever given up before all sinks had them.
    pub lost: u64,
    /// Databases that were moved aside in this run, and where the newest of them is.
    pub quarantines: u64,
    /// See `quarantines`.
    pub quarantined: Option<PathBuf>,
    /// Commits in this run.
    pub commits: u64,
    /// By name.
    pub sinks: BTreeMap<String, SinkStats>,
}

/// How far a sink is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkStats {
    /// It has everything up to here.
    pub cursor: u64,
    /// Events that it does not have.
    pub depth: u64,
    /// The time of the oldest of those.
    pub oldest: Option<Timestamp>,
}

/// The store. Cheap to clone; the thread ends when the last clone is gone, or by [`Store::close`].
#[derive(Clone)]
pub struct Store {
    commands: mpsc::Sender<Command>,
    newest: watch::Receiver<u64>,
    readers: Arc<Semaphore>,
    path: Arc<PathBuf>,
}

impl Store {
    /// Opens the store, or begins a new one, and starts its thread. `stamp` makes an event of the node's own
    /// happenings (loss receipts): it adds id, boot, site and node; `seq` is the store's affair.
    ///
    /// Blocks while the file is opened and, after a crash, checked.
    ///
    /// # Errors
    /// `Config`, `InUse`, `Foreign`, `DiskFull`, `ReadOnly`, `Io`. A damaged file is none: see [`Opened`].
    pub fn open(
        config: &StoreConfig,
        clock: SharedClock,
        stamp: impl Fn(EventData) -> Event + Send + 'static,
    ) -> Result<(Store, Opened), StoreError> {
        Self::open_tuned(config, Tuning::default(), clock, stamp)
    }

    /// [`Store::open`] with other figures: for tests and benchmarks.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_tuned(
        config: &StoreConfig,
        tuning: Tuning,
        clock: SharedClock,
        stamp: impl Fn(EventData) -> Event + Send + 'static,
    ) -> Result<(Store, Opened), StoreError> {
        config.validate()?;
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (writer, newest) = Writer::open(config, tuning, clock, Box::new(stamp))?;
        let opened = Opened {
            last_seq: *newest.borrow(),
            quarantined: writer.quarantined(),
            schema_version: SCHEMA_VERSION,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|e| StoreError::io(&config.path, "cannot start its thread", &e))?;
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run(&runtime, inbox))
            .map_err(|e| StoreError::io(&config.path, "cannot start its thread", &e))?;
        let readers = Arc::new(Semaphore::new(READERS));
        Ok((Store { commands, newest, readers, path: Arc::new(config.path.clone()) }, opened))
    }

    /// Numbers the events and stores them; answers with their `seq`, in order, once they are on the disk. All or
    /// none are stored. What is no alarm may wait up to 150 ms for others: give events together, or ask from
    /// several tasks, rather than one after the other. An alarm takes all that waits along at once.
    ///
    /// # Errors
    /// `DiskFull`, `ReadOnly`, `Io`: try again later; the store works again once its disk does. `Refused`: the
    /// event is too large. `Closed`.
    pub async fn accept(&self, events: Vec<Event>) -> Result<Vec<u64>, StoreError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        self.ask(|reply| Command::Accept { events, reply }).await?
    }

    /// The outbox of a sink. A sink that was never seen before begins with the oldest event that exists; from
    /// then on it holds back what it has not acknowledged, even while it is away, until [`Store::remove_sink`].
    ///
    /// # Errors
    /// `Refused`: a name of more than 63 bytes, or more than 16 sinks. `Closed`.
    pub async fn sink(&self, name: &str) -> Result<SinkHandle, StoreError> {
        let name: Arc<str> = name.into();
        self.ask(|reply| Command::Register { sink: name.clone(), reply }).await??;
        Ok(SinkHandle { store: self.clone(), name })
    }

    /// Forgets a sink that will not come back; nothing is held for it any longer.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn remove_sink(&self, name: &str) -> Result<(), StoreError> {
        self.ask(|reply| Command::Remove { sink: name.into(), reply }).await?
    }

    /// The events that the query wants, oldest first. Does not disturb the writer.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn events(&self, query: EventQuery) -> Result<Vec<Event>, StoreError> {
        self.read(move |reader| reader.events(&query)).await
    }

    /// The newest events that the query wants, newest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn recent(&self, query: EventQuery) -> Result<Vec<Event>, StoreError> {
        self.read(move |reader| reader.recent(&query)).await
    }

    /// Keeps a small value over restarts; `null` removes it. Answers once it is on the disk, together with the
    /// events of the same commit window.
    ///
    /// # Errors
    /// As `accept`. `Refused`: a key over 128 bytes, a value over 64 KiB, or more than 1024 keys.
    pub async fn put_value(&self, key: &str, value: &Value) -> Result<(), StoreError> {
        let document = (!value.is_null()).then(|| value.to_string());
        self.ask(|reply| Command::Put { key: key.into(), document, reply }).await?
    }

    /// A value that was put.
    ///
    /// # Errors
    /// `Closed`; `Corrupt` if the value cannot be read.
    pub async fn get_value(&self, key: &str) -> Result<Option<Value>, StoreError> {
        let text = self.ask(|reply| Command::Get { key: key.into(), reply }).await?;
        text.map(|t| serde_json::from_str(&t)).transpose().map_err(|e| StoreError::Database {
            kind: ErrorKind::Corrupt,
            path: self.path.to_path_buf(),
            problem: format!("the value {key} cannot be read: {e}"),
        })
    }

    /// How full it is.
    ///
    /// # Errors
    /// The file cannot be read; `Closed`.
    pub async fn stats(&self) -> Result<Stats, StoreError> {
        self.ask(|reply| Command::Stats { reply }).await?
    }

    /// The highest `seq` that was ever given.
    pub fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    /// Commits what waits, writes the cursors, empties the WAL into the file and ends the thread. Commands that
    /// come later fail with `Closed`.
    ///
    /// # Errors
    /// What could not be written; `Io` if it took longer than `deadline` (the thread goes on and ends by itself).
    pub async fn close(&self, deadline: Duration) -> Result<(), StoreError> {
        match tokio::time::timeout(deadline, self.ask(|reply| Command::Close { reply })).await {
            Ok(Err(StoreError::Closed)) => Ok(()),
            Ok(answer) => answer?,
            Err(_) => Err(StoreError::Database {
                kind: ErrorKind::Io,
                path: self.path.to_path_buf(),
                problem: format!("did not close within {} s; check the disk", deadline.as_secs()),
            }),
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)
    }

    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.readers.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let path = self.path.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            question(&mut Reader::open(&path)?)
        });
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

/// A sink's view of the outbox.
#[derive(Clone)]
pub struct SinkHandle {
    store: Store,
    name: Arc<str>,
}

impl SinkHandle {
    /// The sink's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl From<StoreError> for OutboxError {
    fn from(error: StoreError) -> Self {
        OutboxError(error.to_string())
    }
}

impl Outbox for SinkHandle {
    async fn pending(&self, after: u64, limit: usize) -> Result<Vec<Event>, OutboxError> {
        self.pending_of(Severity::Info, after, limit).await
    }

    async fn pending_of(&self, least: Severity, after: u64, limit: usize) -> Result<Vec<Event>, OutboxError> {
        let (sink, least) = (self.name.clone(), level(least));
        Ok(self.store.ask(|reply| Command::Pending { sink, least, after, limit, reply }).await??)
    }

    /// Answers once it is on the disk. The receipts of one reason are gathered: the first goes out at once, the
    /// next ten minutes later at the earliest.
    async fn give_up(&self, seq: u64, why: NeverTaken) -> Result<(), OutboxError> {
        let (sink, reason) = (self.name.clone(), why.into());
        Ok(self.store.ask(|reply| Command::GiveUp { sink, seq, reason, reply }).await??)
    }

    /// Does not wait for the disk: a crash repeats events, it does not lose them.
    async fn acknowledge(&self, seq: u64) -> Result<(), OutboxError> {
        let command = Command::Acknowledge { sink: self.name.clone(), seq };
        self.store.commands.send(command).await.map_err(|_| StoreError::Closed.into())
    }

    /// Never returns once the store is closed: nothing will be accepted any more.
    async fn wait_beyond(&self, after: u64) {
        let mut newest = self.store.newest.clone();
        if newest.wait_for(|&n| n > after).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn newest(&self) -> u64 {
        self.store.newest()
    }
}
