//! F32 depthwise convolutions of any shape: 8 channels of a pixel at a time.

use std::arch::x86_64::*;

use super::conv_f32::Activate;
use super::{LANES, lanes8};
use crate::conv::{DepthwiseF32Job, DepthwiseF32Kernel};

pub(super) const KERNEL: DepthwiseF32Kernel = DepthwiseF32Kernel { run: depthwise };

/// # Safety
/// As [`DepthwiseF32Kernel::run`].
#[target_feature(enable = "avx2,fma")]
unsafe fn depthwise(job: &DepthwiseF32Job<'_>, out: &mut [f32]) {
    let walk = &job.walk;
    for (index, y) in walk.rows.clone().enumerate() {
        let (input, output) = (walk.origin + y * walk.step[0], index * walk.output_step[0]);
        for channel in (0..walk.channels).step_by(LANES) {
            let row = Row { input: input + channel, output: output + channel, channel };
            // SAFETY: the row lies within the walk.
            unsafe {
                match (walk.runs, walk.channels - channel >= LANES) {
                    ([3, 3], true) => convolve::<9, true>(job, &row, out),
                    ([3, 3], false) => convolve::<9, false>(job, &row, out),
                    (_, true) => convolve::<0, true>(job, &row, out),
                    (_, false) => convolve::<0, false>(job, &row, out),
                }
            }
        }
    }
}

struct Row {
    input: usize,
    output: usize,
    channel: usize,
}

/// `TAPS` is the number of taps, of three rows, when their weights are to stay in registers; 0 is any kernel. `FULL` says
/// that the block has 8 channels.
///
/// # Safety
/// The row lies within the walk of the job, which lies within its memory.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn convolve<const TAPS: usize, const FULL: bool>(
    job: &DepthwiseF32Job<'_>,
    row: &Row,
    out: &mut [f32],
) {
    let walk = &job.walk;
    let mask = lanes8(walk.channels - row.channel);
    // SAFETY: masked to the channels that there are, throughout this function.
    let load = |from: *const f32| unsafe {
        if FULL { _mm256_loadu_ps(from) } else { _mm256_maskload_ps(from, mask) }
    };
    // SAFETY: weights are taps × channels, biases and slopes one a channel.
    let (weights, bias, activate) = unsafe {
        let bias = load(job.bias.as_ptr().add(row.channel));
        (job.weights.as_ptr().add(row.channel), bias, Activate::new(job.activation, row.channel, mask))
    };
    let mut kept = [_mm256_setzero_ps(); 9];
    for (tap, weight) in kept.iter_mut().enumerate().take(TAPS) {
        // SAFETY: as above.
        *weight = load(unsafe { weights.add(tap * walk.channels) });
    }
    for x in 0..walk.width {
        // SAFETY: each tap of each pixel lies within the walk.
        unsafe {
            let input = job.input.as_ptr().add(row.input + x * walk.step[1]);
            let sum = if TAPS == 9 {
                // A sum for each row, so that the three can be computed side by side.
                let mut sums = [bias, _mm256_setzero_ps(), _mm256_setzero_ps()];
                for across in 0..3 {
                    for (down, sum) in sums.iter_mut().enumerate() {
                        let value = load(input.add(down * walk.run_step[0] + across * walk.run_step[1]));
                        *sum = _mm256_fmadd_ps(value, kept[down * 3 + across], *sum);
                    }
                }
                _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), sums[2])
            } else {
                let mut sums = [bias, _mm256_setzero_ps()];
                for down in 0..walk.runs[0] {
                    let taps = input.add(down * walk.run_step[0]);
                    let weights = weights.add(down * walk.runs[1] * walk.channels);
                    for across in 0..walk.runs[1] {
                        let value = load(taps.add(across * walk.run_step[1]));
                        let sum = _mm256_fmadd_ps(value, load(weights.add(across * walk.channels)), sums[0]);
                        sums = [sums[1], sum];
                    }
                }
                _mm256_add_ps(sums[0], sums[1])
            };
            let to = out.as_mut_ptr().add(row.output + x * walk.output_step[1]);
            let value = activate.apply(sum);
            if FULL { _mm256_storeu_ps(to, value) } else { _mm256_maskstore_ps(to, mask, value) }
        }
    }
}
