//! `aimass-agent run`: the daemon. Parse → build → ready → wait → drain.

use std::path::Path;
use std::sync::Arc;

use aimass_core::runtime::clock::SystemClock;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::runtime::block_on;
use crate::commands::prover;
use crate::config::Problem;
use crate::config::revisions::{ConfigManager, Start};
use crate::exit::Failure;
use crate::identity::{Node, VERSION, clock_ok};
use crate::node::command_ports;
use crate::node::controller::{self, Control};
use crate::node::running::{self, Running};
use crate::node::signals::Signals;
use crate::node::systemd;

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
