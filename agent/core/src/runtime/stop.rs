//! A request to stop, for threads: checked between steps and able to cut a wait short.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Shared by whoever asks for the stop and whoever obeys. Once requested it stays so.
#[derive(Debug, Clone, Default)]
pub struct StopToken {
    inner: Arc<(Mutex<bool>, Condvar)>,
}

impl StopToken {
    /// A stop that nobody has asked for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the stop and wakes all who wait.
    pub fn request(&self) {
        *self.inner.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.inner.1.notify_all();
    }

    /// Whether the stop was asked for.
    pub fn is_requested(&self) -> bool {
        *self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps for `at_most`; returns true at once when the stop is asked for.
    pub fn wait(&self, at_most: Duration) -> bool {
        let guard = self.inner.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (stopped, _) = self
            .inner
            .1
            .wait_timeout_while(guard, at_most, |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        *stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_the_stop_is_requested() {
        let stop = StopToken::new();
        let other = stop.clone();
        std::thread::scope(|s| {
            let waiting = s.spawn(move || other.wait(Duration::from_secs(600)));
            stop.request();
            assert!(waiting.join().unwrap());
        });
        assert!(stop.is_requested());
    }
}
