//! One microphone, as a configuration has it.

use aimass_core::audio::{AudioHealthConfig, LevelConfig};
use aimass_core::id::Name;
use aimass_media::MicrophoneUri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Problem, default_open_timeout_s, default_stall_after_s};

/// One microphone, sound file or test tone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MicrophoneConfig {
    /// The microphone's name in topics, events and the API; no camera may have the same.
    pub id: Name,
    /// Where its sound comes from: `alsa:default`, `alsa:hw:CARD=Device,DEV=0` (a name of ALSA's), `pulse:` or
    /// `pulse:<source>` (PulseAudio, PipeWire), `file:/path/sound.wav` (`?loop=true&realtime=false`; any file with
    /// sound), `gst:<pipeline ending in raw sound>`, `test:` (a tone: `?hz=440&volume=0.1&wave=sine`).
    pub source: String,
    /// A microphone that delivers nothing for so many seconds has stalled and is opened anew. 1 to 600.
    #[serde(default = "default_stall_after_s")]
    pub stall_after_s: f32,
    /// Seconds that the microphone may take from opening to its first sample. 1 to 600.
    #[serde(default = "default_open_timeout_s")]
    pub open_timeout_s: f32,
    /// When its level is told as `state/<id>/level`.
    #[serde(default)]
    pub level: LevelConfig,
    /// When the microphone counts as not hearing: stalled, failed, dead, silent.
    #[serde(default)]
    pub health: AudioHealthConfig,
}

impl MicrophoneConfig {
    /// Everything that is wrong with it; `at` is its path.
    pub(super) fn check(&self, at: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut say =
            |field: &str, message: String| problems.push(Problem::new(format!("{at}.{field}"), message));
        if let Err(error) = self.source.parse::<MicrophoneUri>() {
            say("source", error.to_string());
        }
        if self.id.as_str() == "node" {
            say("id", "\"node\" is the source of the node's own events: choose another name".to_owned());
        }
        for (field, value) in [("stall_after_s", self.stall_after_s), ("open_timeout_s", self.open_timeout_s)]
        {
            if !(1.0..=600.0).contains(&value) {
                say(field, format!("{value} is not within 1..600"));
            }
        }
        for (field, problem) in self.level.check() {
            say(&format!("level.{field}"), problem);
        }
        for (field, problem) in self.health.check() {
            say(&format!("health.{field}"), problem);
        }
        problems
    }
}
