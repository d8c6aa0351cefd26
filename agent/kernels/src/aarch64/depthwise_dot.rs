//! Quantised depthwise convolutions by dot products: 16 channels at a time, four taps of each multiplied at once.
//!
//! Bytes of four rows of a column are interleaved, so that each 32-bit lane holds four taps of one channel; the columns that
//! the next pixel needs again are kept. The last block of channels is moved back to end with the last channel.

use std::arch::aarch64::*;
use std::arch::asm;

use super::lookup::lookup_in_place;
use super::store::Requantise;
use crate::conv::{ConvShape, DepthwiseU8Job, DepthwiseU8Kernel, Packed, Sink};

pub(super) const THREE: DepthwiseU8Kernel = DepthwiseU8Kernel {
    name: "dotprod 3x3",
    supports: |shape| is_square(shape, 3),
    offset: 128,
    pack: |shape, weights, bias, multiplier| pack(shape, weights, bias, multiplier, 3),
    run: square::<3, 1>,
};

pub(super) const FIVE: DepthwiseU8Kernel = DepthwiseU8Kernel {
    name: "dotprod 5x5",
    supports: |shape| is_square(shape, 5),
    offset: 128,
    pack: |shape, weights, bias, multiplier| pack(shape, weights, bias, multiplier, 5),
    run: square::<5, 2>,
};

/// Channels of a block.
const BLOCK: usize = 16;

fn is_square(shape: &ConvShape, size: usize) -> bool {
    let fits = shape.dilation == [1, 1] && shape.stride[1] <= 2 && shape.output_channels >= BLOCK;
    fits && shape.kernel == [size; 2]
}

fn starts(channels: usize) -> impl Iterator<Item = usize> {
    (0..channels.div_ceil(BLOCK)).map(move |block| (block * BLOCK).min(channels - BLOCK))
}

/// For each block, for each column, for each group of four rows, for each of 16 channels, four taps.
fn pack(shape: &ConvShape, weights: &[i8], bias: &[i32], multiplier: &[f32], size: usize) -> Packed<i8, i32> {
    let mut packed = Packed { weights: Vec::new(), bias: Vec::new(), multiplier: Vec::new() };
    for start in starts(shape.output_channels) {
        for column in 0..size {
            for first in (0..size).step_by(4) {
                for channel in start..start + BLOCK {
                    let tap = |row: usize| weights[(channel * size + row) * size + column];
                    packed
                        .weights
                        .extend((first..first + 4).map(|row| if row < size { tap(row) } else { 0 }));
                }
            }
        }
        packed.bias.extend(&bias[start..start + BLOCK]);
        packed.multiplier.extend(&multiplier[start..start + BLOCK]);
    }
    packed
}

/// The 16 channels of a block, four taps each, in order.
type Taps = [int8x16_t; 4];

/// Interleaves the bytes of four runs of 16 channels.
#[inline]
#[target_feature(enable = "neon")]
fn interleave([a, b, c, d]: [int8x16_t; 4]) -> Taps {
    let words = |low: int8x16_t| vreinterpretq_s16_s8(low);
    let (ab_low, ab_high) = (words(vzip1q_s8(a, b)), words(vzip2q_s8(a, b)));
    let (cd_low, cd_high) = (words(vzip1q_s8(c, d)), words(vzip2q_s8(c, d)));
    [
        vreinterpretq_s8_s16(vzip1q_s16(ab_low, cd_low)),
        vreinterpretq_s8_s16(vzip2q_s16(ab_low, cd_low)),
        vreinterpretq_s8_s16(vzip1q_s16(ab_high, cd_high)),
        vreinterpretq_s8_s16(vzip2q_s16(ab_high, cd_high)),
    ]
}

/// Adds to each lane of `sum` the products of four taps with their weights.
///
/// # Safety
/// The machine has dot products.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn dot(sum: int32x4_t, taps: int8x16_t, weights: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: by this function's own condition.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {taps:v}.16b, {weights:v}.16b",
            sum = inout(vreg) sum,
            taps = in(vreg) taps,
            weights = in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// A column of `K` rows, `step` bytes apart, in `G` groups of four.
///
/// # Safety
/// `from` is a pixel of the input with 16 channels, `K - 1` rows above its last.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn column<const K: usize, const G: usize>(from: *const u8, step: usize) -> [Taps; G] {
    let (zero, sign) = (vdupq_n_s8(0), vdupq_n_s8(i8::MIN));
    let mut groups = [[zero; 4]; G];
    for (group, taps) in groups.iter_mut().enumerate() {
        let mut rows = [zero; 4];
        for (row, bytes) in rows.iter_mut().enumerate() {
            if group * 4 + row < K {
                // SAFETY: a row of the column.
                *bytes = veorq_s8(unsafe { vld1q_s8(from.add((group * 4 + row) * step).cast()) }, sign);
            }
        }
        *taps = interleave(rows);
    }
    groups
}

/// Kernels of `K` by `K`, whose columns are `G` groups of rows.
///
/// # Safety
/// As [`DepthwiseU8Kernel::run`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn square<const K: usize, const G: usize>(job: &DepthwiseU8Job<'_>, mut sink: Sink<'_>) {
    let walk = &job.walk;
    let requantise = Requantise::new(&job.rounding);
    for (index, y) in walk.rows.clone().enumerate() {
        let (input, output) = (walk.origin + y * walk.step[0], index * walk.output_step[0]);
        for (block, channel) in starts(walk.channels).enumerate() {
            // SAFETY: the walk lies within input and output: `K` columns for each pixel; `pack` made `K * G` groups of
            // weights, and 16 biases and multipliers, for each block.
            unsafe {
                let (input, output) = (input + channel, output + channel);
                match job.stride {
                    1 => row::<K, G, 1>(job, input, block, output, &requantise, &mut sink),
                    _ => row::<K, G, 2>(job, input, block, output, &requantise, &mut sink),
                }
            }
        }
        job.finish_row(output, &mut sink, |bytes, table| lookup_in_place(bytes, table));
    }
}

/// Loops have constant bounds, so that columns and weights stay in registers.
///
/// # Safety
/// The row lies within the walk of the job, which lies within its memory; the stride is `S`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn row<const K: usize, const G: usize, const S: usize>(
    job: &DepthwiseU8Job<'_>,
    input: usize,
    block: usize,
    output: usize,
    requantise: &Requantise,
    sink: &mut Sink<'_>,
) {
    let (walk, packed) = (&job.walk, job.packed);
    let [down, across] = walk.run_step;
    // SAFETY: by this function's own condition.
    unsafe {
        let input = job.input.as_ptr().add(input);
        let weights = packed.weights.as_ptr().add(block * K * G * 64);
        let bias = packed.bias.as_ptr().add(block * BLOCK);
        let multiplier = packed.multiplier.as_ptr().add(block * BLOCK);
        let mut kept = [[[vdupq_n_s8(0); 4]; G]; K];
        let mut window = kept;
        for index in 0..K {
            for group in 0..G {
                for part in 0..4 {
                    kept[index][group][part] = vld1q_s8(weights.add((index * G + group) * 64 + part * 16));
                }
            }
        }
        // The columns that the first pixel shares with what would be the one before it.
        for index in S..K {
            window[index] = column::<K, G>(input.add((index - S) * across), down);
        }
        for x in 0..walk.width {
            let input = input.add(x * walk.step[1]);
            for index in 0..K - S {
                window[index] = window[index + S];
            }
            for index in K - S..K {
                window[index] = column::<K, G>(input.add(index * across), down);
            }
            let mut sums = [vdupq_n_s32(0); 4];
            for part in 0..4 {
                sums[part] = vld1q_s32(bias.add(part * 4));
                for index in 0..K {
                    for group in 0..G {
                        sums[part] = dot(sums[part], window[index][group][part], kept[index][group][part]);
                    }
                }
            }
            let at = output + x * walk.output_step[1];
            requantise.store([sums[0], sums[1]], multiplier, 8, at, sink);
            requantise.store([sums[2], sums[3]], multiplier.add(8), 8, at + 8, sink);
        }
    }
}
