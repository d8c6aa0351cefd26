//! How loud it is: the level of windows, and a meter that tells only what is news.
//!
//! Pure: no clock, windows carry their times. Levels are in dBFS: 0 is the amplitude of full scale, so a sine that
//! just fits has an RMS of −3. What does not change from sample to sample (DC) is no sound and counts for the peak only.
//!
//! Invariant: the meter tells at most one level for each [`LevelConfig::every_s`], and no peak between two levels is lost
//! but one that was no news.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AudioChunk;

/// The level of digital silence, and the lowest that is told: far below what 16 bits can say.
pub const FLOOR_DBFS: f32 = -120.0;

/// A level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Level {
    /// The mean, as root of the mean square without DC.
    pub rms_dbfs: f32,
    /// The farthest sample from zero.
    pub peak_dbfs: f32,
}

impl From<Level> for aimass_protocol::state::Level {
    fn from(level: Level) -> Self {
        aimass_protocol::state::Level { rms_dbfs: level.rms_dbfs, peak_dbfs: level.peak_dbfs }
    }
}

/// What a level is made of; can be added up.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sums {
    count: f64,
    mean: f64,
    /// Squares of the distances from the mean.
    squares: f64,
    least: f32,
    most: f32,
}

impl Sums {
    pub(crate) fn of(samples: &[f32]) -> Self {
        // Distances from the first: small numbers stay exact beside a large DC.
        let first = samples.first().copied().unwrap_or_default();
        let (mut least, mut most, mut sum, mut squares) = (first, first, 0.0f64, 0.0f64);
        // In blocks: single precision is exact enough for so few, and is what small processors are quick at.
        for block in samples.chunks(256) {
            let (mut block_sum, mut block_squares) = (0.0f32, 0.0f32);
            for &sample in block {
                let distance = sample - first;
                block_sum += distance;
                block_squares += distance * distance;
                least = least.min(sample);
                most = most.max(sample);
            }
            sum += f64::from(block_sum);
            squares += f64::from(block_squares);
        }
        let count = samples.len() as f64;
        let offset = sum / count.max(1.0);
        Sums {
            count,
            mean: f64::from(first) + offset,
            squares: (squares - offset * sum).max(0.0),
            least,
            most,
        }
    }

    fn add(&mut self, other: &Sums) {
        if self.count == 0.0 {
            *self = *other;
            return;
        }
        let (all, apart) = (self.count + other.count, other.mean - self.mean);
        self.squares += other.squares + apart * apart * self.count * other.count / all;
        self.mean += apart * other.count / all;
        self.count = all;
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
    }

    /// How far the samples lie apart.
    pub(crate) fn spread(&self) -> f32 {
        self.most - self.least
    }

    pub(crate) fn level(&self) -> Level {
        let power = self.squares / self.count.max(1.0);
        Level { rms_dbfs: dbfs(power.sqrt()), peak_dbfs: dbfs(f64::from(self.most.max(-self.least))) }
    }
}

/// Tenths are enough for everybody.
fn dbfs(amplitude: f64) -> f32 {
    let exact = 20.0 * amplitude.log10();
    // Also for minus infinity.
    let bounded = exact.max(f64::from(FLOOR_DBFS));
    ((bounded * 10.0).round() / 10.0) as f32
}

impl Level {
    /// The level of some samples; [`FLOOR_DBFS`] for none.
    pub fn of(samples: &[f32]) -> Self {
        Sums::of(samples).level()
    }

    fn differs(&self, other: &Level, by_db: f32) -> bool {
        (self.rms_dbfs - other.rms_dbfs).abs() >= by_db || (self.peak_dbfs - other.peak_dbfs).abs() >= by_db
    }
}

/// When a microphone's level is told as its state `level`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LevelConfig {
    /// Seconds that one level sums up; it is told at most so often. 1 to 3600.
    pub every_s: f32,
    /// By how many decibels RMS or peak must differ from what was told last, to be told. 0 to 60; 0 tells every level.
    pub change_db: f32,
    /// Seconds after which a level that stays the same is told again, so that who listens knows it is alive. 10 to 3600.
    pub repeat_after_s: f32,
}

impl Default for LevelConfig {
    fn default() -> Self {
        LevelConfig { every_s: 5.0, change_db: 3.0, repeat_after_s: 60.0 }
    }
}

impl LevelConfig {
    /// What is wrong with these settings: the field, and what to do. Empty if nothing is.
    pub fn check(&self) -> Vec<(String, String)> {
        crate::source_health::audio::outside(&[
            ("every_s", self.every_s, 1.0, 3600.0),
            ("change_db", self.change_db, 0.0, 60.0),
            ("repeat_after_s", self.repeat_after_s, 10.0, 3600.0),
        ])
    }
}

/// Sums windows up to levels, and knows which are news.
#[derive(Debug)]
pub struct Meter {
    config: LevelConfig,
    sums: Sums,
    /// Where the level that is summed up begins, on the source's timeline.
    since: Option<Duration>,
    told: Option<(Duration, Level)>,
}

impl Meter {
    /// A meter that has told nothing.
    pub fn new(config: LevelConfig) -> Self {
        Meter { config, sums: Sums::default(), since: None, told: None }
    }

    /// Sound was away and comes again: what was heard before counts for nothing, and the next level is news.
    pub fn reopened(&mut self) {
        (self.sums, self.since, self.told) = (Sums::default(), None, None);
    }

    /// Takes a window in; a level if one is complete and news.
    pub fn hear(&mut self, window: &AudioChunk) -> Option<Level> {
        let begin = window.capture_time.elapsed;
        let since = *self.since.get_or_insert(begin);
        self.sums.add(&Sums::of(window.samples.as_slice()));
        let end = begin + window.samples.duration();
        // A window that comes a little early is no reason to wait for another.
        let complete = end.saturating_sub(since) + window.samples.duration() / 4;
        if complete.as_secs_f32() < self.config.every_s {
            return None;
        }
        let level = self.sums.level();
        (self.sums, self.since) = (Sums::default(), None);
        let is_news = self.told.as_ref().is_none_or(|(at, told)| {
            level.differs(told, self.config.change_db)
                || end.saturating_sub(*at).as_secs_f32() >= self.config.repeat_after_s
        });
        is_news.then(|| {
            self.told = Some((end, level));
            level
        })
    }
}
