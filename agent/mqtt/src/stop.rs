//! The request to stop, with its deadline. Asked by the handle, obeyed by the link's task. Once asked it stays so.

use aimass_core::traits::Outbox;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The stop, as the task sees it.
#[derive(Debug)]
pub(crate) struct StopSignal(watch::Receiver<Option<Instant>>);

impl StopSignal {
    pub(crate) fn new(asked: watch::Receiver<Option<Instant>>) -> Self {
        StopSignal(asked)
    }

    /// Returns once the stop is asked for.
    pub(crate) async fn wanted(&self) {
        // An error means that the handle is gone, which is a stop too.
        drop(self.0.clone().wait_for(Option::is_some).await);
    }

    /// Until when to deliver; `None` while nobody asked for the stop.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let asked = *self.0.borrow();
        if asked.is_none() && self.0.has_changed().is_err() { Some(Instant::now()) } else { asked }
    }

    /// While there is no connection: returns once there is nothing to wait for any more.
    pub(crate) async fn in_vain(&self, outbox: &impl Outbox) {
        self.wanted().await;
        let Some(deadline) = self.deadline() else { return };
        if outbox.pending(0, 1).await.is_ok_and(|left| left.is_empty()) {
            return;
        }
        sleep_until(deadline).await;
    }
}
