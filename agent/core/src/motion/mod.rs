//! The motion gate: decides by a look at the brightness of a coarse grid whether a frame is worth an inference.
//!
//! Owned by the source's thread; no clock (frames carry their times), no I/O. It ignores sensor noise (each
//! block knows its own flicker) and changes of light that go over the whole picture (offset and gain).
//! What comes to rest is learnt as background within some seconds; the periodic look sees it still.
//!
//! Invariants: the first frame, and the first of a new size, is analysed; no longer than `look_every_s` passes
//! between two analysed frames; nothing is allocated per frame.

mod background;
pub(crate) mod grid;

#[cfg(test)]
mod tests;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::frame::Frame;

use background::Background;
use grid::Grid;

/// More of the picture than this never moves at once: it is another picture (a cut, infrared switched on).
const OTHER_SCENE: f32 = 0.6;

/// When frames are worth an inference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MotionConfig {
    /// Whether still frames are passed over. If not, every frame is analysed.
    pub enabled: bool,
    /// By how many levels of brightness (of 255) a part of the picture must change.
    pub threshold: f32,
    /// How much of the picture must change, as a fraction.
    pub min_area: f32,
    /// The longest time without an analysed frame, in seconds: what stands still is still seen.
    pub look_every_s: f32,
    /// How long frames are analysed after the last motion, in seconds.
    pub linger_s: f32,
}

impl Default for MotionConfig {
    fn default() -> Self {
        MotionConfig { enabled: true, threshold: 6.0, min_area: 0.001, look_every_s: 10.0, linger_s: 3.0 }
    }
}

impl MotionConfig {
    /// What is wrong with these settings: the field, and what to do. Empty if nothing is.
    pub fn check(&self) -> Vec<(String, String)> {
        let within = [
            ("threshold", self.threshold, 0.5, 255.0),
            ("min_area", self.min_area, 0.0, 1.0),
            ("look_every_s", self.look_every_s, 0.1, 3600.0),
            ("linger_s", self.linger_s, 0.0, 3600.0),
        ];
        let wrong = within.iter().filter(|(_, value, least, most)| !(least..=most).contains(&value));
        wrong
            .map(|(name, v, least, most)| (name.to_string(), format!("{v} is not within {least}..{most}")))
            .collect()
    }
}

/// Why a frame is analysed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The gate is switched off: analysed.
    Disabled,
    /// The first frame, or the first of a new size, or of another scene: analysed.
    New,
    /// Something moves: analysed.
    Motion,
    /// Something moved a moment ago, or the scene is a new one: analysed.
    Linger,
    /// Nothing moved for long; a look whether all is as it was: analysed.
    Look,
    /// Nothing moves: passed over.
    Still,
}

/// What the gate says about a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// Whether the frame is worth an inference.
    pub analyse: bool,
    /// Why.
    pub reason: Reason,
    /// The fraction of the picture that moves.
    pub moving_fraction: f32,
    /// Whether there is motion, for the state of that name: it begins with the second moving frame in a row,
    /// and ends once nothing moved for `linger_s`.
    pub motion: bool,
}

/// The motion gate of one source.
#[derive(Debug)]
pub struct MotionGate {
    config: MotionConfig,
    grid: Grid,
    background: Background,
    last_frame: Option<Duration>,
    last_look: Duration,
    last_motion: Option<Duration>,
    last_new: Option<Duration>,
    moved_before: bool,
    motion: bool,
}

impl MotionGate {
    /// A gate that has seen nothing.
    pub fn new(config: MotionConfig) -> Self {
        MotionGate {
            config,
            grid: Grid::default(),
            background: Background::default(),
            last_frame: None,
            last_look: Duration::ZERO,
            last_motion: None,
            last_new: None,
            moved_before: false,
            motion: false,
        }
    }

    /// Looks at a frame. Frames come in the order of their times.
    pub fn gate(&mut self, frame: &Frame) -> Verdict {
        let now = frame.capture_time.elapsed;
        let dt = self.last_frame.map(|last| now.saturating_sub(last).as_secs_f32().min(1.0));
        self.last_frame = Some(now);
        let resized = self.grid.read(&frame.picture);
        let moving_fraction = match dt {
            Some(dt) if !resized => self.background.compare(&self.grid, self.config.threshold, dt),
            _ => 1.0,
        };
        let is_new = resized || moving_fraction > OTHER_SCENE;
        if is_new {
            self.background.begin(&self.grid);
            self.last_new = Some(now);
        }
        let moves = !is_new && moving_fraction > 0.0 && moving_fraction >= self.config.min_area;
        self.motion |= moves && self.moved_before;
        self.moved_before = moves;
        if moves {
            self.last_motion = Some(now);
        }
        let within = |since: Duration, s: f32| now.saturating_sub(since).as_secs_f32() < s;
        let lingers = self.last_motion.is_some_and(|since| within(since, self.config.linger_s));
        self.motion &= moves || lingers;
        // One frame is no proof: what stands still in a new scene must be seen often enough to count.
        let is_fresh = self.last_new.is_some_and(|since| within(since, self.config.linger_s));
        let reason = if !self.config.enabled {
            Reason::Disabled
        } else if is_new {
            Reason::New
        } else if moves {
            Reason::Motion
        } else if lingers || is_fresh {
            Reason::Linger
        } else if !within(self.last_look, self.config.look_every_s) {
            Reason::Look
        } else {
            Reason::Still
        };
        let analyse = reason != Reason::Still;
        if analyse {
            self.last_look = now;
        }
        Verdict {
            analyse,
            reason,
            moving_fraction: if is_new { 0.0 } else { moving_fraction },
            motion: self.motion,
        }
    }
}
