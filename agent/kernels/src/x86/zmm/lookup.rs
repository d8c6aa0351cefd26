//! Tables of 256 bytes: two permutations of 128 entries each, chosen by the highest bit.

use std::arch::x86_64::*;

/// A table in four registers.
#[derive(Clone, Copy)]
pub(super) struct Lookup([__m512i; 4]);

impl Lookup {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    pub(super) fn new(table: &[u8; 256]) -> Self {
        // SAFETY: a table has four times 64 bytes.
        let part = |index: usize| unsafe { _mm512_loadu_si512(table.as_ptr().add(64 * index).cast()) };
        Self([part(0), part(1), part(2), part(3)])
    }

    /// 64 bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    pub(super) fn of64(&self, bytes: __m512i) -> __m512i {
        let [a, b, c, d] = self.0;
        let (low, high) = (_mm512_permutex2var_epi8(a, bytes, b), _mm512_permutex2var_epi8(c, bytes, d));
        _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes), low, high)
    }

    /// 32 bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    pub(super) fn of32(&self, bytes: __m256i) -> __m256i {
        _mm512_castsi512_si256(self.of64(_mm512_castsi256_si512(bytes)))
    }

    /// 16 bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    pub(super) fn of16(&self, bytes: __m128i) -> __m128i {
        _mm512_castsi512_si128(self.of64(_mm512_castsi128_si512(bytes)))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
pub(super) fn lookup(from: &[u8], to: &mut [u8], table: &[u8; 256]) {
    let lookup = Lookup::new(table);
    for (from, to) in from.chunks(64).zip(to.chunks_mut(64)) {
        let mask = u64::MAX >> (64 - from.len().min(to.len()));
        // SAFETY: the mask lets through no more bytes than both chunks have.
        unsafe {
            let bytes = _mm512_maskz_loadu_epi8(mask, from.as_ptr().cast());
            _mm512_mask_storeu_epi8(to.as_mut_ptr().cast(), mask, lookup.of64(bytes));
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
pub(super) fn lookup_in_place(bytes: &mut [u8], table: &[u8; 256]) {
    let lookup = Lookup::new(table);
    for chunk in bytes.chunks_mut(64) {
        let mask = u64::MAX >> (64 - chunk.len());
        // SAFETY: the mask lets through no more bytes than the chunk has.
        unsafe {
            let bytes = _mm512_maskz_loadu_epi8(mask, chunk.as_ptr().cast());
            _mm512_mask_storeu_epi8(chunk.as_mut_ptr().cast(), mask, lookup.of64(bytes));
        }
    }
}
