//! `aimass-agent run`: the daemon. Parse → build → ready → wait → drain.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::runtime::clock::SystemClock;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::commands::prover;
use crate::config::Problem;
use crate::config::revisions::{ConfigManager, Start};
use crate::exit::Failure;
use crate::identity::{Node, VERSION, clock_ok};
use crate::node::command_ports;
use crate::node::controller::{self, Control};
use crate::node::running::{self, Running};
use crate::node::systemd;

/// Signals that come closer together than this are one.
const ONE_TELLING: Duration = Duration::from_millis(500);

/// Runs until SIGTERM or SIGINT; SIGHUP makes it look at its file again.
///
/// # Errors
/// `BadInput` for a configuration that is wrong when none before it is known to be good; `Unavailable` for a port
/// or a store that cannot be had.
pub fn run(path: &Path) -> Result<(), Failure> {
    block_on(async {
        let mut signals = Signals::new()?;
        let mut hangup = signal(SignalKind::hangup()).map_err(|e| Failure::Bug(e.to_string()))?;
        let clock = SystemClock::shared();
        let (mut keeper, first) = ConfigManager::open(path, clock.clone(), Arc::new(clock_ok))?;
        let names = &first.choice.config.node;
        let node = Node::new(names.site.clone(), names.id.clone(), clock);
        tracing::info!(site = %node.site, node = %node.id, boot = %node.boot, version = VERSION, cameras = first.choice.config.camera.len(), config_version = first.choice.version, "Starting.");
        let (mut running, trial) = begin(&mut keeper, &first, &node).await?;
        tracing::info!(page = %format!("http://{}", running.address), "The node runs.");
        systemd::ready();
        let told = systemd::keep_told(running.watch.clone(), running.views.health.clone());
        let broken = running.broken();
        let (trust, known) = watch::channel(keeper.trust().clone());
        let (here, boot, book) = (keeper.recipient(), running.node.boot, keeper.nonce_book());
        let prove = prover(known.clone(), here, boot, running.node.clock.clone(), book);
        let (requests, mut asked) = controller::requests();
        let (views, store) = (running.views.clone(), running.store().clone());
        let own_file = path.to_owned();
        running.obey(command_ports::Deps { prove, trust: known, own_file, requests, views, store });
        let mut control = Control::new(running, keeper, trust, trial);
        let outcome = tokio::select! {
            () = signals.wait() => Ok(()),
            () = broken => Err(Failure::Bug("a part of the program broke down, see the log; events in the store are safe".into())),
            outcome = control.serve(&mut asked, &mut hangup) => outcome,
            never = told => match never {},
        };
        signals.leave_on_next();
        systemd::stopping();
        // Who still waits for an answer gets it: the node is stopping.
        asked.close();
        while asked.try_recv().is_ok() {}
        control.into_running(outcome.is_ok()).stop().await;
        outcome
    })
}

/// Starts the node with what the keeper chose; if that is on trial and cannot even start, with the last known good.
async fn begin(keeper: &mut ConfigManager, first: &Start, node: &Node) -> Result<(Running, bool), Failure> {
    node.set_config_version(first.choice.version);
    if !first.trial {
        return Ok((running::start(&first.choice.config, node.clone()).await?, false));
    }
    let started = match keeper.begun() {
        Ok(()) => running::start(&first.choice.config, node.clone()).await,
        Err(error) => Err(error),
    };
    match started {
        Ok(running) => Ok((running, true)),
        Err(error) => {
            tracing::error!(%error, "The new configuration cannot start; the one before runs.");
            let good = keeper.roll_back(vec![Problem::new("", error.to_string())]);
            node.set_config_version(good.version);
            Ok((running::start(&good.config, node.clone()).await?, false))
        }
    }
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
            tracing::warn!("EventBatch twice: leaving at once. What the store accepted is safe.");
            std::process::exit(0);
        });
    }
}
