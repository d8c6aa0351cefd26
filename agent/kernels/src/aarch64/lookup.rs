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

/// # Safety
/// Each of `from` and `to` has `length` bytes; they may be the same.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn run(from: *const u8, to: *mut u8, length: usize, table: &[u8; 256]) {
    // SAFETY: by this function's own condition; the loop ends before the last 16 bytes do.
    unsafe {
        if length < 16 {
            for at in 0..length {
                *to.add(at) = table[usize::from(*from.add(at))];
            }
            return;
        }
        let registers = Lookup::new(table);
        // The last 16 are read first: in place, some of them would be looked up twice otherwise.
        let last = registers.of16(vld1q_u8(from.add(length - 16)));
        let mut at = 0;
        while at + 16 < length {
            vst1q_u8(to.add(at), registers.of16(vld1q_u8(from.add(at))));
            at += 16;
        }
        vst1q_u8(to.add(length - 16), last);
    }
}

#[target_feature(enable = "neon")]
pub(super) fn lookup(from: &[u8], to: &mut [u8], table: &[u8; 256]) {
    // SAFETY: neither is shorter than that.
    unsafe { run(from.as_ptr(), to.as_mut_ptr(), from.len().min(to.len()), table) };
}

#[target_feature(enable = "neon")]
pub(super) fn lookup_in_place(bytes: &mut [u8], table: &[u8; 256]) {
    let to = bytes.as_mut_ptr();
    // SAFETY: both are these bytes.
    unsafe { run(to, to, bytes.len(), table) };
}
