//! F32 convolutions: tiles of 12 pixels by 32, 24 or 16 channels.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{lanes16, uses_streaming_stores};
use crate::conv::{Activation, ConvF32Job, ConvF32Kernel, blocks, tiles};

pub(super) const KERNEL: ConvF32Kernel = ConvF32Kernel { widths: &[32, 24, 16], run: conv };

const PIXELS: usize = 12;
const LANES: usize = 16;
/// Weights that the second-level cache holds beside all else: 512 KB.
const MAX_CACHED_WEIGHTS: usize = 1 << 17;

/// # Safety
/// As [`ConvF32Kernel::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn conv(job: &ConvF32Job<'_>, out: &mut [f32]) {
    let walk = &job.walk;
    let steps = walk.runs[0] * walk.runs[1] * walk.run_length;
    let stream = uses_streaming_stores(out, walk);
    let mut run = |inputs: &_, outputs: &_, count, (start, width): (usize, usize)| {
        let weights = &job.weights[start * steps..];
        debug_assert!(weights.len() >= width * steps);
        let tile = Tile { job, inputs, outputs, count, weights: weights.as_ptr(), start, stream };
        // SAFETY: the walk lies within the input and the output; a block has `width` weights and biases for each step,
        // and `width` is one register of lanes, that and half a one, or two.
        unsafe {
            match width {
                LANES => tile.run::<1, false>(out),
                24 => tile.run::<1, true>(out),
                _ => tile.run::<2, false>(out),
            }
        }
    };
    let blocks = blocks(walk.channels, KERNEL.widths);
    // Either all weights are read again for each tile, or all of the input for each block: let it be the smaller one. But
    // what has more outputs than inputs writes more than it reads, and does so better pixel by pixel.
    let input = walk.rows.len() * walk.step[0];
    if job.weights.len() > MAX_CACHED_WEIGHTS && input < job.weights.len() && walk.channels < steps {
        for block in blocks {
            tiles::<PIXELS>(walk, |inputs, outputs, count| run(inputs, outputs, count, block));
        }
    } else {
        tiles::<PIXELS>(walk, |inputs, outputs, count| {
            blocks.clone().for_each(|block| run(inputs, outputs, count, block));
        });
    }
    // Behind stores that went past the caches.
    _mm_sfence();
}

/// Some output pixels, and a block of their channels.
struct Tile<'a> {
    job: &'a ConvF32Job<'a>,
    inputs: &'a [usize; PIXELS],
    outputs: &'a [usize; PIXELS],
    /// How many pixels there are; what comes after them repeats the last one.
    count: usize,
    weights: *const f32,
    /// The first channel.
    start: usize,
    stream: bool,
}

impl Tile<'_> {
    /// A block of `V` registers, and half a one if `HALF`: eight channels cost half of what sixteen do. Few pixels, at
    /// the end of an output, cost no more than they are, by fours.
    ///
    /// # Safety
    /// The receptive fields at `inputs` lie within the input, `outputs` within `out`; `weights`, biases from `start` on
    /// are those of such a block; `stream` is by [`uses_streaming_stores`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    unsafe fn run<const V: usize, const HALF: bool>(&self, out: &mut [f32]) {
        // SAFETY: by this function's own condition.
        unsafe {
            match self.count {
                ..=4 => self.pixels::<4, V, HALF>(out),
                5..=8 => self.pixels::<8, V, HALF>(out),
                _ => self.pixels::<PIXELS, V, HALF>(out),
            }
        }
    }

    /// As [`Self::run`], for `M` pixels.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    unsafe fn pixels<const M: usize, const V: usize, const HALF: bool>(&self, out: &mut [f32]) {
        let walk = &self.job.walk;
        let (input, mut weights) = (self.job.input.as_ptr(), self.weights);
        let mut sum = [[_mm512_setzero_ps(); V]; M];
        let mut half = [_mm256_setzero_ps(); M];
        // SAFETY: biases are padded to whole blocks.
        unsafe {
            let bias = self.job.bias.as_ptr().add(self.start);
            for part in 0..V {
                let bias = _mm512_loadu_ps(bias.add(part * LANES));
                for sum in &mut sum {
                    sum[part] = bias;
                }
            }
            if HALF {
                half = [_mm256_loadu_ps(bias.add(V * LANES)); M];
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
                    for pixel in 0..M {
                        // SAFETY: an element of a run.
                        let value = unsafe {
                            if HALF {
                                broadcast_load(run.add(at), self.inputs[pixel])
                            } else {
                                _mm512_set1_ps(*run.add(self.inputs[pixel] + at))
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
        // SAFETY: there is a slope for each channel, one for all, or none.
        let (first, second) =
            unsafe { (self.lane_store(0), self.lane_store(if V == 2 || HALF { LANES } else { 0 })) };
        // Written out: sums that are counted over by an index which the compiler does not know at once would stay in
        // memory throughout the loop above.
        macro_rules! store {
            ($($pixel:literal)*) => {$(
                if $pixel < M {
                    if $pixel >= self.count {
                        return;
                    }
                    // SAFETY: the pixel lies within the output; a block has no more registers than channels need.
                    unsafe {
                        let to = out.as_mut_ptr().add(self.outputs[$pixel] + self.start);
                        first.store(to, sum[$pixel][0]);
                        if V == 2 {
                            second.store(to.add(LANES), sum[$pixel][V - 1]);
                        }
                        if HALF {
                            second.store(to.add(LANES), _mm512_zextps256_ps512(half[$pixel]));
                        }
                    }
                }
            )*};
        }
        store!(0 1 2 3 4 5 6 7 8 9 10 11);
    }

    /// What becomes of the sums of 16 channels, `part` after the block's first.
    ///
    /// # Safety
    /// There are slopes for all channels, for one, or none.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    unsafe fn lane_store(&self, part: usize) -> LaneStore {
        let mask = lanes16(self.job.walk.channels.saturating_sub(self.start + part));
        // SAFETY: the mask lets through the channels that there are.
        let activate = unsafe { Activate::new(self.job.activation, self.start + part, mask) };
        LaneStore { activate, mask, stream: self.stream }
    }
}

/// How 16 channels are written.
struct LaneStore {
    activate: Activate,
    mask: u16,
    stream: bool,
}

impl LaneStore {
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
            } else if self.mask == u16::MAX {
                _mm512_storeu_ps(to, value);
            } else {
                _mm512_mask_storeu_ps(to, self.mask, value);
            }
        }
    }
}

/// The number at `run + input` in all lanes, by one load: the compiler would load it for half of the lanes, and broadcast_load it
/// once more.
///
/// # Safety
/// There is a number.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn broadcast_load(run: *const f32, input: usize) -> __m512 {
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

/// An activation of 16 channels.
pub(super) struct Activate {
    /// Whether there are slopes.
    sloped: bool,
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
        Self {
            sloped: !activation.slopes.is_empty(),
            slopes,
            low: _mm512_set1_ps(activation.low),
            high: _mm512_set1_ps(activation.high),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    pub(super) fn apply(&self, value: __m512) -> __m512 {
        let mut value = value;
        if self.sloped {
            let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(value, _mm512_setzero_ps());
            value = _mm512_mask_mul_ps(value, negative, value, self.slopes);
        }
        // The value comes second: what is not a number stays so, as in portable code.
        _mm512_min_ps(self.high, _mm512_max_ps(self.low, value))
    }
}
