//! Planes to pixels.

use crate::ops::layout::PlanesJob;
use crate::quant::Quantise;

/// Quantises one row of planes into a row of pixels.
#[inline(always)]
pub(crate) fn quantise_planes(job: &PlanesJob<'_, f32>, out: &mut [u8], quantise: &Quantise) {
    const CHUNK: usize = 64;
    let rounding = quantise.rounding();
    let mut bytes = [0; CHUNK];
    for channel in 0..job.channels {
        for (index, values) in job.row(channel).chunks(CHUNK).enumerate() {
            for (byte, value) in bytes.iter_mut().zip(values) {
                *byte = rounding.byte(value / quantise.scale);
            }
            let pixels =
                out[index * CHUNK * job.pixel_stride + channel..].iter_mut().step_by(job.pixel_stride);
            for (to, byte) in pixels.zip(&bytes[..values.len()]) {
                *to = *byte;
            }
        }
    }
}
