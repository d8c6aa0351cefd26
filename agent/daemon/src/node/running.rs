//! A running node: changed by another configuration while it runs, and stopped in order.
//!
//! Order of the end: sources → analyzers → events → store (accepted) → broker → checkpoint → API. Each part ends because
//! its input closes; a part that does not end within its deadline is named in the log.
//!
//! Invariant: another configuration touches only the parts that differ in it ([`Plan`]).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use aimass_core::event::Event;
use aimass_core::id::Name;
use aimass_core::runtime::worker::WorkerRegistry;
use aimass_mqtt::{LinkHandle, LinkStatus};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::build::{
    self, Api, Governing, LINK_GRACE, NodeContext, Pipeline, STAGE_DEADLINE, bind, parallel, within,
};
use crate::commands::{self, CommandRequest};
use crate::config::diff::{Change, Plan, needs_a_new_start};
use crate::config::home_assistant::subscriptions;
use crate::config::{Config, Problem};
use crate::exit::Failure;
use crate::handle::{NodeHandle, Request, RequestError};
use crate::health::document::ConnectionState;
use crate::identity::Node;
use crate::integrations::home_assistant::HomeAssistant;
use crate::pipeline::stale_states;

pub use super::build::start;

/// A running node.
pub struct Running {
    /// Where the API listens.
    pub address: SocketAddr,
    /// Access to it.
    pub handle: NodeHandle,
    /// Its identity.
    pub node: Node,
    /// The heartbeats of its parts.
    pub workers: WorkerRegistry,
    pub(super) requests: Option<mpsc::Receiver<Request>>,
    /// The configuration of what runs: without the sources that could not be built.
    pub(super) config: Config,
    pub(super) config_in_force: watch::Sender<Arc<Config>>,
    pub(super) context: NodeContext,
    pub(super) pipeline: Pipeline,
    pub(super) link: Option<LinkHandle>,
    pub(super) pushes: Option<watch::Receiver<Option<Bytes>>>,
    pub(super) link_status: watch::Sender<Option<watch::Receiver<LinkStatus>>>,
    pub(super) governor: Governing,
    pub(super) home: HomeAssistant,
    pub(super) publisher: JoinHandle<()>,
    pub(super) commands: Option<(mpsc::Sender<CommandRequest>, JoinHandle<()>)>,
    pub(super) monitor: JoinHandle<()>,
    pub(super) api: Api,
}

impl Running {
    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The requests that are made through its handles, for the controller; `None` from the second call on.
    pub fn take_requests(&mut self) -> Option<mpsc::Receiver<Request>> {
        self.requests.take()
    }

    /// Executes commands from now on, of this link and of those that follow it.
    pub fn execute_commands(&mut self, deps: commands::Deps) {
        let (queue, task) = commands::start(deps);
        if let Some(link) = &self.link {
            commands::forward(link, queue.clone());
        }
        self.commands = Some((queue, self.context.task("commands", task)));
    }

    /// Publishes the report on the configuration.
    ///
    /// # Errors
    /// It is too large for the broker.
    pub fn publish_report(&self, report: String) -> Result<(), String> {
        self.context.retained.set("config/reported", report, true).map_err(|e| e.to_string())
    }

    /// The configurations that the broker delivers; `None` without a broker.
    pub fn pushes(&mut self) -> Option<&mut watch::Receiver<Option<Bytes>>> {
        self.pushes.as_mut()
    }

    /// Waits until a task ends unexpectedly: the node cannot work any longer.
    pub fn broken(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.context.broken.clone().cancelled_owned()
    }

    /// Whether every source has ended.
    pub fn is_over(&self) -> bool {
        let sources = self.handle.sources();
        !sources.is_empty() && sources.iter().all(|s| s.status().state == ConnectionState::Ended)
    }

    /// Changes the node to another valid configuration, of version `version`. Touches only what differs.
    ///
    /// # Errors
    /// What cannot change while the node runs, or cannot be built here. The node may then have changed in part: apply the
    /// configuration that was in force before.
    pub async fn apply(&mut self, new: &Config, version: u64) -> Result<(), Vec<Problem>> {
        let problems = needs_a_new_start(&self.config, new);
        if !problems.is_empty() {
            return Err(problems);
        }
        let plan = Plan::between(&self.config, new);
        tracing::info!(version, cameras = ?plan.cameras, microphones = ?plan.microphones, broker = plan.broker, http = plan.http, "Another configuration is applied.");
        // From here on the node runs a mixture: a later plan must compare with `new`.
        let old = std::mem::replace(&mut self.config, new.clone());
        self.node.set_config_version(version);
        if plan.parallel {
            self.pipeline.sources.permits().set_limit(parallel(new));
        }
        let mut problems = Vec::new();
        let failed = self.change_sources(&plan, new, &mut problems).await;
        // A source that could not be built does not run, so a later plan must start it.
        self.config.camera.retain(|c| !failed.contains(&c.id));
        self.config.microphone.retain(|m| !failed.contains(&m.id));
        stale_states::remember(new, &self.context.store).await;
        self.pipeline.sources.show(new);
        if plan.broker
            && let Err(error) = self.change_link(new).await
        {
            self.config.broker = None;
            problems.push(Problem::new("broker", error.to_string()));
        }
        if plan.http
            && let Err(error) = self.change_api(&old, new).await
        {
            // Without any server, a later plan must start one.
            if !self.api.task.is_finished() {
                self.config.http = old.http;
            }
            problems.push(Problem::new("http", error.to_string()));
        }
        if let Some(link) = &self.link {
            link.set_config_version(version);
        }
        self.config_in_force.send_replace(Arc::new(self.config.clone()));
        self.governor.settings.send_replace(build::governor_settings(&self.config));
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Changes the sources as planned; returns those that could not be built, and adds their problems.
    async fn change_sources(&mut self, plan: &Plan, new: &Config, problems: &mut Vec<Problem>) -> Vec<Name> {
        let mut failed = Vec::new();
        let (cameras, microphones) = (plan.cameras.iter(), plan.microphones.iter());
        let mut changes: Vec<_> =
            cameras.map(|c| ("camera", c)).chain(microphones.map(|c| ("microphone", c))).collect();
        // Removed sources first: a new one, also of the other kind, may have the same name or device.
        changes.sort_by_key(|(_, (_, change))| *change != Change::Stop);
        for (kind, (id, change)) in changes {
            let outcome = match kind {
                "camera" => self.change_camera(id, *change, new).await,
                _ => self.change_microphone(id, *change, new).await,
            };
            if let Err(error) = outcome {
                failed.push(id.clone());
                problems.push(Problem::new(format!("{kind}.{id}"), error.to_string()));
            }
        }
        failed
    }

    async fn change_camera(&mut self, id: &Name, change: Change, new: &Config) -> Result<(), Failure> {
        let camera = new.camera.iter().find(|c| c.id == *id);
        let sources = &mut self.pipeline.sources;
        match (change, camera) {
            (Change::Start, Some(camera)) => sources.start(camera, new).await?,
            (Change::Restart, Some(camera)) => sources.restart(camera, new).await?,
            (Change::UpdateZones, Some(camera)) => sources.redraw(camera).await,
            (_, _) => sources.remove(id).await,
        }
        Ok(())
    }

    async fn change_microphone(&mut self, id: &Name, change: Change, new: &Config) -> Result<(), Failure> {
        let microphone = new.microphone.iter().find(|m| m.id == *id);
        let sources = &mut self.pipeline.sources;
        match (change, microphone) {
            (Change::Start, Some(microphone)) => sources.start_microphone(microphone).await?,
            (Change::Restart, Some(microphone)) => sources.restart_microphone(microphone).await?,
            (_, _) => sources.remove(id).await,
        }
        Ok(())
    }

    async fn change_link(&mut self, new: &Config) -> Result<(), Failure> {
        if let Some(old) = self.link.take() {
            self.link_status.send_replace(None);
            self.pushes = None;
            old.stop(LINK_GRACE).await;
        }
        if let Some(broker) = &new.broker {
            let link = self.context.link(broker, subscriptions(new)).await?;
            self.home.forward(&link);
            if let Some((queue, _)) = &self.commands {
                commands::forward(&link, queue.clone());
            }
            self.link_status.send_replace(Some(link.status()));
            self.pushes = Some(link.desired());
            self.link = Some(link);
        }
        Ok(())
    }

    async fn change_api(&mut self, old: &Config, new: &Config) -> Result<(), Failure> {
        // The same port may be asked for with another token: it must be free first.
        self.api.stop.cancel();
        // The server gives its connections two seconds.
        within("api", 2 * STAGE_DEADLINE, &mut self.api.task).await;
        let (server, outcome) = match bind(new).await {
            Ok(server) => (server, Ok(())),
            Err(error) => (bind(old).await?, Err(error)),
        };
        self.address = server.address();
        self.api = self.context.serve(server, &self.handle);
        outcome
    }

    /// Closes one source and opens it again, with the configuration in force.
    ///
    /// # Errors
    /// There is no such source, or it cannot be built.
    pub async fn restart_source(&mut self, id: &Name) -> Result<(), RequestError> {
        let failed = |error: Failure| RequestError::Failed(error.to_string());
        if let Some(microphone) = self.config.microphone.iter().find(|m| m.id == *id) {
            return self.pipeline.sources.restart_microphone(microphone).await.map_err(failed);
        }
        let camera = self.config.camera.iter().find(|c| c.id == *id);
        let camera = camera.ok_or_else(|| self.handle.unknown_source(id.as_str()))?;
        self.pipeline.sources.restart(camera, &self.config).await.map_err(failed)
    }

    /// Analyses a source, or only shows it.
    ///
    /// # Errors
    /// There is no such source.
    pub async fn set_analysed(&mut self, id: &Name, analysed: bool) -> Result<(), RequestError> {
        let known = self.pipeline.sources.set_analysed(id, analysed).await;
        if known { Ok(()) } else { Err(self.handle.unknown_source(id.as_str())) }
    }

    /// Closes all sources and ends what was in view of them; everything else goes on.
    pub async fn close_sources(&mut self) {
        self.pipeline.sources.stop_all().await;
        self.pipeline.sources.end_views().await;
    }

    /// Opens all sources again.
    ///
    /// # Errors
    /// A source cannot be built.
    pub async fn open_sources(&mut self) -> Result<(), Failure> {
        for camera in &self.config.camera {
            self.pipeline.sources.restart(camera, &self.config).await?;
        }
        for microphone in &self.config.microphone {
            self.pipeline.sources.restart_microphone(microphone).await?;
        }
        Ok(())
    }

    /// Closes the sources; every other part ends because its input closes.
    pub async fn stop(mut self) {
        tracing::info!("Stopping.");
        self.pipeline.close_sources().await;
        // Requests that still come are answered: the node is stopping.
        drop(self.requests);
        drop(self.home);
        if let Some((queue, commands)) = self.commands.take() {
            drop(queue);
            commands.abort();
        }
        within("home-assistant", STAGE_DEADLINE, &mut self.publisher).await;
        // It ends the episode that it has begun, and holds a way to the store.
        self.governor.stop.cancel();
        within("governor", STAGE_DEADLINE, &mut self.governor.task).await;
        self.pipeline.end().await;
        self.monitor.abort();
        if let Some(link) = self.link {
            let left = link.stop(LINK_GRACE).await;
            if left.undelivered > 0 {
                tracing::warn!(events = left.undelivered, "Events wait in the store for the next start.");
            }
        }
        self.context.close_store().await;
        self.api.stop.cancel();
        within("api", STAGE_DEADLINE, &mut self.api.task).await;
        tracing::info!("Stopped.");
    }
}

/// Counts events by kind and label, for summaries.
pub fn count_event(counts: &mut BTreeMap<String, u64>, event: &Event) {
    *counts.entry(format!("{} {}", event.what.kind.as_str(), event.what.label)).or_default() += 1;
}
