//! Quantised convolutions without dot products: tiles of 4 pixels by 16 channels, two elements of a run at a time.
//!
//! A pair of bytes, repeated, is multiplied with the pairs of four channels into 16 bits; two such products are added there
//! before both halves go into the 32-bit sum of their channel. Two products of -128 with -128 would overflow, so weights
//! that hold -128 take [`SINGLE`], which adds nothing in 16 bits.

use std::arch::aarch64::*;
use std::mem::MaybeUninit;

use super::lookup::lookup_in_place;
use super::store::Requantise;
use crate::conv::{ConvU8Job, ConvU8Kernel, Sink, blocks, tiles};

pub(super) const PAIRED: ConvU8Kernel = ConvU8Kernel {
    widths: &[CHANNELS],
    group: 2,
    offset: 128,
    supports: |weights| !weights.contains(&i8::MIN),
    run: conv::<true>,
};

pub(super) const SINGLE: ConvU8Kernel =
    ConvU8Kernel { widths: &[CHANNELS], group: 2, offset: 128, supports: |_| true, run: conv::<false> };

const PIXELS: usize = 4;
const CHANNELS: usize = 16;

/// A tile's sums, by pixel.
type Sums = MaybeUninit<[[i32; CHANNELS]; PIXELS]>;

/// # Safety
/// As [`ConvU8Kernel::run`].
#[target_feature(enable = "neon")]
unsafe fn conv<const EXACT_PAIRS: bool>(job: &ConvU8Job<'_>, mut sink: Sink<'_>) {
    let walk = &job.walk;
    let steps = walk.runs[0] * walk.runs[1] * walk.run_length.div_ceil(2);
    let requantise = Requantise::new(&job.rounding);
    let mut sums = Sums::uninit();
    tiles::<PIXELS>(walk, |inputs, outputs, count| {
        for (start, _) in blocks(walk.channels, PAIRED.widths) {
            let weights = &job.weights[start * steps * 2..];
            debug_assert!(weights.len() >= CHANNELS * steps * 2);
            // SAFETY: the walk lies within the input; a block has 16 weights, biases and multipliers for each step.
            unsafe { tile::<EXACT_PAIRS>(job, inputs, weights.as_ptr(), start, &mut sums) };
            let from = sums.as_ptr().cast::<i32>();
            for (pixel, output) in outputs[..count].iter().enumerate() {
                for part in (0..CHANNELS).step_by(8).take_while(|part| start + part < walk.channels) {
                    let channel = start + part;
                    // SAFETY: `tile` wrote 16 sums for each pixel; the walk lies within the output.
                    unsafe {
                        let from = from.add(pixel * CHANNELS + part);
                        let sums = [vld1q_s32(from), vld1q_s32(from.add(4))];
                        let multiplier = job.multiplier.as_ptr().add(channel);
                        let left = (walk.channels - channel).min(8);
                        requantise.store(sums, multiplier, left, output + channel, &mut sink);
                    }
                }
            }
        }
        if let (Some(table), Sink::Bytes(bytes)) = (job.table, &mut sink) {
            for output in &outputs[..count] {
                lookup_in_place(&mut bytes[*output..][..walk.channels], table);
            }
        }
    });
}

/// The sums of one pixel: four channels in each.
type Sum = [int32x4_t; 4];

/// Adds the products of one pair of bytes, which `bytes` repeats.
#[inline]
#[target_feature(enable = "neon")]
fn add_one(sum: &mut Sum, bytes: int8x16_t, weights: [int8x16_t; 2]) {
    for (half, weights) in weights.into_iter().enumerate() {
        sum[half * 2] = vpadalq_s16(sum[half * 2], vmull_s8(vget_low_s8(weights), vget_low_s8(bytes)));
        sum[half * 2 + 1] = vpadalq_s16(sum[half * 2 + 1], vmull_high_s8(weights, bytes));
    }
}

/// Adds the products of two pairs of bytes.
#[inline]
#[target_feature(enable = "neon")]
fn add_two<const EXACT_PAIRS: bool>(sum: &mut Sum, bytes: [int8x16_t; 2], weights: [[int8x16_t; 2]; 2]) {
    if !EXACT_PAIRS {
        add_one(sum, bytes[0], weights[0]);
        add_one(sum, bytes[1], weights[1]);
        return;
    }
    for half in 0..2 {
        let (a, b) = (weights[0][half], weights[1][half]);
        let low = vmull_s8(vget_low_s8(a), vget_low_s8(bytes[0]));
        sum[half * 2] = vpadalq_s16(sum[half * 2], vmlal_s8(low, vget_low_s8(b), vget_low_s8(bytes[1])));
        let high = vmull_high_s8(a, bytes[0]);
        sum[half * 2 + 1] = vpadalq_s16(sum[half * 2 + 1], vmlal_high_s8(high, b, bytes[1]));
    }
}

/// # Safety
/// The receptive fields at `inputs` lie within the input; `weights`, biases from `start` on are those of a block.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile<const EXACT_PAIRS: bool>(
    job: &ConvU8Job<'_>,
    inputs: &[usize; PIXELS],
    mut weights: *const i8,
    start: usize,
    sums: &mut Sums,
) {
    let walk = &job.walk;
    let input = job.input.as_ptr();
    let length = walk.run_length;
    // SAFETY: all reads are of runs of the receptive fields, of biases, and of `steps` times 32 weights.
    unsafe {
        let bias: Sum = std::array::from_fn(|part| vld1q_s32(job.bias.as_ptr().add(start + part * 4)));
        let mut sum = [bias; PIXELS];
        let sign = vdupq_n_s8(i8::MIN);
        for down in 0..walk.runs[0] {
            for across in 0..walk.runs[1] {
                let run = input.add(down * walk.run_step[0] + across * walk.run_step[1]);
                let mut at = 0;
                while at + 8 <= length {
                    let mut bytes = [vdup_n_s16(0); PIXELS];
                    for pixel in 0..PIXELS {
                        let eight = vld1_s8(run.add(inputs[pixel] + at).cast());
                        bytes[pixel] = vreinterpret_s16_s8(veor_s8(eight, vget_low_s8(sign)));
                    }
                    macro_rules! two_pairs {
                        ($one:literal, $two:literal) => {
                            let load = |pair: usize| {
                                let from = weights.add(pair * 32);
                                [vld1q_s8(from), vld1q_s8(from.add(16))]
                            };
                            let loaded = [load($one), load($two)];
                            for pixel in 0..PIXELS {
                                let pairs = [
                                    vreinterpretq_s8_s16(vdupq_lane_s16::<$one>(bytes[pixel])),
                                    vreinterpretq_s8_s16(vdupq_lane_s16::<$two>(bytes[pixel])),
                                ];
                                add_two::<EXACT_PAIRS>(&mut sum[pixel], pairs, loaded);
                            }
                        };
                    }
                    two_pairs!(0, 1);
                    two_pairs!(2, 3);
                    weights = weights.add(128);
                    at += 8;
                }
                while at < length {
                    // The last group is moved back to end with the run, as the packing has it.
                    let from = run.add(at.min(length - 2));
                    let loaded = [vld1q_s8(weights), vld1q_s8(weights.add(16))];
                    for pixel in 0..PIXELS {
                        let pair = vdupq_n_s16(from.add(inputs[pixel]).cast::<i16>().read_unaligned());
                        add_one(&mut sum[pixel], veorq_s8(vreinterpretq_s8_s16(pair), sign), loaded);
                    }
                    weights = weights.add(32);
                    at += 2;
                }
            }
        }
        // By constant indices only, so that the sums stay in registers throughout the loop above.
        let to = sums.as_mut_ptr().cast::<i32>();
        for pixel in 0..PIXELS {
            for part in 0..4 {
                vst1q_s32(to.add(pixel * CHANNELS + part * 4), sum[pixel][part]);
            }
        }
    }
}
