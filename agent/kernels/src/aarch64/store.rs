//! The last steps of quantised layers: eight sums to eight bytes or numbers.

use std::arch::aarch64::*;

use crate::conv::Sink;
use crate::quant::Rounding;

/// Bounds in registers.
#[derive(Clone, Copy)]
pub(super) struct Requantise {
    low: float32x4_t,
    high: float32x4_t,
    zero: int16x8_t,
}

impl Requantise {
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn new(rounding: &Rounding) -> Self {
        Self {
            low: vdupq_n_f32(rounding.low),
            high: vdupq_n_f32(rounding.high),
            zero: vdupq_n_s16(rounding.zero as i16),
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn bytes(&self, values: [float32x4_t; 2]) -> uint8x8_t {
        let [first, second] =
            values.map(|value| vcvtnq_s32_f32(vminnmq_f32(vmaxnmq_f32(value, self.low), self.high)));
        let words = vqmovn_high_s32(vqmovn_s32(first), second);
        vqmovun_s16(vaddq_s16(words, self.zero))
    }

    /// Writes the sums of the first `count` (at most 8) channels at element `at`.
    ///
    /// # Safety
    /// `multiplier` has eight numbers. The sink has `count` elements at `at`.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn store(
        &self,
        sums: [int32x4_t; 2],
        multiplier: *const f32,
        count: usize,
        at: usize,
        sink: &mut Sink<'_>,
    ) {
        // SAFETY: eight multipliers, by this function's own condition.
        let multipliers = unsafe { [vld1q_f32(multiplier), vld1q_f32(multiplier.add(4))] };
        let values = [0, 1].map(|part: usize| vmulq_f32(vcvtq_f32_s32(sums[part]), multipliers[part]));
        match sink {
            Sink::Bytes(bytes) => {
                let packed = self.bytes(values);
                // SAFETY: `count` bytes are there; the buffer has eight.
                unsafe {
                    let to = bytes.as_mut_ptr().add(at);
                    if count >= 8 {
                        vst1_u8(to, packed);
                    } else {
                        let mut buffer = [0_u8; 8];
                        vst1_u8(buffer.as_mut_ptr(), packed);
                        std::ptr::copy_nonoverlapping(buffer.as_ptr(), to, count);
                    }
                }
            }
            // SAFETY: `count` numbers are there.
            Sink::Floats(floats) => unsafe { store_f32(values, count, floats.as_mut_ptr().add(at)) },
        }
    }
}

/// Writes the first `count` (at most 8) of eight numbers.
///
/// # Safety
/// `to` has `count` elements.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn store_f32(values: [float32x4_t; 2], count: usize, to: *mut f32) {
    // SAFETY: `count` elements are there, by this function's own condition; the buffer has eight.
    unsafe {
        if count >= 8 {
            vst1q_f32(to, values[0]);
            vst1q_f32(to.add(4), values[1]);
        } else {
            let mut buffer = [0_f32; 8];
            vst1q_f32(buffer.as_mut_ptr(), values[0]);
            vst1q_f32(buffer.as_mut_ptr().add(4), values[1]);
            std::ptr::copy_nonoverlapping(buffer.as_ptr(), to, count);
        }
    }
}
