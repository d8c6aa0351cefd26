//! The governor's part of the health document: what is not watched now, and why.

use jiff::Timestamp;
use serde::Serialize;

use aimass_core::governor::Hottest;

use crate::board::sysfs::Frequency;

/// What one camera is given of what it is to have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CameraShare {
    /// The camera.
    pub id: String,
    /// 1 gives up first, 9 last.
    pub priority: u8,
    /// Analysed frames a second that the configuration asks for.
    pub fps_wanted: f32,
    /// What it gets of them.
    pub fps_given: f32,
    /// Whether its smaller models are to do the work.
    pub smaller_models: bool,
    /// The models that are to do the work, in the order of the chain.
    pub models: Vec<String>,
}

impl CameraShare {
    /// Whether it has all that it is to have.
    pub fn is_whole(&self) -> bool {
        self.fps_given >= self.fps_wanted && !self.smaller_models
    }
}

/// How the node is held back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GovernorHealth {
    /// `off`, `idle` (no camera that could be slowed down, and nobody looks at the board), `watching` or `degraded`.
    pub state: &'static str,
    /// Rungs that all cameras together are down; 0 unless `degraded`.
    pub level: u32,
    /// Rungs that there are.
    pub levels: u32,
    /// `hot`, `throttled`, `under_voltage` or `late`; null unless `degraded`.
    pub reason: Option<&'static str>,
    /// Since when it is `degraded`.
    #[serde(with = "optional_time")]
    pub since: Option<Timestamp>,
    /// The thermal zone that is nearest to its limit; null if the board has none.
    pub hottest: Option<Hottest>,
    /// Whether the kernel or the firmware slows the processor down.
    pub throttled: bool,
    /// Whether the supply is too weak.
    pub under_voltage: bool,
    /// The processor's frequency; null where the kernel does not tell.
    pub frequency: Option<Frequency>,
    /// The cameras that can be slowed down: all but files that are read as fast as they are analysed.
    pub cameras: Vec<CameraShare>,
}

impl Default for GovernorHealth {
    fn default() -> Self {
        GovernorHealth {
            state: "off",
            level: 0,
            levels: 0,
            reason: None,
            since: None,
            hottest: None,
            throttled: false,
            under_voltage: false,
            frequency: None,
            cameras: Vec::new(),
        }
    }
}

impl GovernorHealth {
    /// The share of one camera.
    pub fn camera(&self, id: &str) -> Option<&CameraShare> {
        self.cameras.iter().find(|camera| camera.id == id)
    }
}

mod optional_time {
    use jiff::Timestamp;
    use serde::Serializer;

    pub(super) fn serialize<S: Serializer>(time: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => aimass_core::event::rfc3339_ms::serialize(time, s),
            None => s.serialize_none(),
        }
    }
}
