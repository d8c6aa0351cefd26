//! The heartbeat of what is no worker thread: a task, or a part that is asked now and then whether it lives.
//!
//! Invariant: a task is silent only while a single poll of it runs, so a task that waits is never stuck and one that
//! blocks or spins is.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::{Entry, Health, WorkerState};
use crate::runtime::clock::SharedClock;

/// A heartbeat without a thread. Cheap to clone; [`super::WorkerRegistry::register`] puts it on the list.
#[derive(Clone)]
pub struct Heartbeat(pub(super) Arc<Entry>);

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Heartbeat({:?})", self.health())
    }
}

impl Heartbeat {
    /// The pulse of something that begins now.
    pub fn new(name: &str, clock: SharedClock) -> Self {
        Heartbeat(Entry::new(name, clock))
    }

    /// A sign of life.
    pub fn beat(&self) {
        self.0.beat();
    }

    /// A step follows that may rightly take so long.
    pub fn extend_deadline(&self, at_most: Duration) {
        self.0.extend_deadline(at_most);
    }

    /// No sign of life is due before the next beat.
    pub fn suspend(&self) {
        self.0.suspend();
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.0.health()
    }

    /// The task with this pulse: it beats when it is polled, rests while it waits, and has ended when the task is
    /// over or dropped.
    pub fn wrap<F: Future>(self, task: F) -> impl Future<Output = F::Output> {
        let ending = Ending(self.0);
        async move {
            let mut task = pin!(task);
            poll_fn(|context| {
                ending.0.beat();
                let polled = task.as_mut().poll(context);
                ending.0.suspend();
                polled
            })
            .await
        }
    }
}

/// Notes the end, also by a panic.
struct Ending(Arc<Entry>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.condition().state = WorkerState::Ended;
    }
}
