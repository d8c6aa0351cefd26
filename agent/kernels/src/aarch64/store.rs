//! The last steps of quantised layers: sums to bytes or numbers.
//!
//! Products are rounded half to even and narrowed with saturation before bounds are taken: the bounds are whole numbers,
//! so that is the same as bounds first, and takes one instruction for 16 values instead of one for four.

use std::arch::aarch64::*;

use super::lookup::lookup_in_place;
use crate::conv::Sink;
use crate::quant::Rounding;

/// Zero point and bounds in registers.
#[derive(Clone, Copy)]
pub(super) struct Requantise {
    low: uint8x16_t,
    high: uint8x16_t,
    zero: int16x8_t,
    /// Whether the zero point is 0 and the bounds are those of a byte, as after most of Relu6: then narrowing does it all.
    pub(super) plain: bool,
}

/// Of some channels, four in each register: what their sums are multiplied with.
///
/// # Safety
/// `from` has four times `V` numbers.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn multipliers<const V: usize>(from: *const f32) -> [float32x4_t; V] {
    let mut multipliers = [vdupq_n_f32(0.0); V];
    for part in 0..V {
        // SAFETY: by this function's own condition.
        multipliers[part] = unsafe { vld1q_f32(from.add(part * 4)) };
    }
    multipliers
}

impl Requantise {
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn new(rounding: &Rounding) -> Self {
        let byte = |bound: f32| (bound as i32 + rounding.zero) as u8;
        Self {
            low: vdupq_n_u8(byte(rounding.low)),
            high: vdupq_n_u8(byte(rounding.high)),
            zero: vdupq_n_s16(rounding.zero as i16),
            plain: rounding.zero == 0 && byte(rounding.low) == 0 && byte(rounding.high) == 255,
        }
    }

    /// Eight values, rounded and with the zero point.
    #[inline]
    #[target_feature(enable = "neon")]
    fn words<const PLAIN: bool>(&self, first: float32x4_t, second: float32x4_t) -> int16x8_t {
        let words = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(first)), vcvtnq_s32_f32(second));
        if PLAIN { words } else { vqaddq_s16(words, self.zero) }
    }

    /// The bytes of 16 values, none of which is not a number; `PLAIN` as in [`Self::plain`].
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn sixteen<const PLAIN: bool>(&self, values: &[float32x4_t; 4]) -> uint8x16_t {
        let packed = vqmovun_s16(self.words::<PLAIN>(values[0], values[1]));
        let packed = vqmovun_high_s16(packed, self.words::<PLAIN>(values[2], values[3]));
        if PLAIN { packed } else { vminq_u8(vmaxq_u8(packed, self.low), self.high) }
    }

    /// Writes the sums of four times `V` channels as bytes; `V` is even.
    ///
    /// # Safety
    /// That many bytes are at `to`.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn bytes<const V: usize, const PLAIN: bool>(
        &self,
        sums: &[int32x4_t; V],
        multipliers: &[float32x4_t; V],
        to: *mut u8,
    ) {
        let value = |part: usize| vmulq_f32(vcvtq_f32_s32(sums[part]), multipliers[part]);
        // SAFETY: by this function's own condition.
        unsafe {
            for part in (0..V / 4 * 4).step_by(4) {
                let values = [value(part), value(part + 1), value(part + 2), value(part + 3)];
                vst1q_u8(to.add(part * 4), self.sixteen::<PLAIN>(&values));
            }
            if V % 4 == 2 {
                let packed = vqmovun_s16(self.words::<PLAIN>(value(V - 2), value(V - 1)));
                let (low, high) = (vget_low_u8(self.low), vget_low_u8(self.high));
                let bounded = if PLAIN { packed } else { vmin_u8(vmax_u8(packed, low), high) };
                vst1_u8(to.add((V - 2) * 4), bounded);
            }
        }
    }

    /// Writes what a block of a tile has summed up: of the first `count` pixels at `outputs`, the first `left` channels.
    ///
    /// # Safety
    /// `multiplier` has four times `V` numbers, and the sink `left` elements at each of these outputs plus `start`.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn tile<const M: usize, const V: usize>(
        &self,
        sums: &[[int32x4_t; V]; M],
        multiplier: *const f32,
        (outputs, count): (&[usize; M], usize),
        (start, left): (usize, usize),
        sink: &mut Sink<'_>,
    ) {
        // SAFETY: by this function's own condition.
        unsafe {
            let multipliers = multipliers::<V>(multiplier);
            let whole = count == M && left >= V * 4;
            match sink {
                Sink::Bytes(bytes) if whole && self.plain => {
                    let to = bytes.as_mut_ptr().add(start);
                    for pixel in 0..M {
                        self.bytes::<V, true>(&sums[pixel], &multipliers, to.add(outputs[pixel]));
                    }
                }
                Sink::Bytes(bytes) if whole => {
                    let to = bytes.as_mut_ptr().add(start);
                    for pixel in 0..M {
                        self.bytes::<V, false>(&sums[pixel], &multipliers, to.add(outputs[pixel]));
                    }
                }
                Sink::Floats(floats) if whole => {
                    let to = floats.as_mut_ptr().add(start);
                    for pixel in 0..M {
                        floats_of(&sums[pixel], &multipliers, to.add(outputs[pixel]));
                    }
                }
                _ => {
                    // A copy, so that only this branch wants the sums in memory.
                    let sums = *sums;
                    for (sums, output) in sums.iter().zip(&outputs[..count]) {
                        self.some(sums, &multipliers, left.min(V * 4), output + start, sink);
                    }
                }
            }
        }
    }

    /// Writes the first `count` (at most four times `V`, at most 32) of the channels of a pixel at element `at`.
    ///
    /// # Safety
    /// The sink has `count` elements at `at`.
    #[inline(never)]
    #[target_feature(enable = "neon")]
    unsafe fn some<const V: usize>(
        &self,
        sums: &[int32x4_t; V],
        multipliers: &[float32x4_t; V],
        count: usize,
        at: usize,
        sink: &mut Sink<'_>,
    ) {
        debug_assert!(V <= 8 && count <= V * 4);
        // SAFETY: the buffers have room for all channels; the sink has `count`, by this function's own condition.
        unsafe {
            match sink {
                Sink::Bytes(bytes) => {
                    let mut buffer = [0_u8; 32];
                    self.bytes::<V, false>(sums, multipliers, buffer.as_mut_ptr());
                    std::ptr::copy_nonoverlapping(buffer.as_ptr(), bytes.as_mut_ptr().add(at), count);
                }
                Sink::Floats(floats) => {
                    let mut buffer = [0_f32; 32];
                    floats_of(sums, multipliers, buffer.as_mut_ptr());
                    std::ptr::copy_nonoverlapping(buffer.as_ptr(), floats.as_mut_ptr().add(at), count);
                }
            }
        }
    }
}

/// Writes the sums of four times `V` channels as numbers.
///
/// # Safety
/// That many elements are at `to`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn floats_of<const V: usize>(
    sums: &[int32x4_t; V],
    multipliers: &[float32x4_t; V],
    to: *mut f32,
) {
    for part in 0..V {
        // SAFETY: by this function's own condition.
        unsafe { vst1q_f32(to.add(part * 4), vmulq_f32(vcvtq_f32_s32(sums[part]), multipliers[part])) };
    }
}

/// Looks up what was written of a tile: in one go if its pixels lie side by side.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn lookup_tile(bytes: &mut [u8], outputs: &[usize], channels: usize, table: &[u8; 256]) {
    let (first, last) = (outputs[0], outputs[outputs.len() - 1]);
    if last == first + (outputs.len() - 1) * channels {
        lookup_in_place(&mut bytes[first..last + channels], table);
    } else {
        for output in outputs {
            lookup_in_place(&mut bytes[*output..][..channels], table);
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
