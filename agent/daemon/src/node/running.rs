//! Builds everything a configuration asks for, changes it while it runs, and takes it down in order.
//!
//! Owner: the main task. Order of the end: sources → analyzers → events → store (accepted) → broker → checkpoint →
//! API. Each ends because its input closes; who does not within the deadline is named in the log.
//!
//! Invariant: another configuration touches only what differs in it ([`Plan`]).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::event::Event;
use aimass_core::id::Name;
use aimass_core::runtime::semaphore::FairSemaphore;
use aimass_core::runtime::worker::WorkerRegistry;
use aimass_inference::Threads;
use aimass_mqtt::{LinkHandle, LinkStatus, RetainedStates};
use aimass_store::Store;
use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::commands::CommandRequest;
use crate::config::diff::{Plan, needs_a_new_start};
use crate::config::home_assistant::subscriptions;
use crate::config::{Config, Problem};
use crate::exit::Failure;
use crate::health::document::HealthDocument;
use crate::health::monitor::Monitor;
use crate::identity::Node;
use crate::integrations::home_assistant::{Deps, HomeAssistant};
use crate::node::command_ports;
use crate::pipeline::chain;
use crate::pipeline::persist;
use crate::pipeline::processor::{self, Outlets};
use crate::pipeline::source_health::{FaultEpisodes, NodeHealthReporter};
use crate::pipeline::sources::{Shared, Sources};
use crate::pipeline::stale_states;
use crate::pipeline::views::{ApiContext, LIVE_EVENTS};

mod sources;

pub use super::build::MQTT_SINK;
pub(crate) use super::build::parallel;
use super::build::{
    self, Api, Governing, NodeContext, STAGE_DEADLINE, bind, event_log, open_store, within, within_time,
};

/// How long the broker may take to get what is left.
const LINK_GRACE: Duration = Duration::from_secs(5);

/// A node at work.
pub struct Running {
    /// Where the page is.
    pub address: SocketAddr,
    /// Everything that can be seen of it.
    pub views: ApiContext,
    /// Who it is.
    pub node: Node,
    /// The heartbeats of its parts.
    pub watch: WorkerRegistry,
    config: Config,
    ground: NodeContext,
    fleet: Sources,
    stop_events: CancellationToken,
    events: JoinHandle<()>,
    accept: JoinHandle<()>,
    link: Option<LinkHandle>,
    pushes: Option<watch::Receiver<Option<Bytes>>>,
    link_status: watch::Sender<Option<watch::Receiver<LinkStatus>>>,
    governor: Governing,
    home: HomeAssistant,
    publisher: JoinHandle<()>,
    commands: Option<(mpsc::Sender<CommandRequest>, JoinHandle<()>)>,
    monitor: JoinHandle<()>,
    api: Api,
}

/// Builds and starts a node.
///
/// # Errors
/// The port is taken, the store is in use by another process or from a newer version, a model folder cannot be
/// read. Cameras, models and brokers that are away are none: the node runs, says so, and tries again.
pub async fn start(config: &Config, node: Node) -> Result<Running, Failure> {
    let server = bind(config).await?;
    let address = server.address();
    let permits = FairSemaphore::new(parallel(config));
    let threads = Threads::new(config.inference.threads.map_or(1, usize::from), Some(permits.clone()));
    let models = Arc::new(
        chain::open_models(&config.inference.model_folders, config.inference.engine)
            .map_err(|e| Failure::Unavailable(e.to_string()))?
            .with_threads(threads),
    );
    let store = open_store(config, &node).await?;
    let ground = NodeContext {
        watch: WorkerRegistry::new(node.clock.clone()),
        board: Arc::default(),
        broken: CancellationToken::new(),
        node: node.clone(),
        store,
    };
    stale_states::settle(config, &ground.store, &ground.board).await;

    let link = match &config.broker {
        None => None,
        Some(broker) => Some(ground.link(broker, subscriptions(config)).await?),
    };
    let link_status = watch::Sender::new(link.as_ref().map(LinkHandle::status));

    let viewers = broadcast::Sender::new(LIVE_EVENTS);
    let (accept_in, accept_queue) = persist::queue();
    let accepting = persist::run(node.clone(), accept_queue, ground.store.clone(), viewers.clone());
    let accept = ground.task("accept", accepting);
    let (inputs, findings) = mpsc::channel(processor::FINDINGS_QUEUE);
    let outlets =
        Outlets { board: ground.board.clone(), accept: accept_in.clone(), clock: node.clock.clone() };
    let stop_events = CancellationToken::new();
    let sight = FaultEpisodes::load(node.clone(), &ground.store).await;
    let teller = NodeHealthReporter::new(&inputs);
    let events = ground.task("events", processor::run(findings, sight, outlets, stop_events.clone()));

    let mut fleet = Sources::new(Shared {
        node: node.clone(),
        store: ground.store.clone(),
        models,
        permits,
        watch: ground.watch.clone(),
        inputs: inputs.clone(),
    });
    for camera in &config.camera {
        fleet.start(camera, config).await?;
    }
    for microphone in &config.microphone {
        fleet.start_microphone(microphone).await?;
    }
    fleet.show(config);
    let (governor, held_back) = ground.govern(config, fleet.sources(), accept_in).await;

    let needs = Deps {
        board: ground.board.clone(),
        store: ground.store.clone(),
        sources: fleet.sources(),
        inputs,
        link: link_status.subscribe(),
    };
    let (home, publisher) = HomeAssistant::new(config, needs);
    let publisher = ground.task("home-assistant", publisher);
    if let Some(link) = &link {
        home.listen(link);
    }

    let (watch, store) = (ground.watch.clone(), ground.store.clone());
    let monitor =
        Monitor::new(node.clone(), fleet.sources(), watch, store, link_status.subscribe(), held_back);
    let health = monitor.clone();
    let views = ApiContext {
        sources: fleet.sources(),
        events: viewers,
        log: event_log(&ground.store),
        health: Arc::new(move || health.collect()),
        clock: node.clock.clone(),
    };
    let api = ground.serve(server, &views);
    let monitor = tokio::spawn(monitor.run(ground.board.clone(), teller));
    Ok(Running {
        address,
        views,
        watch: ground.watch.clone(),
        node,
        config: config.clone(),
        ground,
        fleet,
        stop_events,
        events,
        accept,
        pushes: link.as_ref().map(LinkHandle::desired),
        link,
        link_status,
        governor,
        home,
        publisher,
        commands: None,
        monitor,
        api,
    })
}

impl Running {
    /// The configuration that is in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The health of the node now, the store asked anew.
    pub fn health(&self) -> HealthDocument {
        (self.views.health)()
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.ground.store
    }

    /// States at the broker.
    pub fn board(&self) -> &Arc<RetainedStates> {
        &self.ground.board
    }

    /// Obeys commands from now on, over this link and those that follow it.
    pub fn obey(&mut self, needs: command_ports::Deps) {
        let (asked, carrying_out) = command_ports::start(needs);
        if let Some(link) = &self.link {
            command_ports::listen(link, asked.clone());
        }
        self.commands = Some((asked, self.ground.task("commands", carrying_out)));
    }

    /// The configurations that the centre asks for; `None` without a broker.
    pub fn pushes(&mut self) -> Option<&mut watch::Receiver<Option<Bytes>>> {
        self.pushes.as_mut()
    }

    /// Waits for a task that ends though nobody asked it to: the node cannot do its work any longer.
    pub fn broken(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.ground.broken.clone().cancelled_owned()
    }

    /// Whether every source has ended by itself.
    pub fn is_over(&self) -> bool {
        let sources = self.views.sources.borrow().clone();
        !sources.is_empty()
            && sources.iter().all(|s| s.status().state == crate::health::document::ConnectionState::Ended)
    }

    /// Lets another configuration, which was validated, hold from now on as version `version`. Touches only what
    /// differs.
    ///
    /// # Errors
    /// What cannot change while the node runs, or cannot be built here. The node may then be half way: apply the
    /// configuration that held before, which only asks for what worked.
    pub async fn apply(&mut self, new: &Config, version: u64) -> Result<(), Vec<Problem>> {
        let problems = needs_a_new_start(&self.config, new);
        if !problems.is_empty() {
            return Err(problems);
        }
        let plan = Plan::between(&self.config, new);
        tracing::info!(version, cameras = ?plan.cameras, microphones = ?plan.microphones, broker = plan.broker, http = plan.http, "Another configuration is applied.");
        // From here on what runs is neither: a later plan must look at what differs from `new`.
        let old = std::mem::replace(&mut self.config, new.clone());
        self.node.set_config_version(version);
        if plan.parallel {
            self.fleet.permits().set_limit(parallel(new));
        }
        let mut problems = Vec::new();
        let failed = self.change_sources(&plan, new, &mut problems).await;
        // A source that could not be built is not at work, whatever the configuration says.
        self.config.camera.retain(|c| !failed.contains(&c.id));
        self.config.microphone.retain(|m| !failed.contains(&m.id));
        stale_states::remember(new, &self.ground.store).await;
        self.fleet.show(new);
        if plan.broker
            && let Err(error) = self.change_link(new).await
        {
            self.config.broker = None;
            problems.push(Problem::new("broker", error.to_string()));
        }
        if plan.http
            && let Err(error) = self.change_api(&old, new).await
        {
            // Without any server, the way back must ask for one.
            if !self.api.task.is_finished() {
                self.config.http = old.http;
            }
            problems.push(Problem::new("http", error.to_string()));
        }
        if let Some(link) = &self.link {
            link.set_config_version(version);
        }
        self.home.set_config(&self.config);
        self.governor.settings.send_replace(build::settings_of(&self.config));
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    async fn change_link(&mut self, new: &Config) -> Result<(), Failure> {
        if let Some(old) = self.link.take() {
            self.link_status.send_replace(None);
            self.pushes = None;
            old.stop(LINK_GRACE).await;
        }
        if let Some(broker) = &new.broker {
            let link = self.ground.link(broker, subscriptions(new)).await?;
            self.home.listen(&link);
            if let Some((asked, _)) = &self.commands {
                command_ports::listen(&link, asked.clone());
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
        // It gives its connections two seconds.
        within_time("api", 2 * STAGE_DEADLINE, &mut self.api.task).await;
        let (server, outcome) = match bind(new).await {
            Ok(server) => (server, Ok(())),
            Err(error) => (bind(old).await?, Err(error)),
        };
        self.address = server.address();
        self.api = self.ground.serve(server, &self.views);
        outcome
    }

    /// The cameras that Home Assistant wants opened anew; closed from the second call on.
    pub fn take_restarts(&mut self) -> tokio::sync::mpsc::Receiver<Name> {
        self.home.take_restarts()
    }

    /// Stops the heads; the rest ends because its input closes.
    pub async fn stop(mut self) {
        tracing::info!("Stopping.");
        self.fleet.let_models_go();
        self.fleet.stop_all().await;
        drop(self.fleet);
        drop(self.home);
        if let Some((asked, commands)) = self.commands.take() {
            drop(asked);
            // What is under way asks a task that has ended: it is answered that the node stops, where it still can.
            commands.abort();
        }
        within("home-assistant", &mut self.publisher).await;
        // What it has told as begun ends; it holds a way to the store.
        self.governor.stop.cancel();
        within("governor", &mut self.governor.task).await;
        // A thread that hangs keeps the queue open: it is closed for it.
        self.stop_events.cancel();
        within("events", &mut self.events).await;
        within("accept", &mut self.accept).await;
        self.monitor.abort();
        if let Some(link) = self.link {
            let left = link.stop(LINK_GRACE).await;
            if left.undelivered > 0 {
                tracing::warn!(events = left.undelivered, "Events wait in the store for the next start.");
            }
        }
        if let Err(error) = self.ground.store.close(STAGE_DEADLINE).await {
            tracing::error!(%error, "The store could not be closed.");
        }
        self.api.stop.cancel();
        within("api", &mut self.api.task).await;
        tracing::info!("Stopped.");
    }
}

/// Counts events by kind and label, for summaries.
pub fn tally(counts: &mut BTreeMap<String, u64>, event: &Event) {
    *counts.entry(format!("{} {}", event.what.kind.as_str(), event.what.label)).or_default() += 1;
}
