//! How well a camera sees: looks at its pictures for black, covered, frozen, moved and out of focus.
//!
//! Owned by the source's thread; pure: no clock (frames carry their times), no I/O. Each frame costs a comparison of
//! some rows with those before; once a second a coarse grid of edges is compared with the usual one (see
//! `structure.rs`) and the sharpness of the rows with the usual one (see `rows.rs`).
//!
//! What prefers silence to a false word: every loss must last; what cannot be told (a scene that is dark, too poor
//! in detail, all masked) is not judged and leaves the verdict as it is; light that changes changes none of the
//! measures much; the usual view is learnt over minutes, so that shadows wander into it. A view must stand still before
//! it counts as moved. Written time and names at the upper and the lower edge are not looked at.
//!
//! Limits: what is usual is learnt from the first ten seconds after a start on, so a camera that is covered or turned
//! before that is not known to be. A lens that is covered by something dark cannot be told from a night unless
//! `black_below` is raised. Blur is judged in pictures as they are analysed, so what disappears by shrinking is none.
//!
//! Invariants: `frozen` is told at the first frame that is `frozen_after_s` or more younger than the first of the same
//! pictures, whatever the frame rate; after the first picture of a size nothing is allocated per frame.

pub mod audio;
mod config;
pub(crate) mod debounce;
mod rows;
mod structure;

#[cfg(test)]
mod tests;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::frame::{Frame, Picture};
use crate::geometry::Polygon;

pub use config::VideoHealthConfig;
use debounce::Debounce;
use rows::Rows;
use structure::{Compared, Found, SAME, Structure};

/// How often all but `frozen` is judged.
const LOOK: Duration = Duration::from_secs(1);
/// Looks before anything is called usual.
const WARM: u32 = 10;
/// How fast the usual view and the usual sharpness are learnt, as a time constant in seconds.
const LEARN_S: f32 = 300.0;
/// The same while the usual view is too poor to compare with: the light may have gone on.
const LEARN_POOR_S: f32 = 10.0;
/// Within so many seconds an encoder's whole picture has come, and has settled to what it was before.
const SETTLE_S: f32 = 10.0;
/// The fraction of pixels that differ clearly when something moved.
const LIVELY: f32 = 0.002;
/// The fraction of pixels that may be bright in a black picture: dead ones.
const DEAD: f32 = 0.001;
/// A picture whose mean level (of 255) is below this is dark: where its edges went cannot be said.
const DARK: f32 = 20.0;
/// A view that is found with this likeness is found.
const FOUND: f32 = 0.5;
/// It must be more alike there than where it should be, by this.
const CLEARER: f32 = 0.2;
/// A view that is less alike than this is another one.
const STRANGE: f32 = 0.2;
/// A moved view has come back when it is more alike than this.
const BACK: f32 = 0.45;

/// Why a camera sees nothing, or not what it should. Ordered from bad to worst: the worst is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VideoFault {
    /// Edges are much softer than usual.
    OutOfFocus,
    /// The view has shifted, or is another one.
    Moved,
    /// Frames come, and all show the same picture.
    Frozen,
    /// Most of the usual edges are gone, although there is light.
    Covered,
    /// No light at all, not even noise.
    Black,
}

impl VideoFault {
    /// As in states and events.
    pub fn as_str(self) -> &'static str {
        match self {
            VideoFault::OutOfFocus => "out_of_focus",
            VideoFault::Moved => "moved",
            VideoFault::Frozen => "frozen",
            VideoFault::Covered => "covered",
            VideoFault::Black => "black",
        }
    }

    /// Whether somebody may have done it.
    pub fn may_be_tampering(self) -> bool {
        matches!(self, VideoFault::Moved | VideoFault::Covered | VideoFault::Black)
    }
}

/// What was measured at the latest look: the evidence for a verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct VideoMetrics {
    /// Mean level, 0..255.
    pub brightness: f32,
    /// The fraction of pixels that are not black.
    pub bright_area: f32,
    /// For how long the picture has been the same, in seconds.
    pub same_s: f32,
    /// The fraction of the usual edges that are gone; 0 while none are known.
    pub gone: f32,
    /// How alike the view is to the usual one, −1..1.
    pub alike: f32,
    /// Where the usual view was found, as fractions of width and height (right and down are positive); `None` where it
    /// was not looked for or not found.
    pub shift: Option<[f32; 2]>,
    /// The sharpness that is left of the usual one, as a fraction; `None` if it cannot be judged.
    pub focus: Option<f32>,
}

/// The verdict has changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// The loss, or `None` when all is well again.
    pub loss: Option<VideoFault>,
    /// The former loss has ended because its view was taken for the usual one.
    pub relearnt: bool,
    /// What was measured.
    pub measures: VideoMetrics,
}

/// Judges the sight of one source.
#[derive(Debug)]
pub struct VideoHealthMonitor {
    config: VideoHealthConfig,
    masks: Vec<Polygon>,
    rows: Rows,
    structure: Structure,
    /// Since when all pictures were the same.
    same_since: Option<Duration>,
    /// When it was last exactly so.
    same_at: Duration,
    frozen: bool,
    black: Debounce,
    covered: Debounce,
    moved: Debounce,
    out_of_focus: Debounce,
    last_look: Option<Duration>,
    told: Option<VideoFault>,
    measures: VideoMetrics,
}

impl VideoHealthMonitor {
    /// A judge who has seen nothing. What `masks` cover is not looked at.
    pub fn new(config: VideoHealthConfig, masks: Vec<Polygon>) -> Self {
        VideoHealthMonitor {
            config,
            masks,
            rows: Rows::default(),
            structure: Structure::new(),
            same_since: None,
            same_at: Duration::ZERO,
            frozen: false,
            black: Debounce::default(),
            covered: Debounce::default(),
            moved: Debounce::default(),
            out_of_focus: Debounce::default(),
            last_look: None,
            told: None,
            measures: VideoMetrics::default(),
        }
    }

    /// Pictures were away and come again: they are judged from now on. What is usual stays known, so that a camera
    /// that was turned meanwhile is noticed.
    pub fn reopened(&mut self) {
        self.same_since = None;
        self.frozen = false;
        for hold in [&mut self.black, &mut self.covered, &mut self.moved, &mut self.out_of_focus] {
            *hold = Debounce::default();
        }
        self.told = None;
    }

    /// What was measured at the latest look.
    pub fn measures(&self) -> VideoMetrics {
        self.measures
    }

    /// Looks at a frame; tells when the verdict changes. Frames come in the order of their times.
    pub fn look(&mut self, frame: &Frame) -> Option<Change> {
        if !self.config.enabled {
            return None;
        }
        let now = frame.capture_time.elapsed;
        let mut relearnt = false;
        if self.rows.read(&frame.picture, &self.masks) {
            self.reopened_with_another_size();
        }
        if !self.rows.sees() {
            return None;
        }
        self.judge_frozen(now);
        let since_look = self.last_look.map(|last| now.saturating_sub(last));
        if since_look.is_none_or(|since| since >= LOOK) {
            self.last_look = Some(now);
            relearnt = self.judge(&frame.picture, now, since_look.unwrap_or_default());
        }
        let active = [
            (self.black.is_active(), VideoFault::Black),
            (self.covered.is_active(), VideoFault::Covered),
            (self.frozen, VideoFault::Frozen),
            (self.moved.is_active(), VideoFault::Moved),
            (self.out_of_focus.is_active(), VideoFault::OutOfFocus),
        ];
        let loss = active.into_iter().find(|(is_active, _)| *is_active).map(|(_, loss)| loss);
        if loss == self.told {
            return None;
        }
        self.told = loss;
        Some(Change { loss, relearnt, measures: self.measures })
    }

    fn reopened_with_another_size(&mut self) {
        let told = self.told;
        self.reopened();
        // The end of what was told is still to be told.
        self.told = told;
    }

    /// A picture is the same as the first of its kind, or the first of another. An encoder makes whole pictures now
    /// and then, which look a little different and then settle: what was frozen comes back to what it was, a
    /// sensor's noise never does. What was frozen lives again when two changes come within the time: a camera that
    /// delivers one picture a minute does not.
    fn judge_frozen(&mut self, now: Duration) {
        if self.same_since.is_none() {
            self.same_at = now;
        }
        let since = *self.same_since.get_or_insert(now);
        let lasted_s = |since: Duration| now.saturating_sub(since).as_secs_f32();
        let after_s = self.config.frozen_after_s;
        let change = self.rows.change();
        if change.mean <= self.config.frozen_change {
            self.same_at = now;
            self.frozen |= self.config.looks_for(VideoFault::Frozen) && lasted_s(since) >= after_s;
        } else if change.clear > LIVELY || lasted_s(self.same_at) > SETTLE_S.min(after_s / 2.0) {
            self.rows.begin_kind();
            self.frozen &= lasted_s(since) >= after_s;
            self.same_since = Some(now);
            self.same_at = now;
        }
        self.measures.same_s = now.saturating_sub(self.same_since.unwrap_or(now)).as_secs_f32();
    }

    /// All but `frozen`. True if the view was taken for the usual one.
    fn judge(&mut self, picture: &Picture, now: Duration, since: Duration) -> bool {
        let range = if picture.luma().is_some() && !picture.colour().full_range && !is_gray(picture) {
            (16.0, 235.0)
        } else {
            (0.0, 255.0)
        };
        self.structure.read(picture, range, &self.masks);
        let light = self.rows.light(range, self.config.black_below);
        let is_warm = self.structure.learnt() >= WARM;
        let compared = self.structure.compare();
        let is_dark = light.mean < DARK;
        let judged = is_warm && compared.is_rich() && !is_dark;

        let black = light.bright <= DEAD && self.structure.bright(self.config.black_below) <= DEAD;
        let covered = judged.then(|| {
            let hysteresis = if self.covered.is_active() { 0.2 } else { 0.0 };
            compared.gone >= self.config.covered_area - hysteresis
        });
        let (moved, found) =
            if judged && covered == Some(false) { self.judge_moved(&compared) } else { (None, None) };
        let calm = !black && covered != Some(true) && moved != Some(true);
        // Time that went by without pictures teaches nothing.
        let passed = since.as_secs_f32().min(10.0);
        let time_constant = if compared.is_rich() { LEARN_S } else { LEARN_POOR_S };
        let weight = 1.0 - (-passed / time_constant).exp();
        // What goes from view to view would be learnt as a picture of all of them.
        let may_learn = calm && !is_dark && (self.structure.is_steady() || !is_warm);
        let is_blurred = self.out_of_focus.is_active() || self.out_of_focus.is_pending();
        let focus = self.rows.focus((may_learn && !is_blurred).then_some(weight));
        let out_of_focus = focus.filter(|_| judged && calm).map(|focus| {
            let hysteresis = if self.out_of_focus.is_active() { 1.5 } else { 1.0 };
            focus < self.config.focus_below * hysteresis
        });
        if may_learn {
            self.structure.learn(weight);
        }
        self.measures = VideoMetrics {
            brightness: light.mean,
            bright_area: light.bright,
            same_s: self.measures.same_s,
            gone: compared.gone,
            alike: compared.alike,
            shift: found.filter(|f| f.alike >= FOUND).map(|f| f.shift),
            focus,
        };
        self.settle(now, black, covered, moved, out_of_focus)
    }

    /// Whether the view is another, as far as it can be told, and where it was found.
    fn judge_moved(&mut self, compared: &Compared) -> (Option<bool>, Option<Found>) {
        if compared.alike >= SAME {
            return (Some(false), None);
        }
        // Edges that are hidden by night or fog are no other view.
        if compared.detail < 0.5 * compared.usual_detail {
            return (None, None);
        }
        if self.structure.turn_to_known() {
            self.rows.forget_sharpness();
            return (Some(false), None);
        }
        // A camera that was moved stands still again. What goes from view to view is a clip, or a camera that turns.
        if !self.structure.is_steady() {
            return (None, None);
        }
        let found = self.structure.find();
        let far = found.shift[0].abs().max(found.shift[1].abs());
        let shifted =
            found.alike >= FOUND && found.alike >= compared.alike + CLEARER && far >= self.config.moved_by;
        let strange = compared.alike < STRANGE && found.alike < FOUND;
        let moved = if shifted || strange {
            Some(true)
        } else if self.moved.is_active() && compared.alike < BACK {
            None
        } else {
            Some(false)
        };
        (moved, Some(found))
    }

    fn settle(
        &mut self,
        now: Duration,
        black: bool,
        covered: Option<bool>,
        moved: Option<bool>,
        out_of_focus: Option<bool>,
    ) -> bool {
        let c = &self.config;
        let wanted = |loss: VideoFault, raw: Option<bool>| raw.filter(|_| c.looks_for(loss));
        let (hold, recover) = (c.hold_s, c.recover_s);
        self.black.step(wanted(VideoFault::Black, Some(black)), now, hold, recover);
        self.covered.step(wanted(VideoFault::Covered, covered), now, hold, recover);
        self.moved.step(wanted(VideoFault::Moved, moved), now, hold, recover);
        self.out_of_focus.step(wanted(VideoFault::OutOfFocus, out_of_focus), now, c.focus_hold_s, recover);
        let mut relearnt = false;
        if self.moved.lasts(now, c.relearn_after_s) {
            self.moved = Debounce::default();
            self.structure.begin_view();
            self.rows.forget_sharpness();
            relearnt = true;
        }
        if self.out_of_focus.lasts(now, c.relearn_after_s) {
            self.out_of_focus = Debounce::default();
            self.rows.forget_sharpness();
            relearnt = true;
        }
        relearnt
    }
}

/// Gray pictures come from sources that know no range.
fn is_gray(picture: &Picture) -> bool {
    picture.format() == crate::frame::PixelFormat::Gray8
}
