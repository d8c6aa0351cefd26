//! Dense convolutions in portable code: one output channel at a time, over the runs of its receptive field.

use crate::conv::Walk;
use crate::conv::{ConvF32Job, ConvF32Kernel, ConvU8Job, ConvU8Kernel, Sink};

pub(crate) const U8: ConvU8Kernel =
    ConvU8Kernel { widths: &[1], group: 1, offset: 0, supports: |_| true, run: conv_u8 };
pub(crate) const F32: ConvF32Kernel = ConvF32Kernel { widths: &[1], run: conv_f32 };

/// Calls `each(first input element, first output element)` for every output pixel.
#[inline(always)]
pub(crate) fn pixels(walk: &Walk, mut each: impl FnMut(usize, usize)) {
    for (index, y) in walk.rows.clone().enumerate() {
        for x in 0..walk.width {
            let input = walk.origin + y * walk.step[0] + x * walk.step[1];
            each(input, index * walk.output_step[0] + x * walk.output_step[1]);
        }
    }
}

/// Calls `each(run's number, its first element from the receptive field's)` for every run.
#[inline(always)]
pub(crate) fn runs(walk: &Walk, mut each: impl FnMut(usize, usize)) {
    for down in 0..walk.runs[0] {
        for across in 0..walk.runs[1] {
            each(down * walk.runs[1] + across, down * walk.run_step[0] + across * walk.run_step[1]);
        }
    }
}

fn conv_u8(job: &ConvU8Job<'_>, mut sink: Sink<'_>) {
    let walk = &job.walk;
    let length = walk.run_length;
    let each = walk.runs[0] * walk.runs[1] * length;
    pixels(walk, |input, output| {
        for channel in 0..walk.channels {
            let weights = &job.weights[channel * each..][..each];
            let mut sum = job.bias[channel];
            runs(walk, |run, at| {
                let bytes = &job.input[input + at..][..length];
                let products =
                    bytes.iter().zip(&weights[run * length..]).map(|(x, w)| i32::from(*x) * i32::from(*w));
                sum = sum.wrapping_add(products.fold(0, i32::wrapping_add));
            });
            let value = sum as f32 * job.multiplier[channel];
            match &mut sink {
                Sink::Bytes(bytes) => {
                    let byte = job.rounding.byte(value);
                    bytes[output + channel] = job.lookup_table.map_or(byte, |table| table[usize::from(byte)]);
                }
                Sink::Floats(floats) => floats[output + channel] = value,
            }
        }
    });
}

fn conv_f32(job: &ConvF32Job<'_>, out: &mut [f32]) {
    let walk = &job.walk;
    let length = walk.run_length;
    let each = walk.runs[0] * walk.runs[1] * length;
    pixels(walk, |input, output| {
        for channel in 0..walk.channels {
            let weights = &job.weights[channel * each..][..each];
            let mut sum = job.bias[channel];
            runs(walk, |run, at| {
                for (x, w) in job.input[input + at..][..length].iter().zip(&weights[run * length..]) {
                    sum += x * w;
                }
            });
            out[output + channel] = job.activation.value(sum, channel);
        }
    });
}
