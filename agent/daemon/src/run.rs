//! `aimass-agent run`: the daemon. Parse → build → ready → wait → drain.

use std::path::Path;
use std::time::Duration;

use aimass_core::clock::SystemClock;
use tokio::signal::unix::{SignalKind, signal};

use crate::config;
use crate::exit::Failure;
use crate::node::{Node, VERSION};
use crate::{supervisor, systemd};

/// Signals that come closer together than this are one.
const ONE_TELLING: Duration = Duration::from_millis(500);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// `BadInput` for a configuration that is wrong; `Unavailable` for a port or a store that cannot be had.
pub fn run(path: &Path) -> Result<(), Failure> {
    let config = config::load(path).map_err(|e| Failure::BadInput(format!("{}:\n{e}", path.display())))?;
    let node = Node::new(config.node.site.clone(), config.node.id.clone(), SystemClock::shared());
    block_on(async {
        let mut signals = Signals::new()?;
        tracing::info!(site = %node.site, node = %node.id, boot = %node.boot, version = VERSION, cameras = config.camera.len(), "Starting.");
        let running = supervisor::start(&config, node).await?;
        tracing::info!(page = %format!("http://{}", running.address), "The node runs.");
        systemd::ready();
        let outcome = tokio::select! {
            () = signals.wait() => Ok(()),
            never = systemd::keep_told(running.watch.clone(), running.views.health.clone()) => match never {},
            () = running.broken() => Err(Failure::Bug("a part of the program broke down, see the log; events in the store are safe".into())),
        };
        systemd::stopping();
        signals.leave_on_next();
        running.stop().await;
        outcome
    })
}

/// Runs a long-running command to its end, on two threads, as the work is done elsewhere. Blocking work that is
/// still under way then (a name that is looked up, a disk that hangs) is not waited for.
///
/// # Errors
/// Those of the command; the system refuses threads.
pub fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::Unavailable(format!("cannot start the runtime: {e}")))?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_background();
    outcome
}

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
            let mut same = std::pin::pin!(tokio::time::sleep(ONE_TELLING));
            loop {
                tokio::select! {
                    biased;
                    () = &mut same => break,
                    () = self.wait() => {}
                }
            }
            self.wait().await;
            tracing::warn!("Told twice: leaving at once. What the store accepted is safe.");
            std::process::exit(0);
        });
    }
}
