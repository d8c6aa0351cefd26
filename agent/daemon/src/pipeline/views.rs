//! Read views: what the HTTP API, the health message and the metrics may look at. Never the data path.
//!
//! Workers write here with atomics and `watch` channels, which never block; readers take copies. No reader can
//! slow a camera down.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aimass_core::audio::Level;
use aimass_core::finding::StageTimes;
use aimass_core::frame::Frame;
use aimass_core::id::Name;
use aimass_core::traits::StreamInfo;
pub use aimass_protocol::api::{OverlayTrack, Shape, Shapes, SourceStatus};
pub use aimass_protocol::health::{ConnectionState, SourceKind};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

use crate::pipeline::throttle::Throttle;

/// Events that a slow viewer may fall behind before it is told that it missed some.
pub const LIVE_EVENTS: usize = 128;

/// What was found in the latest analysed frame.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Overlay {
    /// The frame's number.
    pub frame: u64,
    /// Whether the motion gate sees motion.
    pub motion: bool,
    /// The tracked objects.
    pub tracks: Vec<OverlayTrack>,
    /// The latest states of the source, by the name they have under `state/<source>/`.
    pub states: BTreeMap<String, serde_json::Value>,
}

/// Frames and errors, counted since the program began.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames that reached us.
    pub seen: AtomicU64,
    /// Frames that the motion gate held back.
    pub idle: AtomicU64,
    /// Frames that a newer one replaced before they could be analysed.
    pub replaced: AtomicU64,
    /// Frames that went through the whole chain.
    pub analysed: AtomicU64,
    /// Frames on which an analyzer failed.
    pub errors: AtomicU64,
    /// Attempts to open the source after the first.
    pub reconnects: AtomicU64,
    /// Microseconds in the motion gate and in judging sight.
    pub gate_us: AtomicU64,
    /// Microseconds from planes to tensors.
    pub prepare_us: AtomicU64,
    /// Microseconds in models.
    pub infer_us: AtomicU64,
    /// Microseconds from model outputs to findings.
    pub decode_us: AtomicU64,
    /// Microseconds of tracking and rules.
    pub track_us: AtomicU64,
    /// Times a model ran.
    pub inferences: AtomicU64,
    /// Microseconds in the chain, by the wall.
    pub busy_us: AtomicU64,
    /// CPU microseconds of the analyzer's thread, loading models.
    pub load_cpu_us: AtomicU64,
    /// CPU microseconds of the analyzer's thread, in the chain.
    pub chain_cpu_us: AtomicU64,
}

impl Counters {
    /// Frames that were replaced so far.
    pub fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Relaxed)
    }

    /// Adds one analysed frame.
    pub fn add_analysis(&self, times: &StageTimes) {
        self.analysed.fetch_add(1, Ordering::Relaxed);
        self.prepare_us.fetch_add(times.prepare.as_micros() as u64, Ordering::Relaxed);
        self.infer_us.fetch_add(times.infer.as_micros() as u64, Ordering::Relaxed);
        self.decode_us.fetch_add(times.decode.as_micros() as u64, Ordering::Relaxed);
        self.inferences.fetch_add(u64::from(times.inferences), Ordering::Relaxed);
    }
}

/// What the configuration says of a source.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SourceFacts {
    /// What it is.
    pub kind: SourceKind,
    /// Analysed frames a second, at most; 0 is no limit.
    pub fps_wanted: f32,
    /// Analysed frames a second that it keeps in any case.
    pub fps_floor: f32,
    /// How much it matters: 1 gives up first, 9 last.
    pub priority: u8,
    /// Whether its frames come as fast as they are analysed, as those of a file without `realtime`, instead of at
    /// the pace of life.
    pub unpaced: bool,
    /// Whether it is a file, which does not become better by waiting.
    pub is_file: bool,
    /// The chain of analyzers, by name.
    pub chain: Vec<String>,
    /// Zones, lines, masks.
    pub shapes: Shapes,
}

/// Everything that can be seen of one source. Outlives a change of its configuration, so that figures go on and
/// viewers keep watching.
pub struct SourceView {
    /// Its id.
    pub id: Name,
    /// Figures.
    pub counters: Counters,
    /// What it is given of what the board can carry.
    pub share: Throttle,
    /// Whether the motion gate sees motion.
    pub motion: AtomicBool,
    misconfigured: AtomicBool,
    unanalysed: AtomicBool,
    facts: Mutex<Arc<SourceFacts>>,
    status: Mutex<SourceStatus>,
    stream: Mutex<Option<StreamInfo>>,
    problem: Mutex<Option<String>>,
    sight: Mutex<Option<&'static str>>,
    level: Mutex<Option<Level>>,
    frame: watch::Sender<Option<Frame>>,
    overlay: watch::Sender<Arc<Overlay>>,
}

impl SourceView {
    /// A source that is about to connect.
    pub fn new(id: Name, facts: SourceFacts, now: Timestamp) -> Self {
        SourceView {
            id,
            unanalysed: AtomicBool::new(false),
            facts: Mutex::new(Arc::new(facts)),
            counters: Counters::default(),
            share: Throttle::default(),
            motion: AtomicBool::new(false),
            misconfigured: AtomicBool::new(false),
            status: Mutex::new(SourceStatus { state: ConnectionState::Connecting, since: now, error: None }),
            stream: Mutex::new(None),
            problem: Mutex::new(None),
            sight: Mutex::new(None),
            level: Mutex::new(None),
            frame: watch::Sender::new(None),
            overlay: watch::Sender::default(),
        }
    }

    /// Whether its frames are analysed, or only shown.
    pub fn is_analysed(&self) -> bool {
        !self.unanalysed.load(Ordering::Relaxed)
    }

    /// Lets its frames be analysed, or only shown, until the program ends.
    pub fn set_analysed(&self, on: bool) {
        self.unanalysed.store(!on, Ordering::Relaxed);
    }

    /// What the configuration says of it.
    pub fn facts(&self) -> Arc<SourceFacts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another configuration holds from now on.
    pub fn set_facts(&self, facts: SourceFacts) {
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(facts);
    }

    /// The source begins anew with another configuration: what was wrong with the old one is forgotten.
    pub fn begin_anew(&self, facts: SourceFacts, now: Timestamp) {
        self.set_facts(facts);
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.set_sight(None);
        self.set_level(None);
        self.set_misconfigured(false);
        self.motion.store(false, Ordering::Relaxed);
        // The last picture may show what a new mask covers.
        self.frame.send_replace(None);
        self.set_status(ConnectionState::Connecting, None, now);
    }

    /// How it is doing.
    pub fn status(&self) -> SourceStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets how it is doing; `since` moves only when the state changes. Returns whether it did.
    pub fn set_status(&self, state: ConnectionState, error: Option<String>, now: Timestamp) -> bool {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = status.state != state;
        let since = if changed { now } else { status.since };
        *status = SourceStatus { state, since, error };
        changed
    }

    /// Whether only another configuration, or a hand at the board, can help it.
    pub fn is_misconfigured(&self) -> bool {
        self.misconfigured.load(Ordering::Relaxed)
    }

    /// Notes whether that is so.
    pub fn set_misconfigured(&self, misconfigured: bool) {
        self.misconfigured.store(misconfigured, Ordering::Relaxed);
    }

    /// Why its frames are not analysed although they come, if so.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes why its frames are not analysed.
    pub fn set_problem(&self, problem: String) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
    }

    /// How it sees, as its state `sight` tells; `None` before the first word.
    pub fn sight(&self) -> Option<&'static str> {
        *self.sight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how it sees.
    pub fn set_sight(&self, sight: Option<&'static str>) {
        *self.sight.lock().unwrap_or_else(PoisonError::into_inner) = sight;
    }

    /// How loud the latest window of a microphone was; `None` for cameras, and while it delivers nothing.
    pub fn level(&self) -> Option<Level> {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how loud it is.
    pub fn set_level(&self, level: Option<Level>) {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = level;
    }

    /// What the stream is made of, once it was open.
    pub fn stream(&self) -> Option<StreamInfo> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what the stream is made of.
    pub fn set_stream(&self, info: StreamInfo) {
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(info);
    }

    /// Shows a frame to viewers. Never blocks; keeps a handle to it until the next.
    pub fn show_frame(&self, frame: Frame) {
        self.frame.send_replace(Some(frame));
    }

    /// The newest frames, masks already painted; `None` before the first.
    pub fn frames(&self) -> watch::Receiver<Option<Frame>> {
        self.frame.subscribe()
    }

    /// Shows what was found.
    pub fn show_overlay(&self, overlay: Overlay) {
        self.overlay.send_replace(Arc::new(overlay));
    }

    /// What was found in the newest analysed frames.
    pub fn overlays(&self) -> watch::Receiver<Arc<Overlay>> {
        self.overlay.subscribe()
    }
}
