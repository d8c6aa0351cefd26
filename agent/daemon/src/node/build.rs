//! The parts that a node is built of, one function each.

use std::sync::Arc;
use std::time::Duration;

use aimass_core::runtime::worker::{Heartbeat, WorkerRegistry};
use aimass_mqtt::{BrokerConfig, Extras, Link, LinkHandle, NodeIdentity, RetainedStates};
use aimass_store::{ErrorKind, Store};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::{self, HttpErrorKind};
use crate::board::sysfs::Sysfs;
use crate::config::Config;
use crate::exit::Failure;
use crate::governor::{self, GovernorHealth, Settings};
use crate::identity::{Node, clock_ok};
use crate::pipeline::persist::EventBatch;
use crate::pipeline::views::{ApiContext, EventLog, SourceView};

/// How long any one stage may take to end.
pub(super) const STAGE_DEADLINE: Duration = Duration::from_secs(2);
/// The name of the broker among the store's sinks.
pub const MQTT_SINK: &str = "mqtt";

/// The page and the API.
pub(super) struct Api {
    pub(super) stop: CancellationToken,
    pub(super) task: JoinHandle<()>,
}

pub(super) async fn bind(config: &Config) -> Result<api::Server, Failure> {
    api::bind(&config.http).await.map_err(|e| match e.kind() {
        HttpErrorKind::Config => Failure::BadInput(e.to_string()),
        HttpErrorKind::Unavailable => Failure::Unavailable(e.to_string()),
    })
}

/// The governor at work.
pub(super) struct Governing {
    pub(super) settings: watch::Sender<Settings>,
    pub(super) stop: CancellationToken,
    pub(super) task: JoinHandle<()>,
}

/// What of a configuration the governor follows.
pub(super) fn settings_of(config: &Config) -> Settings {
    Settings { governor: config.governor.clone(), parallel: parallel(config) }
}

/// Notes an end that nobody asked for: one that was, as when the port changes, is not that of the program.
struct Unasked {
    asked: CancellationToken,
    broken: CancellationToken,
}

impl Drop for Unasked {
    fn drop(&mut self) {
        if !self.asked.is_cancelled() {
            self.broken.cancel();
        }
    }
}

/// What all parts of a node stand on.
pub(super) struct NodeContext {
    pub(super) node: Node,
    pub(super) store: Store,
    pub(super) board: Arc<RetainedStates>,
    pub(super) watch: WorkerRegistry,
    /// Cancelled when a task ends though nobody asked it to.
    pub(super) broken: CancellationToken,
}

impl NodeContext {
    /// Starts a task whose end, whatever its cause, is noticed, and which has a pulse.
    pub(super) fn task(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let ended = self.broken.clone().drop_guard();
        let pulse = Heartbeat::new(name, self.node.clock.clone());
        self.watch.register(&pulse);
        tokio::spawn(async move {
            // Dropped at the end of the task, by a panic too.
            let _ended = ended;
            pulse.wrap(task).await;
            tracing::debug!(task = name, "A task has ended.");
        })
    }

    pub(super) async fn govern(
        &self,
        config: &Config,
        sources: watch::Receiver<Arc<Vec<Arc<SourceView>>>>,
        accept: mpsc::Sender<EventBatch>,
    ) -> (Governing, watch::Receiver<Arc<GovernorHealth>>) {
        let (node, store) = (self.node.clone(), self.store.clone());
        let needs = governor::Deps { node, store, sources, accept, tree: Sysfs::of_board() };
        let (task, settings, health) = governor::new(needs, settings_of(config)).await;
        let stop = CancellationToken::new();
        let task = self.task("governor", task.run(stop.clone()));
        (Governing { settings, stop, task }, health)
    }

    pub(super) fn serve(&self, server: api::Server, views: &ApiContext) -> Api {
        let stop = CancellationToken::new();
        let (views, asked) = (views.clone(), stop.clone());
        let guard = Unasked { asked: asked.clone(), broken: self.broken.clone() };
        let pulse = Heartbeat::new("api", self.node.clock.clone());
        self.watch.register(&pulse);
        let task = tokio::spawn(async move {
            // Dropped at the end of the task, by a panic or an abort too.
            let _ended = guard;
            pulse.wrap(server.run(views, asked)).await;
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
        let (board, clock, wall) = (self.board.clone(), node.clock.clone(), node.clock.clone());
        let extras =
            Extras { clock_ok: Box::new(move || clock_ok(wall.wall())), notices_of, ..Extras::default() };
        let link = Link::spawn_with(broker.clone(), identity, sink, board, clock, extras, |lost| {
            tracing::error!(seq = lost.seq, id = %lost.id, topic = lost.topic, reason = lost.reason, "The broker will never take this event; it stays in the store's history, and a loss receipt tells of it.");
        });
        let link = link.map_err(|e| Failure::BadInput(e.to_string()))?;
        self.watch.register(link.life());
        Ok(link)
    }
}

pub(super) async fn within(name: &'static str, task: &mut JoinHandle<()>) {
    within_time(name, STAGE_DEADLINE, task).await;
}

pub(super) async fn within_time(name: &'static str, limit: Duration, task: &mut JoinHandle<()>) {
    match tokio::time::timeout(limit, &mut *task).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(task = name, %error, "A task broke down."),
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

pub(super) async fn open_store(config: &Config, node: &Node) -> Result<Store, Failure> {
    let (settings, clock, stamp) = (config.store.clone(), node.clock.clone(), node.clone());
    let opened =
        tokio::task::spawn_blocking(move || Store::open(&settings, clock, move |what| stamp.event(what)));
    let (store, opened) =
        opened.await.map_err(|e| Failure::Bug(e.to_string()))?.map_err(|e| match e.kind() {
            ErrorKind::Config => Failure::BadInput(e.to_string()),
            _ => Failure::Unavailable(e.to_string()),
        })?;
    if let Some(aside) = opened.quarantined {
        tracing::error!(kept_as = %aside.display(), "The store was damaged: it was put aside and a new one begun. A loss receipt follows.");
    }
    Ok(store)
}

pub(super) fn event_log(store: &Store) -> EventLog {
    let store = store.clone();
    Arc::new(move |query| {
        let store = store.clone();
        Box::pin(async move {
            let after = query.after_seq;
            let wanted = aimass_store::EventQuery {
                after_seq: after.unwrap_or(0),
                since: query.since,
                kind: query.kind,
                source: query.source,
                limit: query.limit,
            };
            // Who names a place reads on from there; who does not wants the newest.
            let answer = match after {
                Some(_) => store.events(wanted).await,
                None => store.recent(wanted).await.map(|newest| newest.into_iter().rev().collect()),
            };
            answer.map_err(|e| e.to_string())
        })
    })
}
