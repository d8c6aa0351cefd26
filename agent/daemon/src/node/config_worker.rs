//! Runs the configuration manager on blocking threads: its writes wait for the disk, and a slow card must not keep the
//! main task from feeding the watchdog.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aimass_core::runtime::clock::SharedClock;
use aimass_core::runtime::worker::{Heartbeat, WorkerRegistry};
use aimass_signing::TrustConfig;

use crate::config::revisions::{ConfigManager, Report};
use crate::exit::Failure;

/// How long the disk may take: a card that reorganises itself can delay a write for a while.
const DISK_PATIENCE: Duration = Duration::from_secs(120);
/// How long the end of the program waits for the disk.
const FINISH_DEADLINE: Duration = Duration::from_secs(10);

/// What the manager says after each call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Snapshot {
    /// `[trust]` in force.
    pub(super) trust: TrustConfig,
    /// How long a candidate is on probation.
    pub(super) probation: Duration,
    /// What is in force, and what became of the last submission.
    pub(super) report: Report,
}

impl Snapshot {
    fn of(manager: &ConfigManager) -> Self {
        Snapshot { trust: manager.trust().clone(), probation: manager.probation(), report: manager.report() }
    }
}

/// The manager, one call at a time.
pub struct ConfigWorker {
    manager: Arc<Mutex<ConfigManager>>,
    heartbeat: Heartbeat,
    snapshot: Snapshot,
}

impl ConfigWorker {
    /// Registers the heartbeat `config`.
    pub fn new(manager: ConfigManager, workers: &WorkerRegistry, clock: SharedClock) -> Self {
        let heartbeat = Heartbeat::new("config", clock);
        heartbeat.suspend();
        workers.register(&heartbeat);
        let snapshot = Snapshot::of(&manager);
        ConfigWorker { manager: Arc::new(Mutex::new(manager)), heartbeat, snapshot }
    }

    /// As of the last call.
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Calls the manager and waits for it. If this future is dropped, the call still ends on its thread.
    ///
    /// # Errors
    /// `Bug` if the call panics.
    pub(super) async fn call<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut ConfigManager) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.heartbeat.extend_deadline(DISK_PATIENCE);
        let manager = self.manager.clone();
        let call = tokio::task::spawn_blocking(move || {
            let mut manager = manager.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = work(&mut manager);
            (outcome, Snapshot::of(&manager))
        });
        let outcome = call.await;
        self.heartbeat.suspend();
        let (outcome, snapshot) =
            outcome.map_err(|e| Failure::Bug(format!("the configuration manager failed: {e}")))?;
        self.snapshot = snapshot;
        Ok(outcome)
    }

    /// The last call, at the end of the program: a disk that hangs is not waited for.
    pub(super) async fn finish(mut self, work: impl FnOnce(&mut ConfigManager) + Send + 'static) {
        match tokio::time::timeout(FINISH_DEADLINE, self.call(work)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "The configuration's record could not be finished."),
            Err(_) => tracing::error!(
                "The disk did not take the configuration's record within {} s; the next start decides by the record before.",
                FINISH_DEADLINE.as_secs()
            ),
        }
    }
}
