//! Commands from outside: proven, read, carried out and answered, each by name.
//!
//! Owner: the task `commands`, and one task for each command under way. Invariants: every command is answered once,
//! refusals too; at most four run at once, of them two probes, each with a deadline; nothing is carried
//! out that `prove` did not let through.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aimass_core::id::Name;
use aimass_protocol::command::{
    CommandError, DrainRequest, DrainResult, LogRequest, LogResult, Reply, RestartResult, ResumeResult,
    SnapshotRequest, SnapshotResult,
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::logging::Logs;
use crate::pipeline::views::ApiContext;

use super::request::Request;
use super::{probe, snapshot};

/// Commands that are carried out at once; the next ones wait in their queue.
const UNDER_WAY: usize = 4;
/// Probes at once; the next one is told that there is no room.
const PROBES: usize = 2;
/// How long any command may take beyond what it asks for itself.
const DEADLINE: Duration = Duration::from_secs(20);
/// How often a drain looks at what is left.
const LOOK: Duration = Duration::from_millis(100);

/// Where an answer goes. Must not wait.
pub type Answer = Box<dyn FnOnce(Bytes) + Send>;

/// A command as it came.
pub struct CommandRequest {
    /// The last level of its topic.
    pub name: String,
    /// The envelope.
    pub payload: Bytes,
    /// Where the answer goes; `None` if nobody waits for one.
    pub answer: Option<Answer>,
}

/// Something that takes its time.
pub type Doing<T> = Pin<Box<dyn Future<Output = Result<T, CommandError>> + Send>>;

/// Proves a command: its name and envelope in, its body out. Called on a blocking thread, one at a time.
pub type Prove = dyn Fn(&str, &[u8]) -> Result<Value, CommandError> + Send + Sync;

/// What commands may do to the node.
#[derive(Clone)]
pub struct CommandPorts {
    /// Signature, recipient, life time and nonce.
    pub prove: Arc<Prove>,
    /// Closes a source and opens it anew; `unknown_source` if there is none.
    pub restart_source: Arc<dyn Fn(Name) -> Doing<()> + Send + Sync>,
    /// Closes all sources and ends what was in view of them.
    pub close_sources: Arc<dyn Fn() -> Doing<()> + Send + Sync>,
    /// Opens all sources anew.
    pub open_sources: Arc<dyn Fn() -> Doing<()> + Send + Sync>,
    /// How many events wait for the broker.
    pub outbox_depth: Arc<dyn Fn() -> Doing<u64> + Send + Sync>,
    /// Folders whose files a probe may name.
    pub secret_folders: Arc<dyn Fn() -> Vec<PathBuf> + Send + Sync>,
    /// The sources and the clock.
    pub views: ApiContext,
    /// How much is logged; `None` where nobody set that up.
    pub logs: Option<&'static Logs>,
}

/// The task: ends when the queue is closed and what was under way has been answered.
pub async fn run(mut commands: mpsc::Receiver<CommandRequest>, ports: CommandPorts) {
    let shared = Arc::new(Shared {
        ports,
        probes: Arc::new(Semaphore::new(PROBES)),
        draining: Semaphore::new(1),
        log_change: AtomicU64::new(0),
    });
    let mut under_way = JoinSet::new();
    while let Some(asked) = commands.recv().await {
        // One after the other: whether a nonce is new must be known before the next command is looked at.
        let CommandRequest { name, payload, answer } = asked;
        let request = match prove(shared.ports.prove.clone(), name.clone(), payload).await {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(command = shown(&name), kind = %error.kind, %error, "A command is refused.");
                reply(answer, Err(error));
                continue;
            }
        };
        while under_way.len() >= UNDER_WAY {
            under_way.join_next().await;
        }
        // What is over makes room.
        while under_way.try_join_next().is_some() {}
        let shared = shared.clone();
        under_way.spawn(async move {
            let outcome = shared.carry_out(request).await;
            match &outcome {
                Ok(_) => tracing::info!(command = name, "A command was carried out."),
                Err(error) => {
                    tracing::warn!(command = name, kind = %error.kind, %error, "A command could not be carried out.");
                }
            }
            reply(answer, outcome);
        });
    }
    under_way.join_all().await;
}

async fn prove(prove: Arc<Prove>, name: String, payload: Bytes) -> Result<Request, CommandError> {
    // Noting a nonce waits for the disk.
    let proven = tokio::task::spawn_blocking(move || {
        let body = prove(&name, &payload)?;
        Request::read(&name, body)
    });
    proven
        .await
        .map_err(|e| CommandError::new("internal", format!("the command could not be looked at: {e}")))?
}

/// A name from outside, for the log.
fn shown(name: &str) -> String {
    name.chars().take(63).flat_map(char::escape_default).collect()
}

fn reply(answer: Option<Answer>, outcome: Result<Value, CommandError>) {
    let Some(answer) = answer else { return };
    let text = serde_json::to_vec(&Reply::from(outcome)).unwrap_or_default();
    answer(text.into());
}

/// What commands under way share.
struct Shared {
    ports: CommandPorts,
    probes: Arc<Semaphore>,
    /// One drain at a time.
    draining: Semaphore,
    /// Counts changes of the log level: the end of one must not undo the next.
    log_change: AtomicU64,
}

impl Shared {
    async fn carry_out(self: Arc<Self>, request: Request) -> Result<Value, CommandError> {
        let asks_for = match &request {
            Request::Probe(probe) => Duration::from_secs_f32(probe.timeout_s),
            Request::Drain(drain) => Duration::from_secs(drain.within_s.into()),
            _ => Duration::ZERO,
        };
        let limit = asks_for + DEADLINE;
        match tokio::time::timeout(limit, self.obey(request)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let text = format!("not done within {} s; it may still be under way", limit.as_secs());
                Err(CommandError::new("timeout", text))
            }
        }
    }

    async fn obey(self: Arc<Self>, request: Request) -> Result<Value, CommandError> {
        match request {
            Request::Probe(request) => {
                let place = self.probes.clone().try_acquire_owned();
                let place = place.map_err(|_| {
                    CommandError::new("busy", format!("{PROBES} probes are under way: try again later"))
                })?;
                let clock = self.ports.views.clock.clone();
                let around =
                    probe::Surroundings { clock, secret_folders: (self.ports.secret_folders)(), place };
                document(probe::probe(request, around).await?)
            }
            Request::Snapshot(request) => self.snapshot(request).await,
            Request::RestartSource(request) => {
                (self.ports.restart_source)(request.source.clone()).await?;
                document(RestartResult { source: request.source })
            }
            Request::SetLogLevel(request) => self.set_log_level(request),
            Request::Drain(request) => self.drain(request).await,
            Request::Resume(_) => {
                (self.ports.open_sources)().await?;
                document(ResumeResult {})
            }
        }
    }

    async fn snapshot(&self, request: SnapshotRequest) -> Result<Value, CommandError> {
        let id = request.source.as_str();
        let view = self.ports.views.source(id).ok_or_else(|| {
            let known: Vec<String> =
                self.ports.views.sources.borrow().iter().map(|s| s.id.to_string()).collect();
            CommandError::unknown_source(id, &known)
        })?;
        let newest = view.frames().borrow().clone();
        let frame = newest.ok_or_else(|| {
            let status = view.status();
            let why = status.error.unwrap_or_else(|| status.state.to_string());
            CommandError::new("no_picture", format!("source {id} has not delivered a picture yet: {why}"))
        })?;
        // Masks were painted before any part of the program saw the frame.
        let (seq, time, state) = (frame.seq, frame.capture_time.wall, view.status().state);
        let encoding = tokio::task::spawn_blocking(move || snapshot::encode(&frame, request.max_side_px));
        let picture = encoding.await.map_err(|e| CommandError::new("not_encoded", e.to_string()))??;
        document(SnapshotResult { source: id.to_owned(), state, frame: seq, time, picture })
    }

    fn set_log_level(self: Arc<Self>, request: LogRequest) -> Result<Value, CommandError> {
        let LogRequest { level, for_s } = request;
        let logs = self.ports.logs.ok_or_else(|| {
            CommandError::new("unavailable", "this program's log level cannot be changed while it runs")
        })?;
        logs.set(level.as_str()).map_err(|problem| CommandError::new("internal", problem))?;
        let change = self.log_change.fetch_add(1, Ordering::Relaxed) + 1;
        let until = self.ports.views.clock.wall() + Duration::from_secs(for_s.into());
        tracing::info!(level = level.as_str(), for_s, "The log level was set by a command.");
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(for_s.into())).await;
            if self.log_change.load(Ordering::Relaxed) == change
                && let Err(error) = logs.restore()
            {
                tracing::error!(error, "The log level cannot be set back.");
            }
        });
        document(LogResult { level, until })
    }

    async fn drain(&self, request: DrainRequest) -> Result<Value, CommandError> {
        let Ok(_only) = self.draining.try_acquire() else {
            return Err(CommandError::new("busy", "a drain is under way already"));
        };
        (self.ports.close_sources)().await?;
        let empty = async {
            loop {
                // What was in view ends a moment after the sources are closed; the store is asked again and again.
                tokio::time::sleep(LOOK).await;
                if matches!((self.ports.outbox_depth)().await, Ok(0)) {
                    return;
                }
            }
        };
        // Out of time is no error: the answer says what is left.
        tokio::time::timeout(Duration::from_secs(request.within_s.into()), empty).await.ok();
        let left = (self.ports.outbox_depth)().await?;
        document(DrainResult { drained: true, left })
    }
}

fn document(value: impl Serialize) -> Result<Value, CommandError> {
    serde_json::to_value(value).map_err(|e| CommandError::new("internal", e.to_string()))
}
