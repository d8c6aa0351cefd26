//! 256-bit registers: AVX2 with FMA, and dot products where there are any.
//!
//! The quantised kernels are written once, in [`conv_u8`] and [`depthwise_u8`], and compiled for three ways to multiply
//! four bytes by four weights ([`dot`]): the two encodings of VNNI's instruction, and AVX2's multiplications of 16 bits.

mod conv_f32;
mod conv_u8;
mod depthwise_f32;
mod depthwise_u8;
mod dot;

use crate::cpu::Path;
use crate::dispatch::{DispatchTable, Runs};

/// Makes a module with the quantised kernels for one way to multiply.
macro_rules! quantised {
    ($module:ident, $features:literal, $dot:ident) => {
        mod $module {
            super::conv_u8::kernel!($features, $dot);
            super::depthwise_u8::kernels!($features, $dot);
        }
    };
}

quantised!(madd, "avx2,fma", madd);
quantised!(vex, "avx2,fma,avxvnni", vex);
quantised!(evex, "avx2,fma,avx512f,avx512vl,avx512vnni", evex);

/// Portable code, compiled with these instructions.
mod portable {
    crate::portable::runs!(RUNS, "avx2,fma");
}

macro_rules! dispatch_table {
    ($path:ident, $module:ident) => {
        DispatchTable {
            path: Path::$path,
            conv_u8: &[$module::CONV],
            conv_f32: conv_f32::KERNEL,
            depthwise_u8: &[$module::THREE, $module::FIVE, $module::ANY],
            depthwise_f32: depthwise_f32::KERNEL,
            runs: Runs { ..portable::RUNS },
        }
    };
}

pub(super) static AVX2: DispatchTable = dispatch_table!(Avx2, madd);
static VEX: DispatchTable = dispatch_table!(AvxVnni, vex);
static EVEX: DispatchTable = dispatch_table!(AvxVnni, evex);

pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// Dot products in 256-bit registers, by whichever encoding this machine knows.
pub(super) fn vnni() -> Option<&'static DispatchTable> {
    let evex = || {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
    };
    if !has_avx2() {
        return None;
    }
    if is_x86_feature_detected!("avxvnni") { Some(&VEX) } else { evex().then_some(&EVEX) }
}

/// Lanes of a register that hold 32-bit numbers.
const LANES: usize = 8;

/// All ones in the lowest `count` of 8 lanes, for masked moves of 32-bit lanes.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn lanes8(count: usize) -> std::arch::x86_64::__m256i {
    use std::arch::x86_64::{_mm256_cmpgt_epi32, _mm256_set1_epi32, _mm256_setr_epi32};
    let count = count.min(LANES) as i32;
    _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}
