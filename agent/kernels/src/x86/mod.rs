//! x86-64: AVX-512 with VNNI in 512-bit registers, AVX-VNNI and AVX2 in 256-bit ones.

mod ymm;
mod zmm;

use crate::cpu::Path;
use crate::dispatch::Table;

/// The table of a path if this machine has its instructions.
pub(crate) fn table_of(path: Path) -> Option<&'static Table> {
    match path {
        Path::Avx2 => ymm::has_avx2().then_some(&ymm::AVX2),
        Path::AvxVnni => ymm::vnni(),
        Path::Avx512Vnni => zmm::is_available().then_some(&zmm::TABLE),
        _ => None,
    }
}
