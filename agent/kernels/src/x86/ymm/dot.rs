//! Three ways to add to each 32-bit lane the products of four unsigned bytes with four signed ones.
//!
//! Each has a form for bytes and one for weights, so that what one multiplication needs of either is done once.

use std::arch::x86_64::*;

/// AVX2: even and odd bytes as numbers of 16 bits, which multiply without overflow.
pub(super) mod madd {
    use super::*;

    /// Pixels of a convolution's tile: weights take four registers here.
    pub(in super::super) const PIXELS: usize = 4;

    /// Even and odd elements.
    pub(in super::super) type Operand = (__m256i, __m256i);

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) fn bytes(bytes: __m256i) -> Operand {
        (_mm256_and_si256(bytes, _mm256_set1_epi16(0xFF)), _mm256_srli_epi16::<8>(bytes))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) fn weights(weights: __m256i) -> Operand {
        (_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights)), _mm256_srai_epi16::<8>(weights))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) fn dot(sum: __m256i, bytes: Operand, weights: Operand) -> __m256i {
        let even = _mm256_add_epi32(sum, _mm256_madd_epi16(bytes.0, weights.0));
        _mm256_add_epi32(even, _mm256_madd_epi16(bytes.1, weights.1))
    }
}

macro_rules! vnni {
    ($module:ident, $features:literal, $dpbusd:ident) => {
        pub(super) mod $module {
            use super::*;

            /// Pixels of a convolution's tile: 12 sums, two weights and a pixel fill 15 of the 16 registers.
            pub(in super::super) const PIXELS: usize = 6;

            pub(in super::super) type Operand = __m256i;

            #[inline]
            #[target_feature(enable = $features)]
            pub(in super::super) fn bytes(bytes: __m256i) -> Operand {
                bytes
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(in super::super) fn weights(weights: __m256i) -> Operand {
                weights
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(in super::super) fn dot(sum: __m256i, bytes: Operand, weights: Operand) -> __m256i {
                $dpbusd(sum, bytes, weights)
            }
        }
    };
}

// AVX-VNNI, and what it does in the encoding of AVX-512.
vnni!(vex, "avx2,fma,avxvnni", _mm256_dpbusd_avx_epi32);
vnni!(evex, "avx2,fma,avx512f,avx512vl,avx512vnni", _mm256_dpbusd_epi32);
