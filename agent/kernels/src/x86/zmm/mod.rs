//! AVX-512 with VNNI (Ice Lake, Zen 4 and later). The byte permutation of VBMI, which tables need, is required too: the
//! few server processors that have the one without the other take the AVX2 path.
//!
//! Every function here is compiled for `avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma`, which
//! [`is_available`] asks for.

mod conv_f32;
mod conv_u8;
mod depthwise_f32;
mod depthwise_u8;
mod lookup;

use crate::conv::Walk;
use crate::cpu::Path;
use crate::dispatch::{DispatchTable, Runs};

pub(super) static DISPATCH: DispatchTable = DispatchTable {
    path: Path::Avx512Vnni,
    conv_u8: &[conv_u8::KERNEL],
    conv_f32: conv_f32::KERNEL,
    depthwise_u8: &[depthwise_u8::THREE, depthwise_u8::FIVE, depthwise_u8::ANY],
    depthwise_f32: depthwise_f32::KERNEL,
    runs: Runs { lookup: lookup::lookup, lookup_in_place: lookup::lookup_in_place, ..portable::RUNS },
};

/// Portable code, compiled with these instructions.
mod portable {
    crate::portable::runs!(RUNS, "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma");
}

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("fma")
}

/// The lowest `count` of 16 lanes, all from 16 on.
#[inline(always)]
fn lanes16(count: usize) -> u16 {
    if count >= 16 { u16::MAX } else { (1 << count) - 1 }
}

/// Numbers of an output that caches hardly keep until they are read: 10 MB. A layer of 8 MB is written sooner past them
/// too, and the next one then reads it later by as much.
const MIN_STREAMED_ELEMENTS: usize = 5 << 19;

/// Whether an output is large and all its registers lie at cache lines: then they are written past the caches, which would
/// read each line from memory before it is overwritten.
fn uses_streaming_stores(out: &[f32], walk: &Walk) -> bool {
    let lines = |elements: usize| elements.is_multiple_of(16);
    out.len() > MIN_STREAMED_ELEMENTS
        && out.as_ptr().addr().is_multiple_of(64)
        && [walk.channels, walk.output_step[0], walk.output_step[1]].into_iter().all(lines)
}
