//! F32 convolutions: tiles of 12 pixels by 32 channels.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::lanes16;
use crate::conv::{Activation, ConvF32Job, ConvF32Kernel, blocks, tiles};

pub(super) const KERNEL: ConvF32Kernel = ConvF32Kernel { widths: &[32, 16], run: conv };

const PIXELS: usize = 12;
const LANES: usize = 16;

/// A tile's sums, by pixel: 32 channels each.
#[repr(align(64))]
struct Sums(MaybeUninit<[[f32; 2 * LANES]; PIXELS]>);

/// # Safety
/// As [`ConvF32Kernel::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn tile<const V: usize>(
    job: &ConvF32Job<'_>,
    inputs: &[usize; PIXELS],
    mut weights: *const f32,
    start: usize,
    sums: &mut Sums,
) {
    let walk = &job.walk;
    let input = job.input.as_ptr();
    let mut sum = [[_mm512_setzero_ps(); V]; PIXELS];
    for part in 0..V {
        // SAFETY: biases are padded to whole blocks.
        let bias = unsafe { _mm512_loadu_ps(job.bias.as_ptr().add(start + part * LANES)) };
        for sum in &mut sum {
            sum[part] = bias;
        }
    }
    for down in 0..walk.runs[0] {
        for across in 0..walk.runs[1] {
            // SAFETY: within the receptive field of pixel 0, and so for each pixel.
            let run = unsafe { input.add(down * walk.run_step[0] + across * walk.run_step[1]) };
            for at in 0..walk.run_length {
                let mut weight = [_mm512_setzero_ps(); V];
                for (part, weight) in weight.iter_mut().enumerate() {
                    // SAFETY: `V` registers for each step.
                    *weight = unsafe { _mm512_loadu_ps(weights.add(part * LANES)) };
                }
                for pixel in 0..PIXELS {
                    // SAFETY: an element of a run.
                    let value = _mm512_set1_ps(unsafe { *run.add(inputs[pixel] + at) });
                    for part in 0..V {
                        sum[pixel][part] = _mm512_fmadd_ps(value, weight[part], sum[pixel][part]);
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
            // SAFETY: 32 sums for each pixel, aligned.
            unsafe { _mm512_store_ps(to.add(pixel * 2 * LANES + part * LANES), *sum) };
        }
    }
}

/// # Safety
/// `sums` of all pixels were written, for lanes from `part` on; `outputs` lie within `out`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn store(
    job: &ConvF32Job<'_>,
    sums: &Sums,
    outputs: &[usize],
    channel: usize,
    part: usize,
    out: &mut [f32],
) {
    let mask = lanes16(job.walk.channels - channel);
    // SAFETY: there are slopes for all channels, for one, or none.
    let activate = unsafe { Activate::new(job.activation, channel, mask) };
    let from = sums.0.as_ptr().cast::<f32>();
    for (pixel, output) in outputs.iter().enumerate() {
        // SAFETY: 32 sums for each pixel, aligned; no more lanes are written than the pixel has channels left.
        unsafe {
            let value = activate.apply(_mm512_load_ps(from.add(pixel * 2 * LANES + part)));
            _mm512_mask_storeu_ps(out.as_mut_ptr().add(output + channel), mask, value);
        }
    }
}

/// An activation of 16 channels.
pub(super) struct Activate {
    slopes: __m512,
    low: __m512,
    high: __m512,
}

impl Activate {
    /// # Safety
    /// The activation has no slopes, one, or as many as `channel` and the lanes of `mask` need.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    pub(super) unsafe fn new(activation: &Activation, channel: usize, mask: u16) -> Self {
        let slopes = match activation.slopes.as_slice() {
            [] => _mm512_set1_ps(1.0),
            [slope] => _mm512_set1_ps(*slope),
            // SAFETY: the mask lets through the channels that there are.
            slopes => unsafe { _mm512_maskz_loadu_ps(mask, slopes.as_ptr().add(channel)) },
        };
        Self { slopes, low: _mm512_set1_ps(activation.low), high: _mm512_set1_ps(activation.high) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    pub(super) fn apply(&self, value: __m512) -> __m512 {
        let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(value, _mm512_setzero_ps());
        let value = _mm512_mask_mul_ps(value, negative, value, self.slopes);
        // The value comes second: what is not a number stays so, as in portable code.
        _mm512_min_ps(self.high, _mm512_max_ps(self.low, value))
    }
}
