//! SIGTERM and SIGINT: the first one ends the program in order, the next one at once.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Failure;

/// Signals that come closer together than this are one.
const DEBOUNCE: Duration = Duration::from_millis(500);

/// SIGTERM and SIGINT.
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// The system refuses.
    pub fn new() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).map_err(|e| Failure::Bug(format!("cannot catch signals: {e}")));
        Ok(Signals { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    /// Waits for either.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// The next one ends the program at once. What comes within half a second belongs to the first: a shell, a
    /// service manager or `timeout` may tell the program itself and then its whole group.
    pub fn leave_on_next(mut self) {
        tokio::spawn(async move {
            let mut same = std::pin::pin!(tokio::time::sleep(DEBOUNCE));
            loop {
                tokio::select! {
                    biased;
                    () = &mut same => break,
                    () = self.wait() => {}
                }
            }
            self.wait().await;
            tracing::warn!("A second signal: leaving at once. What the store accepted is safe.");
            std::process::exit(0);
        });
    }
}

/// For a command that works on the caller's thread: when a signal comes, `last` is done and the program ends.
///
/// # Errors
/// The system refuses a thread, or to catch signals.
pub fn leave_at_signal(last: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let refused = |e: std::io::Error| Failure::Unavailable(format!("cannot wait for signals: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
    let mut signals = {
        let _within = runtime.enter();
        Signals::new()?
    };
    let wait = move || {
        runtime.block_on(signals.wait());
        last();
        // As a shell tells of who was interrupted.
        std::process::exit(130);
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop).map_err(refused)
}
