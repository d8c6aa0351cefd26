//! 32-bit ARM with NEON. Its intrinsics are not stable, so the inner loops are assembly ([`asm`]); everything around them
//! is ordinary code, which this target compiles without NEON.

mod asm;
mod conv_f32;
mod conv_u8;
mod depthwise;

use crate::cpu::Path;
use crate::dispatch::DispatchTable;

/// Portable code: this target has no instructions to compile it again for.
mod portable {
    crate::portable::runs!(RUNS);
}

static DISPATCH: DispatchTable = DispatchTable {
    path: Path::NeonArmv7,
    conv_u8: &[conv_u8::KERNEL],
    conv_f32: conv_f32::KERNEL,
    depthwise_u8: &[depthwise::U8],
    depthwise_f32: depthwise::F32,
    runs: portable::RUNS,
};

/// The table if this machine has NEON: some 32-bit processors do not.
pub(crate) fn dispatch_table() -> Option<&'static DispatchTable> {
    const AT_HWCAP: core::ffi::c_ulong = 16;
    const HWCAP_NEON: core::ffi::c_ulong = 1 << 12;
    // SAFETY: a function of the C library, which every Linux target links; it takes any number.
    let has_neon = unsafe { getauxval(AT_HWCAP) } & HWCAP_NEON != 0;
    has_neon.then_some(&DISPATCH)
}

unsafe extern "C" {
    fn getauxval(kind: core::ffi::c_ulong) -> core::ffi::c_ulong;
}
