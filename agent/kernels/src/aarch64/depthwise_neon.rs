//! Quantised depthwise convolutions of any shape without dot products: 8 channels of a pixel at a time, in 16 bits. The
//! last block of channels is moved back to end with the last channel; pixels of fewer channels take portable code.

use std::arch::aarch64::*;

use super::lookup::lookup_in_place;
use super::store::Requantise;
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
                match walk.runs {
                    [3, 3] => three(job, from, channel, output + channel, &requantise, &mut sink),
                    _ => any(job, from, channel, output + channel, &requantise, &mut sink),
                }
            }
        }
        job.finish_row(output, &mut sink, |bytes, table| lookup_in_place(bytes, table));
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
    vreinterpretq_s16_u16(vmovl_u8(unsafe { vld1_u8(from) }))
}

#[inline]
#[target_feature(enable = "neon")]
fn multiply_add(sums: &mut [int32x4_t; 2], values: int16x8_t, weights: int16x8_t) {
    sums[0] = vmlal_s16(sums[0], vget_low_s16(values), vget_low_s16(weights));
    sums[1] = vmlal_high_s16(sums[1], values, weights);
}

/// # Safety
/// The row lies within the walk of the job, which lies within its memory; eight channels from `channel` on exist.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn three(
    job: &DepthwiseU8Job<'_>,
    input: *const u8,
    channel: usize,
    output: usize,
    requantise: &Requantise,
    sink: &mut Sink<'_>,
) {
    let walk = &job.walk;
    let packed = job.packed;
    // SAFETY: each tap of each pixel lies within the walk; weights are taps × channels.
    unsafe {
        let from = packed.weights.as_ptr().add(channel);
        let weights: [int16x8_t; 9] =
            std::array::from_fn(|tap| vmovl_s8(vld1_s8(from.add(tap * walk.channels))));
        let bias = packed.bias.as_ptr().add(channel);
        let bias = [vld1q_s32(bias), vld1q_s32(bias.add(4))];
        let multiplier = packed.multiplier.as_ptr().add(channel);
        for x in 0..walk.width {
            let input = input.add(x * walk.step[1]);
            let mut sums = bias;
            for down in 0..3 {
                for across in 0..3 {
                    let values = widen(input.add(down * walk.run_step[0] + across * walk.run_step[1]));
                    multiply_add(&mut sums, values, weights[down * 3 + across]);
                }
            }
            requantise.store(sums, multiplier, CHANNELS, output + x * walk.output_step[1], sink);
        }
    }
}

/// # Safety
/// As [`three`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn any(
    job: &DepthwiseU8Job<'_>,
    input: *const u8,
    channel: usize,
    output: usize,
    requantise: &Requantise,
    sink: &mut Sink<'_>,
) {
    let walk = &job.walk;
    let packed = job.packed;
    // SAFETY: as in `three`.
    unsafe {
        let bias = packed.bias.as_ptr().add(channel);
        let bias = [vld1q_s32(bias), vld1q_s32(bias.add(4))];
        let multiplier = packed.multiplier.as_ptr().add(channel);
        for x in 0..walk.width {
            let input = input.add(x * walk.step[1]);
            let mut sums = bias;
            let mut weights = packed.weights.as_ptr().add(channel);
            for down in 0..walk.runs[0] {
                for across in 0..walk.runs[1] {
                    let values = widen(input.add(down * walk.run_step[0] + across * walk.run_step[1]));
                    multiply_add(&mut sums, values, vmovl_s8(vld1_s8(weights)));
                    weights = weights.add(walk.channels);
                }
            }
            requantise.store(sums, multiplier, CHANNELS, output + x * walk.output_step[1], sink);
        }
    }
}
