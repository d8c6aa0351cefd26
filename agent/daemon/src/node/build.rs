//! Starts a node: the parts that a configuration names, in order; what was started is stopped again if a later part
//! cannot be.

use std::sync::Arc;
use std::time::Duration;

use aimass_core::runtime::semaphore::FairSemaphore;
use aimass_core::runtime::worker::{Heartbeat, WorkerRegistry};
use aimass_inference::{ModelCache, Threads};
use aimass_mqtt::{BrokerConfig, Extras, Link, LinkHandle, NodeIdentity, RetainedStates};
use aimass_store::{ErrorKind, Store};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::running::Running;
use crate::api::{self, HttpErrorKind};
use crate::board::sysfs::Sysfs;
use crate::config::Config;
use crate::config::home_assistant::subscriptions;
use crate::exit::Failure;
use crate::governor::{self, GovernorHealth, Settings};
use crate::handle::{self, MQTT_SINK, NodeHandle, SourceList};
use crate::health::monitor::Monitor;
use crate::identity::{Node, clock_ok};
use crate::integrations::home_assistant::{Deps, HomeAssistant};
use crate::logging;
use crate::pipeline::chain;
use crate::pipeline::persist::{self, EventBatch};
use crate::pipeline::processor::{self, Input, Outlets};
use crate::pipeline::source_health::{FaultEpisodes, NodeHealthReporter};
use crate::pipeline::sources::{Shared, Sources};
use crate::pipeline::stale_states;
use crate::pipeline::views::LIVE_EVENTS;

/// How long each stage may take to end.
pub(super) const STAGE_DEADLINE: Duration = Duration::from_secs(2);
/// How long the broker may take to receive the remaining events.
pub(super) const LINK_GRACE: Duration = Duration::from_secs(5);

/// Builds and starts a node.
///
/// # Errors
/// The port is taken, the store is in use by another process or from a newer version, a model folder cannot be read, a
/// part of the configuration cannot be built. Nothing of the node runs then. Cameras, models and brokers that are away are
/// no errors: the node runs, reports them, and tries again.
pub async fn start(config: &Config, node: Node) -> Result<Running, Failure> {
    let server = bind(config).await?;
    let permits = FairSemaphore::new(parallel(config));
    let threads = Threads::new(config.inference.threads.map_or(1, usize::from), Some(permits.clone()));
    let models = Arc::new(
        chain::open_models(&config.inference.model_folders, config.inference.engine)
            .map_err(|e| Failure::Unavailable(e.to_string()))?
            .with_threads(threads),
    );
    let context = NodeContext {
        workers: WorkerRegistry::new(node.clock.clone()),
        retained: Arc::default(),
        broken: CancellationToken::new(),
        store: open_store(config, &node).await?,
        node,
    };
    let mut started = Started { context, link: None, pipeline: None };
    match started.start(config, models, permits).await {
        Ok(()) => {}
        Err(error) => {
            started.stop().await;
            return Err(error);
        }
    }
    let Started { context, link, pipeline: Some(pipeline) } = started else {
        return Err(Failure::Bug("the node was started without a pipeline".into()));
    };
    Ok(finish(config, server, context, link, pipeline).await)
}

/// What runs of a node that may still fail to start.
struct Started {
    context: NodeContext,
    link: Option<LinkHandle>,
    pipeline: Option<Pipeline>,
}

impl Started {
    /// Starts all parts that can fail.
    async fn start(
        &mut self,
        config: &Config,
        models: Arc<ModelCache>,
        permits: FairSemaphore,
    ) -> Result<(), Failure> {
        let context = &self.context;
        stale_states::settle(config, &context.store, &context.retained).await;
        if let Some(broker) = &config.broker {
            self.link = Some(context.link(broker, subscriptions(config)).await?);
        }
        let pipeline = self.pipeline.insert(Pipeline::start(context, models, permits).await);
        pipeline.sources.start_all(config).await?;
        pipeline.sources.show(config);
        Ok(())
    }

    async fn stop(self) {
        let Started { context, link, pipeline } = self;
        if let Some(mut pipeline) = pipeline {
            pipeline.close_sources().await;
            pipeline.end().await;
        }
        if let Some(link) = link {
            link.stop(STAGE_DEADLINE).await;
        }
        context.close_store().await;
    }
}

/// Starts the parts that cannot fail.
async fn finish(
    config: &Config,
    server: api::Server,
    context: NodeContext,
    link: Option<LinkHandle>,
    pipeline: Pipeline,
) -> Running {
    let node = context.node.clone();
    let link_status = watch::Sender::new(link.as_ref().map(LinkHandle::status));
    let sources = pipeline.sources.sources();
    let (governor, governor_health) =
        context.govern(config, sources.clone(), pipeline.accept_queue.clone()).await;
    let monitor = Monitor::new(
        node.clone(),
        sources.clone(),
        context.workers.clone(),
        context.store.clone(),
        link_status.subscribe(),
        governor_health,
    );
    let config_in_force = watch::Sender::new(Arc::new(config.clone()));
    let (handle, requests) = NodeHandle::new(handle::Parts {
        sources,
        events: pipeline.viewers.clone(),
        store: context.store.clone(),
        monitor: monitor.clone(),
        config: config_in_force.subscribe(),
        clock: node.clock.clone(),
        logs: logging::logs(),
    });
    let (home, publisher) = HomeAssistant::new(Deps {
        retained: context.retained.clone(),
        store: context.store.clone(),
        node: handle.clone(),
        link: link_status.subscribe(),
    });
    let publisher = context.task("home-assistant", publisher);
    if let Some(link) = &link {
        home.forward(link);
    }
    let address = server.address();
    let api = context.serve(server, &handle);
    let reporter = NodeHealthReporter::new(&pipeline.inputs);
    let monitor = tokio::spawn(monitor.run(context.retained.clone(), reporter));
    Running {
        address,
        handle,
        workers: context.workers.clone(),
        node,
        requests: Some(requests),
        config: config.clone(),
        config_in_force,
        context,
        pipeline,
        pushes: link.as_ref().map(LinkHandle::desired),
        link,
        link_status,
        governor,
        home,
        publisher,
        commands: None,
        monitor,
        api,
    }
}

/// The data path: sources, the task `events`, the task `accept`.
pub(super) struct Pipeline {
    pub(super) sources: Sources,
    inputs: mpsc::Sender<Input>,
    accept_queue: mpsc::Sender<EventBatch>,
    viewers: broadcast::Sender<Arc<aimass_core::event::Event>>,
    stop_events: CancellationToken,
    events: JoinHandle<()>,
    accept: JoinHandle<()>,
}

impl Pipeline {
    /// Starts the tasks; no source yet.
    async fn start(context: &NodeContext, models: Arc<ModelCache>, permits: FairSemaphore) -> Self {
        let (node, store) = (&context.node, &context.store);
        let viewers = broadcast::Sender::new(LIVE_EVENTS);
        let (accept_queue, queue) = persist::queue();
        let accept =
            context.task("accept", persist::run(node.clone(), queue, store.clone(), viewers.clone()));
        let (inputs, findings) = mpsc::channel(processor::FINDINGS_QUEUE);
        let outlets = Outlets {
            board: context.retained.clone(),
            accept: accept_queue.clone(),
            clock: node.clock.clone(),
        };
        let stop_events = CancellationToken::new();
        let episodes = FaultEpisodes::load(node.clone(), store).await;
        let events = context.task("events", processor::run(findings, episodes, outlets, stop_events.clone()));
        let sources = Sources::new(Shared {
            node: node.clone(),
            store: store.clone(),
            models,
            permits,
            watch: context.workers.clone(),
            inputs: inputs.clone(),
        });
        Pipeline { sources, inputs, accept_queue, viewers, stop_events, events, accept }
    }

    /// Closes all sources for good.
    pub(super) async fn close_sources(&mut self) {
        self.sources.let_models_go();
        self.sources.stop_all().await;
    }

    /// Ends the tasks once everything that they have was stored. The sources are closed.
    pub(super) async fn end(self) {
        let Pipeline { sources, inputs, accept_queue, stop_events, mut events, mut accept, .. } = self;
        drop((sources, inputs, accept_queue));
        // A thread that hangs keeps the queue open, so the task is told to close it.
        stop_events.cancel();
        within("events", STAGE_DEADLINE, &mut events).await;
        within("accept", STAGE_DEADLINE, &mut accept).await;
    }
}

/// The page and the API.
pub(super) struct Api {
    pub(super) stop: CancellationToken,
    pub(super) task: JoinHandle<()>,
}

/// Takes the port of the API.
pub(super) async fn bind(config: &Config) -> Result<api::Server, Failure> {
    api::bind(&config.http).await.map_err(|e| match e.kind() {
        HttpErrorKind::Config => Failure::BadInput(e.to_string()),
        HttpErrorKind::Unavailable => Failure::Unavailable(e.to_string()),
    })
}

/// The running governor.
pub(super) struct Governing {
    pub(super) settings: watch::Sender<Settings>,
    pub(super) stop: CancellationToken,
    pub(super) task: JoinHandle<()>,
}

/// The governor's part of a configuration.
pub(super) fn governor_settings(config: &Config) -> Settings {
    Settings { governor: config.governor.clone(), parallel: parallel(config) }
}

/// Reports the end of a task as a failure of the program, unless the task was asked to end, as when the port changes.
struct UnexpectedEnd {
    requested: CancellationToken,
    broken: CancellationToken,
}

impl Drop for UnexpectedEnd {
    fn drop(&mut self) {
        if !self.requested.is_cancelled() {
            self.broken.cancel();
        }
    }
}

/// What all parts of a node use.
pub(super) struct NodeContext {
    pub(super) node: Node,
    pub(super) store: Store,
    /// Retained values at the broker.
    pub(super) retained: Arc<RetainedStates>,
    pub(super) workers: WorkerRegistry,
    /// Cancelled when a task ends unexpectedly.
    pub(super) broken: CancellationToken,
}

impl NodeContext {
    /// Starts a task with a heartbeat, whose end is a failure of the program.
    pub(super) fn task(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let ended = self.broken.clone().drop_guard();
        let heartbeat = Heartbeat::new(name, self.node.clock.clone());
        self.workers.register(&heartbeat);
        tokio::spawn(async move {
            // Dropped when the task ends, also by a panic.
            let _ended = ended;
            heartbeat.wrap(task).await;
            tracing::debug!(task = name, "A task has ended.");
        })
    }

    async fn govern(
        &self,
        config: &Config,
        sources: watch::Receiver<SourceList>,
        accept: mpsc::Sender<EventBatch>,
    ) -> (Governing, watch::Receiver<Arc<GovernorHealth>>) {
        let (node, store) = (self.node.clone(), self.store.clone());
        let deps = governor::Deps { node, store, sources, accept, tree: Sysfs::of_board() };
        let (task, settings, health) = governor::new(deps, governor_settings(config)).await;
        let stop = CancellationToken::new();
        let task = self.task("governor", task.run(stop.clone()));
        (Governing { settings, stop, task }, health)
    }

    pub(super) fn serve(&self, server: api::Server, handle: &NodeHandle) -> Api {
        let stop = CancellationToken::new();
        let (handle, requested) = (handle.clone(), stop.clone());
        let guard = UnexpectedEnd { requested: requested.clone(), broken: self.broken.clone() };
        let heartbeat = Heartbeat::new("api", self.node.clock.clone());
        self.workers.register(&heartbeat);
        let task = tokio::spawn(async move {
            // Dropped when the task ends, also by a panic or an abort.
            let _ended = guard;
            heartbeat.wrap(server.run(handle, requested)).await;
        });
        Api { stop, task }
    }

    pub(super) async fn link(
        &self,
        broker: &BrokerConfig,
        notices_of: Vec<String>,
    ) -> Result<LinkHandle, Failure> {
        let sink = self.store.sink(MQTT_SINK).await.map_err(|e| Failure::Unavailable(e.to_string()))?;
        let node = &self.node;
        let identity = NodeIdentity {
            site: node.site.clone(),
            node: node.id.clone(),
            boot: node.boot,
            version: crate::identity::VERSION.to_owned(),
            config_version: node.config_version(),
        };
        let (retained, clock, wall) = (self.retained.clone(), node.clock.clone(), node.clock.clone());
        let extras =
            Extras { clock_ok: Box::new(move || clock_ok(wall.wall())), notices_of, ..Extras::default() };
        let link = Link::spawn_with(broker.clone(), identity, sink, retained, clock, extras, |lost| {
            tracing::error!(seq = lost.seq, id = %lost.id, topic = lost.topic, reason = lost.reason, "The broker refuses this event for good; it stays in the store's history, and a loss receipt reports it.");
        });
        let link = link.map_err(|e| Failure::BadInput(e.to_string()))?;
        self.workers.register(link.life());
        Ok(link)
    }

    /// Commits what is left and releases the store's lock.
    pub(super) async fn close_store(self) {
        if let Err(error) = self.store.close(STAGE_DEADLINE).await {
            tracing::error!(%error, "The store could not be closed.");
        }
    }
}

/// Waits for a task to end; aborts it after `limit`.
pub(super) async fn within(name: &'static str, limit: Duration, task: &mut JoinHandle<()>) {
    match tokio::time::timeout(limit, &mut *task).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(task = name, %error, "A task failed."),
        Err(_) => {
            tracing::error!(task = name, "A task did not end in time.");
            task.abort();
        }
    }
}

/// How many inferences may run at once.
pub(crate) fn parallel(config: &Config) -> usize {
    let spare = || std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1));
    config.inference.parallel.map_or_else(spare, usize::from).max(1)
}

async fn open_store(config: &Config, node: &Node) -> Result<Store, Failure> {
    let (settings, clock, stamp) = (config.store.clone(), node.clock.clone(), node.clone());
    let opened =
        tokio::task::spawn_blocking(move || Store::open(&settings, clock, move |what| stamp.event(what)));
    let (store, opened) =
        opened.await.map_err(|e| Failure::Bug(e.to_string()))?.map_err(|e| match e.kind() {
            ErrorKind::Config => Failure::BadInput(e.to_string()),
            _ => Failure::Unavailable(e.to_string()),
        })?;
    if let Some(quarantined) = opened.quarantined {
        tracing::error!(kept_as = %quarantined.display(), "The store was damaged: it was renamed, and a new one was created. A loss receipt follows.");
    }
    Ok(store)
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
