//! The log level, changed for a limited time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::RequestError;
use crate::logging::Logs;

/// Changes the log level and restores it.
pub(super) struct LogLevel {
    logs: Option<&'static Logs>,
    /// Counts changes: the end of one must not undo a later one.
    changes: Arc<AtomicU64>,
}

impl LogLevel {
    pub(super) fn new(logs: Option<&'static Logs>) -> Self {
        LogLevel { logs, changes: Arc::default() }
    }

    pub(super) fn set(&self, level: &str, period: Duration) -> Result<(), RequestError> {
        let problem = "this program's log level cannot be changed while it runs";
        let logs = self.logs.ok_or(RequestError::Unavailable(problem))?;
        logs.set(level).map_err(RequestError::Failed)?;
        let change = self.changes.fetch_add(1, Ordering::Relaxed) + 1;
        let changes = self.changes.clone();
        tracing::info!(level, period_s = period.as_secs(), "The log level was changed.");
        tokio::spawn(async move {
            tokio::time::sleep(period).await;
            if changes.load(Ordering::Relaxed) == change
                && let Err(error) = logs.restore()
            {
                tracing::error!(error, "The log level cannot be restored.");
            }
        });
        Ok(())
    }
}
