//! From findings to happenings and states: the task `events` owns the scenes.
//!
//! Invariants: what happens at a source is told in the order in which it happened; nothing that a scene told is
//! dropped: when the way to disk ([`crate::pipeline::persist`]) is slow, this task waits, then the analyzers.

mod publish;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aimass_core::analytics::line::LineConfig;
use aimass_core::analytics::zone::ZoneConfig;
use aimass_core::analytics::{CameraAnalytics, Observation, StateValue};
use aimass_core::finding::Findings;
use aimass_core::frame::{CaptureTime, TimeSource};
use aimass_core::geometry::Point;
use aimass_core::id::Name;
use aimass_core::runtime::clock::{SharedClock, Stopwatch};
use aimass_mqtt::RetainedStates;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::publish::{note_told, set_state, tell_sight};
use crate::pipeline::microphone::{LEVEL, level_value};
use crate::pipeline::persist::EventBatch;
use crate::pipeline::source_health::{FaultEpisodes, Report, node_source};
use crate::pipeline::views::{Overlay, OverlayTrack, SourceView};

/// Analysed frames that may wait for the rules.
pub const FINDINGS_QUEUE: usize = 64;
/// How often scenes whose frames are withheld learn that time went by.
const TICK: Duration = Duration::from_secs(1);
/// How long a camera may be away before what was in view of it has ended.
const AWAY: Duration = Duration::from_secs(30);

/// What comes in from the sources.
pub enum Input {
    /// A frame went through the chain.
    Analysed {
        /// The source.
        source: Name,
        /// The frame's number and time.
        frame: (u64, CaptureTime),
        /// What was found in it.
        findings: Findings,
    },
    /// The motion gate changed its mind.
    Motion {
        /// The source.
        source: Name,
        /// Whether there is motion.
        moving: bool,
    },
    /// A source begins, or begins anew: what was followed there before has ended.
    Watch(Box<Watched>),
    /// Other zones and lines from now on; tracks go on.
    UpdateZones {
        /// The source.
        source: Name,
        /// All its zones.
        zones: Vec<ZoneConfig>,
        /// All its lines.
        lines: Vec<LineConfig>,
    },
    /// The source was taken out of the configuration: what it told is withdrawn.
    Forget {
        /// The source.
        source: Name,
    },
    /// A source is only shown from now on: what was in view of it has ended.
    Pause {
        /// The source.
        source: Name,
    },
    /// A value of a source's own, such as a microphone's level.
    State {
        /// The source.
        source: Name,
        /// Its name and value.
        state: StateValue,
    },
    /// How a source, or the node itself, sees.
    Sight {
        /// The source; `node` for the node itself.
        source: Name,
        /// How.
        report: Report,
    },
}

/// One source's scene, with what its viewers see.
pub struct Watched {
    /// Its laws.
    pub scene: CameraAnalytics,
    /// Where its viewers look.
    pub view: Arc<SourceView>,
    last: Option<Last>,
    states: BTreeMap<String, serde_json::Value>,
    /// Names of states that were ever told, as they lie in the store.
    told: BTreeSet<String>,
    frame: u64,
    points: HashMap<u64, Vec<Point>>,
    /// The camera does not deliver: nobody can say what is there.
    blind: bool,
}

/// The latest frame, so that time can go on without frames.
struct Last {
    elapsed: Duration,
    wall: Timestamp,
    wall_source: TimeSource,
    arrived: Duration,
}

impl Watched {
    /// Nothing seen yet in this life; `told` are the names of states that earlier ones told.
    pub fn new(scene: CameraAnalytics, view: Arc<SourceView>, told: BTreeSet<String>) -> Self {
        Watched {
            scene,
            view,
            last: None,
            states: BTreeMap::new(),
            told,
            frame: 0,
            points: HashMap::new(),
            blind: false,
        }
    }

    /// The time at the source now: that of its latest frame and what went by since. An unpaced file's time is
    /// not the clock's: it stands still.
    fn now(&self, clock: &SharedClock) -> Option<(Duration, Timestamp, Duration)> {
        let last = self.last.as_ref()?;
        let gone = clock.monotonic().saturating_sub(last.arrived);
        let counts = last.wall_source != TimeSource::File || !self.view.facts().unpaced;
        let passed = if counts { gone } else { Duration::ZERO };
        Some((last.elapsed + passed, last.wall + passed, gone))
    }

    fn show(&self) {
        let tracks = self.scene.tracks().into_iter().map(|t| OverlayTrack {
            id: t.id,
            label: t.label.to_string(),
            score: t.score,
            region: t.region,
            path: t.path,
            points: self.points.get(&t.id).cloned().unwrap_or_default(),
            zones: t.zones,
        });
        self.view.show_overlay(Overlay {
            frame: self.frame,
            motion: self.view.motion.load(Ordering::Relaxed),
            tracks: tracks.collect(),
            states: self.states.clone(),
        });
    }
}

/// Where states and happenings go.
pub struct Outlets {
    /// Retained values at the broker.
    pub board: Arc<RetainedStates>,
    /// To the task `accept`.
    pub accept: mpsc::Sender<EventBatch>,
    /// The program's clock.
    pub clock: SharedClock,
}

/// The key under which a source's line totals lie in the store.
pub fn totals_key(source: &Name) -> String {
    format!("line_totals/{source}")
}

/// The task `events`: ends when all sources are gone, or at the `stop` for those that hang, after every thing that
/// lasts was ended.
pub async fn run(
    mut input: mpsc::Receiver<Input>,
    mut sight: FaultEpisodes,
    out: Outlets,
    stop: CancellationToken,
) {
    let mut scenes: HashMap<Name, Watched> = HashMap::new();
    let former = sight.end_all("restarted");
    tell_sight(&sight, former, &out).await;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            got = input.recv() => match got {
                Some(input) => take(&mut scenes, &mut sight, input, &out).await,
                None => break,
            },
            // What is in the queue already still counts.
            () = stop.cancelled(), if !input.is_closed() => input.close(),
            // A node without sources, or one that sees nothing, is not woken.
            _ = tick.tick(), if scenes.values().any(|w| w.scene.is_following()) => {
                for watched in scenes.values_mut() {
                    pass_time(watched, &out).await;
                }
            }
        }
    }
    for watched in scenes.values_mut() {
        end_all(watched, &out).await;
    }
    let left = sight.end_all("node_stopping");
    tell_sight(&sight, left, &out).await;
}

async fn end_all(watched: &mut Watched, out: &Outlets) {
    let Some((elapsed, wall, _)) = watched.now(&out.clock) else { return };
    let seen = watched.scene.end_all(elapsed, wall);
    deliver(watched, seen, out).await;
}

/// A source begins: one of the same name has ended, and what it told and the new one will not tell is withdrawn.
async fn begin(scenes: &mut HashMap<Name, Watched>, mut new: Watched, out: &Outlets) {
    let id = new.view.id.clone();
    if let Some(mut old) = scenes.remove(&id) {
        end_all(&mut old, out).await;
        new.scene.restore_totals(&old.scene.totals());
        new.told.append(&mut old.told);
        for (name, value) in old.states {
            if new.scene.watches(&name) {
                new.states.insert(name, value);
            } else {
                set_state(&id, &mut new.states, StateValue { name, value: serde_json::Value::Null }, out);
            }
        }
    }
    new.show();
    scenes.insert(id, new);
}

/// A source is gone for good.
async fn forget(scenes: &mut HashMap<Name, Watched>, source: &Name, out: &Outlets) {
    let Some(mut old) = scenes.remove(source) else { return };
    end_all(&mut old, out).await;
    for name in old.told.iter().chain(old.states.keys()) {
        out.board.remove(&format!("state/{source}/{name}"));
    }
}

async fn take(scenes: &mut HashMap<Name, Watched>, sight: &mut FaultEpisodes, input: Input, out: &Outlets) {
    match input {
        Input::Watch(watched) => {
            let lost = sight.end(&watched.view.id, "source_restarted");
            tell_sight(sight, lost, out).await;
            begin(scenes, *watched, out).await;
        }
        Input::Forget { source } => {
            let lost = sight.end(&source, "source_removed");
            tell_sight(sight, lost, out).await;
            forget(scenes, &source, out).await;
        }
        Input::UpdateZones { source, zones, lines } => {
            let Some(watched) = scenes.get_mut(&source) else { return };
            // Before the first frame there is no time at the source, and nothing that could end.
            let now = watched.now(&out.clock).map(|(elapsed, wall, _)| (elapsed, wall));
            let (elapsed, wall) = now.unwrap_or_else(|| (Duration::ZERO, out.clock.wall()));
            let seen = watched.scene.set_zones_lines(zones, lines, elapsed, wall);
            deliver(watched, seen, out).await;
            watched.show();
        }
        Input::Analysed { source, frame: (seq, stamp), findings } => {
            let Some(watched) = scenes.get_mut(&source) else { return };
            if !watched.view.is_analysed() {
                // Was under way when somebody switched the analysis off.
                return;
            }
            let mut watch = Stopwatch::start();
            let arrived = out.clock.monotonic();
            watched.frame = seq;
            watched.last = Some(Last {
                elapsed: stamp.elapsed,
                wall: stamp.wall,
                wall_source: stamp.wall_source,
                arrived,
            });
            let seen = watched.scene.observe(&stamp, findings.list);
            watched.points = seen
                .findings
                .iter()
                .filter(|f| !f.points.is_empty())
                .filter_map(|f| Some((f.track?, f.points.clone())))
                .collect();
            let counters = &watched.view.counters;
            counters.track_us.fetch_add(watch.lap().as_micros() as u64, Ordering::Relaxed);
            deliver(watched, seen, out).await;
            watched.show();
        }
        Input::Pause { source } => {
            let Some(watched) = scenes.get_mut(&source) else { return };
            end_all(watched, out).await;
            watched.show();
        }
        Input::Motion { source, moving } => {
            let Some(watched) = scenes.get_mut(&source) else { return };
            watched.view.motion.store(moving, Ordering::Relaxed);
            let state = StateValue { name: "motion".to_owned(), value: moving.into() };
            set_state(&source, &mut watched.states, state, out);
            watched.show();
        }
        Input::State { source, state } => {
            let Some(watched) = scenes.get_mut(&source) else { return };
            set_state(&source, &mut watched.states, state, out);
            note_told(watched, Vec::new(), Vec::new(), out).await;
        }
        Input::Sight { source, report } => {
            let watched = scenes.get_mut(&source);
            // Only what is watched, and the node itself, has a sight.
            if watched.is_some() || source == node_source() {
                see(watched, &source, &report, out);
                let happenings = sight.take(&source, &report);
                tell_sight(sight, happenings, out).await;
            }
        }
    }
}

/// Tells how a source sees; without one, how the node itself does.
fn see(watched: Option<&mut Watched>, source: &Name, report: &Report, out: &Outlets) {
    let state = StateValue { name: "health".to_owned(), value: report.state.into() };
    let Some(watched) = watched else { return set_state(source, &mut BTreeMap::new(), state, out) };
    set_state(source, &mut watched.states, state, out);
    watched.view.set_sight(Some(report.state));
    // A camera that sees badly still delivers: what is found in its pictures goes on.
    watched.blind = report.is_blind();
    if watched.blind && watched.states.contains_key(LEVEL) {
        let state = StateValue { name: LEVEL.to_owned(), value: level_value(None) };
        set_state(source, &mut watched.states, state, out);
    }
    if watched.blind && watched.view.motion.swap(false, Ordering::Relaxed) {
        let state = StateValue { name: "motion".to_owned(), value: false.into() };
        set_state(source, &mut watched.states, state, out);
    }
}

async fn pass_time(watched: &mut Watched, out: &Outlets) {
    let Some((elapsed, wall, gone)) = watched.now(&out.clock) else { return };
    let seen = if watched.blind {
        // What nobody sees does not dwell; a short outage interrupts nothing.
        if gone < AWAY {
            return;
        }
        watched.scene.end_all(elapsed, wall)
    } else {
        let frozen = watched.last.as_ref().is_some_and(|last| last.elapsed == elapsed);
        if gone < TICK || frozen {
            return;
        }
        watched.scene.tick(elapsed, wall)
    };
    if !seen.happenings.is_empty() || !seen.states.is_empty() {
        deliver(watched, seen, out).await;
        watched.show();
    }
}

async fn deliver(watched: &mut Watched, seen: Observation, out: &Outlets) {
    let id = watched.view.id.clone();
    let counted = seen.states.iter().any(|s| s.name.starts_with("line/"));
    for state in seen.states {
        set_state(&id, &mut watched.states, state, out);
    }
    let mut values = Vec::new();
    if counted {
        values.push((totals_key(&id), serde_json::to_value(watched.scene.totals()).unwrap_or_default()));
    }
    note_told(watched, seen.happenings, values, out).await;
}
