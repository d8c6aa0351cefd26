//! Depthwise convolutions of any shape: 8 channels of a pixel at a time. The last block of channels is moved back to end
//! with the last channel; pixels of fewer channels than a block take portable code. Weights lie as for that.

use super::asm::{Bounds, Taps, aimass_armv7_depthwise_f32, aimass_armv7_depthwise_u8};
use super::conv_u8::store;
use crate::conv::{DepthwiseF32Job, DepthwiseF32Kernel, DepthwiseU8Job, DepthwiseU8Kernel, Sink, Walk};
use crate::portable;

pub(super) const U8: DepthwiseU8Kernel = DepthwiseU8Kernel {
    name: "armv7",
    supports: |_| true,
    offset: portable::depthwise::U8.offset,
    pack: portable::depthwise::U8.pack,
    run: depthwise_u8,
};

pub(super) const F32: DepthwiseF32Kernel = DepthwiseF32Kernel { run: depthwise_f32 };

const CHANNELS: usize = 8;

/// Bytes from a pixel's first tap to each of its taps.
fn offsets(walk: &Walk, size: usize) -> Vec<usize> {
    let mut offsets = Vec::with_capacity(walk.runs[0] * walk.runs[1]);
    portable::conv::runs(walk, |_, at| offsets.push(at * size));
    offsets
}

/// First channels of the blocks.
fn starts(channels: usize) -> impl Iterator<Item = usize> {
    (0..channels.div_ceil(CHANNELS)).map(move |block| (block * CHANNELS).min(channels - CHANNELS))
}

/// # Safety
/// As [`DepthwiseU8Kernel::run`].
unsafe fn depthwise_u8(job: &DepthwiseU8Job<'_>, mut sink: Sink<'_>) {
    let (walk, packed) = (&job.walk, job.packed);
    if walk.channels < CHANNELS {
        // SAFETY: by this function's own condition.
        return unsafe { (portable::depthwise::U8.run)(job, sink) };
    }
    let offsets = offsets(walk, 1);
    let bounds = Bounds::new(&job.rounding);
    portable::conv::pixels(walk, |input, output| {
        for channel in starts(walk.channels) {
            let taps = Taps {
                input: job.input[input + channel..].as_ptr(),
                offsets: offsets.as_ptr(),
                count: offsets.len(),
                weights: packed.weights[channel..].as_ptr(),
                weight_step: walk.channels,
                bias: packed.bias[channel..channel + CHANNELS].as_ptr().cast(),
            };
            let mut sums = [0; CHANNELS];
            // SAFETY: the walk lies within the input, the block within the channels; weights are taps × channels.
            unsafe { aimass_armv7_depthwise_u8(&raw const taps, &raw mut sums) };
            let multiplier = &packed.multiplier[channel..channel + CHANNELS];
            store(&sums, multiplier, &bounds, CHANNELS, output + channel, job.lookup_table, &mut sink);
        }
    });
}

/// # Safety
/// As [`DepthwiseF32Kernel::run`].
unsafe fn depthwise_f32(job: &DepthwiseF32Job<'_>, out: &mut [f32]) {
    let walk = &job.walk;
    if walk.channels < CHANNELS {
        // SAFETY: by this function's own condition.
        return unsafe { (portable::depthwise::F32.run)(job, out) };
    }
    let offsets = offsets(walk, size_of::<f32>());
    portable::conv::pixels(walk, |input, output| {
        for channel in starts(walk.channels) {
            let taps = Taps {
                input: job.input[input + channel..].as_ptr().cast(),
                offsets: offsets.as_ptr(),
                count: offsets.len(),
                weights: job.weights[channel..].as_ptr(),
                weight_step: walk.channels * size_of::<f32>(),
                bias: job.bias[channel..channel + CHANNELS].as_ptr().cast(),
            };
            let mut sums = [0.0; CHANNELS];
            // SAFETY: as in `depthwise_u8`.
            unsafe { aimass_armv7_depthwise_f32(&raw const taps, &raw mut sums) };
            for (index, (to, sum)) in out[output + channel..][..CHANNELS].iter_mut().zip(sums).enumerate() {
                *to = job.activation.value(sum, channel + index);
            }
        }
    });
}
