//! The sources at work, cameras and microphones: each can be started, opened anew and taken down while the others go on.
//!
//! Owner: the task that runs the supervisor. Invariant: what is done to one source touches the threads, the scene
//! and the states of that source only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::analytics::{AnalyticsConfig, CameraAnalytics, LineTotals};
use aimass_core::geometry::Polygon;
use aimass_core::id::Name;
use aimass_core::runtime::semaphore::FairSemaphore;
use aimass_core::runtime::stop::StopToken;
use aimass_core::runtime::worker::{Worker, WorkerRegistry};
use aimass_core::tracking::TrackerConfig;
use aimass_inference::ModelCache;
use aimass_media::video::SourceOptions;
use aimass_media::video::SourceUri;
use aimass_store::Store;
use tokio::sync::{mpsc, watch};

use crate::config::{CameraConfig, Config};
use crate::exit::Failure;
use crate::identity::Node;
use crate::pipeline::camera::{self, CameraParts};
use crate::pipeline::chain;
use crate::pipeline::processor::{self, Input, Watched};
use crate::pipeline::source_health::{Meaning, Report};
use crate::pipeline::stale_states;
use crate::pipeline::views::{ConnectionState, Shape, Shapes, SourceFacts, SourceKind, SourceView};

mod microphones;

/// How long the threads of a camera may take to end.
const DEADLINE: Duration = Duration::from_secs(2);
/// How often ending threads are looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What all cameras share.
pub struct Shared {
    /// Who the node is.
    pub node: Node,
    /// Where line totals and told states lie.
    pub store: Store,
    /// The models.
    pub models: Arc<ModelCache>,
    /// How many inferences may run at once.
    pub permits: FairSemaphore,
    /// The named threads.
    pub watch: WorkerRegistry,
    /// To the task `events`.
    pub inputs: mpsc::Sender<Input>,
}

/// A source with its threads.
struct SourceHandle {
    view: Arc<SourceView>,
    stop: StopToken,
    workers: Vec<Worker>,
}

/// All sources of the node.
pub struct Sources {
    shared: Shared,
    sources: BTreeMap<Name, SourceHandle>,
    shown: watch::Sender<Arc<Vec<Arc<SourceView>>>>,
}

impl Sources {
    /// None at work yet.
    pub fn new(shared: Shared) -> Self {
        Sources { shared, sources: BTreeMap::new(), shown: watch::Sender::default() }
    }

    /// What can be seen of them, in the order of the configuration.
    pub fn sources(&self) -> watch::Receiver<Arc<Vec<Arc<SourceView>>>> {
        self.shown.subscribe()
    }

    /// How many inferences may run at once.
    pub fn permits(&self) -> &FairSemaphore {
        &self.shared.permits
    }

    /// Opens a camera that is not at work, as `config` has it. Viewers see it once [`Sources::show`] is called.
    ///
    /// # Errors
    /// A chain or a source that cannot be built, or the system refuses a thread. A camera that is away is none.
    pub async fn start(&mut self, camera: &CameraConfig, config: &Config) -> Result<(), Failure> {
        let known = self.sources.remove(&camera.id).map(|c| c.view);
        let now = self.shared.node.clock.wall();
        let view =
            known.unwrap_or_else(|| Arc::new(SourceView::new(camera.id.clone(), facts_of(camera), now)));
        let mut links = chain::resolve(&camera.chain, &config.analyzer).map_err(Failure::BadInput)?;
        let mut source = source_of(camera)?;
        source.pace = view.share.pace.clone();
        let tracker =
            chain::with_weak_findings(&mut links, camera.tracker.clone(), self.shared.models.library());
        view.share.set_models(chain::models_of(&links, self.shared.models.library()));
        let scene = self.scene_of(camera, tracker).await;
        let told = stale_states::told_by(&camera.id, &self.shared.store).await;
        let watched = Watched::new(scene, view.clone(), told);
        // Before its first frame, and after the last one of the same name.
        self.tell(Input::Watch(Box::new(watched))).await;
        let parts = CameraParts {
            source,
            motion: camera.motion,
            sight: camera.health.clone(),
            chain: links,
            replaced_before: view.counters.replaced(),
            view: view.clone(),
            models: self.shared.models.clone(),
            permits: self.shared.permits.clone(),
            events: self.shared.inputs.clone(),
            clock: self.shared.node.clock.clone(),
        };
        let stop = StopToken::new();
        let workers = camera::start(&parts, &self.shared.watch, &stop).map_err(|e| {
            // One of the two may run.
            stop.request();
            Failure::Unavailable(format!("camera {}: cannot start its threads: {e}", camera.id))
        })?;
        self.sources.insert(camera.id.clone(), SourceHandle { view, stop, workers: workers.into() });
        Ok(())
    }

    /// Closes a camera and opens it as `config` has it; its viewers and figures go on.
    ///
    /// # Errors
    /// As [`Sources::start`]; the camera is closed then.
    pub async fn restart(&mut self, camera: &CameraConfig, config: &Config) -> Result<(), Failure> {
        if let Some(known) = self.sources.get(&camera.id) {
            end(&[known]).await;
            known.view.begin_anew(facts_of(camera), self.shared.node.clock.wall());
        }
        self.start(camera, config).await
    }

    /// Other zones and lines for a camera that goes on.
    pub async fn redraw(&mut self, camera: &CameraConfig) {
        let Some(known) = self.sources.get(&camera.id) else { return };
        known.view.set_facts(facts_of(camera));
        let (source, zones, lines) = (camera.id.clone(), camera.zone.clone(), camera.line.clone());
        self.tell(Input::UpdateZones { source, zones, lines }).await;
    }

    /// Opens all sources of a configuration.
    ///
    /// # Errors
    /// As [`Sources::start`]; those before it run then.
    pub async fn start_all(&mut self, config: &Config) -> Result<(), Failure> {
        for camera in &config.camera {
            self.start(camera, config).await?;
        }
        for microphone in &config.microphone {
            self.start_microphone(microphone).await?;
        }
        Ok(())
    }

    /// Analyses a source, or only shows it; whether there is such a source.
    pub async fn set_analysed(&self, id: &Name, analysed: bool) -> bool {
        let Some(known) = self.sources.get(id) else { return false };
        known.view.set_analysed(analysed);
        if !analysed {
            // What was in view ends now, as no later frame will end it.
            self.tell(Input::Pause { source: id.clone() }).await;
        }
        true
    }

    /// Closes a source for good: what was in view has ended, what it told is withdrawn.
    pub async fn remove(&mut self, id: &Name) {
        let Some(gone) = self.sources.remove(id) else { return };
        end(&[&gone]).await;
        for worker in &gone.workers {
            self.shared.watch.remove(&worker.health().name);
        }
        self.tell(Input::Forget { source: id.clone() }).await;
    }

    /// Shows viewers the sources that `config` has, in its order, cameras first.
    pub fn show(&self, config: &Config) {
        let microphones = config.microphone.iter().map(|m| &m.id);
        let ids = config.camera.iter().map(|c| &c.id).chain(microphones);
        let views = ids.filter_map(|id| self.sources.get(id).map(|known| known.view.clone()));
        self.shown.send_replace(Arc::new(views.collect()));
    }

    /// Closes all sources; what was in view of them has not ended yet. They can be started again.
    pub async fn stop_all(&self) {
        end(&self.sources.values().collect::<Vec<_>>()).await;
    }

    /// Says that the program ends: a model that is still being measured is not what ended it.
    pub fn let_models_go(&self) {
        if let Err(error) = self.shared.models.choices().interrupted() {
            tracing::warn!(%error, "A model that was being measured will count as one that may have ended the program.");
        }
    }

    /// Says of all sources, which are closed and not gone, that they have ended, and ends what was in view of them.
    pub async fn end_views(&self) {
        for (source, camera) in &self.sources {
            camera.view.set_misconfigured(false);
            camera.view.set_status(ConnectionState::Ended, None, self.shared.node.clock.wall());
            camera.view.set_level(None);
            self.tell(Input::Pause { source: source.clone() }).await;
            let report = Report::new("ended", Meaning::StateOnly);
            self.tell(Input::Sight { source: source.clone(), report }).await;
        }
    }

    async fn tell(&self, input: Input) {
        // An error only when the task `events` has broken down, which ends the program.
        self.shared.inputs.send(input).await.ok();
    }

    fn scene(&self, id: &Name, laws: AnalyticsConfig) -> CameraAnalytics {
        let ids = self.shared.node.clone();
        CameraAnalytics::new(id.clone(), laws, Box::new(move |unix_ms| ids.make_id(unix_ms)))
    }

    /// For a source without pictures: nothing goes on before it.
    fn scene_without_laws(&self, id: &Name) -> CameraAnalytics {
        self.scene(id, AnalyticsConfig::default())
    }

    async fn scene_of(&self, camera: &CameraConfig, tracker: TrackerConfig) -> CameraAnalytics {
        let laws = AnalyticsConfig { tracker, zones: camera.zone.clone(), lines: camera.line.clone() };
        let mut scene = self.scene(&camera.id, laws);
        let known = self.shared.store.get_value(&processor::totals_key(&camera.id)).await;
        let totals = match known {
            Ok(Some(known)) => serde_json::from_value::<Vec<LineTotals>>(known).map_err(|e| e.to_string()),
            Ok(None) => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        };
        match totals {
            Ok(totals) => scene.restore_totals(&totals),
            Err(error) => {
                tracing::warn!(source = %camera.id, error, "The kept line totals cannot be used; counting from 0.");
            }
        }
        scene
    }
}

/// Stops the threads of cameras, all at once, and waits for them within the deadline.
async fn end(cameras: &[&SourceHandle]) {
    cameras.iter().for_each(|camera| camera.stop.request());
    let workers = || cameras.iter().flat_map(|camera| &camera.workers);
    let ended = async {
        while workers().any(|w| !w.is_finished()) {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(DEADLINE, ended).await.is_err() {
        for stuck in workers().filter(|w| !w.is_finished()) {
            tracing::warn!(
                thread = stuck.health().name,
                "A thread is busy and is not waited for: it ends when what it does ends."
            );
        }
    }
}

fn facts_of(camera: &CameraConfig) -> SourceFacts {
    let line = |l: &aimass_core::analytics::line::LineConfig| Shape {
        id: l.id.clone(),
        points: Polygon(vec![l.from, l.to]),
    };
    let uri = camera.source.parse::<SourceUri>().ok();
    SourceFacts {
        kind: SourceKind::Camera,
        fps_wanted: camera.fps,
        fps_floor: camera.floor_fps(),
        priority: camera.priority,
        unpaced: uri.as_ref().is_some_and(|uri| !uri.is_paced()),
        is_file: uri.is_some_and(|uri| uri.file_path().is_some()),
        chain: camera.chain.clone(),
        shapes: Shapes {
            zones: camera
                .zone
                .iter()
                .map(|z| Shape { id: z.id.clone(), points: z.polygon.clone() })
                .collect(),
            lines: camera.line.iter().map(line).collect(),
            masks: camera.mask.iter().map(|m| m.polygon.clone()).collect(),
        },
    }
}

/// A camera's configuration as the source's options.
///
/// # Errors
/// `BadInput` for a source URI that makes no sense.
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
    options.controls = camera.controls.clone();
    options.masks = camera.mask.iter().map(|m| m.polygon.clone()).collect();
    Ok(options)
}
