//! Quantised convolutions by dot products: tiles of 5 pixels by 16 channels, 16 elements of a run at each step.
//!
//! The innermost loop is assembly as a whole: for each 16 elements no instruction but its loads, an exclusive or for each
//! pixel, and the products. Weights are loaded well before they are used, for processors that do not look ahead.

use std::arch::aarch64::*;
use std::arch::asm;

use super::store::{Requantise, lookup_tile};
use crate::conv::{ConvU8Job, ConvU8Kernel, Sink, tiles};

pub(super) const KERNEL: ConvU8Kernel =
    ConvU8Kernel { widths: &[16, 8], group: 4, offset: 128, supports: |_| true, run: conv };

/// 20 sums, 5 pixels, four of weights and the sign.
const PIXELS: usize = 5;

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

/// For four channels of each pixel, the products of a group.
macro_rules! five {
    ($sum:literal, $weights:literal, $lane:literal) => {
        concat!(
            "sdot {",
            $sum,
            "0:v}.4s, {",
            $weights,
            ":v}.16b, {x0:v}.4b[",
            $lane,
            "]\n",
            "sdot {",
            $sum,
            "1:v}.4s, {",
            $weights,
            ":v}.16b, {x1:v}.4b[",
            $lane,
            "]\n",
            "sdot {",
            $sum,
            "2:v}.4s, {",
            $weights,
            ":v}.16b, {x2:v}.4b[",
            $lane,
            "]\n",
            "sdot {",
            $sum,
            "3:v}.4s, {",
            $weights,
            ":v}.16b, {x3:v}.4b[",
            $lane,
            "]\n",
            "sdot {",
            $sum,
            "4:v}.4s, {",
            $weights,
            ":v}.16b, {x4:v}.4b[",
            $lane,
            "]\n",
        )
    };
}

/// Two registers of weights.
macro_rules! load {
    ($one:literal, $two:literal) => {
        concat!("ldp {", $one, ":q}, {", $two, ":q}, [{weights}], #32\n")
    };
}

/// The loop over `count` (above 0) times 16 elements, between the instructions of a step: `sums` by their names.
macro_rules! sixteens {
    ($pixels:ident, $weights:ident, $count:expr, $sign:ident, [$($name:ident = $sum:expr),*], $first:expr, $rest:expr) => {
        asm!(
            "2:",
            $first,
            "ldr {x0:q}, [{p0}], #16",
            "ldr {x1:q}, [{p1}], #16",
            "ldr {x2:q}, [{p2}], #16",
            "ldr {x3:q}, [{p3}], #16",
            "ldr {x4:q}, [{p4}], #16",
            "subs {count}, {count}, #1",
            "eor {x0:v}.16b, {x0:v}.16b, {sign:v}.16b",
            "eor {x1:v}.16b, {x1:v}.16b, {sign:v}.16b",
            "eor {x2:v}.16b, {x2:v}.16b, {sign:v}.16b",
            "eor {x3:v}.16b, {x3:v}.16b, {sign:v}.16b",
            "eor {x4:v}.16b, {x4:v}.16b, {sign:v}.16b",
            $rest,
            "b.ne 2b",
            $($name = inout(vreg) $sum,)*
            p0 = inout(reg) $pixels[0],
            p1 = inout(reg) $pixels[1],
            p2 = inout(reg) $pixels[2],
            p3 = inout(reg) $pixels[3],
            p4 = inout(reg) $pixels[4],
            weights = inout(reg) $weights,
            count = inout(reg) $count => _,
            sign = in(vreg) $sign,
            x0 = out(vreg) _,
            x1 = out(vreg) _,
            x2 = out(vreg) _,
            x3 = out(vreg) _,
            x4 = out(vreg) _,
            w0 = out(vreg) _,
            w1 = out(vreg) _,
            w2 = out(vreg) _,
            w3 = out(vreg) _,
            options(readonly, nostack),
        )
    };
}

/// # Safety
/// As [`ConvU8Kernel::run`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn conv(job: &ConvU8Job<'_>, mut sink: Sink<'_>) {
    let walk = &job.walk;
    let channels = walk.channels;
    let requantise = Requantise::new(&job.rounding);
    let input = job.input.as_ptr();
    tiles::<PIXELS>(walk, |inputs, outputs, count| {
        let mut weights = job.weights.as_ptr();
        let mut start = 0;
        while start < channels {
            let left = channels - start;
            // SAFETY: the walk lies within input and output; a block has as many biases and multipliers, and weights for
            // each step, as it is wide, and the next block's weights follow.
            unsafe {
                let pixels = inputs.map(|at| input.add(at));
                let (bias, multiplier) = (job.bias.as_ptr().add(start), job.multiplier.as_ptr().add(start));
                // As `blocks` with these widths.
                if left > 8 {
                    let sums = tile::<4>(job, &pixels, &mut weights, bias);
                    requantise.tile(&sums, multiplier, (outputs, count), (start, left), &mut sink);
                    start += 16;
                } else {
                    let sums = tile::<2>(job, &pixels, &mut weights, bias);
                    requantise.tile(&sums, multiplier, (outputs, count), (start, left), &mut sink);
                    start += 8;
                }
            }
        }
        if let (Some(table), Sink::Bytes(bytes)) = (job.lookup_table, &mut sink) {
            lookup_tile(bytes, &outputs[..count], channels, table);
        }
    });
}

/// The sums of a tile by four times `V` (2 or 4) channels.
///
/// # Safety
/// The receptive fields at `pixels` lie within the input; `weights` and `bias` are those of a block. The weights of the
/// next block follow those.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile<const V: usize>(
    job: &ConvU8Job<'_>,
    pixels: &[*const u8; PIXELS],
    weights: &mut *const i8,
    bias: *const i32,
) -> [[int32x4_t; V]; PIXELS] {
    let walk = &job.walk;
    let sign = vdupq_n_u8(0x80);
    let length = walk.run_length;
    let mut at_weights = *weights;
    // SAFETY: all reads are of runs of the receptive fields, of biases, and of `steps` times 16 `V` weights;
    // the machine has dot products.
    unsafe {
        let mut s = [[vdupq_n_s32(0); V]; PIXELS];
        for part in 0..V {
            let bias = vld1q_s32(bias.add(part * 4));
            for pixel in 0..PIXELS {
                s[pixel][part] = bias;
            }
        }
        // One group of each pixel, and its weights.
        macro_rules! group {
            ($bytes:ident, $lane:literal) => {
                for part in 0..V {
                    let four = vld1q_s8(at_weights.add(($lane * V + part) * 16));
                    for pixel in 0..PIXELS {
                        dot!(s[pixel][part], four, $bytes[pixel], $lane);
                    }
                }
            };
        }
        for down in 0..walk.runs[0] {
            for across in 0..walk.runs[1] {
                let run = down * walk.run_step[0] + across * walk.run_step[1];
                let mut from = pixels.map(|pixel| pixel.add(run));
                if length >= 16 {
                    let count = length / 16;
                    if V == 4 {
                        sixteens!(
                            from,
                            at_weights,
                            count,
                            sign,
                            [
                                a0 = s[0][0],
                                a1 = s[1][0],
                                a2 = s[2][0],
                                a3 = s[3][0],
                                a4 = s[4][0],
                                b0 = s[0][1],
                                b1 = s[1][1],
                                b2 = s[2][1],
                                b3 = s[3][1],
                                b4 = s[4][1],
                                c0 = s[0][2],
                                c1 = s[1][2],
                                c2 = s[2][2],
                                c3 = s[3][2],
                                c4 = s[4][2],
                                d0 = s[0][3],
                                d1 = s[1][3],
                                d2 = s[2][3],
                                d3 = s[3][3],
                                d4 = s[4][3]
                            ],
                            concat!(load!("w0", "w1"), load!("w2", "w3")),
                            concat!(
                                five!("a", "w0", "0"),
                                five!("b", "w1", "0"),
                                load!("w0", "w1"),
                                five!("c", "w2", "0"),
                                five!("d", "w3", "0"),
                                load!("w2", "w3"),
                                five!("a", "w0", "1"),
                                five!("b", "w1", "1"),
                                load!("w0", "w1"),
                                five!("c", "w2", "1"),
                                five!("d", "w3", "1"),
                                load!("w2", "w3"),
                                five!("a", "w0", "2"),
                                five!("b", "w1", "2"),
                                load!("w0", "w1"),
                                five!("c", "w2", "2"),
                                five!("d", "w3", "2"),
                                load!("w2", "w3"),
                                five!("a", "w0", "3"),
                                five!("b", "w1", "3"),
                                five!("c", "w2", "3"),
                                five!("d", "w3", "3"),
                            )
                        );
                    } else {
                        sixteens!(
                            from,
                            at_weights,
                            count,
                            sign,
                            [
                                a0 = s[0][0],
                                a1 = s[1][0],
                                a2 = s[2][0],
                                a3 = s[3][0],
                                a4 = s[4][0],
                                b0 = s[0][1],
                                b1 = s[1][1],
                                b2 = s[2][1],
                                b3 = s[3][1],
                                b4 = s[4][1]
                            ],
                            concat!(load!("w0", "w1"), load!("w2", "w3")),
                            concat!(
                                five!("a", "w0", "0"),
                                five!("b", "w1", "0"),
                                load!("w0", "w1"),
                                five!("a", "w2", "1"),
                                five!("b", "w3", "1"),
                                load!("w2", "w3"),
                                five!("a", "w0", "2"),
                                five!("b", "w1", "2"),
                                five!("a", "w2", "3"),
                                five!("b", "w3", "3"),
                            )
                        );
                    }
                }
                let mut left = length % 16;
                if left >= 8 {
                    let mut bytes = [vdup_n_u8(0); PIXELS];
                    for pixel in 0..PIXELS {
                        bytes[pixel] = veor_u8(vld1_u8(from[pixel]), vget_low_u8(sign));
                        from[pixel] = from[pixel].add(8);
                    }
                    group!(bytes, 0);
                    group!(bytes, 1);
                    at_weights = at_weights.add(32 * V);
                    left -= 8;
                }
                while left > 0 {
                    // The last group is moved back to end with the run, as the packing has it.
                    let back = 4_usize.saturating_sub(left);
                    let mut bytes = [vdup_n_u8(0); PIXELS];
                    for pixel in 0..PIXELS {
                        let four = from[pixel].wrapping_sub(back).cast::<u32>().read_unaligned();
                        bytes[pixel] = veor_u8(vcreate_u8(u64::from(four)), vget_low_u8(sign));
                        from[pixel] = from[pixel].wrapping_add(4);
                    }
                    group!(bytes, 0);
                    at_weights = at_weights.add(16 * V);
                    left = left.saturating_sub(4);
                }
            }
        }
        *weights = at_weights;
        s
    }
}
