//! From findings to accepted events: the task `events` owns the scenes, the task `accept` owns the way to disk.
//!
//! Invariants: happenings of a source are accepted in the order in which they happened; nothing that a scene
//! told is dropped: when the store is slow or its disk is full, `accept` waits, then `events`, then the analyzers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aimass_core::clock::{SharedClock, Stopwatch};
use aimass_core::event::{Event, Happening};
use aimass_core::finding::Findings;
use aimass_core::frame::{Stamp, TimeSource};
use aimass_core::geometry::Point;
use aimass_core::id::Name;
use aimass_core::scene::{Observation, Scene, State};
use aimass_link::StateBoard;
use aimass_store::{ErrorKind, Store};
use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc};

use crate::node::Node;
use crate::views::{Overlay, OverlayTrack, SourceView};

/// Analysed frames that may wait for the rules.
pub const FINDINGS_QUEUE: usize = 64;
/// Happenings that may wait for the store.
const ACCEPT_QUEUE: usize = 64;
/// How often scenes whose frames are withheld learn that time went by.
const TICK: Duration = Duration::from_secs(1);
/// How long the store's disk is left alone after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// What comes in from the sources.
pub enum Input {
    /// A frame went through the chain.
    Analysed {
        /// The source.
        source: Name,
        /// The frame's number and time.
        frame: (u64, Stamp),
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
    /// How the camera sees, for `state/<source>/sight`.
    Sight {
        /// The source.
        source: Name,
        /// `ok`, `stalled`, `failed` or `ended`.
        sight: &'static str,
    },
}

/// One source's scene, with what its viewers see.
pub struct Watched {
    /// Its laws.
    pub scene: Scene,
    /// Where its viewers look.
    pub view: Arc<SourceView>,
    last: Option<Last>,
    states: BTreeMap<String, serde_json::Value>,
    frame: u64,
    points: HashMap<u64, Vec<Point>>,
}

/// The latest frame, so that time can go on without frames.
struct Last {
    elapsed: Duration,
    wall: Timestamp,
    wall_from: TimeSource,
    arrived: Duration,
}

impl Watched {
    /// Nothing seen yet.
    pub fn new(scene: Scene, view: Arc<SourceView>) -> Self {
        Watched { scene, view, last: None, states: BTreeMap::new(), frame: 0, points: HashMap::new() }
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
    pub board: Arc<StateBoard>,
    /// To the task `accept`.
    pub accept: mpsc::Sender<Happening>,
    /// For line totals, which outlive restarts.
    pub store: Store,
    /// The program's clock.
    pub clock: SharedClock,
}

/// The queue in front of [`accept`].
pub fn accept_queue() -> (mpsc::Sender<Happening>, mpsc::Receiver<Happening>) {
    mpsc::channel(ACCEPT_QUEUE)
}

/// The key under which a source's line totals lie in the store.
pub fn totals_key(source: &Name) -> String {
    format!("line_totals/{source}")
}

/// The task `events`: ends when all sources are gone, after every thing that lasts was ended.
pub async fn run(mut scenes: HashMap<Name, Watched>, mut input: mpsc::Receiver<Input>, out: Outlets) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            got = input.recv() => match got {
                Some(input) => take(&mut scenes, input, &out).await,
                None => break,
            },
            // A node without sources, or one that sees nothing, is not woken.
            _ = tick.tick(), if scenes.values().any(|w| w.scene.is_following()) => {
                for watched in scenes.values_mut() {
                    pass_time(watched, &out).await;
                }
            }
        }
    }
    for watched in scenes.values_mut() {
        let Some(last) = &watched.last else { continue };
        let gone = out.clock.monotonic().saturating_sub(last.arrived);
        let seen = watched.scene.end_all(last.elapsed + gone, last.wall + gone);
        deliver(watched, seen, &out).await;
    }
}

async fn take(scenes: &mut HashMap<Name, Watched>, input: Input, out: &Outlets) {
    let id = match &input {
        Input::Analysed { source, .. } | Input::Motion { source, .. } | Input::Sight { source, .. } => source,
    };
    let Some(watched) = scenes.get_mut(id) else { return };
    match input {
        Input::Analysed { frame: (seq, stamp), findings, .. } => {
            let mut watch = Stopwatch::start();
            let arrived = out.clock.monotonic();
            watched.frame = seq;
            watched.last =
                Some(Last { elapsed: stamp.elapsed, wall: stamp.wall, wall_from: stamp.wall_from, arrived });
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
        Input::Motion { source, moving } => {
            watched.view.motion.store(moving, Ordering::Relaxed);
            let state = State { name: "motion".to_owned(), value: moving.into() };
            set_state(&source, &mut watched.states, state, out);
            watched.show();
        }
        Input::Sight { source, sight } => {
            let state = State { name: "sight".to_owned(), value: sight.into() };
            set_state(&source, &mut watched.states, state, out);
        }
    }
}

async fn pass_time(watched: &mut Watched, out: &Outlets) {
    let Some(last) = &watched.last else { return };
    let gone = out.clock.monotonic().saturating_sub(last.arrived);
    // The time of an unpaced file is not the clock's.
    if gone < TICK || (last.wall_from == TimeSource::File && !watched.view.paced) {
        return;
    }
    let seen = watched.scene.tick(last.elapsed + gone, last.wall + gone);
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
    if counted {
        let totals = serde_json::to_value(watched.scene.totals()).unwrap_or_default();
        if let Err(error) = out.store.put_value(&totals_key(&id), &totals).await {
            tracing::warn!(source = %id, %error, "The line totals could not be kept.");
        }
    }
    for what in seen.happenings {
        if out.accept.send(what).await.is_err() {
            return; // only when the program is ending beyond its deadline
        }
    }
}

fn set_state(source: &Name, states: &mut BTreeMap<String, serde_json::Value>, state: State, out: &Outlets) {
    let topic = format!("state/{source}/{}", state.name);
    if state.value.is_null() {
        // What is not watched any longer: the broker forgets it too.
        out.board.remove(&topic);
        states.remove(&state.name);
        return;
    }
    let payload = state.value.to_string();
    if let Err(error) = out.board.set(&topic, payload, true) {
        tracing::warn!(%source, state = state.name, %error, "A state could not be told.");
    }
    states.insert(state.name, state.value);
}

/// The task `accept`: stores what happened, in order, then shows it to viewers. Ends when its queue is closed.
pub async fn accept(
    node: Node,
    mut queue: mpsc::Receiver<Happening>,
    store: Store,
    viewers: broadcast::Sender<Arc<Event>>,
) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, ACCEPT_QUEUE).await > 0 {
        let mut events: Vec<Event> = batch.drain(..).map(|what| node.event(what)).collect();
        let Some(seqs) = keep(&store, &events).await else { continue };
        for (event, seq) in events.iter_mut().zip(seqs) {
            event.seq = seq;
        }
        for event in events {
            // An error only says that nobody looks.
            viewers.send(Arc::new(event)).ok();
        }
    }
}

/// Stores the events, however long the disk takes to come back; `None` for what can never be stored.
async fn keep(store: &Store, events: &[Event]) -> Option<Vec<u64>> {
    let mut told = false;
    loop {
        match store.accept(events.to_vec()).await {
            Ok(seqs) => return Some(seqs),
            Err(error)
                if matches!(error.kind(), ErrorKind::DiskFull | ErrorKind::ReadOnly | ErrorKind::Io) =>
            {
                if !told {
                    tracing::error!(%error, waiting = events.len(), "Events cannot be stored; trying until they can.");
                }
                told = true;
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => {
                tracing::error!(%error, lost = events.len(), "Events cannot be stored and are lost.");
                return None;
            }
        }
    }
}
