//! Element by element, 16 at a time: what portable code does in more instructions, the same to the bit.
//!
//! A byte becomes a float by a look-up: below the byte of `2^23` it is that number plus the byte, from which another such
//! number is taken away exactly.

use std::arch::aarch64::*;

use super::store::Requantise;
use crate::ops::layout::PlanesJob;
use crate::portable;
use crate::quant::{AddU8, Quantise};

/// Elements of a step.
const STEP: usize = 16;

/// Takes bytes apart into four times four floats.
#[derive(Clone, Copy)]
struct Widen {
    /// Which byte of 16, and of the upper byte of 2^23 behind them, is where.
    places: [uint8x16_t; 4],
    upper: uint8x16_t,
    /// 2^23 and the zero point.
    zero: float32x4_t,
}

impl Widen {
    #[inline]
    #[target_feature(enable = "neon")]
    fn new(zero_point: u8) -> Self {
        // 16 is the first of the upper bytes; anything beyond gives 0.
        const FIRST: [u8; 16] = [0, 255, 255, 16, 1, 255, 255, 16, 2, 255, 255, 16, 3, 255, 255, 16];
        // SAFETY: 16 bytes.
        let first = unsafe { vld1q_u8(FIRST.as_ptr()) };
        let four = vreinterpretq_u8_u32(vdupq_n_u32(4));
        let second = vaddq_u8(first, four);
        let third = vaddq_u8(second, four);
        Self {
            places: [first, second, third, vaddq_u8(third, four)],
            upper: vdupq_n_u8(0x4B),
            zero: vdupq_n_f32(8_388_608.0 + f32::from(zero_point)),
        }
    }

    /// `byte - zero_point` of each.
    #[inline]
    #[target_feature(enable = "neon")]
    fn floats(&self, bytes: uint8x16_t) -> [float32x4_t; 4] {
        let mut floats = [self.zero; 4];
        for part in 0..4 {
            let whole = vqtbl2q_u8(uint8x16x2_t(bytes, self.upper), self.places[part]);
            floats[part] = vsubq_f32(vreinterpretq_f32_u8(whole), self.zero);
        }
        floats
    }
}

#[target_feature(enable = "neon")]
pub(super) fn add_u8(a: &[u8], b: &[u8], to: &mut [u8], add: &AddU8) {
    // So that no sum is infinity less infinity, which is not a number.
    if !(add.a_ratio.abs() < 1e30 && add.b_ratio.abs() < 1e30) {
        return portable::rows::add_u8(a, b, to, add);
    }
    let requantise = Requantise::new(&add.output.rounding());
    let (of_a, of_b) = (Widen::new(add.a_zero_point), Widen::new(add.b_zero_point));
    let (a_ratio, b_ratio) = (vdupq_n_f32(add.a_ratio), vdupq_n_f32(add.b_ratio));
    let (a, a_rest) = a.as_chunks::<STEP>();
    let (b, b_rest) = b.as_chunks::<STEP>();
    let (to, to_rest) = to.as_chunks_mut::<STEP>();
    for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
        // SAFETY: each has 16 bytes.
        unsafe {
            let (a, b) = (of_a.floats(vld1q_u8(a.as_ptr())), of_b.floats(vld1q_u8(b.as_ptr())));
            let mut values = a;
            for part in 0..4 {
                values[part] = vaddq_f32(vmulq_f32(a[part], a_ratio), vmulq_f32(b[part], b_ratio));
            }
            vst1q_u8(to.as_mut_ptr(), requantise.sixteen::<false>(&values));
        }
    }
    portable::rows::add_u8(a_rest, b_rest, to_rest, add);
}

/// Quantises 16 values.
struct Sixteen {
    requantise: Requantise,
    low: float32x4_t,
    scale: float32x4_t,
}

impl Sixteen {
    #[inline]
    #[target_feature(enable = "neon")]
    fn new(quantise: &Quantise) -> Self {
        let rounding = quantise.rounding();
        Self {
            requantise: Requantise::new(&rounding),
            low: vdupq_n_f32(rounding.low),
            scale: vdupq_n_f32(quantise.scale),
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn bytes(&self, from: &[f32; STEP]) -> uint8x16_t {
        let mut values = [self.low; 4];
        for part in 0..4 {
            // SAFETY: four of 16 values.
            let quotient = vdivq_f32(unsafe { vld1q_f32(from.as_ptr().add(part * 4)) }, self.scale);
            // What is not a number becomes the lower bound.
            values[part] = vmaxnmq_f32(quotient, self.low);
        }
        self.requantise.sixteen::<false>(&values)
    }
}

#[target_feature(enable = "neon")]
pub(super) fn quantise(from: &[f32], to: &mut [u8], quantise: &Quantise) {
    let sixteen = Sixteen::new(quantise);
    let (from, from_rest) = from.as_chunks::<STEP>();
    let (to, to_rest) = to.as_chunks_mut::<STEP>();
    for (to, from) in to.iter_mut().zip(from) {
        // SAFETY: 16 bytes.
        unsafe { vst1q_u8(to.as_mut_ptr(), sixteen.bytes(from)) };
    }
    portable::rows::quantise(from_rest, to_rest, quantise);
}

/// A row of a picture: three planes, of which 16 pixels at a time are interleaved as they are written.
#[target_feature(enable = "neon")]
pub(super) fn quantise_planes(job: &PlanesJob<'_, f32>, out: &mut [u8], quantise: &Quantise) {
    if job.channels != 3 || job.pixel_stride != 3 {
        return portable::layout::quantise_planes(job, out, quantise);
    }
    let sixteen = Sixteen::new(quantise);
    let [(red, red_rest), (green, green_rest), (blue, blue_rest)] =
        [0, 1, 2].map(|channel| job.row(channel).as_chunks::<STEP>());
    let (out, out_rest) = out.as_chunks_mut::<{ 3 * STEP }>();
    for (((to, red), green), blue) in out.iter_mut().zip(red).zip(green).zip(blue) {
        let pixels = uint8x16x3_t(sixteen.bytes(red), sixteen.bytes(green), sixteen.bytes(blue));
        // SAFETY: 48 bytes.
        unsafe { vst3q_u8(to.as_mut_ptr(), pixels) };
    }
    let rest = red_rest.iter().zip(green_rest).zip(blue_rest);
    for (to, ((red, green), blue)) in out_rest.chunks_exact_mut(3).zip(rest) {
        portable::rows::quantise(&[*red, *green, *blue], to, quantise);
    }
}
