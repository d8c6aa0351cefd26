//! F32 depthwise convolutions of any shape, 16 channels at a time: squares of 3 and 5 for four pixels side by side, which
//! share what they read.

use std::arch::x86_64::*;

use super::conv_f32::Activate;
use super::{lanes16, uses_streaming_stores};
use crate::conv::{DepthwiseF32Job, DepthwiseF32Kernel};

pub(super) const KERNEL: DepthwiseF32Kernel = DepthwiseF32Kernel { run: depthwise };

const LANES: usize = 16;

/// # Safety
/// As [`DepthwiseF32Kernel::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn depthwise(job: &DepthwiseF32Job<'_>, out: &mut [f32]) {
    let walk = &job.walk;
    let stream = uses_streaming_stores(out, walk);
    // Of taps without gaps; 0 is any other.
    let stride = (1..=2).find(|stride| walk.step[1] == stride * walk.run_step[1]).unwrap_or(0);
    for (index, y) in walk.rows.clone().enumerate() {
        let (input, output) = (walk.origin + y * walk.step[0], index * walk.output_step[0]);
        for channel in (0..walk.channels).step_by(LANES) {
            let row = Row { input: input + channel, output: output + channel, channel, stream };
            // SAFETY: the row lies within the walk.
            unsafe {
                match (walk.runs, stride) {
                    ([3, 3], 1) => three::<1>(job, &row, out),
                    ([3, 3], 2) => three::<2>(job, &row, out),
                    ([3, 3], _) => three_each(job, &row, 0, out),
                    ([5, 5], 1) => five::<1>(job, &row, out),
                    ([5, 5], 2) => five::<2>(job, &row, out),
                    _ => any(job, &row, 0, out),
                }
            }
        }
    }
    // Behind stores that went past the caches.
    _mm_sfence();
}

struct Row {
    input: usize,
    output: usize,
    channel: usize,
    stream: bool,
}

/// Pixels side by side.
const PIXELS: usize = 4;

/// Kernels of 3 by 3 with a stride of `S` and no gaps between taps, whose weights stay in registers. Loops have constant
/// bounds, so that sums do too.
///
/// # Safety
/// The row lies within the walk of the job, which lies within its memory; the kernel and its stride are those.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn three<const S: usize>(job: &DepthwiseF32Job<'_>, row: &Row, out: &mut [f32]) {
    let walk = &job.walk;
    let whole = walk.width / PIXELS * PIXELS;
    // SAFETY: each tap of each pixel lies within the walk; see `Channels`.
    unsafe {
        let channels = Channels::new(job, row);
        let kept = channels.nine(walk.channels);
        for x in (0..whole).step_by(PIXELS) {
            let input = job.input.as_ptr().add(row.input + x * walk.step[1]);
            // Two for each pixel, by turns of rows, so that additions wait less for each other.
            let mut sums = [[channels.bias; PIXELS], [_mm512_setzero_ps(); PIXELS]];
            for down in 0..3 {
                let taps = input.add(down * walk.run_step[0]);
                let sums = &mut sums[down % 2];
                for column in 0..(PIXELS - 1) * S + 3 {
                    let value = channels.load(taps.add(column * walk.run_step[1]));
                    for pixel in 0..PIXELS {
                        if column >= pixel * S && column - pixel * S < 3 {
                            let weight = kept[down * 3 + column - pixel * S];
                            sums[pixel] = _mm512_fmadd_ps(value, weight, sums[pixel]);
                        }
                    }
                }
            }
            for pixel in 0..PIXELS {
                let to = out.as_mut_ptr().add(row.output + (x + pixel) * walk.output_step[1]);
                channels.store(to, _mm512_add_ps(sums[0][pixel], sums[1][pixel]));
            }
        }
        three_each(job, row, whole, out);
    }
}

/// Pixels of the row from `first` on, of a kernel of 3 by 3.
///
/// Functions of their own, as are the others: within one, the compiler finds addresses that they share, and spills them.
///
/// # Safety
/// The row lies within the walk of the job, which lies within its memory, and the kernel is one.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn three_each(job: &DepthwiseF32Job<'_>, row: &Row, first: usize, out: &mut [f32]) {
    let walk = &job.walk;
    // SAFETY: each tap of each pixel lies within the walk; see `Channels`.
    unsafe {
        let channels = Channels::new(job, row);
        let kept = channels.nine(walk.channels);
        for x in first..walk.width {
            let input = job.input.as_ptr().add(row.input + x * walk.step[1]);
            // A sum for each row, so that the three can be computed side by side.
            let mut sums = [channels.bias, _mm512_setzero_ps(), _mm512_setzero_ps()];
            for across in 0..3 {
                for (down, sum) in sums.iter_mut().enumerate() {
                    let value = input.add(down * walk.run_step[0] + across * walk.run_step[1]);
                    *sum = _mm512_fmadd_ps(channels.load(value), kept[down * 3 + across], *sum);
                }
            }
            let sum = _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), sums[2]);
            channels.store(out.as_mut_ptr().add(row.output + x * walk.output_step[1]), sum);
        }
    }
}

/// Kernels of 5 by 5 with a stride of `S` and no gaps between taps. Loops have constant bounds, so that sums stay in
/// registers.
///
/// # Safety
/// The row lies within the walk of the job, which lies within its memory; the kernel and its stride are those.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn five<const S: usize>(job: &DepthwiseF32Job<'_>, row: &Row, out: &mut [f32]) {
    let walk = &job.walk;
    let whole = walk.width / PIXELS * PIXELS;
    // SAFETY: each tap of each pixel lies within the walk; see `Channels`.
    unsafe {
        let channels = Channels::new(job, row);
        for x in (0..whole).step_by(PIXELS) {
            let input = job.input.as_ptr().add(row.input + x * walk.step[1]);
            let mut sums = [channels.bias; PIXELS];
            for down in 0..5 {
                let taps = input.add(down * walk.run_step[0]);
                let weight =
                    |across| channels.load(channels.weights.add((down * 5 + across) * walk.channels));
                let weights: [__m512; 5] = std::array::from_fn(weight);
                for column in 0..(PIXELS - 1) * S + 5 {
                    let value = channels.load(taps.add(column * walk.run_step[1]));
                    for pixel in 0..PIXELS {
                        if column >= pixel * S && column - pixel * S < 5 {
                            sums[pixel] = _mm512_fmadd_ps(value, weights[column - pixel * S], sums[pixel]);
                        }
                    }
                }
            }
            for (pixel, sum) in sums.into_iter().enumerate() {
                channels.store(out.as_mut_ptr().add(row.output + (x + pixel) * walk.output_step[1]), sum);
            }
        }
        any(job, row, whole, out);
    }
}

/// Pixels of the row from `first` on, of any kernel.
///
/// # Safety
/// The row lies within the walk of the job, which lies within its memory.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn any(job: &DepthwiseF32Job<'_>, row: &Row, first: usize, out: &mut [f32]) {
    let walk = &job.walk;
    // SAFETY: each tap of each pixel lies within the walk; see `Channels`.
    unsafe {
        let channels = Channels::new(job, row);
        for x in first..walk.width {
            let input = job.input.as_ptr().add(row.input + x * walk.step[1]);
            let mut sums = [channels.bias, _mm512_setzero_ps()];
            for down in 0..walk.runs[0] {
                let taps = input.add(down * walk.run_step[0]);
                let weights = channels.weights.add(down * walk.runs[1] * walk.channels);
                for across in 0..walk.runs[1] {
                    let value = channels.load(taps.add(across * walk.run_step[1]));
                    let weight = channels.load(weights.add(across * walk.channels));
                    sums = [sums[1], _mm512_fmadd_ps(value, weight, sums[0])];
                }
            }
            let to = out.as_mut_ptr().add(row.output + x * walk.output_step[1]);
            channels.store(to, _mm512_add_ps(sums[0], sums[1]));
        }
    }
}

/// What is the same for all pixels of a row.
struct Channels {
    mask: u16,
    stream: bool,
    /// Of the first tap.
    weights: *const f32,
    bias: __m512,
    activate: Activate,
}

impl Channels {
    /// # Safety
    /// Weights are taps × channels, biases and slopes one a channel.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    unsafe fn new(job: &DepthwiseF32Job<'_>, row: &Row) -> Self {
        let mask = lanes16(job.walk.channels - row.channel);
        // SAFETY: masked to the channels that there are.
        unsafe {
            Self {
                mask,
                stream: row.stream,
                weights: job.weights.as_ptr().add(row.channel),
                bias: _mm512_maskz_loadu_ps(mask, job.bias.as_ptr().add(row.channel)),
                activate: Activate::new(job.activation, row.channel, mask),
            }
        }
    }

    /// The weights of nine taps.
    ///
    /// # Safety
    /// There are as many, each with so many channels.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    unsafe fn nine(&self, channels: usize) -> [__m512; 9] {
        let mut weights = [_mm512_setzero_ps(); 9];
        for (tap, weight) in weights.iter_mut().enumerate() {
            // SAFETY: by this function's own condition.
            *weight = unsafe { self.load(self.weights.add(tap * channels)) };
        }
        weights
    }

    /// # Safety
    /// There are as many numbers as the mask lets through.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    unsafe fn load(&self, from: *const f32) -> __m512 {
        // SAFETY: by this function's own condition.
        unsafe { _mm512_maskz_loadu_ps(self.mask, from) }
    }

    /// # Safety
    /// There is room for as many numbers as the mask lets through; to stream, [`uses_streaming_stores`] has said so.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    unsafe fn store(&self, to: *mut f32, sum: __m512) {
        let value = self.activate.apply(sum);
        // SAFETY: by this function's own condition.
        unsafe {
            if self.stream {
                _mm512_stream_ps(to, value);
            } else {
                _mm512_mask_storeu_ps(to, self.mask, value);
            }
        }
    }
}
