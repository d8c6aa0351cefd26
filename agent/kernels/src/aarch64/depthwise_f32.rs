//! F32 depthwise convolutions of any shape: 8 channels of a pixel at a time. The last block of channels is moved back to
//! end with the last channel; pixels of fewer channels than a block take portable code.

use std::arch::aarch64::*;

use super::conv_f32::Activate;
use super::opaque;
use crate::conv::{DepthwiseF32Job, DepthwiseF32Kernel};

pub(super) const KERNEL: DepthwiseF32Kernel = DepthwiseF32Kernel { run: depthwise };

const CHANNELS: usize = 8;

/// # Safety
/// As [`DepthwiseF32Kernel::run`].
#[target_feature(enable = "neon")]
unsafe fn depthwise(job: &DepthwiseF32Job<'_>, out: &mut [f32]) {
    let walk = &job.walk;
    if walk.channels < CHANNELS {
        // SAFETY: by this function's own condition.
        return unsafe { (crate::portable::depthwise::F32.run)(job, out) };
    }
    for block in 0..walk.channels.div_ceil(CHANNELS) {
        let channel = (block * CHANNELS).min(walk.channels - CHANNELS);
        let activate = Activate::new(job.activation, channel, CHANNELS);
        for (index, y) in walk.rows.clone().enumerate() {
            let (input, output) = (walk.origin + y * walk.step[0], index * walk.output_step[0]);
            // SAFETY: the row lies within the walk, the block within the channels.
            unsafe {
                let row = Row {
                    input: job.input.as_ptr().add(input + channel),
                    output: out.as_mut_ptr().add(output + channel),
                    weights: job.weights.as_ptr().add(channel),
                    bias: [
                        vld1q_f32(job.bias.as_ptr().add(channel)),
                        vld1q_f32(job.bias.as_ptr().add(channel + 4)),
                    ],
                };
                let apart = [1, 2].map(|columns| walk.step[1] == columns * walk.run_step[1]);
                match (walk.runs, apart) {
                    ([3, 3], [true, _]) => {
                        three::<1>(job, &row, &activate, 0);
                        three::<1>(job, &row, &activate, 1);
                    }
                    ([3, 3], [_, true]) => {
                        three::<2>(job, &row, &activate, 0);
                        three::<2>(job, &row, &activate, 1);
                    }
                    _ => any(job, &row, &activate),
                }
            }
        }
    }
}

struct Row {
    input: *const f32,
    output: *mut f32,
    weights: *const f32,
    bias: [float32x4_t; 2],
}

/// Kernels of 3 by 3 whose pixels are `S` (1 or 2) columns apart, for half of the row's channels: weights and columns are
/// in registers, three columns in turn, of which each pixel replaces `S`.
///
/// # Safety
/// The row lies within the walk of the job, which lies within its memory.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn three<const S: usize>(job: &DepthwiseF32Job<'_>, row: &Row, activate: &Activate, half: usize) {
    let walk = &job.walk;
    let [down, across] = walk.run_step;
    // SAFETY: each tap of each pixel lies within the walk; weights are taps × channels.
    unsafe {
        let mut kept = [vdupq_n_f32(0.0); 9];
        for tap in 0..9 {
            kept[tap] = vld1q_f32(row.weights.add(tap * walk.channels + half * 4));
        }
        let input = row.input.add(half * 4);
        let rows = [input, input.add(down), input.add(2 * down)];
        let to = row.output.add(half * 4);
        let column = |at: usize| rows.map(|row| vld1q_f32(row.add(at)));
        let mut window = [[vdupq_n_f32(0.0); 3]; 3];
        let (mut next, mut output, mut left) = (0, 0, walk.width);
        for index in 0..3 - S {
            window[index] = column(next);
            next += across;
        }
        // By constant indices only, so that columns stay in registers.
        macro_rules! pixel {
            ($turn:literal) => {
                if left == 0 {
                    return;
                }
                for index in 3 - S..3 {
                    window[($turn * S + index) % 3] = column(next);
                    next = opaque(next + across);
                }
                let mut sum = row.bias[half];
                for down in 0..3 {
                    for index in 0..3 {
                        sum = vfmaq_f32(sum, window[($turn * S + index) % 3][down], kept[down * 3 + index]);
                    }
                }
                vst1q_f32(to.add(output), activate.one(sum, half));
                output = opaque(output + walk.output_step[1]);
                left -= 1;
            };
        }
        loop {
            pixel!(0);
            pixel!(1);
            pixel!(2);
        }
    }
}

/// # Safety
/// As [`three`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn any(job: &DepthwiseF32Job<'_>, row: &Row, activate: &Activate) {
    let walk = &job.walk;
    // SAFETY: as in `three`.
    unsafe {
        for x in 0..walk.width {
            let input = row.input.add(x * walk.step[1]);
            let mut sum = row.bias;
            let mut weights = row.weights;
            for down in 0..walk.runs[0] {
                for across in 0..walk.runs[1] {
                    let from = input.add(down * walk.run_step[0] + across * walk.run_step[1]);
                    sum[0] = vfmaq_f32(sum[0], vld1q_f32(from), vld1q_f32(weights));
                    sum[1] = vfmaq_f32(sum[1], vld1q_f32(from.add(4)), vld1q_f32(weights.add(4)));
                    weights = weights.add(walk.channels);
                }
            }
            let [one, two] = activate.apply(sum);
            let to = row.output.add(x * walk.output_step[1]);
            vst1q_f32(to, one);
            vst1q_f32(to.add(4), two);
        }
    }
}
