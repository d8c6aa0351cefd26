//! Quantised depthwise convolutions by dot products: 16 channels at a time, four taps of each multiplied at once.
//!
//! Bytes of four rows of a column are interleaved, so that each 32-bit lane holds four taps of one channel; the columns that
//! the next pixel needs again are kept. The last block of channels is moved back to end with the last channel.

use std::arch::aarch64::*;
use std::arch::asm;

use super::lookup::lookup_in_place;
use super::opaque;
use super::store::{Requantise, floats_of, multipliers};
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

/// Channels of a block; the last has half as many if that is enough for the rest.
const BLOCK: usize = 16;

fn is_square(shape: &ConvShape, size: usize) -> bool {
    let fits = shape.dilation == [1, 1] && shape.stride[1] <= 2 && shape.output_channels >= BLOCK;
    fits && shape.kernel == [size; 2]
}

/// The first channel, and the number of channels, of each block.
fn blocks(channels: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..channels.div_ceil(BLOCK)).map(move |block| {
        let left = channels - block * BLOCK;
        let width = if left <= BLOCK / 2 { BLOCK / 2 } else { BLOCK };
        ((block * BLOCK).min(channels - width), width)
    })
}

/// For each block, for each column, for each group of four rows, for each of its channels, four taps.
fn pack(shape: &ConvShape, weights: &[i8], bias: &[i32], multiplier: &[f32], size: usize) -> Packed<i8, i32> {
    let mut packed = Packed { weights: Vec::new(), bias: Vec::new(), multiplier: Vec::new() };
    for (start, width) in blocks(shape.output_channels) {
        for column in 0..size {
            for first in (0..size).step_by(4) {
                for channel in start..start + width {
                    let tap = |row: usize| weights[(channel * size + row) * size + column];
                    packed
                        .weights
                        .extend((first..first + 4).map(|row| if row < size { tap(row) } else { 0 }));
                }
            }
        }
        packed.bias.extend(&bias[start..start + width]);
        packed.multiplier.extend(&multiplier[start..start + width]);
    }
    packed
}

/// Interleaves the bytes of four runs of 16 channels, or of eight if there are two registers of results: four taps of
/// each channel, in order.
#[inline]
#[target_feature(enable = "neon")]
fn interleave<const V: usize>([a, b, c, d]: [int8x16_t; 4]) -> [int8x16_t; V] {
    let words = |bytes: int8x16_t| vreinterpretq_s16_s8(bytes);
    let bytes = |words: int16x8_t| vreinterpretq_s8_s16(words);
    let (ab, cd) = (words(vzip1q_s8(a, b)), words(vzip1q_s8(c, d)));
    let mut taps = [bytes(vzip1q_s16(ab, cd)); V];
    taps[1] = bytes(vzip2q_s16(ab, cd));
    if V == 4 {
        let (ab, cd) = (words(vzip2q_s8(a, b)), words(vzip2q_s8(c, d)));
        taps[2] = bytes(vzip1q_s16(ab, cd));
        taps[3] = bytes(vzip2q_s16(ab, cd));
    }
    taps
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

/// A column at byte `at` of `K` rows in `G` groups of four, each in `V` registers.
///
/// # Safety
/// Each row has a pixel with four times `V` channels there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn column<const K: usize, const G: usize, const V: usize>(
    rows: &[*const u8; K],
    at: usize,
) -> [[int8x16_t; V]; G] {
    let (zero, sign) = (vdupq_n_s8(0), vdupq_n_s8(i8::MIN));
    let mut groups = [[zero; V]; G];
    for (group, taps) in groups.iter_mut().enumerate() {
        let mut four = [zero; 4];
        for (bytes, row) in four.iter_mut().zip(&rows[group * 4..]) {
            // SAFETY: by this function's own condition.
            let loaded = unsafe {
                let from = row.add(at).cast();
                if V == 4 { vld1q_s8(from) } else { vcombine_s8(vld1_s8(from), vdup_n_s8(0)) }
            };
            *bytes = veorq_s8(loaded, sign);
        }
        *taps = interleave(four);
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
        for (block, (channel, width)) in blocks(walk.channels).enumerate() {
            // SAFETY: the walk lies within input and output: `K` columns for each pixel; `pack` made `K * G` groups of
            // weights, and biases and multipliers, for each channel of each block, of which the last alone may be narrow.
            unsafe {
                let from = job.input.as_ptr().add(input + channel);
                if width == BLOCK {
                    row::<K, G, 4>(job, from, block, output + channel, &requantise, &mut sink);
                } else {
                    row::<K, G, 2>(job, from, block, output + channel, &requantise, &mut sink);
                }
            }
        }
        job.finish_row(output, &mut sink, |bytes, table| lookup_in_place(bytes, table));
    }
}

/// A row of a block of four times `V` channels.
///
/// # Safety
/// The row lies within the walk of the job, which lies within its memory.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn row<const K: usize, const G: usize, const V: usize>(
    job: &DepthwiseU8Job<'_>,
    from: *const u8,
    block: usize,
    output: usize,
    requantise: &Requantise,
    sink: &mut Sink<'_>,
) {
    // SAFETY: by this function's own condition.
    unsafe {
        let multipliers = multipliers::<V>(job.packed.multiplier.as_ptr().add(block * BLOCK));
        match sink {
            Sink::Bytes(bytes) if requantise.plain => {
                let to = bytes.as_mut_ptr().add(output);
                let write =
                    |sums: &[int32x4_t; V], at| requantise.bytes::<V, true>(sums, &multipliers, to.add(at));
                match job.stride {
                    1 => pixels::<K, G, V, 1>(job, from, block, write),
                    _ => pixels::<K, G, V, 2>(job, from, block, write),
                }
            }
            Sink::Bytes(bytes) => {
                let to = bytes.as_mut_ptr().add(output);
                let write =
                    |sums: &[int32x4_t; V], at| requantise.bytes::<V, false>(sums, &multipliers, to.add(at));
                match job.stride {
                    1 => pixels::<K, G, V, 1>(job, from, block, write),
                    _ => pixels::<K, G, V, 2>(job, from, block, write),
                }
            }
            Sink::Floats(floats) => {
                let to = floats.as_mut_ptr().add(output);
                let write = |sums: &[int32x4_t; V], at| floats_of(sums, &multipliers, to.add(at));
                match job.stride {
                    1 => pixels::<K, G, V, 1>(job, from, block, write),
                    _ => pixels::<K, G, V, 2>(job, from, block, write),
                }
            }
        }
    }
}

/// Gives the sums of each pixel of a row, and where it begins in the output's row, to `write`. Loops have constant bounds,
/// so that columns and weights stay in registers: `K` columns in turn, of which each pixel replaces `S`.
///
/// # Safety
/// As [`row`]; the stride is `S`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn pixels<const K: usize, const G: usize, const V: usize, const S: usize>(
    job: &DepthwiseU8Job<'_>,
    from: *const u8,
    block: usize,
    write: impl Fn(&[int32x4_t; V], usize),
) {
    let (walk, packed) = (&job.walk, job.packed);
    let [down, across] = walk.run_step;
    // SAFETY: by this function's own condition.
    unsafe {
        let weights = packed.weights.as_ptr().add(block * K * G * 64);
        let bias = packed.bias.as_ptr().add(block * BLOCK);
        let mut kept = [[[vdupq_n_s8(0); V]; G]; K];
        for index in 0..K {
            for group in 0..G {
                for part in 0..V {
                    kept[index][group][part] = vld1q_s8(weights.add(((index * G + group) * V + part) * 16));
                }
            }
        }
        let mut window = [[[vdupq_n_s8(0); V]; G]; K];
        let mut rows = [from; K];
        for row in 0..K {
            rows[row] = rows[row].add(row * down);
        }
        let (mut next, mut output, mut left) = (0, 0, walk.width);
        for index in 0..K - S {
            window[index] = column::<K, G, V>(&rows, next);
            next += across;
        }
        // By constant indices only, so that columns stay in registers.
        macro_rules! pixel {
            ($turn:literal) => {
                if left == 0 {
                    return;
                }
                for index in K - S..K {
                    window[($turn * S + index) % K] = column::<K, G, V>(&rows, next);
                    next = opaque(next + across);
                }
                let mut sums = [vdupq_n_s32(0); V];
                for part in 0..V {
                    sums[part] = vld1q_s32(bias.add(part * 4));
                    for index in 0..K {
                        for group in 0..G {
                            let taps = window[($turn * S + index) % K][group][part];
                            sums[part] = dot(sums[part], taps, kept[index][group][part]);
                        }
                    }
                }
                write(&sums, output);
                output = opaque(output + walk.output_step[1]);
                left -= 1;
            };
        }
        loop {
            pixel!(0);
            pixel!(1);
            pixel!(2);
            if K == 5 {
                pixel!(3);
                pixel!(4);
            }
        }
    }
}
