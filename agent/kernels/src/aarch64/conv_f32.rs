//! F32 convolutions: tiles of 8 pixels by 8 channels, four elements of a run at each step.

use std::arch::aarch64::*;
use std::mem::MaybeUninit;

use super::store::store_f32;
use crate::conv::{Activation, ConvF32Job, ConvF32Kernel, blocks, tiles};

pub(super) const KERNEL: ConvF32Kernel = ConvF32Kernel { widths: &[CHANNELS], run: conv };

/// 16 sums, 8 pixels and the weights fill the 32 registers but for some.
const PIXELS: usize = 8;
const CHANNELS: usize = 8;

/// A tile's sums, by pixel.
type Sums = MaybeUninit<[[f32; CHANNELS]; PIXELS]>;

/// # Safety
/// As [`ConvF32Kernel::run`].
#[target_feature(enable = "neon")]
unsafe fn conv(job: &ConvF32Job<'_>, out: &mut [f32]) {
    let walk = &job.walk;
    let steps = walk.runs[0] * walk.runs[1] * walk.run_length;
    let mut sums = Sums::uninit();
    tiles::<PIXELS>(walk, |inputs, outputs, count| {
        for (start, _) in blocks(walk.channels, KERNEL.widths) {
            let weights = &job.weights[start * steps..];
            debug_assert!(weights.len() >= CHANNELS * steps);
            // SAFETY: the walk lies within the input; a block has eight weights and biases for each step.
            unsafe { tile(job, inputs, weights.as_ptr(), start, &mut sums) };
            let left = (walk.channels - start).min(CHANNELS);
            let activate = Activate::new(job.activation, start, left);
            let from = sums.as_ptr().cast::<f32>();
            for (pixel, output) in outputs[..count].iter().enumerate() {
                // SAFETY: `tile` wrote eight sums for each pixel; the walk lies within the output.
                unsafe {
                    let from = from.add(pixel * CHANNELS);
                    let values = activate.apply([vld1q_f32(from), vld1q_f32(from.add(4))]);
                    store_f32(values, left, out.as_mut_ptr().add(output + start));
                }
            }
        }
    });
}

/// # Safety
/// The receptive fields at `inputs` lie within the input; `weights`, biases from `start` on are those of a block.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile(
    job: &ConvF32Job<'_>,
    inputs: &[usize; PIXELS],
    mut weights: *const f32,
    start: usize,
    sums: &mut Sums,
) {
    let walk = &job.walk;
    let input = job.input.as_ptr();
    let length = walk.run_length;
    // SAFETY: all reads are of runs of the receptive fields, of biases, and of `steps` times 8 weights.
    unsafe {
        let mut first = [vld1q_f32(job.bias.as_ptr().add(start)); PIXELS];
        let mut second = [vld1q_f32(job.bias.as_ptr().add(start + 4)); PIXELS];
        for down in 0..walk.runs[0] {
            for across in 0..walk.runs[1] {
                let run = input.add(down * walk.run_step[0] + across * walk.run_step[1]);
                let mut at = 0;
                while at + 4 <= length {
                    let mut values = [vdupq_n_f32(0.0); PIXELS];
                    for pixel in 0..PIXELS {
                        values[pixel] = vld1q_f32(run.add(inputs[pixel] + at));
                    }
                    macro_rules! quarter {
                        ($lane:literal) => {
                            let one = vld1q_f32(weights.add($lane * 8));
                            let two = vld1q_f32(weights.add($lane * 8 + 4));
                            for pixel in 0..PIXELS {
                                first[pixel] = vfmaq_laneq_f32::<$lane>(first[pixel], one, values[pixel]);
                                second[pixel] = vfmaq_laneq_f32::<$lane>(second[pixel], two, values[pixel]);
                            }
                        };
                    }
                    quarter!(0);
                    quarter!(1);
                    quarter!(2);
                    quarter!(3);
                    weights = weights.add(32);
                    at += 4;
                }
                while at < length {
                    let (one, two) = (vld1q_f32(weights), vld1q_f32(weights.add(4)));
                    for pixel in 0..PIXELS {
                        let value = vdupq_n_f32(*run.add(inputs[pixel] + at));
                        first[pixel] = vfmaq_f32(first[pixel], one, value);
                        second[pixel] = vfmaq_f32(second[pixel], two, value);
                    }
                    weights = weights.add(8);
                    at += 1;
                }
            }
        }
        // By constant indices only, so that the sums stay in registers throughout the loop above.
        let to = sums.as_mut_ptr().cast::<f32>();
        for pixel in 0..PIXELS {
            vst1q_f32(to.add(pixel * CHANNELS), first[pixel]);
            vst1q_f32(to.add(pixel * CHANNELS + 4), second[pixel]);
        }
    }
}

/// An activation of eight channels.
pub(super) struct Activate {
    slopes: [float32x4_t; 2],
    low: float32x4_t,
    high: float32x4_t,
}

impl Activate {
    /// Of the `count` (at most 8) channels from `channel` on.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn new(activation: &Activation, channel: usize, count: usize) -> Self {
        let slopes = match activation.slopes.as_slice() {
            [] => [vdupq_n_f32(1.0); 2],
            [slope] => [vdupq_n_f32(*slope); 2],
            slopes => {
                let mut buffer = [0.0; 8];
                buffer[..count].copy_from_slice(&slopes[channel..channel + count]);
                // SAFETY: eight numbers.
                unsafe { [vld1q_f32(buffer.as_ptr()), vld1q_f32(buffer.as_ptr().add(4))] }
            }
        };
        Self { slopes, low: vdupq_n_f32(activation.low), high: vdupq_n_f32(activation.high) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn apply(&self, values: [float32x4_t; 2]) -> [float32x4_t; 2] {
        let apply = |value: float32x4_t, slopes| {
            let value = vbslq_f32(vcltzq_f32(value), vmulq_f32(value, slopes), value);
            vminq_f32(vmaxq_f32(value, self.low), self.high)
        };
        [apply(values[0], self.slopes[0]), apply(values[1], self.slopes[1])]
    }
}
