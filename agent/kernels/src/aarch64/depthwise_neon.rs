//! Quantised depthwise convolutions of any shape without dot products: 8 channels of a pixel at a time, in 16 bits. The
//! last block of channels is moved back to end with the last channel; pixels of fewer channels take portable code.

use std::arch::aarch64::*;
use std::arch::asm;

use super::lookup::lookup_in_place;
use super::opaque;
use super::store::{Requantise, floats_of, multipliers};
use crate::conv::{DepthwiseU8Job, DepthwiseU8Kernel, Sink};
use crate::portable;

/// Weights lie as for portable code: by tap, then by channel.
pub(super) const KERNEL: DepthwiseU8Kernel = DepthwiseU8Kernel {
    name: "neon",
    supports: |_| true,
    offset: portable::depthwise::U8.offset,
    pack: portable::depthwise::U8.pack,
    run: depthwise,
};

pub(super) const CHANNELS: usize = 8;

/// # Safety
/// As [`DepthwiseU8Kernel::run`].
#[target_feature(enable = "neon")]
unsafe fn depthwise(job: &DepthwiseU8Job<'_>, mut sink: Sink<'_>) {
    let walk = &job.walk;
    if walk.channels < CHANNELS {
        // SAFETY: by this function's own condition.
        return unsafe { (portable::depthwise::U8.run)(job, sink) };
    }
    let requantise = Requantise::new(&job.rounding);
    for (index, y) in walk.rows.clone().enumerate() {
        let (input, output) = (walk.origin + y * walk.step[0], index * walk.output_step[0]);
        for block in 0..walk.channels.div_ceil(CHANNELS) {
            let channel = (block * CHANNELS).min(walk.channels - CHANNELS);
            // SAFETY: the row lies within the walk, the block within the channels.
            unsafe {
                let from = job.input.as_ptr().add(input + channel);
                let multipliers = multipliers::<2>(job.packed.multiplier.as_ptr().add(channel));
                // Each pixel has eight channels from there on.
                match &mut sink {
                    Sink::Bytes(bytes) if requantise.plain => {
                        let to = bytes.as_mut_ptr().add(output + channel);
                        row(job, from, channel, |sums, at| {
                            requantise.bytes::<2, true>(&sums, &multipliers, to.add(at))
                        });
                    }
                    Sink::Bytes(bytes) => {
                        let to = bytes.as_mut_ptr().add(output + channel);
                        row(job, from, channel, |sums, at| {
                            requantise.bytes::<2, false>(&sums, &multipliers, to.add(at))
                        });
                    }
                    Sink::Floats(floats) => {
                        let to = floats.as_mut_ptr().add(output + channel);
                        row(job, from, channel, |sums, at| floats_of(&sums, &multipliers, to.add(at)));
                    }
                }
            }
        }
        job.finish_row(output, &mut sink, |bytes, table| lookup_in_place(bytes, table));
    }
}

/// Gives the sums of each pixel of a row, and where it begins in the output's row, to `write`.
///
/// # Safety
/// The row lies within the walk of the job, which lies within its memory; eight channels from `channel` on exist.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn row(
    job: &DepthwiseU8Job<'_>,
    from: *const u8,
    channel: usize,
    write: impl Fn([int32x4_t; 2], usize),
) {
    // SAFETY: by this function's own condition.
    unsafe {
        let apart = [1, 2].map(|columns| job.walk.step[1] == columns * job.walk.run_step[1]);
        match (job.walk.runs, apart) {
            ([3, 3], [true, _]) => three::<1>(job, from, channel, write),
            ([3, 3], [_, true]) => three::<2>(job, from, channel, write),
            _ => any(job, from, channel, write),
        }
    }
}

/// Eight bytes in 16 bits each.
///
/// # Safety
/// `from` has eight bytes.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn widen(from: *const u8) -> int16x8_t {
    // SAFETY: by this function's own condition.
    hide(vreinterpretq_s16_u16(vmovl_u8(unsafe { vld1_u8(from) })))
}

/// The same, but the compiler does not know from where: it would widen what is used several times to 32 bits, and have
/// too few registers for that.
#[inline]
#[target_feature(enable = "neon")]
fn hide(words: int16x8_t) -> int16x8_t {
    let mut words = words;
    // SAFETY: no instructions.
    unsafe {
        asm!("/* {words:v} */", words = inout(vreg) words, options(pure, nomem, nostack, preserves_flags))
    };
    words
}

/// In assembly, because the compiler would take the upper halves out beforehand.
#[inline]
#[target_feature(enable = "neon")]
fn multiply_add(sums: &mut [int32x4_t; 2], values: int16x8_t, weights: int16x8_t) {
    // SAFETY: nothing but registers, by instructions that every such processor has.
    unsafe {
        asm!(
            "smlal {low:v}.4s, {values:v}.4h, {weights:v}.4h",
            "smlal2 {high:v}.4s, {values:v}.8h, {weights:v}.8h",
            low = inout(vreg) sums[0],
            high = inout(vreg) sums[1],
            values = in(vreg) values,
            weights = in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
}

/// Kernels of 3 by 3 whose pixels are `S` (1 or 2) columns apart, with weights and columns in registers: three columns in
/// turn, of which each pixel replaces `S`.
///
/// # Safety
/// As [`row`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn three<const S: usize>(
    job: &DepthwiseU8Job<'_>,
    from: *const u8,
    channel: usize,
    write: impl Fn([int32x4_t; 2], usize),
) {
    let walk = &job.walk;
    let packed = job.packed;
    let [down, across] = walk.run_step;
    // SAFETY: each tap of each pixel lies within the walk; weights are taps × channels.
    unsafe {
        let weights = packed.weights.as_ptr().add(channel);
        let mut kept = [vdupq_n_s16(0); 9];
        for tap in 0..9 {
            kept[tap] = hide(vmovl_s8(vld1_s8(weights.add(tap * walk.channels))));
        }
        let bias = packed.bias.as_ptr().add(channel);
        let bias = [vld1q_s32(bias), vld1q_s32(bias.add(4))];
        let rows = [from, from.add(down), from.add(2 * down)];
        let column = |at: usize| [widen(rows[0].add(at)), widen(rows[1].add(at)), widen(rows[2].add(at))];
        let mut window = [[vdupq_n_s16(0); 3]; 3];
        let (mut next, mut output, mut left) = (0, 0, walk.width);
        for index in 0..3 - S {
            window[index] = column(next);
            next += across;
        }
        // By constant indices only, so that columns stay in registers.
        macro_rules! pixel {
            ($turn:literal) => {
                if left == 0 {
                    return;
                }
                for index in 3 - S..3 {
                    window[($turn * S + index) % 3] = column(next);
                    next = opaque(next + across);
                }
                let mut sums = bias;
                for row in 0..3 {
                    for index in 0..3 {
                        multiply_add(&mut sums, window[($turn * S + index) % 3][row], kept[row * 3 + index]);
                    }
                }
                write(sums, output);
                output = opaque(output + walk.output_step[1]);
                left -= 1;
            };
        }
        loop {
            pixel!(0);
            pixel!(1);
            pixel!(2);
        }
    }
}

/// # Safety
/// As [`row`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn any(
    job: &DepthwiseU8Job<'_>,
    from: *const u8,
    channel: usize,
    write: impl Fn([int32x4_t; 2], usize),
) {
    let walk = &job.walk;
    let packed = job.packed;
    // SAFETY: as in `three`.
    unsafe {
        let bias = packed.bias.as_ptr().add(channel);
        let bias = [vld1q_s32(bias), vld1q_s32(bias.add(4))];
        for x in 0..walk.width {
            let input = from.add(x * walk.step[1]);
            let mut sums = bias;
            let mut weights = packed.weights.as_ptr().add(channel);
            for down in 0..walk.runs[0] {
                for across in 0..walk.runs[1] {
                    let values = widen(input.add(down * walk.run_step[0] + across * walk.run_step[1]));
                    multiply_add(&mut sums, values, vmovl_s8(vld1_s8(weights)));
                    weights = weights.wrapping_add(walk.channels);
                }
            }
            write(sums, x * walk.output_step[1]);
        }
    }
}
