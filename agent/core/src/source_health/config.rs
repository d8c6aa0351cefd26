//! What counts as a loss of sight, by configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::VideoFault;
use crate::event::Severity;

/// When a camera counts as not seeing. The defaults prefer a late word to a false one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VideoHealthConfig {
    /// Whether pictures are judged and losses of sight told as events. If not, `state/<source>/health` still tells
    /// `stalled` and `failed`.
    pub enabled: bool,
    /// What pictures are judged for: `black`, `covered`, `frozen`, `moved`, `out_of_focus`. Leave `moved` out for a
    /// camera that turns.
    pub look_for: Vec<VideoFault>,
    /// The severity of `stalled`, `failed`, `frozen` and `out_of_focus`: mostly a defect.
    pub severity: Severity,
    /// The severity of `black`, `covered` and `moved`: possibly somebody's deed.
    pub tamper_severity: Severity,
    /// Seconds without a picture after which a camera that cannot be opened counts as lost: one that restarts is
    /// none. (One that falls silent has `stall_after_s`.) 0 to 3600.
    pub away_after_s: f32,
    /// Seconds of the same picture that make it frozen. Longer than the longest time between two whole pictures of
    /// a camera's encoder, which sends nothing new while nothing moves. 0.5 to 3600.
    pub frozen_after_s: f32,
    /// By how many levels of brightness (of 255), as a mean over all pixels, pictures may differ and still be the
    /// same. A frozen picture that is encoded again and again returns to within 0.02, one with a sensor's noise stays
    /// 0.2 away even where the encoder smooths it. 0 to 10.
    pub frozen_change: f32,
    /// The level (of 255) below which all pixels of a black picture lie. The default is below the noise of a sensor in
    /// the dark, so that a night is no loss; raise it (to 40, say) where a light always burns, and a lens that is
    /// covered by something dark counts too (and to 24 for a camera whose black is 16 but which says that it is 0).
    /// 0 to 128.
    pub black_below: f32,
    /// Which part of the picture's usual detail must be gone for it to be covered, as a fraction. A truck in front
    /// of half the view covers less. 0.3 to 1.
    pub covered_area: f32,
    /// How far the view must have shifted, as a fraction of the picture's width or height. Less is wind at the mast,
    /// and zones and lines still fit. 0.02 to 0.25.
    pub moved_by: f32,
    /// What is left of the usual sharpness of edges when a picture is out of focus, as a fraction. Twice the usual blur
    /// leaves about 0.12. 0.01 to 0.9.
    pub focus_below: f32,
    /// Seconds that `black`, `covered` and `moved` must last: longer than a hand, a passing bus, a switch to infrared.
    /// 0 to 3600.
    pub hold_s: f32,
    /// Seconds that `out_of_focus` must last: lenses hunt for focus. 0 to 3600.
    pub focus_hold_s: f32,
    /// Seconds that sight must be good again before the loss has ended. 0 to 3600.
    pub recover_s: f32,
    /// Seconds after which `moved` and `out_of_focus` are taken for what is usual from then on, which ends them. A
    /// restart of the source does so at once. 0: only that. 0 to 604800.
    pub relearn_after_s: f32,
}

impl Default for VideoHealthConfig {
    fn default() -> Self {
        VideoHealthConfig {
            enabled: true,
            look_for: vec![
                VideoFault::Black,
                VideoFault::Covered,
                VideoFault::Frozen,
                VideoFault::Moved,
                VideoFault::OutOfFocus,
            ],
            severity: Severity::Notice,
            tamper_severity: Severity::Alarm,
            away_after_s: 10.0,
            frozen_after_s: 30.0,
            frozen_change: 0.05,
            black_below: 8.0,
            covered_area: 0.7,
            moved_by: 0.05,
            focus_below: 0.2,
            hold_s: 10.0,
            focus_hold_s: 30.0,
            recover_s: 3.0,
            relearn_after_s: 3600.0,
        }
    }
}

impl VideoHealthConfig {
    /// What is wrong with these settings: the field, and what to do. Empty if nothing is.
    pub fn check(&self) -> Vec<(String, String)> {
        let within = [
            ("away_after_s", self.away_after_s, 0.0, 3600.0),
            ("frozen_after_s", self.frozen_after_s, 0.5, 3600.0),
            ("frozen_change", self.frozen_change, 0.0, 10.0),
            ("black_below", self.black_below, 0.0, 128.0),
            ("covered_area", self.covered_area, 0.3, 1.0),
            ("moved_by", self.moved_by, 0.02, 0.25),
            ("focus_below", self.focus_below, 0.01, 0.9),
            ("hold_s", self.hold_s, 0.0, 3600.0),
            ("focus_hold_s", self.focus_hold_s, 0.0, 3600.0),
            ("recover_s", self.recover_s, 0.0, 3600.0),
            ("relearn_after_s", self.relearn_after_s, 0.0, 604_800.0),
        ];
        let wrong = within.iter().filter(|(_, value, least, most)| !(least..=most).contains(&value));
        wrong
            .map(|(name, v, least, most)| (name.to_string(), format!("{v} is not within {least}..{most}")))
            .collect()
    }

    pub(super) fn looks_for(&self, loss: VideoFault) -> bool {
        self.enabled && self.look_for.contains(&loss)
    }
}
