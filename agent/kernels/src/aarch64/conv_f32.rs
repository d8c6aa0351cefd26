//! F32 convolutions: tiles of 8 pixels by 8 channels, four elements of a run at each step.
//!
//! The innermost loop is assembly as a whole: nothing but loads and multiplications by one lane of a pixel.

use std::arch::aarch64::*;
use std::arch::asm;
use std::mem::MaybeUninit;

use super::store::store_f32;
use crate::conv::{Activation, ConvF32Job, ConvF32Kernel, blocks, tiles};

pub(super) const KERNEL: ConvF32Kernel = ConvF32Kernel { widths: &[CHANNELS], run: conv };

/// 16 sums, 8 pixels and the weights fill the 32 registers but for some.
const PIXELS: usize = 8;
const CHANNELS: usize = 8;

/// A tile's sums, by pixel.
type Sums = MaybeUninit<[[f32; CHANNELS]; PIXELS]>;

/// For eight channels of each pixel, the products of one element.
#[rustfmt::skip]
macro_rules! element {
    ($lane:literal, $one:literal, $two:literal) => {
        concat!(
            element!(@ $lane, $one, "a"), element!(@ $lane, $two, "b"),
        )
    };
    (@ $lane:literal, $weights:literal, $sum:literal) => {
        concat!(
            "fmla {", $sum, "0:v}.4s, {", $weights, ":v}.4s, {x0:v}.s[", $lane, "]\n",
            "fmla {", $sum, "1:v}.4s, {", $weights, ":v}.4s, {x1:v}.s[", $lane, "]\n",
            "fmla {", $sum, "2:v}.4s, {", $weights, ":v}.4s, {x2:v}.s[", $lane, "]\n",
            "fmla {", $sum, "3:v}.4s, {", $weights, ":v}.4s, {x3:v}.s[", $lane, "]\n",
            "fmla {", $sum, "4:v}.4s, {", $weights, ":v}.4s, {x4:v}.s[", $lane, "]\n",
            "fmla {", $sum, "5:v}.4s, {", $weights, ":v}.4s, {x5:v}.s[", $lane, "]\n",
            "fmla {", $sum, "6:v}.4s, {", $weights, ":v}.4s, {x6:v}.s[", $lane, "]\n",
            "fmla {", $sum, "7:v}.4s, {", $weights, ":v}.4s, {x7:v}.s[", $lane, "]\n",
        )
    };
}

/// # Safety
/// As [`ConvF32Kernel::run`].
#[target_feature(enable = "neon")]
unsafe fn conv(job: &ConvF32Job<'_>, out: &mut [f32]) {
    let walk = &job.walk;
    let steps = walk.runs[0] * walk.runs[1] * walk.run_length;
    let mut sums = Sums::uninit();
    tiles::<PIXELS>(walk, |inputs, outputs, count| {
        for (start, _) in blocks(walk.channels, KERNEL.widths) {
            let weights = &job.weights[start * steps..];
            debug_assert!(weights.len() >= CHANNELS * steps);
            // SAFETY: the walk lies within the input; a block has eight weights and biases for each step.
            unsafe { tile(job, inputs, weights.as_ptr(), start, &mut sums) };
            let left = (walk.channels - start).min(CHANNELS);
            let activate = Activate::new(job.activation, start, left);
            let from = sums.as_ptr().cast::<f32>();
            for (pixel, output) in outputs[..count].iter().enumerate() {
                // SAFETY: `tile` wrote eight sums for each pixel; the walk lies within the output.
                unsafe {
                    let from = from.add(pixel * CHANNELS);
                    let values = activate.apply([vld1q_f32(from), vld1q_f32(from.add(4))]);
                    store_f32(values, left, out.as_mut_ptr().add(output + start));
                }
            }
        }
    });
}

/// # Safety
/// The receptive fields at `inputs` lie within the input; `weights`, biases from `start` on are those of a block.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile(
    job: &ConvF32Job<'_>,
    inputs: &[usize; PIXELS],
    mut weights: *const f32,
    start: usize,
    sums: &mut Sums,
) {
    let walk = &job.walk;
    let input = job.input.as_ptr();
    let length = walk.run_length;
    // SAFETY: all reads are of runs of the receptive fields, of biases, and of `steps` times 8 weights.
    unsafe {
        let mut first = [vld1q_f32(job.bias.as_ptr().add(start)); PIXELS];
        let mut second = [vld1q_f32(job.bias.as_ptr().add(start + 4)); PIXELS];
        for down in 0..walk.runs[0] {
            for across in 0..walk.runs[1] {
                let run = input.add(down * walk.run_step[0] + across * walk.run_step[1]);
                let mut from = inputs.map(|pixel| run.add(pixel));
                if length >= 4 {
                    asm!(
                        "2:",
                        "ldp {w0:q}, {w1:q}, [{weights}], #32",
                        "ldr {x0:q}, [{p0}], #16",
                        "ldr {x1:q}, [{p1}], #16",
                        "ldr {x2:q}, [{p2}], #16",
                        "ldr {x3:q}, [{p3}], #16",
                        "ldr {x4:q}, [{p4}], #16",
                        "ldr {x5:q}, [{p5}], #16",
                        "ldr {x6:q}, [{p6}], #16",
                        "ldr {x7:q}, [{p7}], #16",
                        "ldp {w2:q}, {w3:q}, [{weights}], #32",
                        "subs {count}, {count}, #1",
                        element!("0", "w0", "w1"),
                        "ldp {w0:q}, {w1:q}, [{weights}], #32",
                        element!("1", "w2", "w3"),
                        "ldp {w2:q}, {w3:q}, [{weights}], #32",
                        element!("2", "w0", "w1"),
                        element!("3", "w2", "w3"),
                        "b.ne 2b",
                        a0 = inout(vreg) first[0],
                        a1 = inout(vreg) first[1],
                        a2 = inout(vreg) first[2],
                        a3 = inout(vreg) first[3],
                        a4 = inout(vreg) first[4],
                        a5 = inout(vreg) first[5],
                        a6 = inout(vreg) first[6],
                        a7 = inout(vreg) first[7],
                        b0 = inout(vreg) second[0],
                        b1 = inout(vreg) second[1],
                        b2 = inout(vreg) second[2],
                        b3 = inout(vreg) second[3],
                        b4 = inout(vreg) second[4],
                        b5 = inout(vreg) second[5],
                        b6 = inout(vreg) second[6],
                        b7 = inout(vreg) second[7],
                        p0 = inout(reg) from[0],
                        p1 = inout(reg) from[1],
                        p2 = inout(reg) from[2],
                        p3 = inout(reg) from[3],
                        p4 = inout(reg) from[4],
                        p5 = inout(reg) from[5],
                        p6 = inout(reg) from[6],
                        p7 = inout(reg) from[7],
                        weights = inout(reg) weights,
                        count = inout(reg) length / 4 => _,
                        x0 = out(vreg) _,
                        x1 = out(vreg) _,
                        x2 = out(vreg) _,
                        x3 = out(vreg) _,
                        x4 = out(vreg) _,
                        x5 = out(vreg) _,
                        x6 = out(vreg) _,
                        x7 = out(vreg) _,
                        w0 = out(vreg) _,
                        w1 = out(vreg) _,
                        w2 = out(vreg) _,
                        w3 = out(vreg) _,
                        options(readonly, nostack),
                    );
                }
                for _ in 0..length % 4 {
                    let (one, two) = (vld1q_f32(weights), vld1q_f32(weights.add(4)));
                    for pixel in 0..PIXELS {
                        let value = vdupq_n_f32(*from[pixel]);
                        first[pixel] = vfmaq_f32(first[pixel], one, value);
                        second[pixel] = vfmaq_f32(second[pixel], two, value);
                        from[pixel] = from[pixel].add(1);
                    }
                    weights = weights.add(8);
                }
            }
        }
        // By constant indices only, so that the sums stay in registers throughout the loop above.
        let to = sums.as_mut_ptr().cast::<f32>();
        for pixel in 0..PIXELS {
            vst1q_f32(to.add(pixel * CHANNELS), first[pixel]);
            vst1q_f32(to.add(pixel * CHANNELS + 4), second[pixel]);
        }
    }
}

/// An activation of eight channels.
pub(super) struct Activate {
    slopes: [float32x4_t; 2],
    low: float32x4_t,
    high: float32x4_t,
}

impl Activate {
    /// Of the `count` (at most 8) channels from `channel` on.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn new(activation: &Activation, channel: usize, count: usize) -> Self {
        let slopes = match activation.slopes.as_slice() {
            [] => [vdupq_n_f32(1.0); 2],
            [slope] => [vdupq_n_f32(*slope); 2],
            slopes => {
                let mut buffer = [0.0; 8];
                buffer[..count].copy_from_slice(&slopes[channel..channel + count]);
                // SAFETY: eight numbers.
                unsafe { [vld1q_f32(buffer.as_ptr()), vld1q_f32(buffer.as_ptr().add(4))] }
            }
        };
        Self { slopes, low: vdupq_n_f32(activation.low), high: vdupq_n_f32(activation.high) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn apply(&self, values: [float32x4_t; 2]) -> [float32x4_t; 2] {
        [self.one(values[0], 0), self.one(values[1], 1)]
    }

    /// Four of the eight: the first or the second `half`.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn one(&self, value: float32x4_t, half: usize) -> float32x4_t {
        let value = vbslq_f32(vcltzq_f32(value), vmulq_f32(value, self.slopes[half]), value);
        vminq_f32(vmaxq_f32(value, self.low), self.high)
    }
}
