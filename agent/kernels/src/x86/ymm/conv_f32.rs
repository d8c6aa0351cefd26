//! F32 convolutions: tiles of 6 pixels by 16 channels.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::{LANES, lanes8};
use crate::conv::{Activation, ConvF32Job, ConvF32Kernel, blocks, tiles};

pub(super) const KERNEL: ConvF32Kernel = ConvF32Kernel { widths: &[16, 8], run: conv };

/// 12 sums, two weights and a pixel fill 15 of the 16 registers.
const PIXELS: usize = 6;

/// A tile's sums, by pixel: 16 channels each.
#[repr(align(32))]
struct Sums(MaybeUninit<[[f32; 2 * LANES]; PIXELS]>);

/// # Safety
/// As [`ConvF32Kernel::run`].
#[target_feature(enable = "avx2,fma")]
unsafe fn conv(job: &ConvF32Job<'_>, out: &mut [f32]) {
    let walk = &job.walk;
    let steps = walk.runs[0] * walk.runs[1] * walk.run_length;
    let mut sums = Sums(MaybeUninit::uninit());
    tiles::<PIXELS>(walk, |inputs, outputs, count| {
        for (start, width) in blocks(walk.channels, KERNEL.widths) {
            let weights = &job.weights[start * steps..];
            debug_assert!(weights.len() >= width * steps);
            // SAFETY: the walk lies within the input; a block has `width` weights and biases for each step, and `width`
            // is one or two registers of lanes.
            unsafe {
                match width {
                    LANES => tile::<1>(job, inputs, weights.as_ptr(), start, &mut sums),
                    _ => tile::<2>(job, inputs, weights.as_ptr(), start, &mut sums),
                }
            }
            for part in (0..width).step_by(LANES).take_while(|part| start + part < walk.channels) {
                // SAFETY: `tile` wrote all sums of this block; the walk lies within the output.
                unsafe { store(job, &sums, &outputs[..count], start + part, part, out) };
            }
        }
    });
}

/// # Safety
/// The receptive fields at `inputs` lie within the input; `weights`, biases from `start` on are those of a block of `V`
/// registers.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const V: usize>(
    job: &ConvF32Job<'_>,
    inputs: &[usize; PIXELS],
    mut weights: *const f32,
    start: usize,
    sums: &mut Sums,
) {
    let walk = &job.walk;
    let input = job.input.as_ptr();
    let mut sum = [[_mm256_setzero_ps(); V]; PIXELS];
    for part in 0..V {
        // SAFETY: biases are padded to whole blocks.
        let bias = unsafe { _mm256_loadu_ps(job.bias.as_ptr().add(start + part * LANES)) };
        for sum in &mut sum {
            sum[part] = bias;
        }
    }
    for down in 0..walk.runs[0] {
        for across in 0..walk.runs[1] {
            // SAFETY: within the receptive field of pixel 0, and so for each pixel.
            let run = unsafe { input.add(down * walk.run_step[0] + across * walk.run_step[1]) };
            for at in 0..walk.run_length {
                let mut weight = [_mm256_setzero_ps(); V];
                for (part, weight) in weight.iter_mut().enumerate() {
                    // SAFETY: `V` registers for each step.
                    *weight = unsafe { _mm256_loadu_ps(weights.add(part * LANES)) };
                }
                for pixel in 0..PIXELS {
                    // SAFETY: an element of a run.
                    let value = _mm256_set1_ps(unsafe { *run.add(inputs[pixel] + at) });
                    for part in 0..V {
                        sum[pixel][part] = _mm256_fmadd_ps(value, weight[part], sum[pixel][part]);
                    }
                }
                // SAFETY: to the next step's weights, or one past the last.
                weights = unsafe { weights.add(V * LANES) };
            }
        }
    }
    // By constant indices only: an index that is not known would keep all sums in memory throughout the loop above.
    let to = sums.0.as_mut_ptr().cast::<f32>();
    for (pixel, sum) in sum.iter().enumerate() {
        for (part, sum) in sum.iter().enumerate() {
            // SAFETY: 16 sums for each pixel, aligned.
            unsafe { _mm256_store_ps(to.add(pixel * 2 * LANES + part * LANES), *sum) };
        }
    }
}

/// # Safety
/// `sums` of all pixels were written, for lanes from `part` on; `outputs` lie within `out`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store(
    job: &ConvF32Job<'_>,
    sums: &Sums,
    outputs: &[usize],
    channel: usize,
    part: usize,
    out: &mut [f32],
) {
    let mask = lanes8(job.walk.channels - channel);
    // SAFETY: there are slopes for all channels, for one, or none.
    let activate = unsafe { Activate::new(job.activation, channel, mask) };
    let from = sums.0.as_ptr().cast::<f32>();
    for (pixel, output) in outputs.iter().enumerate() {
        // SAFETY: 16 sums for each pixel, aligned; no more lanes are written than the pixel has channels left.
        unsafe {
            let value = activate.apply(_mm256_load_ps(from.add(pixel * 2 * LANES + part)));
            _mm256_maskstore_ps(out.as_mut_ptr().add(output + channel), mask, value);
        }
    }
}

/// An activation of 8 channels.
pub(super) struct Activate {
    slopes: __m256,
    low: __m256,
    high: __m256,
}

impl Activate {
    /// # Safety
    /// The activation has no slopes, one, or as many as `channel` and the lanes of `mask` need.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn new(activation: &Activation, channel: usize, mask: __m256i) -> Self {
        let slopes = match activation.slopes.as_slice() {
            [] => _mm256_set1_ps(1.0),
            [slope] => _mm256_set1_ps(*slope),
            // SAFETY: the mask lets through the channels that there are.
            slopes => unsafe { _mm256_maskload_ps(slopes.as_ptr().add(channel), mask) },
        };
        Self { slopes, low: _mm256_set1_ps(activation.low), high: _mm256_set1_ps(activation.high) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn apply(&self, value: __m256) -> __m256 {
        let negative = _mm256_cmp_ps::<_CMP_LT_OQ>(value, _mm256_setzero_ps());
        let value = _mm256_blendv_ps(value, _mm256_mul_ps(value, self.slopes), negative);
        // The value comes second: what is not a number stays so, as in portable code.
        _mm256_min_ps(self.high, _mm256_max_ps(self.low, value))
    }
}
