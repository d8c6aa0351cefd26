//! Named threads with a heartbeat and a restart policy; a registry tells how each of them is.
//!
//! This is the only place where the program starts OS threads. A worker's body runs until it returns `Ok`;
//! an `Err` or a panic is caught, counted, and the body is run again after a wait that grows, until the policy
//! gives up: a state that people can see, and that never takes another worker along.
//!
//! Invariant: a worker's state is `Running` or `Restarting` exactly as long as its thread lives.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use aimass_protocol::health::WorkerState;
use serde::Serialize;

use crate::runtime::backoff::Backoff;
use crate::runtime::clock::SharedClock;
use crate::runtime::stop::StopToken;

mod heartbeat;

pub use heartbeat::Heartbeat;

/// When a failed body is run again, and when no more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RestartPolicy {
    /// Failures within `window` that are still answered by a restart; one more and it gives up.
    pub max_restarts: u32,
    /// How far back failures count.
    pub window: Duration,
    /// The wait before the first restart; doubles up to `most_wait`.
    pub first_wait: Duration,
    /// The longest wait before a restart.
    pub most_wait: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        RestartPolicy {
            max_restarts: 5,
            window: Duration::from_secs(60),
            first_wait: Duration::from_millis(200),
            most_wait: Duration::from_secs(10),
        }
    }
}

impl RestartPolicy {
    /// The first failure ends the worker.
    pub const NEVER: RestartPolicy = RestartPolicy {
        max_restarts: 0,
        window: Duration::from_secs(1),
        first_wait: Duration::ZERO,
        most_wait: Duration::ZERO,
    };
}

/// A worker's health at a moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    /// The worker's name.
    pub name: String,
    /// How it is.
    pub state: WorkerState,
    /// How often its body was run again.
    pub restarts: u32,
    /// Its last failure.
    pub last_error: Option<String>,
    /// Seconds since it last gave a sign of life.
    pub heartbeat_age_s: f64,
}

#[derive(Debug)]
struct Condition {
    state: WorkerState,
    restarts: u32,
    last_error: Option<String>,
}

struct Entry {
    name: String,
    clock: SharedClock,
    /// Milliseconds of the monotonic clock: the last sign of life, or until when none is due.
    heartbeat: AtomicU64,
    condition: Mutex<Condition>,
}

impl Entry {
    fn new(name: &str, clock: SharedClock) -> Arc<Self> {
        let condition = Condition { state: WorkerState::Running, restarts: 0, last_error: None };
        let (name, heartbeat) = (name.to_owned(), AtomicU64::new(0));
        let entry = Arc::new(Entry { name, clock, heartbeat, condition: Mutex::new(condition) });
        entry.beat();
        entry
    }

    fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    fn beat(&self) {
        self.heartbeat.store(self.now_ms(), Ordering::Relaxed);
    }

    fn extend_deadline(&self, at_most: Duration) {
        let ms = u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX);
        self.heartbeat.store(self.now_ms().saturating_add(ms), Ordering::Relaxed);
    }

    fn suspend(&self) {
        self.heartbeat.store(u64::MAX, Ordering::Relaxed);
    }

    fn is_running(&self) -> bool {
        self.condition().state == WorkerState::Running
    }

    fn heartbeat_age(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.heartbeat.load(Ordering::Relaxed)))
    }

    fn health(&self) -> Health {
        let condition = self.condition();
        Health {
            name: self.name.clone(),
            state: condition.state,
            restarts: condition.restarts,
            last_error: condition.last_error.clone(),
            heartbeat_age_s: self.heartbeat_age().as_secs_f64(),
        }
    }
}

/// What a body gets to work with.
pub struct WorkerContext {
    entry: Arc<Entry>,
    stop: StopToken,
}

impl WorkerContext {
    /// The worker's name.
    pub fn name(&self) -> &str {
        &self.entry.name
    }

    /// The stop to obey.
    pub fn stop(&self) -> &StopToken {
        &self.stop
    }

    /// A sign of life: give one at least every few seconds. Costs one atomic store.
    pub fn beat(&self) {
        self.entry.beat();
    }

    /// A step follows that may rightly take so long (a model is loaded, a camera opened): no sign of life is due
    /// before then, or the next beat.
    pub fn extend_deadline(&self, at_most: Duration) {
        self.entry.extend_deadline(at_most);
    }

    /// A wait follows for somebody who has a heartbeat of their own (a full queue, a permit): no sign of life is
    /// due before the next beat.
    pub fn suspend(&self) {
        self.entry.suspend();
    }
}

/// All workers of the program and how they are. Cheap to clone.
#[derive(Clone)]
pub struct WorkerRegistry {
    clock: SharedClock,
    entries: Arc<Mutex<Vec<Arc<Entry>>>>,
}

impl fmt::Debug for WorkerRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl WorkerRegistry {
    /// A registry without workers.
    pub fn new(clock: SharedClock) -> Self {
        WorkerRegistry { clock, entries: Arc::default() }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The health of every worker, in the order in which they were started.
    pub fn list(&self) -> Vec<Health> {
        self.entries().iter().map(|e| e.health()).collect()
    }

    /// Running workers that gave no sign of life for longer than this.
    pub fn stuck(&self, older_than: Duration) -> Vec<Health> {
        let entries = self.entries();
        let silent = entries.iter().filter(|e| e.heartbeat_age() > older_than);
        silent.map(|e| e.health()).filter(|h| h.state == WorkerState::Running).collect()
    }

    /// Takes a worker off the list, for when what it worked for was removed; one that did not end stays.
    pub fn remove(&self, name: &str) {
        self.entries().retain(|e| e.name != name || e.is_running());
    }

    /// Starts a worker: a thread of this name that runs `body` under `policy` until it returns `Ok`, the stop
    /// is requested, or the policy gives up. One of the same name that has ended leaves the list.
    ///
    /// # Errors
    /// The operating system has no thread to give.
    pub fn spawn(
        &self,
        name: &str,
        policy: RestartPolicy,
        stop: StopToken,
        mut body: impl FnMut(&WorkerContext) -> Result<(), String> + Send + 'static,
    ) -> io::Result<Worker> {
        let entry = Entry::new(name, self.clock.clone());
        let context = WorkerContext { entry: entry.clone(), stop: stop.clone() };
        // Kernels cut thread names at 15 bytes; the registry keeps the whole.
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || run(&context, policy, &mut body))?;
        self.enter(entry.clone());
        Ok(Worker { entry, stop, thread })
    }

    /// Puts the pulse of something that is no worker of ours on the list: a task, a thread of a library. One of the
    /// same name, from before, leaves it.
    pub fn register(&self, pulse: &Heartbeat) {
        self.enter(pulse.0.clone());
    }

    /// A thread that did not end stays on the list: it still holds what it holds, and the watchdog must see it.
    fn enter(&self, entry: Arc<Entry>) {
        let mut entries = self.entries();
        entries.retain(|e| e.name != entry.name || e.is_running());
        entries.push(entry);
    }
}

/// A started worker. Dropping it leaves the thread running.
pub struct Worker {
    entry: Arc<Entry>,
    stop: StopToken,
    thread: JoinHandle<()>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Worker({:?})", self.health())
    }
}

impl Worker {
    /// How it is.
    pub fn health(&self) -> Health {
        self.entry.health()
    }

    /// Whether its thread is over.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Asks it to stop; does not wait.
    pub fn stop(&self) {
        self.stop.request();
    }

    /// Waits for its end; returns how it was then.
    pub fn join(self) -> Health {
        if self.thread.join().is_err() {
            // The body is caught, so this is the frame around it: there is nothing left to run.
            self.entry.condition().state = WorkerState::Failed;
        }
        self.entry.health()
    }
}

/// The life of a worker's thread.
fn run(
    context: &WorkerContext,
    policy: RestartPolicy,
    body: &mut dyn FnMut(&WorkerContext) -> Result<(), String>,
) {
    let entry = &context.entry;
    let seed = entry.name.bytes().fold(entry.now_ms(), |s, b| s.wrapping_mul(31).wrapping_add(u64::from(b)));
    let mut backoff = Backoff::new(policy.first_wait, policy.most_wait, seed);
    let mut failures: Vec<Duration> = Vec::new();
    loop {
        entry.condition().state = WorkerState::Running;
        entry.beat();
        let result = catch_unwind(AssertUnwindSafe(|| body(context)));
        let error = match result {
            Ok(Ok(())) => return entry.condition().state = WorkerState::Ended,
            Ok(Err(error)) => error,
            Err(panic) => format!("panicked: {}", panic_text(&*panic)),
        };
        let now = entry.clock.monotonic();
        failures.retain(|&at| now.saturating_sub(at) < policy.window);
        if failures.is_empty() {
            backoff.reset();
        }
        failures.push(now);
        let again = failures.len() as u64 <= u64::from(policy.max_restarts);
        let stopped = context.stop.is_requested();
        {
            let mut condition = entry.condition();
            condition.last_error = Some(error.clone());
            condition.state = match (stopped, again) {
                (true, _) => WorkerState::Ended,
                (false, true) => WorkerState::Restarting,
                (false, false) => WorkerState::Failed,
            };
        }
        if stopped {
            return;
        }
        if !again {
            tracing::error!(
                worker = entry.name,
                error,
                failures = failures.len(),
                "A worker failed too often; it is not started again."
            );
            return;
        }
        tracing::warn!(worker = entry.name, error, "A worker failed; it is started again.");
        if context.stop.wait(backoff.next_wait()) {
            entry.condition().state = WorkerState::Ended;
            return;
        }
        entry.condition().restarts += 1;
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests;
