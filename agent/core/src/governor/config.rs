//! When a board counts as too hot, throttled or late, by configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When and how fast the node leaves out work that the board cannot carry. The defaults suit boards of the Raspberry Pi
/// class with or without a fan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GovernorConfig {
    /// Whether cameras are slowed down while the board is too hot, throttled or late. If not, the board's own firmware
    /// alone protects it, and nobody is told what is not watched.
    pub enabled: bool,
    /// The temperature in °C from which on the node slows down, unless the board itself would earlier (`margin_c`).
    /// Processors of PCs, which regulate themselves, have 20 °C more. 30 to 120.
    pub max_temperature_c: f32,
    /// How far below the board's own lowest passive trip point (from which on its kernel throttles) the node slows
    /// down already, in °C. 0 to 30.
    pub margin_c: f32,
    /// How far below that limit the board must have cooled down before more is watched again, in °C. 1 to 30.
    pub hysteresis_c: f32,
    /// The share of a camera's frames that may be replaced by newer ones before its chain gets to them; from this share
    /// on the node counts as late. 0.05 to 1; 1 never does.
    pub late_share: f32,
    /// Thermal zones that count, by type as `aimass-agent probe` shows them. Empty: all but those of radios and
    /// batteries.
    pub zones: Vec<String>,
    /// Seconds between two looks at the board, six times that while all cameras are away, none while there is no camera.
    /// 0.5 to 60.
    pub period_s: f32,
    /// Seconds that trouble must last before a step down, and between two of them. 1 to 600.
    pub step_down_after_s: f32,
    /// Seconds that all must be well before a step up, and between two of them. Doubled by each step up that did not
    /// last, up to `longest_wait_s`. 1 to 3600.
    pub step_up_after_s: f32,
    /// The most that the wait before a step up may grow to, in seconds. 1 to 86400.
    pub longest_wait_s: f32,
}

impl Default for GovernorConfig {
    fn default() -> Self {
        GovernorConfig {
            enabled: true,
            max_temperature_c: 75.0,
            margin_c: 5.0,
            hysteresis_c: 7.0,
            late_share: 0.25,
            zones: Vec::new(),
            period_s: 5.0,
            step_down_after_s: 10.0,
            step_up_after_s: 60.0,
            longest_wait_s: 900.0,
        }
    }
}

impl GovernorConfig {
    /// What is wrong with these settings: the field, and what to do. Empty if nothing is.
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let within = [
            ("max_temperature_c", self.max_temperature_c, 30.0, 120.0),
            ("margin_c", self.margin_c, 0.0, 30.0),
            ("hysteresis_c", self.hysteresis_c, 1.0, 30.0),
            ("late_share", self.late_share, 0.05, 1.0),
            ("period_s", self.period_s, 0.5, 60.0),
            ("step_down_after_s", self.step_down_after_s, 1.0, 600.0),
            ("step_up_after_s", self.step_up_after_s, 1.0, 3600.0),
            ("longest_wait_s", self.longest_wait_s, 1.0, 86_400.0),
        ];
        let wrong = within.iter().filter(|(_, value, least, most)| !(least..=most).contains(&value));
        let mut wrong: Vec<_> = wrong
            .map(|(name, v, least, most)| (*name, format!("{v} is not within {least}..{most}")))
            .collect();
        if self.longest_wait_s < self.step_up_after_s {
            let text = format!("{} is below step_up_after_s: give at least that", self.longest_wait_s);
            wrong.push(("longest_wait_s", text));
        }
        wrong
    }
}
