//! 64-bit ARM: NEON, which every such processor has, and dot products where there are any (Cortex-A55, A76 and later).
//!
//! The dot product is written in assembly: its intrinsic is not stable. Both factors are signed there, so bytes lose their
//! upper bit's meaning on the way into registers (`x - 128`, an exclusive or), which biases make up for
//! (`ConvU8Kernel::offset`).

mod conv_dot;
mod conv_f32;
mod conv_neon;
mod depthwise_dot;
mod depthwise_f32;
mod depthwise_neon;
mod lookup;
mod rows;
mod store;

use crate::cpu::Path;
use crate::dispatch::{DispatchTable, Runs};

/// The same number, of which the compiler knows nothing: from one that it knows to grow by steps it would make a pointer
/// for each use in a loop that is written out, and count all of them up.
#[inline(always)]
fn opaque(number: usize) -> usize {
    let mut number = number;
    // SAFETY: no instructions.
    unsafe { std::arch::asm!("/* {} */", inout(reg) number, options(pure, nomem, nostack, preserves_flags)) };
    number
}

/// Portable code, which the compiler vectorises: NEON is part of the target.
mod portable {
    crate::portable::runs!(RUNS);
}

const RUNS: Runs = Runs {
    lookup: lookup::lookup,
    lookup_in_place: lookup::lookup_in_place,
    add_u8: rows::add_u8,
    quantise: rows::quantise,
    quantise_planes: rows::quantise_planes,
    ..portable::RUNS
};

static NEON: DispatchTable = DispatchTable {
    path: Path::Neon,
    conv_u8: &[conv_neon::PAIRED, conv_neon::SINGLE],
    conv_f32: conv_f32::KERNEL,
    depthwise_u8: &[depthwise_neon::KERNEL],
    depthwise_f32: depthwise_f32::KERNEL,
    runs: RUNS,
};

static DOT: DispatchTable = DispatchTable {
    path: Path::NeonDot,
    conv_u8: &[conv_dot::KERNEL],
    conv_f32: conv_f32::KERNEL,
    depthwise_u8: &[depthwise_dot::THREE, depthwise_dot::FIVE, depthwise_neon::KERNEL],
    depthwise_f32: depthwise_f32::KERNEL,
    runs: RUNS,
};

/// The table of a path if this machine has its instructions.
pub(crate) fn dispatch_table(path: Path) -> Option<&'static DispatchTable> {
    match path {
        Path::Neon => Some(&NEON),
        Path::NeonDot => std::arch::is_aarch64_feature_detected!("dotprod").then_some(&DOT),
        _ => None,
    }
}
