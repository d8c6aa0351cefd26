//! The values of `state/<source>/<name>`. Retained; an empty payload means that the value is no longer kept.
//!
//! | name | value |
//! |---|---|
//! | `motion` | whether the motion gate sees motion |
//! | `health` | [`crate::health::HealthState`] |
//! | `count/<zone>/<label>` | how many of a label are in a zone |
//! | `line/<line>/in`, `line/<line>/out` | how often a line was crossed |
//! | `level` | [`LevelState`] |
//! | `analysis` | whether the frames of a camera are analysed |

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How loud a microphone is, in dB relative to full scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Level {
    /// The root mean square, without DC.
    pub rms_dbfs: f32,
    /// The sample that is farthest from zero.
    pub peak_dbfs: f32,
}

/// The value of `state/<microphone>/level`: a level in tenths of a dB; null while it is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LevelState {
    /// As in [`Level`].
    pub rms_dbfs: Option<f64>,
    /// As in [`Level`].
    pub peak_dbfs: Option<f64>,
}

impl From<Option<Level>> for LevelState {
    fn from(level: Option<Level>) -> Self {
        let tenths = |dbfs: f32| (f64::from(dbfs) * 10.0).round() / 10.0;
        LevelState {
            rms_dbfs: level.map(|l| tenths(l.rms_dbfs)),
            peak_dbfs: level.map(|l| tenths(l.peak_dbfs)),
        }
    }
}
