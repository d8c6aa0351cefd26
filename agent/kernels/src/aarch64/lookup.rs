//! Tables of 256 bytes: four lookups of 64 entries each, of which those out of range leave the result alone.

use std::arch::aarch64::*;

/// A table in 16 registers.
struct Lookup([uint8x16x4_t; 4]);

impl Lookup {
    #[inline]
    #[target_feature(enable = "neon")]
    fn new(table: &[u8; 256]) -> Self {
        // SAFETY: a table has four times 64 bytes.
        Self(std::array::from_fn(|part| unsafe { vld1q_u8_x4(table.as_ptr().add(64 * part)) }))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn of16(&self, bytes: uint8x16_t) -> uint8x16_t {
        let [a, b, c, d] = self.0;
        let step = vdupq_n_u8(64);
        let result = vqtbl4q_u8(a, bytes);
        let bytes = vsubq_u8(bytes, step);
        let result = vqtbx4q_u8(result, b, bytes);
        let bytes = vsubq_u8(bytes, step);
        let result = vqtbx4q_u8(result, c, bytes);
        vqtbx4q_u8(result, d, vsubq_u8(bytes, step))
    }
}

#[target_feature(enable = "neon")]
pub(super) fn lookup(from: &[u8], to: &mut [u8], table: &[u8; 256]) {
    let registers = Lookup::new(table);
    let (mut from, mut to) = (from.chunks_exact(16), to.chunks_exact_mut(16));
    for (from, to) in from.by_ref().zip(to.by_ref()) {
        // SAFETY: both chunks have 16 bytes.
        unsafe { vst1q_u8(to.as_mut_ptr(), registers.of16(vld1q_u8(from.as_ptr()))) };
    }
    for (from, to) in from.remainder().iter().zip(to.into_remainder()) {
        *to = table[usize::from(*from)];
    }
}

#[target_feature(enable = "neon")]
pub(super) fn lookup_in_place(bytes: &mut [u8], table: &[u8; 256]) {
    if bytes.len() < 16 {
        bytes.iter_mut().for_each(|byte| *byte = table[usize::from(*byte)]);
        return;
    }
    let registers = Lookup::new(table);
    let mut chunks = bytes.chunks_exact_mut(16);
    for chunk in chunks.by_ref() {
        // SAFETY: a chunk has 16 bytes.
        unsafe { vst1q_u8(chunk.as_mut_ptr(), registers.of16(vld1q_u8(chunk.as_ptr()))) };
    }
    chunks.into_remainder().iter_mut().for_each(|byte| *byte = table[usize::from(*byte)]);
}
