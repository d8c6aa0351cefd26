//! `aimass-agent run`: the daemon. Parse → build → ready → serve → stop.

use std::path::Path;
use std::sync::{Arc, Mutex};

use aimass_core::runtime::clock::SystemClock;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::runtime::block_on;
use crate::commands::{self, Authenticator, SecretFolders};
use crate::config::Problem;
use crate::config::revisions::{ConfigManager, Start};
use crate::exit::Failure;
use crate::identity::{Node, VERSION, clock_ok};
use crate::node::config_worker::ConfigWorker;
use crate::node::controller::Controller;
use crate::node::running::{self, Running};
use crate::node::signals::Signals;
use crate::node::systemd;

/// Runs until SIGTERM or SIGINT; SIGHUP makes it read its file again.
///
/// # Errors
/// `BadInput` for a configuration that is wrong if no earlier one was committed; `Unavailable` for a port or a store that
/// cannot be used.
pub fn run(path: &Path) -> Result<(), Failure> {
    block_on(async {
        let mut signals = Signals::new()?;
        let mut hangup = signal(SignalKind::hangup()).map_err(|e| Failure::Bug(e.to_string()))?;
        let clock = SystemClock::shared();
        let (mut manager, first) = ConfigManager::open(path, clock.clone(), Arc::new(clock_ok))?;
        let names = &first.choice.config.node;
        let node = Node::new(names.site.clone(), names.id.clone(), clock);
        tracing::info!(site = %node.site, node = %node.id, boot = %node.boot, version = VERSION, cameras = first.choice.config.camera.len(), config_version = first.choice.version, "Starting.");
        let (mut running, trial) = begin(&mut manager, &first, &node).await?;
        tracing::info!(page = %format!("http://{}", running.address), "The node runs.");
        systemd::ready();
        let watchdog = systemd::keep_informed(running.workers.clone(), running.handle.clone());
        let broken = running.broken();
        let mut requests =
            running.take_requests().ok_or_else(|| Failure::Bug("no requests can be served".into()))?;
        let (trust, in_force) = watch::channel(manager.trust().clone());
        running.execute_commands(commands::Deps {
            authenticator: Arc::new(Authenticator {
                trust: in_force.clone(),
                recipient: manager.recipient(),
                boot: running.node.boot,
                clock: running.node.clock.clone(),
                nonces: Mutex::new(manager.nonce_store()),
            }),
            secret_folders: SecretFolders { trust: in_force, config_file: path.to_owned() },
            node: running.handle.clone(),
        });
        let configs = ConfigWorker::new(manager, &running.workers, running.node.clock.clone());
        let mut controller = Controller::new(running, configs, trust, trial).await?;
        let outcome = tokio::select! {
            () = signals.wait() => Ok(()),
            () = broken => Err(Failure::Bug("a part of the program ended unexpectedly, see the log; events in the store are safe".into())),
            outcome = controller.serve(&mut requests, &mut hangup) => outcome,
            never = watchdog => match never {},
        };
        signals.leave_on_next();
        systemd::stopping();
        // Requests that wait fail: the node is stopping.
        drop(requests);
        controller.finish(outcome.is_ok()).await.stop().await;
        outcome
    })
}

/// Starts the node with the configuration that the manager chose; if that is on trial and cannot start, with the last
/// good one. Whether the configuration that runs is on trial.
async fn begin(manager: &mut ConfigManager, first: &Start, node: &Node) -> Result<(Running, bool), Failure> {
    node.set_config_version(first.choice.version);
    if !first.trial {
        return Ok((running::start(&first.choice.config, node.clone()).await?, false));
    }
    let started = match manager.begun() {
        Ok(()) => running::start(&first.choice.config, node.clone()).await,
        Err(error) => Err(error),
    };
    match started {
        Ok(running) => Ok((running, true)),
        Err(error) => {
            tracing::error!(%error, "The new configuration cannot start; the one before runs.");
            let good = manager.roll_back(vec![Problem::new("", error.to_string())]);
            node.set_config_version(good.version);
            Ok((running::start(&good.config, node.clone()).await?, false))
        }
    }
}
