//! Depthwise convolutions of any shape in portable code: tap by tap over the channels of a pixel.

use super::conv::{pixels, runs};
use crate::conv::{
    ConvShape, DepthwiseF32Job, DepthwiseF32Kernel, DepthwiseU8Job, DepthwiseU8Kernel, Packed, Sink,
};

pub(crate) const U8: DepthwiseU8Kernel =
    DepthwiseU8Kernel { name: "portable", supports: |_| true, offset: 0, pack, run: depthwise_u8 };
pub(crate) const F32: DepthwiseF32Kernel = DepthwiseF32Kernel { run: depthwise_f32 };

/// Weights by tap and then channel, as the pixels of the input lie.
fn pack(shape: &ConvShape, weights: &[i8], bias: &[i32], multiplier: &[f32]) -> Packed<i8, i32> {
    let (taps, channels) = (shape.kernel[0] * shape.kernel[1], shape.output_channels);
    let by_tap = (0..taps).flat_map(|tap| (0..channels).map(move |channel| weights[channel * taps + tap]));
    Packed { weights: by_tap.collect(), bias: bias.to_vec(), multiplier: multiplier.to_vec() }
}

fn depthwise_u8(job: &DepthwiseU8Job<'_>, mut sink: Sink<'_>) {
    let (walk, packed) = (&job.walk, job.packed);
    let channels = walk.channels;
    let mut sums = vec![0_i32; channels];
    pixels(walk, |input, output| {
        sums.copy_from_slice(&packed.bias);
        runs(walk, |tap, at| {
            let bytes = &job.input[input + at..][..channels];
            for ((sum, x), w) in sums.iter_mut().zip(bytes).zip(&packed.weights[tap * channels..]) {
                *sum = sum.wrapping_add(i32::from(*x) * i32::from(*w));
            }
        });
        let values = sums.iter().zip(&packed.multiplier).map(|(sum, multiplier)| *sum as f32 * multiplier);
        match &mut sink {
            Sink::Bytes(bytes) => {
                for (byte, value) in bytes[output..].iter_mut().zip(values) {
                    let rounded = job.rounding.byte(value);
                    *byte = job.lookup_table.map_or(rounded, |table| table[usize::from(rounded)]);
                }
            }
            Sink::Floats(floats) => {
                floats[output..].iter_mut().zip(values).for_each(|(float, value)| *float = value)
            }
        }
    });
}

fn depthwise_f32(job: &DepthwiseF32Job<'_>, out: &mut [f32]) {
    let walk = &job.walk;
    let channels = walk.channels;
    pixels(walk, |input, output| {
        let sums = &mut out[output..][..channels];
        sums.copy_from_slice(job.bias);
        runs(walk, |tap, at| {
            let values = &job.input[input + at..][..channels];
            for ((sum, x), w) in sums.iter_mut().zip(values).zip(&job.weights[tap * channels..]) {
                *sum += x * w;
            }
        });
        for (channel, sum) in sums.iter_mut().enumerate() {
            *sum = job.activation.value(*sum, channel);
        }
    });
}
