//! What the scene looks like when nothing moves, block by block, and how much each block flickers by itself.
//!
//! A change of light changes all blocks by an offset and a gain. Both are estimated robustly, from the medians
//! of the dark and of the bright half of the picture, and taken out before a block counts as moving.

use super::grid::Grid;

/// How fast a block takes on what is seen, as a time constant in seconds: a thing that stops becomes part of
/// the background within a few of these.
const LEARN_S: f32 = 4.0;
/// How fast the flicker of a block is learnt, in seconds.
const NOISE_LEARN_S: f32 = 8.0;
/// A block must change by this many times its own flicker.
const NOISE_TIMES: f32 = 4.0;
/// The most flicker that is believed, in levels: a busy doorway must not become blind.
const MOST_NOISE: f32 = 4.0;
/// Differences are sorted into bins of half a level, from −256 to 256.
const BINS: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Background {
    mean: Vec<f32>,
    noise: Vec<f32>,
    moving: Vec<bool>,
    bins: Vec<u32>,
}

/// A change of light: `offset + gain * level`.
#[derive(Debug, Clone, Copy)]
struct Light {
    offset: f32,
    gain: f32,
}

impl Background {
    /// Takes the picture as it is for the background.
    pub(super) fn begin(&mut self, grid: &Grid) {
        self.mean.clone_from(&grid.values);
        self.noise.clear();
        self.noise.resize(grid.values.len(), 0.5);
        self.moving.clear();
        self.moving.resize(grid.values.len(), false);
        self.bins.resize(BINS, 0);
    }

    /// The fraction of blocks that move, and learns from the picture; `dt` is the time since the last one.
    pub(super) fn compare(&mut self, grid: &Grid, threshold: f32, dt: f32) -> f32 {
        let light = self.light(grid);
        let learn = 1.0 - (-dt / LEARN_S).exp();
        let learn_noise = 1.0 - (-dt / NOISE_LEARN_S).exp();
        let blocks = self.mean.iter_mut().zip(&mut self.noise).zip(&mut self.moving).zip(&grid.values);
        for (((mean, noise), moving), &value) in blocks {
            // The light's change is no motion, and is the new background at once.
            *mean += light.offset + light.gain * *mean;
            let change = value - *mean;
            *moving = change.abs() > threshold.max(NOISE_TIMES * *noise);
            *mean += learn * change;
            *noise = (*noise + learn_noise * (change.abs() - *noise)).min(MOST_NOISE);
        }
        self.joined(grid) as f32 / grid.values.len().max(1) as f32
    }

    /// Moving blocks with a moving neighbour: a single one is noise, not a thing.
    fn joined(&self, grid: &Grid) -> usize {
        let (w, h) = (grid.columns, grid.rows);
        let at = |x: usize, y: usize| self.moving[y * w + x];
        let mut count = 0;
        for y in 0..h {
            for x in 0..w {
                let neighbour = || {
                    (x > 0 && at(x - 1, y))
                        || (x + 1 < w && at(x + 1, y))
                        || (y > 0 && at(x, y - 1))
                        || (y + 1 < h && at(x, y + 1))
                };
                // A picture of one block has no neighbours to ask.
                count += usize::from(at(x, y) && (w * h == 1 || neighbour()));
            }
        }
        count
    }

    fn light(&mut self, grid: &Grid) -> Light {
        let count = self.mean.len().max(1) as f32;
        let middle = self.mean.iter().sum::<f32>() / count;
        let (dark_level, dark) = self.median_change(grid, |mean| mean <= middle);
        let (bright_level, bright) = self.median_change(grid, |mean| mean > middle);
        let spread = bright_level - dark_level;
        if spread < 16.0 {
            return Light { offset: (dark + bright) / 2.0, gain: 0.0 };
        }
        let gain = ((bright - dark) / spread).clamp(-0.8, 4.0);
        Light { offset: dark - gain * dark_level, gain }
    }

    /// Mean level and median change of the blocks whose background is as wanted; zeros if there are none.
    fn median_change(&mut self, grid: &Grid, wanted: impl Fn(f32) -> bool) -> (f32, f32) {
        self.bins.fill(0);
        let (mut count, mut level) = (0u32, 0.0f32);
        for (&mean, &value) in self.mean.iter().zip(&grid.values) {
            if wanted(mean) {
                let bin = ((value - mean + 256.25) * 2.0) as usize;
                self.bins[bin.min(BINS - 1)] += 1;
                count += 1;
                level += mean;
            }
        }
        if count == 0 {
            return (0.0, 0.0);
        }
        let mut below = 0;
        let median = self.bins.iter().position(|&n| {
            below += n;
            below * 2 >= count
        });
        (level / count as f32, median.unwrap_or(0) as f32 / 2.0 - 256.0)
    }
}
