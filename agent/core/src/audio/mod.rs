//! Sound, as microphones deliver it: windows of mono samples, their level, and what a microphone has lost.
//!
//! A [`AudioChunk`] is to a microphone what a [`crate::frame::Frame`] is to a camera: the same ports carry both.

pub(crate) mod level;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::frame::CaptureTime;
use crate::id::Name;

pub use crate::source_health::audio::{AudioFault, AudioHealthConfig, AudioHealthMonitor, Change};
pub use level::{FLOOR_DBFS, Level, LevelConfig, Meter};

/// Samples a second, whatever the microphone itself has.
pub const RATE_HZ: u32 = 16_000;

/// The time that so many samples take.
pub fn duration_of(samples: u64) -> Duration {
    Duration::from_nanos(samples.saturating_mul(1_000_000_000) / u64::from(RATE_HZ))
}

/// Mono samples at [`RATE_HZ`]; ±1.0 is full scale. Cloning clones a handle.
#[derive(Clone)]
pub struct Samples(Arc<[f32]>);

impl Samples {
    /// The samples, in the order of time.
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// How long they last.
    pub fn duration(&self) -> Duration {
        duration_of(self.0.len() as u64)
    }
}

impl From<&[f32]> for Samples {
    fn from(samples: &[f32]) -> Self {
        Samples(samples.into())
    }
}

impl fmt::Debug for Samples {
    /// How many only: what was said never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Samples({})", self.0.len())
    }
}

/// What a microphone heard for a while. All windows of a source are equally long.
#[derive(Debug, Clone)]
pub struct AudioChunk {
    /// The source's id.
    pub source: Name,
    /// Counts the windows of this source since the program began, without gaps, from 0.
    pub seq: u64,
    /// The moment of the first sample.
    pub capture_time: CaptureTime,
    /// What was heard.
    pub samples: Samples,
}
