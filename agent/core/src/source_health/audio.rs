//! How well a microphone hears: looks at its samples for a dead input and for silence that no room has.
//!
//! Owned by the source's thread; pure: no clock (windows carry their times), no I/O. Each window costs one pass over its
//! samples. An input that works is never still: the noise of its own amplifier moves the last bits. So samples that are
//! all the same come from a plug that is out, a switch that is off or a driver that hangs (`dead`); a level below what
//! any room has comes from a gain at zero or a hand on the microphone (`silent`).
//!
//! Invariant: a loss is told at the first window whose end lies so long after the beginning of what it rests on; it has
//! ended once sound was there for [`AudioHealthConfig::recover_s`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audio::AudioChunk;
use crate::audio::level::{Level, Sums};
use crate::event::Severity;
use crate::source_health::debounce::Debounce;

/// Samples that lie closer together than half the smallest step of 16 bits are the same: conversion leaves that much.
const SAME: f32 = 1.0 / 65_536.0;

/// Why a microphone hears nothing. Ordered from bad to worst: the worst is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AudioFault {
    /// Below the floor.
    Silent,
    /// All samples are the same.
    Dead,
}

impl AudioFault {
    /// As in states and events.
    pub fn as_str(self) -> &'static str {
        match self {
            AudioFault::Silent => "silent",
            AudioFault::Dead => "dead",
        }
    }
}

/// When a microphone counts as not hearing. The defaults prefer a late word to a false one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AudioHealthConfig {
    /// Whether samples are judged and losses told as events of kind `health`. If not, `state/<microphone>/health` still
    /// tells `stalled` and `failed`.
    pub enabled: bool,
    /// The severity of `stalled`, `failed`, `dead` and `silent`.
    pub severity: Severity,
    /// Seconds without a sample after which a microphone that cannot be opened counts as lost. (One that falls silent
    /// in the middle has `stall_after_s`.) 0 to 3600.
    pub away_after_s: f32,
    /// Seconds of samples that are all the same that make it `dead`. 0 to 3600; 0 does not look for it: some
    /// microphones gate the room's noise off.
    pub dead_after_s: f32,
    /// The level (RMS, in dBFS) below which it is `silent`. The default is below the noise of a 16-bit converter. -120 to 0.
    pub silent_below_dbfs: f32,
    /// Seconds below that level that make it `silent`. 0 to 86400; 0 does not look for it.
    pub silent_after_s: f32,
    /// Seconds that sound must be there again before the loss has ended. 0 to 3600.
    pub recover_s: f32,
}

impl Default for AudioHealthConfig {
    fn default() -> Self {
        AudioHealthConfig {
            enabled: true,
            severity: Severity::Notice,
            away_after_s: 10.0,
            dead_after_s: 10.0,
            silent_below_dbfs: -90.0,
            silent_after_s: 60.0,
            recover_s: 1.0,
        }
    }
}

impl AudioHealthConfig {
    /// What is wrong with these settings: the field, and what to do. Empty if nothing is.
    pub fn check(&self) -> Vec<(String, String)> {
        outside(&[
            ("away_after_s", self.away_after_s, 0.0, 3600.0),
            ("dead_after_s", self.dead_after_s, 0.0, 3600.0),
            ("silent_below_dbfs", self.silent_below_dbfs, -120.0, 0.0),
            ("silent_after_s", self.silent_after_s, 0.0, 86_400.0),
            ("recover_s", self.recover_s, 0.0, 3600.0),
        ])
    }
}

/// Those of the values that are not within their bounds.
pub(crate) fn outside(values: &[(&str, f32, f32, f32)]) -> Vec<(String, String)> {
    let wrong = values.iter().filter(|(_, value, least, most)| !(least..=most).contains(&value));
    wrong
        .map(|(name, v, least, most)| (name.to_string(), format!("{v} is not within {least}..{most}")))
        .collect()
}

/// The verdict has changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// The loss, or `None` when all is well again.
    pub loss: Option<AudioFault>,
    /// The level of the window that decided.
    pub level: Level,
}

/// Judges one microphone.
#[derive(Debug)]
pub struct AudioHealthMonitor {
    config: AudioHealthConfig,
    dead: Debounce,
    silent: Debounce,
    told: Option<AudioFault>,
}

impl AudioHealthMonitor {
    /// A judge who has heard nothing.
    pub fn new(config: AudioHealthConfig) -> Self {
        AudioHealthMonitor { config, dead: Debounce::default(), silent: Debounce::default(), told: None }
    }

    /// Sound was away and comes again: it is judged from now on.
    pub fn reopened(&mut self) {
        (self.dead, self.silent, self.told) = (Debounce::default(), Debounce::default(), None);
    }

    /// Listens to a window: its level, and the verdict if that has changed.
    pub fn hear(&mut self, window: &AudioChunk) -> (Level, Option<Change>) {
        let sums = Sums::of(window.samples.as_slice());
        let level = sums.level();
        if !self.config.enabled {
            return (level, None);
        }
        let c = &self.config;
        let (begin, end) =
            (window.capture_time.elapsed, window.capture_time.elapsed + window.samples.duration());
        let judge = |hold: &mut Debounce, seen: bool, after_s: f32| {
            if after_s > 0.0 {
                hold.step(Some(seen), begin, after_s, c.recover_s);
                hold.step(Some(seen), end, after_s, c.recover_s);
            }
        };
        judge(&mut self.dead, sums.spread() <= SAME, c.dead_after_s);
        judge(&mut self.silent, level.rms_dbfs < c.silent_below_dbfs, c.silent_after_s);
        let loss = if self.dead.is_active() {
            Some(AudioFault::Dead)
        } else {
            self.silent.is_active().then_some(AudioFault::Silent)
        };
        let news = (loss != self.told).then_some(Change { loss, level });
        self.told = loss;
        (level, news)
    }
}
