//! Keeps the node within what its board can carry: reads the board, asks [`aimass_core::governor`], gives each camera its
//! share, and tells what is not watched now.
//!
//! Owner: the task `governor`, woken every `period_s` while a camera delivers, every sixth as often while all are away,
//! never while there is none. Invariants: files are read on a blocking thread; what a camera is given takes effect at its
//! next frame, without opening it anew; a governor that is switched off, or ends, gives everything back; a sensor that
//! never answers takes its own signs away, and nothing else.

mod degraded_episode;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aimass_core::governor::{Allocation, CameraLimits, CameraLoad, Governor, GovernorConfig};
use aimass_core::id::Name;
use aimass_store::Store;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use crate::pipeline::throttle::{ChainModels, Throttle};
pub use aimass_protocol::health::{CameraShare, GovernorHealth, GovernorState};

use crate::board::sysfs::{BoardSample, Sysfs};
use crate::identity::Node;
use crate::pipeline::persist::EventBatch;
use crate::pipeline::views::{ConnectionState, SourceView};
use degraded_episode::DegradedEpisode;

/// How much more seldom the board is looked at while no camera delivers.
const SELDOM: u32 = 6;
/// How long a look at the board may take. Sensors on slow buses need some milliseconds; one whose driver hangs, for ever.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the governor needs of the node.
pub struct Deps {
    /// Who the node is.
    pub node: Node,
    /// Where it keeps what it has told.
    pub store: Store,
    /// The cameras.
    pub sources: watch::Receiver<Arc<Vec<Arc<SourceView>>>>,
    /// To the task `accept`.
    pub accept: mpsc::Sender<EventBatch>,
    /// Where the kernel shows the board.
    pub tree: Sysfs,
}

/// What may change while it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// When cameras are slowed down.
    pub governor: GovernorConfig,
    /// How many chains run at once.
    pub parallel: usize,
}

/// The counters of a source at the last look.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    analysed: u64,
    late: u64,
    busy_us: u64,
}

/// The governor of one node.
pub struct Task {
    needs: Deps,
    settings: watch::Receiver<Settings>,
    told: watch::Sender<Arc<GovernorHealth>>,
    governor: Governor,
    before: HashMap<Name, Counted>,
    book: DegradedEpisode,
    /// A look at the board that has not ended in time.
    looking: Option<JoinHandle<BoardSample>>,
    patience: Duration,
}

/// A governor, and what others see of it: the settings that it follows and its part of the health.
pub async fn new(
    needs: Deps,
    settings: Settings,
) -> (Task, watch::Sender<Settings>, watch::Receiver<Arc<GovernorHealth>>) {
    let governor = Governor::new(settings.governor.clone());
    let (asked, settings) = watch::channel(settings);
    let (told, health) = watch::channel(Arc::default());
    let book = DegradedEpisode::load(needs.node.clone(), &needs.store).await;
    let (before, looking) = (HashMap::new(), None);
    let task = Task { needs, settings, told, governor, before, book, looking, patience: PATIENCE };
    (task, asked, health)
}

impl Task {
    /// Governs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let former = self.book.end("restarted");
        self.tell(former).await;
        self.look().await;
        loop {
            let wait = self.wait();
            tokio::select! {
                () = stop.cancelled() => break,
                // An error says that the node is stopping: `stop` follows.
                changed = self.settings.changed() => match changed {
                    Ok(()) => self.follow_settings().await,
                    Err(_) => { stop.cancelled().await; break }
                },
                changed = self.needs.sources.changed() => match changed {
                    Ok(()) => self.look().await,
                    Err(_) => { stop.cancelled().await; break }
                },
                () = sleep(wait), if wait.is_some() => self.look().await,
            }
        }
        self.let_go("node_stopping").await;
    }

    /// How long until the next look; `None` while there is nothing to look for.
    fn wait(&self) -> Option<Duration> {
        let sources = self.needs.sources.borrow();
        let config = self.governor.config();
        if !config.enabled || !sources.iter().any(|source| is_governed(source)) {
            return None;
        }
        let period = Duration::try_from_secs_f32(config.period_s).unwrap_or(Duration::from_secs(5));
        let delivers = sources.iter().any(|source| source.status().state == ConnectionState::Delivering);
        Some(if delivers { period } else { period * SELDOM })
    }

    async fn follow_settings(&mut self) {
        let config = self.settings.borrow_and_update().governor.clone();
        if config == *self.governor.config() {
            return;
        }
        if !config.enabled {
            self.let_go("switched_off").await;
            self.governor = Governor::new(config);
            return;
        }
        self.governor.set_config(config);
        self.look().await;
    }

    /// Everybody has what they want again.
    async fn let_go(&mut self, why: &'static str) {
        for source in self.needs.sources.borrow().iter() {
            source.share.give_all();
        }
        self.told.send_replace(Arc::default());
        let told = self.book.end(why);
        self.tell(told).await;
    }

    async fn look(&mut self) {
        if !self.governor.config().enabled {
            return;
        }
        let look = self.look_at_board().await;
        let sources = self.needs.sources.borrow().clone();
        let doing = self.doing(&sources);
        let parallel = self.settings.borrow().parallel;
        let now = self.needs.node.clock.monotonic();
        let changed = self.governor.look(now, &look.signs, &doing, parallel);
        for source in sources.iter() {
            match self.governor.given(&source.id) {
                Some(given) if given.fps < source.facts().fps_wanted || given.smaller => {
                    source.share.give(given)
                }
                _ => source.share.give_all(),
            }
        }
        let mut health = self.health(&look, &sources);
        if changed {
            tracing::info!(
                level = health.level,
                max_level = health.max_level,
                reason = health.reason.map(|reason| reason.as_str()),
                hottest_c = health.hottest_zone.as_ref().map(|h| h.temperature_c),
                "The governor gives the cameras another share."
            );
            let told = self.book.note(&health);
            self.tell(told).await;
        }
        health.since = self.book.since();
        self.told.send_replace(Arc::new(health));
    }

    /// What the board shows; nothing while a sensor does not answer. A second thread is not sent after the first.
    async fn look_at_board(&mut self) -> BoardSample {
        let tree = self.needs.tree.clone();
        let late = self.looking.take();
        let was_late = late.is_some();
        let mut looking = late.unwrap_or_else(|| tokio::task::spawn_blocking(move || tree.look()));
        match tokio::time::timeout(self.patience, &mut looking).await {
            // An error only when the program is ending.
            Ok(look) => look.unwrap_or_default(),
            Err(_) => {
                if !was_late {
                    tracing::warn!(
                        "A sensor below /sys does not answer: until it does, the governor knows the cameras' delays only."
                    );
                }
                self.looking = Some(looking);
                BoardSample::default()
            }
        }
    }

    /// How the cameras did since the last look.
    fn doing(&mut self, sources: &[Arc<SourceView>]) -> BTreeMap<Name, CameraLoad> {
        let mut all = BTreeMap::new();
        let mut counted = HashMap::new();
        for source in sources.iter().filter(|source| is_governed(source)) {
            let c = &source.counters;
            let now = Counted {
                analysed: c.analysed.load(Ordering::Relaxed),
                late: c.replaced.load(Ordering::Relaxed),
                busy_us: c.busy_us.load(Ordering::Relaxed),
            };
            let before = self.before.get(&source.id).copied();
            let facts = source.facts();
            let terms = CameraLimits {
                wanted_fps: facts.fps_wanted,
                floor_fps: facts.fps_floor,
                priority: facts.priority,
                has_smaller: source.share.models().smaller.is_some(),
            };
            let at_work = source.status().state == ConnectionState::Delivering
                && source.is_analysed()
                && source.share.is_ready()
                && before.is_some();
            let before = before.unwrap_or(now);
            let doing = CameraLoad {
                terms,
                at_work,
                smaller: source.share.is_smaller(),
                analysed: now.analysed.saturating_sub(before.analysed),
                late: now.late.saturating_sub(before.late),
                busy: Duration::from_micros(now.busy_us.saturating_sub(before.busy_us)),
            };
            all.insert(source.id.clone(), doing);
            counted.insert(source.id.clone(), now);
        }
        self.before = counted;
        all
    }

    fn health(&self, look: &BoardSample, sources: &[Arc<SourceView>]) -> GovernorHealth {
        let (level, max_level) = self.governor.level();
        let share = |source: &Arc<SourceView>| {
            let (facts, models) = (source.facts(), source.share.models());
            let whole = Allocation { fps: facts.fps_wanted, smaller: false };
            let given = self.governor.given(&source.id).unwrap_or(whole);
            let models = match &models.smaller {
                Some(smaller) if given.smaller => smaller.clone(),
                _ => models.usual.clone(),
            };
            CameraShare {
                id: source.id.to_string(),
                priority: facts.priority,
                fps_configured: facts.fps_wanted,
                fps_allowed: given.fps,
                smaller_models: given.smaller,
                models,
            }
        };
        let cameras: Vec<CameraShare> = sources.iter().filter(|s| is_governed(s)).map(share).collect();
        let state = match (level, cameras.is_empty()) {
            // Nobody looks again before there is a camera: what the board shows now would soon be wrong.
            (0, true) => return GovernorHealth { state: GovernorState::Idle, ..GovernorHealth::default() },
            (0, false) => GovernorState::Normal,
            _ => GovernorState::Degraded,
        };
        GovernorHealth {
            state,
            level,
            max_level,
            reason: self.governor.reason(),
            since: None,
            hottest_zone: self.governor.config().hottest(&look.signs),
            throttled: look.signs.throttled,
            under_voltage: look.signs.under_voltage,
            cpu_frequency: look.frequency,
            cameras,
        }
    }

    async fn tell(&self, told: Option<EventBatch>) {
        if let Some(told) = told {
            // An error only when the program is ending beyond its deadline.
            self.needs.accept.send(told).await.ok();
        }
    }
}

/// Files that are read as fast as they are analysed have no pace to slow down, and a camera that is only shown has no
/// chain that could be spared.
fn is_governed(source: &SourceView) -> bool {
    let facts = source.facts();
    !facts.unpaced && !facts.chain.is_empty()
}

async fn sleep(wait: Option<Duration>) {
    tokio::time::sleep(wait.unwrap_or_default()).await;
}
