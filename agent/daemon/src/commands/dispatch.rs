//! The task `commands`: authenticates commands from the broker, executes them and replies.
//!
//! Invariants: every command gets exactly one reply, also when it is refused; at most four run at once, of them two
//! probes, each with a deadline; nothing is executed that was not authenticated.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aimass_mqtt::LinkHandle;
use aimass_protocol::command::{
    CommandError, DrainRequest, DrainResult, LogRequest, LogResult, Reply, RestartResult, ResumeResult,
    SnapshotRequest, SnapshotResult,
};
use aimass_signing::TrustConfig;
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::authenticate::Authenticate;
use super::request::Request;
use super::{probe, snapshot};
use crate::handle::{NodeHandle, RequestError};

/// Commands that may wait for the task.
const QUEUE: usize = 16;
/// Commands that run at once; further ones wait in the queue.
const MAX_RUNNING: usize = 4;
/// Probes that run at once; a further one is refused as `busy`.
const MAX_PROBES: usize = 2;
/// How long a command may take beyond the time that it asks for.
const DEADLINE: Duration = Duration::from_secs(20);
/// How often a drain reads the outbox's depth.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Sends a reply. Must not block.
pub type SendReply = Box<dyn FnOnce(Bytes) + Send>;

/// A command as it came.
pub struct CommandRequest {
    /// The last level of its topic.
    pub name: String,
    /// The envelope.
    pub payload: Bytes,
    /// Sends the reply; `None` if the requester wants none.
    pub reply: Option<SendReply>,
}

/// What the task needs.
#[derive(Clone)]
pub struct Deps {
    /// Checks signature, recipient, validity and nonce.
    pub authenticator: Arc<dyn Authenticate>,
    /// Folders whose files a probe may name.
    pub secret_folders: SecretFolders,
    /// The node.
    pub node: NodeHandle,
}

/// Folders whose files a probe may name: those of `[trust]`, or the configuration file's own.
#[derive(Clone)]
pub struct SecretFolders {
    /// `[trust]` in force.
    pub trust: watch::Receiver<TrustConfig>,
    /// The node's configuration file.
    pub config_file: PathBuf,
}

impl SecretFolders {
    fn list(&self) -> Vec<PathBuf> {
        let trust = self.trust.borrow();
        if !trust.secret_folders.is_empty() {
            return trust.secret_folders.clone();
        }
        let folder = self.config_file.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        // The folder itself may be reached through a link.
        vec![folder.canonicalize().unwrap_or_else(|_| folder.to_owned())]
    }
}

/// The queue of commands, and the task that executes them.
pub fn start(deps: Deps) -> (mpsc::Sender<CommandRequest>, impl Future<Output = ()> + Send + 'static) {
    let (commands, queue) = mpsc::channel(QUEUE);
    (commands, run(queue, deps))
}

/// Forwards the commands of a link to the queue until the link ends.
pub fn forward(link: &LinkHandle, queue: mpsc::Sender<CommandRequest>) {
    let (Some(mut commands), replies) = (link.take_commands(), link.replies()) else { return };
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            let (name, replies) = (command.name.clone(), replies.clone());
            let reply = command.reply_to.map(|to| -> SendReply {
                Box::new(move |payload| {
                    if let Err(error) = replies.reply(&to, payload) {
                        tracing::warn!(command = name, %error, "The reply to a command could not be sent.");
                    }
                })
            });
            let command = CommandRequest { name: command.name, payload: command.payload, reply };
            if queue.send(command).await.is_err() {
                return;
            }
        }
    });
}

/// The task. Ends when the queue is closed and all running commands were answered.
async fn run(mut queue: mpsc::Receiver<CommandRequest>, deps: Deps) {
    let executor = Arc::new(Executor {
        deps,
        probes: Arc::new(Semaphore::new(MAX_PROBES)),
        draining: Semaphore::new(1),
    });
    let mut running = JoinSet::new();
    while let Some(command) = queue.recv().await {
        // One after the other: a nonce must be recorded before the next command is checked.
        let CommandRequest { name, payload, reply } = command;
        let request = match authenticate(executor.deps.authenticator.clone(), name.clone(), payload).await {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(command = printable(&name), kind = %error.kind, %error, "A command was refused.");
                send(reply, Err(error));
                continue;
            }
        };
        while running.len() >= MAX_RUNNING {
            running.join_next().await;
        }
        // Finished commands leave the set.
        while running.try_join_next().is_some() {}
        let executor = executor.clone();
        running.spawn(async move {
            let outcome = executor.execute_within_deadline(request).await;
            match &outcome {
                Ok(_) => tracing::info!(command = name, "A command was executed."),
                Err(error) => tracing::warn!(command = name, kind = %error.kind, %error, "A command failed."),
            }
            send(reply, outcome);
        });
    }
    running.join_all().await;
}

async fn authenticate(
    authenticator: Arc<dyn Authenticate>,
    name: String,
    payload: Bytes,
) -> Result<Request, CommandError> {
    // Recording a nonce waits for the disk.
    let checked = tokio::task::spawn_blocking(move || {
        let body = authenticator.authenticate(&name, &payload)?;
        Request::read(&name, body)
    });
    checked
        .await
        .map_err(|e| CommandError::new("internal", format!("the command could not be checked: {e}")))?
}

/// A name from outside, for the log.
fn printable(name: &str) -> String {
    name.chars().take(63).flat_map(char::escape_default).collect()
}

fn send(reply: Option<SendReply>, outcome: Result<Value, CommandError>) {
    let Some(reply) = reply else { return };
    let text = serde_json::to_vec(&Reply::from(outcome)).unwrap_or_default();
    reply(text.into());
}

/// Executes commands; shared by those that run.
struct Executor {
    deps: Deps,
    probes: Arc<Semaphore>,
    /// One drain at a time.
    draining: Semaphore,
}

impl Executor {
    async fn execute_within_deadline(&self, request: Request) -> Result<Value, CommandError> {
        let requested = match &request {
            Request::Probe(probe) => Duration::from_secs_f32(probe.timeout_s),
            Request::Drain(drain) => Duration::from_secs(drain.timeout_s.into()),
            _ => Duration::ZERO,
        };
        let limit = requested + DEADLINE;
        match tokio::time::timeout(limit, self.execute(request)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let text = format!("not finished within {} s; it may still be running", limit.as_secs());
                Err(CommandError::new("timeout", text))
            }
        }
    }

    async fn execute(&self, request: Request) -> Result<Value, CommandError> {
        let node = &self.deps.node;
        match request {
            Request::Probe(request) => {
                let permit = self.probes.clone().try_acquire_owned();
                let permit = permit.map_err(|_| {
                    CommandError::new("busy", format!("{MAX_PROBES} probes are running: try again later"))
                })?;
                let context = probe::Context {
                    clock: node.clock().clone(),
                    secret_folders: self.deps.secret_folders.list(),
                    permit,
                };
                document(probe::probe(request, context).await?)
            }
            Request::Snapshot(request) => self.snapshot(request).await,
            Request::RestartSource(request) => {
                node.restart_source(request.source.clone()).await?;
                document(RestartResult { source: request.source })
            }
            Request::SetLogLevel(request) => self.set_log_level(&request),
            Request::Drain(request) => self.drain(request).await,
            Request::Resume(_) => {
                node.open_sources().await?;
                document(ResumeResult {})
            }
        }
    }

    async fn snapshot(&self, request: SnapshotRequest) -> Result<Value, CommandError> {
        let id = request.source.as_str();
        let node = &self.deps.node;
        let view = node.source(id).ok_or_else(|| node.unknown_source(id))?;
        let newest = view.frames().borrow().clone();
        let frame = newest.ok_or_else(|| {
            let status = view.status();
            let reason = status.error.unwrap_or_else(|| status.state.to_string());
            CommandError::new("no_picture", format!("source {id} has not delivered a picture yet: {reason}"))
        })?;
        // Masks were painted before any part of the program saw the frame.
        let (seq, time, state) = (frame.seq, frame.capture_time.wall, view.status().state);
        let encoding = tokio::task::spawn_blocking(move || snapshot::encode(&frame, request.max_side_px));
        let picture = encoding.await.map_err(|e| CommandError::new("not_encoded", e.to_string()))??;
        document(SnapshotResult { source: id.to_owned(), state, frame: seq, time, picture })
    }

    fn set_log_level(&self, request: &LogRequest) -> Result<Value, CommandError> {
        let period = Duration::from_secs(request.duration_s.into());
        self.deps.node.set_log_level(request.level.as_str(), period)?;
        let until = self.deps.node.clock().wall() + period;
        document(LogResult { level: request.level, until })
    }

    async fn drain(&self, request: DrainRequest) -> Result<Value, CommandError> {
        let Ok(_only) = self.draining.try_acquire() else {
            return Err(CommandError::new("busy", "a drain is running already"));
        };
        let node = &self.deps.node;
        node.close_sources().await?;
        let empty = async {
            loop {
                // The last events come a moment after the sources are closed, so the depth is read repeatedly.
                tokio::time::sleep(POLL_INTERVAL).await;
                if matches!(node.outbox_depth().await, Ok(0)) {
                    return;
                }
            }
        };
        // Running out of time is no error: the reply says how many events are left.
        tokio::time::timeout(Duration::from_secs(request.timeout_s.into()), empty).await.ok();
        let events_pending =
            node.outbox_depth().await.map_err(|e| CommandError::new("store", e.to_string()))?;
        document(DrainResult { drained: true, events_pending })
    }
}

fn document(value: impl Serialize) -> Result<Value, CommandError> {
    serde_json::to_value(value).map_err(|e| CommandError::new("internal", e.to_string()))
}

impl From<RequestError> for CommandError {
    fn from(error: RequestError) -> Self {
        CommandError::new(error.kind(), error.to_string())
    }
}
