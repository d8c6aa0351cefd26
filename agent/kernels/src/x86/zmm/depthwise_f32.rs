//! F32 depthwise convolutions of any shape: 16 channels of a pixel at a time, two pixels side by side.

use std::arch::x86_64::*;

use super::conv_f32::Activate;
use super::lanes16;
use crate::conv::{DepthwiseF32Job, DepthwiseF32Kernel};

pub(super) const KERNEL: DepthwiseF32Kernel = DepthwiseF32Kernel { run: depthwise };

const LANES: usize = 16;

/// # Safety
/// As [`DepthwiseF32Kernel::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn depthwise(job: &DepthwiseF32Job<'_>, out: &mut [f32]) {
    let walk = &job.walk;
    for (index, y) in walk.rows.clone().enumerate() {
        let (input, output) = (walk.origin + y * walk.step[0], index * walk.output_step[0]);
        for channel in (0..walk.channels).step_by(LANES) {
            let row = Row { input: input + channel, output: output + channel, channel };
            // SAFETY: the row lies within the walk.
            unsafe {
                match walk.runs {
                    [3, 3] => convolve::<9>(job, &row, out),
                    _ => convolve::<0>(job, &row, out),
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

/// `TAPS` is the number of taps, of three rows, when their weights are to stay in registers; 0 is any kernel.
///
/// # Safety
/// The row lies within the walk of the job, which lies within its memory.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn convolve<const TAPS: usize>(job: &DepthwiseF32Job<'_>, row: &Row, out: &mut [f32]) {
    let walk = &job.walk;
    let mask = lanes16(walk.channels - row.channel);
    // SAFETY: masked to the channels that there are, throughout this function.
    let load = |from: *const f32| unsafe { _mm512_maskz_loadu_ps(mask, from) };
    // SAFETY: weights are taps × channels, biases and slopes one a channel.
    let (weights, bias, activate) = unsafe {
        let bias = load(job.bias.as_ptr().add(row.channel));
        (job.weights.as_ptr().add(row.channel), bias, Activate::new(job.activation, row.channel, mask))
    };
    let mut kept = [_mm512_setzero_ps(); 9];
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
                let mut sums = [bias, _mm512_setzero_ps(), _mm512_setzero_ps()];
                for across in 0..3 {
                    for (down, sum) in sums.iter_mut().enumerate() {
                        let value = load(input.add(down * walk.run_step[0] + across * walk.run_step[1]));
                        *sum = _mm512_fmadd_ps(value, kept[down * 3 + across], *sum);
                    }
                }
                _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), sums[2])
            } else {
                let mut sums = [bias, _mm512_setzero_ps()];
                for down in 0..walk.runs[0] {
                    let taps = input.add(down * walk.run_step[0]);
                    let weights = weights.add(down * walk.runs[1] * walk.channels);
                    for across in 0..walk.runs[1] {
                        let value = load(taps.add(across * walk.run_step[1]));
                        let sum = _mm512_fmadd_ps(value, load(weights.add(across * walk.channels)), sums[0]);
                        sums = [sums[1], sum];
                    }
                }
                _mm512_add_ps(sums[0], sums[1])
            };
            let to = out.as_mut_ptr().add(row.output + x * walk.output_step[1]);
            _mm512_mask_storeu_ps(to, mask, activate.apply(sum));
        }
    }
}
