//! F32 convolutions: tiles of 12 pixels by 32, 24 or 16 channels.

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::{lanes16, streams};
use crate::conv::{Activation, ConvF32Job, ConvF32Kernel, blocks, tiles};

pub(super) const KERNEL: ConvF32Kernel = ConvF32Kernel { widths: &[32, 24, 16], run: conv };

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
    let stream = streams(out, walk);
    let mut sums = Sums(MaybeUninit::uninit());
    tiles::<PIXELS>(walk, |inputs, outputs, count| {
        for (start, width) in blocks(walk.channels, KERNEL.widths) {
            let weights = &job.weights[start * steps..];
            debug_assert!(weights.len() >= width * steps);
            // SAFETY: the walk lies within the input; a block has `width` weights and biases for each step, and `width`
            // is one register of lanes, that and half a one, or two.
            unsafe {
                match width {
                    LANES => tile::<1, false>(job, inputs, weights.as_ptr(), start, &mut sums),
                    24 => tile::<1, true>(job, inputs, weights.as_ptr(), start, &mut sums),
                    _ => tile::<2, false>(job, inputs, weights.as_ptr(), start, &mut sums),
                }
            }
            for part in (0..width).step_by(LANES).take_while(|part| start + part < walk.channels) {
                let place = Place { channel: start + part, part, stream };
                // SAFETY: `tile` wrote all sums of this block; the walk lies within the output.
                unsafe { store(job, &sums, &outputs[..count], place, out) };
            }
        }
    });
    // Behind stores that went past the caches.
    _mm_sfence();
}

/// Sixteen channels of a tile, and where their sums are.
struct Place {
    channel: usize,
    part: usize,
    stream: bool,
}

/// A block of `V` registers, and half a one if `HALF`: eight channels cost half of what sixteen do.
///
/// # Safety
/// The receptive fields at `inputs` lie within the input; `weights`, biases from `start` on are those of such a block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn tile<const V: usize, const HALF: bool>(
    job: &ConvF32Job<'_>,
    inputs: &[usize; PIXELS],
    mut weights: *const f32,
    start: usize,
    sums: &mut Sums,
) {
    let walk = &job.walk;
    let input = job.input.as_ptr();
    let mut sum = [[_mm512_setzero_ps(); V]; PIXELS];
    let mut half = [_mm256_setzero_ps(); PIXELS];
    // SAFETY: biases are padded to whole blocks.
    unsafe {
        let bias = job.bias.as_ptr().add(start);
        for part in 0..V {
            let bias = _mm512_loadu_ps(bias.add(part * LANES));
            for sum in &mut sum {
                sum[part] = bias;
            }
        }
        if HALF {
            half = [_mm256_loadu_ps(bias.add(V * LANES)); PIXELS];
        }
    }
    for down in 0..walk.runs[0] {
        for across in 0..walk.runs[1] {
            // SAFETY: within the receptive field of pixel 0, and so for each pixel.
            let run = unsafe { input.add(down * walk.run_step[0] + across * walk.run_step[1]) };
            for at in 0..walk.run_length {
                let mut weight = [_mm512_setzero_ps(); V];
                let mut half_weight = _mm256_setzero_ps();
                // SAFETY: the registers of this step, and then to the next step's weights, or one past the last.
                unsafe {
                    for (part, weight) in weight.iter_mut().enumerate() {
                        *weight = _mm512_loadu_ps(weights.add(part * LANES));
                    }
                    if HALF {
                        half_weight = _mm256_loadu_ps(weights.add(V * LANES));
                    }
                    weights = weights.add(V * LANES + if HALF { LANES / 2 } else { 0 });
                }
                for pixel in 0..PIXELS {
                    // SAFETY: an element of a run.
                    let value = unsafe {
                        if HALF {
                            spread(run.add(at), inputs[pixel])
                        } else {
                            _mm512_set1_ps(*run.add(inputs[pixel] + at))
                        }
                    };
                    for part in 0..V {
                        sum[pixel][part] = _mm512_fmadd_ps(value, weight[part], sum[pixel][part]);
                    }
                    if HALF {
                        half[pixel] =
                            _mm256_fmadd_ps(_mm512_castps512_ps256(value), half_weight, half[pixel]);
                    }
                }
            }
        }
    }
    // By constant indices only: an index that is not known would keep all sums in memory throughout the loop above.
    let to = sums.0.as_mut_ptr().cast::<f32>();
    for (pixel, sum) in sum.iter().enumerate() {
        // SAFETY: 32 sums for each pixel, aligned.
        unsafe {
            for (part, sum) in sum.iter().enumerate() {
                _mm512_store_ps(to.add(pixel * 2 * LANES + part * LANES), *sum);
            }
            if HALF {
                // The upper half of a register that is stored under a mask.
                _mm512_store_ps(to.add(pixel * 2 * LANES + V * LANES), _mm512_zextps256_ps512(half[pixel]));
            }
        }
    }
}

/// The number at `run + input` in all lanes, by one load: the compiler would load it for half of the lanes, and spread it
/// once more.
///
/// # Safety
/// There is a number.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn spread(run: *const f32, input: usize) -> __m512 {
    let value: __m512;
    // SAFETY: reads the number and nothing else.
    unsafe {
        asm!(
            "vbroadcastss {value}, dword ptr [{run} + 4*{input}]",
            value = out(zmm_reg) value,
            run = in(reg) run,
            input = in(reg) input,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    value
}

/// # Safety
/// `sums` of all pixels were written, for lanes from `part` on; `outputs` lie within `out`; `stream` is by [`streams`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn store(
    job: &ConvF32Job<'_>,
    sums: &Sums,
    outputs: &[usize],
    Place { channel, part, stream }: Place,
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
            let to = out.as_mut_ptr().add(output + channel);
            if stream {
                _mm512_stream_ps(to, value);
            } else if mask == u16::MAX {
                _mm512_storeu_ps(to, value);
            } else {
                _mm512_mask_storeu_ps(to, mask, value);
            }
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
