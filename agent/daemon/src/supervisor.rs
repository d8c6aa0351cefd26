//! Builds everything a configuration asks for, and takes it down in order.
//!
//! Owner: the main task. Order of the end: sources → analyzers → events → store (accepted) → broker → checkpoint →
//! API. Each ends because its input closes; who does not within the deadline is named in the log.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::event::Event;
use aimass_core::permits::Permits;
use aimass_core::scene::{LineTotals, Scene, SceneConfig};
use aimass_core::stop::Stop;
use aimass_core::tracker::TrackerConfig;
use aimass_core::worker::{Watch, Worker};
use aimass_link::{Link, LinkHandle, NodeIdentity, StateBoard};
use aimass_media::options::SourceOptions;
use aimass_media::uri::SourceUri;
use aimass_store::{ErrorKind, Store};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::camera::{self, CameraParts};
use crate::chain;
use crate::config::{CameraConfig, Config};
use crate::events::{self, Outlets, Watched};
use crate::exit::Failure;
use crate::former;
use crate::health::HealthDocument;
use crate::http::{self, HttpErrorKind};
use crate::monitor::Monitor;
use crate::node::Node;
use crate::views::{EventLog, LIVE_EVENTS, Shape, Shapes, SourceView, Views};

/// How long the broker may take to get what is left.
const LINK_GRACE: Duration = Duration::from_secs(5);
/// How long any one stage may take to end.
const STAGE_DEADLINE: Duration = Duration::from_secs(2);
/// How often ending threads are looked at.
const LOOK: Duration = Duration::from_millis(10);
/// The name of the broker among the store's sinks.
const MQTT_SINK: &str = "mqtt";

/// A node at work.
pub struct Running {
    /// Where the page is.
    pub address: SocketAddr,
    /// Everything that can be seen of it.
    pub views: Views,
    /// Who it is.
    pub node: Node,
    store: Store,
    workers: Vec<Worker>,
    stop_heads: Stop,
    inputs: mpsc::Sender<events::Input>,
    stop_events: CancellationToken,
    events: JoinHandle<()>,
    accept: JoinHandle<()>,
    link: Option<LinkHandle>,
    monitor: JoinHandle<()>,
    stop_api: CancellationToken,
    api: JoinHandle<()>,
    broken: CancellationToken,
}

/// Builds and starts a node.
///
/// # Errors
/// The port is taken, the store is in use by another process or from a newer version, a model folder cannot be
/// read. Cameras, models and brokers that are away are none: the node runs, says so, and tries again.
pub async fn start(config: &Config, node: Node) -> Result<Running, Failure> {
    let server = http::bind(&config.http).await.map_err(|e| match e.kind() {
        HttpErrorKind::Config => Failure::BadInput(e.to_string()),
        HttpErrorKind::Unavailable => Failure::Unavailable(e.to_string()),
    })?;
    let address = server.address();
    let models = Arc::new(
        chain::open_models(&config.inference.model_folders)
            .map_err(|e| Failure::Unavailable(e.to_string()))?,
    );
    let store = open_store(config, &node).await?;

    let link = match &config.broker {
        None => None,
        Some(broker) => {
            let sink = store.sink(MQTT_SINK).await.map_err(|e| Failure::Unavailable(e.to_string()))?;
            let identity = NodeIdentity {
                site: node.site.clone(),
                node: node.id.clone(),
                boot: node.boot,
                version: crate::node::VERSION.to_owned(),
                config_version: node.config_version,
            };
            let link = Link::spawn(broker.clone(), identity, sink, node.clock.clone(), |lost| {
                tracing::error!(seq = lost.seq, id = %lost.id, topic = lost.topic, reason = lost.reason, "The broker will never take this event; it stays in the store's history.");
            });
            Some(link.map_err(|e| Failure::BadInput(e.to_string()))?)
        }
    };
    let board = link.as_ref().map_or_else(|| Arc::new(StateBoard::default()), |l| l.board().clone());

    former::settle(&config.camera, &store, &board).await;

    let viewers = broadcast::Sender::new(LIVE_EVENTS);
    let (accept_in, accept_queue) = events::accept_queue();
    let broken = CancellationToken::new();
    let accept = watched(
        &broken,
        "accept",
        events::accept(node.clone(), accept_queue, store.clone(), viewers.clone()),
    );

    let (inputs, findings) = mpsc::channel(events::FINDINGS_QUEUE);
    let watch = Watch::new(node.clock.clone());
    let mut workers = Vec::new();
    let stop_heads = Stop::new();
    let permits = Permits::new(config.inference.parallel.map_or_else(spare_cores, usize::from));
    let mut scenes = HashMap::new();
    let mut sources = Vec::new();
    let mut cameras = Vec::new();
    for camera in &config.camera {
        let view = Arc::new(view_of(camera, &node));
        let mut links = chain::resolve(&camera.chain, &config.analyzer).map_err(Failure::BadInput)?;
        let tracker = chain::with_weak_findings(&mut links, camera.tracker.clone(), models.library());
        let scene = scene_of(camera, tracker, &node, &store).await;
        let told = former::told_by(&camera.id, &store).await;
        scenes.insert(camera.id.clone(), Watched::new(scene, view.clone(), told));
        sources.push(view.clone());
        cameras.push(CameraParts {
            source: source_of(camera)?,
            motion: camera.motion,
            chain: links,
            view,
            models: models.clone(),
            permits: permits.clone(),
            events: inputs.clone(),
            clock: node.clock.clone(),
        });
    }
    let outlets = Outlets { board: board.clone(), accept: accept_in, clock: node.clock.clone() };
    let stop_events = CancellationToken::new();
    let events = watched(&broken, "events", events::run(scenes, findings, outlets, stop_events.clone()));
    for parts in &cameras {
        let pair = camera::start(parts, &watch, &stop_heads).map_err(|e| {
            Failure::Unavailable(format!("camera {}: cannot start its threads: {e}", parts.view.id))
        })?;
        workers.extend(pair);
    }

    let sources = Arc::new(sources);
    let monitor = Monitor::new(
        node.clone(),
        sources.clone(),
        watch,
        store.clone(),
        link.as_ref().map(LinkHandle::status),
    );
    let health = monitor.clone();
    let views = Views {
        sources: watch::Sender::new(sources).subscribe(),
        events: viewers,
        log: event_log(&store),
        health: Arc::new(move || health.collect()),
        clock: node.clock.clone(),
    };
    let stop_api = CancellationToken::new();
    let api = watched(&broken, "api", server.run(views.clone(), stop_api.clone()));
    let monitor = tokio::spawn(monitor.run(board));
    Ok(Running {
        address,
        views,
        node,
        store,
        workers,
        stop_heads,
        inputs,
        stop_events,
        events,
        accept,
        link,
        monitor,
        stop_api,
        api,
        broken,
    })
}

impl Running {
    /// The health of the node now, the store asked anew.
    pub fn health(&self) -> HealthDocument {
        (self.views.health)()
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Waits for a task that ends though nobody asked it to: the node cannot do its work any longer.
    pub fn broken(&self) -> impl Future<Output = ()> + Send + 'static {
        self.broken.clone().cancelled_owned()
    }

    /// Whether every source has ended by itself.
    pub fn is_over(&self) -> bool {
        let sources = self.views.sources.borrow().clone();
        !sources.is_empty() && sources.iter().all(|s| s.status().state == "ended")
    }

    /// Stops the heads; the rest ends because its input closes.
    pub async fn stop(self) {
        tracing::info!("Stopping.");
        self.stop_heads.request();
        let ended = async {
            while self.workers.iter().any(|w| !w.is_finished()) {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(STAGE_DEADLINE, ended).await.is_err() {
            for stuck in self.workers.iter().filter(|w| !w.is_finished()) {
                tracing::error!(thread = stuck.health().name, "A thread did not end in time.");
            }
        }
        drop(self.inputs);
        // A thread that hangs keeps the queue open: it is closed for it.
        self.stop_events.cancel();
        within("events", self.events).await;
        within("accept", self.accept).await;
        self.monitor.abort();
        if let Some(link) = self.link {
            let left = link.stop(LINK_GRACE).await;
            if left.undelivered > 0 {
                tracing::warn!(events = left.undelivered, "Events wait in the store for the next start.");
            }
        }
        if let Err(error) = self.store.close(STAGE_DEADLINE).await {
            tracing::error!(%error, "The store could not be closed.");
        }
        self.stop_api.cancel();
        within("api", self.api).await;
        tracing::info!("Stopped.");
    }
}

/// Starts a task whose end, whatever its cause, is noticed.
fn watched(
    broken: &CancellationToken,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let guard = broken.clone().drop_guard();
    tokio::spawn(async move {
        // Dropped at the end of the task, by a panic too.
        let _ended = guard;
        task.await;
        tracing::debug!(task = name, "A task has ended.");
    })
}

async fn within(name: &'static str, mut task: JoinHandle<()>) {
    match tokio::time::timeout(STAGE_DEADLINE, &mut task).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(task = name, %error, "A task broke down."),
        Err(_) => {
            tracing::error!(task = name, "A task did not end in time.");
            task.abort();
        }
    }
}

fn spare_cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1)).max(1)
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
    if let Some(aside) = opened.quarantined {
        tracing::error!(kept_as = %aside.display(), "The store was damaged: it was put aside and a new one begun. A loss receipt follows.");
    }
    Ok(store)
}

async fn scene_of(camera: &CameraConfig, tracker: TrackerConfig, node: &Node, store: &Store) -> Scene {
    let laws = SceneConfig { tracker, zones: camera.zone.clone(), lines: camera.line.clone() };
    let ids = node.clone();
    let mut scene = Scene::new(camera.id.clone(), laws, Box::new(move |unix_ms| ids.make_id(unix_ms)));
    match store.get_value(&events::totals_key(&camera.id)).await {
        Ok(Some(known)) => match serde_json::from_value::<Vec<LineTotals>>(known) {
            Ok(totals) => scene.restore_totals(&totals),
            Err(error) => {
                tracing::warn!(source = %camera.id, %error, "The kept line totals make no sense; counting from 0.")
            }
        },
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(source = %camera.id, %error, "The kept line totals cannot be read; counting from 0.")
        }
    }
    scene
}

fn view_of(camera: &CameraConfig, node: &Node) -> SourceView {
    let shapes = Shapes {
        zones: camera.zone.iter().map(|z| Shape { id: z.id.clone(), points: z.polygon.clone() }).collect(),
        lines: camera
            .line
            .iter()
            .map(|l| Shape { id: l.id.clone(), points: aimass_core::geometry::Polygon(vec![l.from, l.to]) })
            .collect(),
        masks: camera.mask.iter().map(|m| m.polygon.clone()).collect(),
    };
    let mut view =
        SourceView::new(camera.id.clone(), camera.fps, camera.chain.clone(), shapes, node.clock.wall());
    if let Ok(uri) = camera.source.parse::<SourceUri>() {
        (view.paced, view.is_file) = (uri.is_paced(), uri.file_path().is_some());
    }
    view
}

/// A camera's configuration as the source's options.
pub fn source_of(camera: &CameraConfig) -> Result<SourceOptions, Failure> {
    let uri = camera.source.parse().map_err(|e| Failure::BadInput(format!("camera {}: {e}", camera.id)))?;
    let mut options = SourceOptions::new(camera.id.clone(), uri);
    options.username = camera.username.clone();
    options.password_file = camera.password_file.clone();
    options.tls_ca_file = camera.ca_file.clone();
    options.fps = camera.fps;
    options.stall_after = Duration::from_secs_f32(camera.stall_after_s);
    options.open_timeout = Duration::from_secs_f32(camera.open_timeout_s);
    options.transport = camera.transport;
    options.latency_ms = camera.latency_ms;
    options.masks = camera.mask.iter().map(|m| m.polygon.clone()).collect();
    Ok(options)
}

fn event_log(store: &Store) -> EventLog {
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

/// Counts events by kind and label, for summaries.
pub fn tally(counts: &mut BTreeMap<String, u64>, event: &Event) {
    *counts.entry(format!("{} {}", event.what.kind.as_str(), event.what.label)).or_default() += 1;
}
