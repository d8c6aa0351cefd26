//! F32 convolutions: tiles of 4 pixels by 8 channels.

use super::asm::aimass_armv7_run_f32;
use crate::conv::{ConvF32Job, ConvF32Kernel, blocks, tiles};

pub(super) const KERNEL: ConvF32Kernel = ConvF32Kernel { widths: &[CHANNELS], run: conv };

const PIXELS: usize = 4;
const CHANNELS: usize = 8;

/// # Safety
/// As [`ConvF32Kernel::run`].
unsafe fn conv(job: &ConvF32Job<'_>, out: &mut [f32]) {
    let walk = &job.walk;
    let steps = walk.runs[0] * walk.runs[1] * walk.run_length;
    tiles::<PIXELS>(walk, |inputs, outputs, count| {
        for (start, _) in blocks(walk.channels, KERNEL.widths) {
            let bias: [f32; CHANNELS] = std::array::from_fn(|channel| job.bias[start + channel]);
            let mut sums = [bias; PIXELS];
            let mut weights = job.weights[start * steps..].as_ptr();
            debug_assert!(job.weights.len() >= (start + CHANNELS) * steps);
            for down in 0..walk.runs[0] {
                for across in 0..walk.runs[1] {
                    let at = down * walk.run_step[0] + across * walk.run_step[1];
                    // SAFETY: runs of the receptive fields lie within the input; a block has eight weights for each
                    // element.
                    unsafe {
                        let run = inputs.map(|input| job.input.as_ptr().add(input + at));
                        aimass_armv7_run_f32(&raw const run, weights, walk.run_length, &raw mut sums);
                        weights = weights.add(walk.run_length * CHANNELS);
                    }
                }
            }
            let left = (walk.channels - start).min(CHANNELS);
            for (sums, output) in sums[..count].iter().zip(outputs) {
                let to = &mut out[output + start..][..left];
                for (channel, (to, sum)) in to.iter_mut().zip(sums).enumerate() {
                    *to = job.activation.value(*sum, start + channel);
                }
            }
        }
    });
}
