//! Quantised convolutions by dot products: tiles of 8 pixels by 8 channels, 16 elements of a run at each step.

use std::arch::aarch64::*;
use std::arch::asm;
use std::mem::MaybeUninit;

use super::lookup::lookup_in_place;
use super::store::Requantise;
use crate::conv::{ConvU8Job, ConvU8Kernel, Sink, blocks, tiles};

pub(super) const KERNEL: ConvU8Kernel =
    ConvU8Kernel { widths: &[CHANNELS], group: 4, offset: 128, supports: |_| true, run: conv };

/// 16 sums, 8 pixels and the weights fill the 32 registers but for some.
const PIXELS: usize = 8;
const CHANNELS: usize = 8;

/// A tile's sums, by pixel.
type Sums = MaybeUninit<[[i32; CHANNELS]; PIXELS]>;

/// Adds to each lane of `sum` the products of four weights with the four bytes in lane `lane` of `bytes`. Needs dot
/// products, as the function that this stands in does.
macro_rules! dot {
    ($sum:expr, $weights:expr, $bytes:expr, $lane:literal) => {
        asm!(
            concat!("sdot {sum:v}.4s, {weights:v}.16b, {bytes:v}.4b[", $lane, "]"),
            sum = inout(vreg) $sum,
            weights = in(vreg) $weights,
            bytes = in(vreg) $bytes,
            options(pure, nomem, nostack, preserves_flags),
        )
    };
}

/// # Safety
/// As [`ConvU8Kernel::run`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn conv(job: &ConvU8Job<'_>, mut sink: Sink<'_>) {
    let walk = &job.walk;
    let steps = walk.runs[0] * walk.runs[1] * walk.run_length.div_ceil(4);
    let requantise = Requantise::new(&job.rounding);
    let mut sums = Sums::uninit();
    tiles::<PIXELS>(walk, |inputs, outputs, count| {
        for (start, _) in blocks(walk.channels, KERNEL.widths) {
            let weights = &job.weights[start * steps * 4..];
            debug_assert!(weights.len() >= CHANNELS * steps * 4);
            // SAFETY: the walk lies within the input; a block has eight weights, biases and multipliers for each step.
            unsafe { tile(job, inputs, weights.as_ptr(), start, &mut sums) };
            let left = (walk.channels - start).min(CHANNELS);
            let from = sums.as_ptr().cast::<i32>();
            for (pixel, output) in outputs[..count].iter().enumerate() {
                // SAFETY: `tile` wrote eight sums for each pixel; the walk lies within the output.
                unsafe {
                    let from = from.add(pixel * CHANNELS);
                    let sums = [vld1q_s32(from), vld1q_s32(from.add(4))];
                    requantise.store(
                        sums,
                        job.multiplier.as_ptr().add(start),
                        left,
                        output + start,
                        &mut sink,
                    );
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

/// # Safety
/// The receptive fields at `inputs` lie within the input; `weights`, biases from `start` on are those of a block.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile(
    job: &ConvU8Job<'_>,
    inputs: &[usize; PIXELS],
    mut weights: *const i8,
    start: usize,
    sums: &mut Sums,
) {
    let walk = &job.walk;
    let input = job.input.as_ptr();
    let sign = vdupq_n_u8(0x80);
    let length = walk.run_length;
    // SAFETY: all reads are of runs of the receptive fields, of biases, and of `steps` times 32 weights;
    // the machine has dot products.
    unsafe {
        let mut first = [vld1q_s32(job.bias.as_ptr().add(start)); PIXELS];
        let mut second = [vld1q_s32(job.bias.as_ptr().add(start + 4)); PIXELS];
        for down in 0..walk.runs[0] {
            for across in 0..walk.runs[1] {
                let run = input.add(down * walk.run_step[0] + across * walk.run_step[1]);
                let mut at = 0;
                while at + 16 <= length {
                    let mut bytes = [vdupq_n_u8(0); PIXELS];
                    for pixel in 0..PIXELS {
                        bytes[pixel] = veorq_u8(vld1q_u8(run.add(inputs[pixel] + at)), sign);
                    }
                    macro_rules! quarter {
                        ($lane:literal) => {
                            let one = vld1q_s8(weights.add($lane * 32));
                            let two = vld1q_s8(weights.add($lane * 32 + 16));
                            for pixel in 0..PIXELS {
                                dot!(first[pixel], one, bytes[pixel], $lane);
                                dot!(second[pixel], two, bytes[pixel], $lane);
                            }
                        };
                    }
                    quarter!(0);
                    quarter!(1);
                    quarter!(2);
                    quarter!(3);
                    weights = weights.add(128);
                    at += 16;
                }
                while at < length {
                    // The last group is moved back to end with the run, as the packing has it.
                    let from = run.add(at.min(length - 4));
                    let (one, two) = (vld1q_s8(weights), vld1q_s8(weights.add(16)));
                    for pixel in 0..PIXELS {
                        let bytes = vreinterpretq_u8_u32(vdupq_n_u32(
                            from.add(inputs[pixel]).cast::<u32>().read_unaligned(),
                        ));
                        let bytes = veorq_u8(bytes, sign);
                        dot!(first[pixel], one, bytes, 0);
                        dot!(second[pixel], two, bytes, 0);
                    }
                    weights = weights.add(32);
                    at += 4;
                }
            }
        }
        // By constant indices only, so that the sums stay in registers throughout the loop above.
        let to = sums.as_mut_ptr().cast::<i32>();
        for pixel in 0..PIXELS {
            vst1q_s32(to.add(pixel * CHANNELS), first[pixel]);
            vst1q_s32(to.add(pixel * CHANNELS + 4), second[pixel]);
        }
    }
}
