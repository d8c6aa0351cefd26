//! x86-64: AVX-512 with VNNI in 512-bit registers, AVX-VNNI and AVX2 in 256-bit ones.

mod ymm;
mod zmm;

use crate::cpu::Path;
use crate::dispatch::DispatchTable;

/// The table of a path if this machine has its instructions.
pub(crate) fn dispatch_table(path: Path) -> Option<&'static DispatchTable> {
    match path {
        Path::Avx2 => ymm::has_avx2().then_some(&ymm::AVX2),
        Path::AvxVnni => ymm::vnni(),
        Path::Avx512Vnni => zmm::is_available().then_some(&zmm::DISPATCH),
        _ => None,
    }
}
