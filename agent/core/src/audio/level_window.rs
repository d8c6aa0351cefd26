//! Half-second windows over a stream of chunks: what levels and the detection of dead and silent inputs are computed from.
//!
//! A chunk is too short for a stable level, and its length depends on what the consumers of the sound need. Windows make
//! the statistics independent of it: a window covers exactly [`WINDOW_SAMPLES`], across the borders of chunks.
//!
//! Invariants: a window never contains samples from both sides of a discontinuity; nothing is allocated.

use std::time::Duration;

use super::level::Sums;
use super::{AudioChunk, Level, RATE_HZ, duration_of};
use crate::frame::CaptureTime;

/// Samples of a window: half a second.
pub const WINDOW_SAMPLES: usize = RATE_HZ as usize / 2;

/// The statistics of one window.
#[derive(Debug, Clone)]
pub struct LevelWindow {
    /// The time of the first sample.
    pub capture_time: CaptureTime,
    pub(crate) sums: Sums,
}

impl LevelWindow {
    /// The level over the window.
    pub fn level(&self) -> Level {
        self.sums.level()
    }

    /// The length of the window.
    pub fn duration(&self) -> Duration {
        duration_of(WINDOW_SAMPLES as u64)
    }
}

/// Splits the chunks of one source into windows.
#[derive(Debug, Default)]
pub struct LevelWindower {
    /// The incomplete window and the number of its samples.
    pending: Option<(LevelWindow, usize)>,
}

impl LevelWindower {
    /// Adds a chunk. Iterates over the windows that it completes: none or one, unless the chunk is longer than a window.
    /// Samples that the caller does not iterate over are not counted.
    pub fn add<'a>(&'a mut self, chunk: &'a AudioChunk) -> impl Iterator<Item = LevelWindow> + 'a {
        if chunk.discontinuity {
            self.pending = None;
        }
        let mut rest = chunk.samples.as_slice();
        std::iter::from_fn(move || {
            let offset = chunk.samples.as_slice().len() - rest.len();
            let (window, count) = self.pending.get_or_insert_with(|| {
                let capture_time = chunk.capture_time.after(duration_of(offset as u64));
                (LevelWindow { capture_time, sums: Sums::default() }, 0)
            });
            let (now, later) = rest.split_at(rest.len().min(WINDOW_SAMPLES - *count));
            window.sums.add(&Sums::of(now));
            *count += now.len();
            rest = later;
            if *count < WINDOW_SAMPLES {
                if *count == 0 {
                    // The time of the window is the time of its first sample, which the next chunk brings.
                    self.pending = None;
                }
                return None;
            }
            self.pending.take().map(|(window, _)| window)
        })
    }
}
