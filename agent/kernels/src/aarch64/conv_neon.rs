//! Quantised convolutions without dot products: tiles of 3 pixels by 24 channels, two elements of a run at a time.
//!
//! A pair of bytes, repeated, is multiplied with the pairs of four channels into 16 bits; two such products are added there
//! before both halves go into the 32-bit sum of their channel. Two products of -128 with -128 would overflow, so weights
//! that hold -128 take [`SINGLE`], which adds nothing in 16 bits.
//!
//! The innermost loop is assembly as a whole: its values take all 32 registers, and the compiler, which moves instructions
//! about, would need more.

use std::arch::aarch64::*;
use std::arch::asm;

use super::store::{Requantise, lookup_tile};
use crate::conv::{ConvU8Job, ConvU8Kernel, Sink, tiles};

pub(super) const PAIRED: ConvU8Kernel = ConvU8Kernel {
    widths: &[24, 16, 8],
    group: 2,
    offset: 128,
    supports: |weights| !weights.contains(&i8::MIN),
    run: conv::<true>,
};

pub(super) const SINGLE: ConvU8Kernel = ConvU8Kernel { supports: |_| true, run: conv::<false>, ..PAIRED };

/// 18 sums, 3 pixels, 6 of weights, two of bytes, two of products and the sign: all registers.
const PIXELS: usize = 3;

/// For a pixel and eight channels, the products of two pairs, `p` and `q`, added in 16 bits.
macro_rules! paired {
    ($low:literal, $high:literal, $one:literal, $two:literal) => {
        concat!(
            "smull {t:v}.8h, {",
            $one,
            ":v}.8b, {p:v}.8b\n",
            "smull2 {u:v}.8h, {",
            $one,
            ":v}.16b, {p:v}.16b\n",
            "smlal {t:v}.8h, {",
            $two,
            ":v}.8b, {q:v}.8b\n",
            "smlal2 {u:v}.8h, {",
            $two,
            ":v}.16b, {q:v}.16b\n",
            "sadalp {",
            $low,
            ":v}.4s, {t:v}.8h\n",
            "sadalp {",
            $high,
            ":v}.4s, {u:v}.8h\n",
        )
    };
}

/// The same, each product by itself.
macro_rules! single {
    ($low:literal, $high:literal, $one:literal, $two:literal) => {
        concat!(
            "smull {t:v}.8h, {",
            $one,
            ":v}.8b, {p:v}.8b\n",
            "smull2 {u:v}.8h, {",
            $one,
            ":v}.16b, {p:v}.16b\n",
            "sadalp {",
            $low,
            ":v}.4s, {t:v}.8h\n",
            "sadalp {",
            $high,
            ":v}.4s, {u:v}.8h\n",
            "smull {t:v}.8h, {",
            $two,
            ":v}.8b, {q:v}.8b\n",
            "smull2 {u:v}.8h, {",
            $two,
            ":v}.16b, {q:v}.16b\n",
            "sadalp {",
            $low,
            ":v}.4s, {t:v}.8h\n",
            "sadalp {",
            $high,
            ":v}.4s, {u:v}.8h\n",
        )
    };
}

/// Repeats two pairs of the pixel `x`.
macro_rules! repeat {
    ($x:literal, $one:literal, $two:literal) => {
        concat!("dup {p:v}.8h, {", $x, ":v}.h[", $one, "]\n", "dup {q:v}.8h, {", $x, ":v}.h[", $two, "]\n",)
    };
}

/// Two registers of weights.
macro_rules! load {
    ($one:literal, $two:literal) => {
        concat!("ldp {", $one, ":q}, {", $two, ":q}, [{weights}], #32\n")
    };
}

/// The products of two pairs, for 24, 16 or 8 channels of each pixel.
macro_rules! two_pairs {
    (6, $products:ident, $one:literal, $two:literal) => {
        concat!(
            load!("w0", "w1"),
            load!("w2", "w3"),
            load!("w4", "w5"),
            repeat!("x0", $one, $two),
            $products!("a0", "a1", "w0", "w3"),
            $products!("a2", "a3", "w1", "w4"),
            $products!("a4", "a5", "w2", "w5"),
            repeat!("x1", $one, $two),
            $products!("b0", "b1", "w0", "w3"),
            $products!("b2", "b3", "w1", "w4"),
            $products!("b4", "b5", "w2", "w5"),
            repeat!("x2", $one, $two),
            $products!("c0", "c1", "w0", "w3"),
            $products!("c2", "c3", "w1", "w4"),
            $products!("c4", "c5", "w2", "w5"),
        )
    };
    (4, $products:ident, $one:literal, $two:literal) => {
        concat!(
            load!("w0", "w1"),
            load!("w2", "w3"),
            repeat!("x0", $one, $two),
            $products!("a0", "a1", "w0", "w2"),
            $products!("a2", "a3", "w1", "w3"),
            repeat!("x1", $one, $two),
            $products!("b0", "b1", "w0", "w2"),
            $products!("b2", "b3", "w1", "w3"),
            repeat!("x2", $one, $two),
            $products!("c0", "c1", "w0", "w2"),
            $products!("c2", "c3", "w1", "w3"),
        )
    };
    (2, $products:ident, $one:literal, $two:literal) => {
        concat!(
            load!("w0", "w1"),
            repeat!("x0", $one, $two),
            $products!("a0", "a1", "w0", "w1"),
            repeat!("x1", $one, $two),
            $products!("b0", "b1", "w0", "w1"),
            repeat!("x2", $one, $two),
            $products!("c0", "c1", "w0", "w1"),
        )
    };
}

/// The loop over `count` (above 0) times eight elements.
macro_rules! eights {
    (
        $parts:tt, $products:ident, $from:ident, $weights:ident, $count:expr, $sign:ident,
        [$($name:ident = $sum:expr),*], [$($scratch:ident),*]
    ) => {
        asm!(
            "2:",
            "ldr {x0:d}, [{p0}], #8",
            "ldr {x1:d}, [{p1}], #8",
            "ldr {x2:d}, [{p2}], #8",
            "subs {count}, {count}, #1",
            "eor {x0:v}.8b, {x0:v}.8b, {sign:v}.8b",
            "eor {x1:v}.8b, {x1:v}.8b, {sign:v}.8b",
            "eor {x2:v}.8b, {x2:v}.8b, {sign:v}.8b",
            two_pairs!($parts, $products, "0", "1"),
            two_pairs!($parts, $products, "2", "3"),
            "b.ne 2b",
            $($name = inout(vreg) $sum,)*
            p0 = inout(reg) $from[0],
            p1 = inout(reg) $from[1],
            p2 = inout(reg) $from[2],
            weights = inout(reg) $weights,
            count = inout(reg) $count => _,
            sign = in(vreg) $sign,
            $($scratch = out(vreg) _,)*
            options(readonly, nostack),
        )
    };
}

/// # Safety
/// As [`ConvU8Kernel::run`].
#[target_feature(enable = "neon")]
unsafe fn conv<const EXACT_PAIRS: bool>(job: &ConvU8Job<'_>, mut sink: Sink<'_>) {
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
                macro_rules! block {
                    ($parts:literal) => {{
                        let sums = tile::<EXACT_PAIRS, $parts>(job, &pixels, &mut weights, bias);
                        requantise.tile(&sums, multiplier, (outputs, count), (start, left), &mut sink);
                        start += $parts * 4;
                    }};
                }
                // As `blocks` with these widths.
                if left > 16 {
                    block!(6);
                } else if left > 8 {
                    block!(4);
                } else {
                    block!(2);
                }
            }
        }
        if let (Some(table), Sink::Bytes(bytes)) = (job.lookup_table, &mut sink) {
            lookup_tile(bytes, &outputs[..count], channels, table);
        }
    });
}

/// The sums of a tile by four times `V` (2, 4 or 6) channels.
///
/// # Safety
/// The receptive fields at `pixels` lie within the input; `weights` and `bias` are those of a block. The weights of the
/// next block follow those.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile<const EXACT_PAIRS: bool, const V: usize>(
    job: &ConvU8Job<'_>,
    pixels: &[*const u8; PIXELS],
    weights: &mut *const i8,
    bias: *const i32,
) -> [[int32x4_t; V]; PIXELS] {
    let walk = &job.walk;
    let sign = vdupq_n_s8(i8::MIN);
    let length = walk.run_length;
    let mut at_weights = *weights;
    // SAFETY: all reads are of runs of the receptive fields, of biases, and of `steps` times 8 `V` weights.
    unsafe {
        let mut s = [[vdupq_n_s32(0); V]; PIXELS];
        for part in 0..V {
            let bias = vld1q_s32(bias.add(part * 4));
            for pixel in 0..PIXELS {
                s[pixel][part] = bias;
            }
        }
        for down in 0..walk.runs[0] {
            for across in 0..walk.runs[1] {
                let run = down * walk.run_step[0] + across * walk.run_step[1];
                let mut from = pixels.map(|pixel| pixel.add(run));
                if length >= 8 {
                    let count = length / 8;
                    macro_rules! by_eights {
                        ($parts:tt, [$($name:ident = $pixel:literal $part:literal),*], $scratch:tt) => {
                            if EXACT_PAIRS {
                                eights!(
                                    $parts, paired, from, at_weights, count, sign,
                                    [$($name = s[$pixel][$part]),*], $scratch
                                );
                            } else {
                                eights!(
                                    $parts, single, from, at_weights, count, sign,
                                    [$($name = s[$pixel][$part]),*], $scratch
                                );
                            }
                        };
                    }
                    match V {
                        6 => by_eights!(
                            6,
                            [a0 = 0 0, a1 = 0 1, a2 = 0 2, a3 = 0 3, a4 = 0 4, a5 = 0 5,
                             b0 = 1 0, b1 = 1 1, b2 = 1 2, b3 = 1 3, b4 = 1 4, b5 = 1 5,
                             c0 = 2 0, c1 = 2 1, c2 = 2 2, c3 = 2 3, c4 = 2 4, c5 = 2 5],
                            [x0, x1, x2, w0, w1, w2, w3, w4, w5, p, q, t, u]
                        ),
                        4 => by_eights!(
                            4,
                            [a0 = 0 0, a1 = 0 1, a2 = 0 2, a3 = 0 3, b0 = 1 0, b1 = 1 1,
                             b2 = 1 2, b3 = 1 3, c0 = 2 0, c1 = 2 1, c2 = 2 2, c3 = 2 3],
                            [x0, x1, x2, w0, w1, w2, w3, p, q, t, u]
                        ),
                        _ => by_eights!(
                            2,
                            [a0 = 0 0, a1 = 0 1, b0 = 1 0, b1 = 1 1, c0 = 2 0, c1 = 2 1],
                            [x0, x1, x2, w0, w1, p, q, t, u]
                        ),
                    }
                }
                let mut left = length % 8;
                while left > 0 {
                    // The last group is moved back to end with the run, as the packing has it.
                    let back = 2_usize.saturating_sub(left);
                    for pixel in 0..PIXELS {
                        let pair = vdupq_n_s16(from[pixel].wrapping_sub(back).cast::<i16>().read_unaligned());
                        let pair = veorq_s8(vreinterpretq_s8_s16(pair), sign);
                        from[pixel] = from[pixel].wrapping_add(2);
                        for half in 0..V / 2 {
                            let weights = vld1q_s8(at_weights.add(half * 16));
                            let low = vmull_s8(vget_low_s8(weights), vget_low_s8(pair));
                            s[pixel][half * 2] = vpadalq_s16(s[pixel][half * 2], low);
                            let high = vmull_high_s8(weights, pair);
                            s[pixel][half * 2 + 1] = vpadalq_s16(s[pixel][half * 2 + 1], high);
                        }
                    }
                    at_weights = at_weights.add(8 * V);
                    left = left.saturating_sub(2);
                }
            }
        }
        *weights = at_weights;
        s
    }
}
