//! Which instructions this machine has, asked once.

use std::fmt;
use std::str::FromStr;

use crate::dispatch::DispatchTable;
use crate::error::{KernelError, Result};

/// A set of kernels for one family of instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Path {
    /// Portable Rust: the reference, and for machines of which nothing is known.
    Scalar,
    /// x86-64 with AVX2 and FMA, without dot products.
    Avx2,
    /// x86-64 with dot products in 256-bit registers.
    AvxVnni,
    /// x86-64 with AVX-512 and its dot products.
    Avx512Vnni,
    /// 64-bit ARM without dot products.
    Neon,
    /// 64-bit ARM with dot products.
    NeonDot,
    /// 32-bit ARM with NEON.
    NeonArmv7,
}

impl Path {
    /// All paths, the best of each architecture last.
    pub const ALL: [Self; 7] = [
        Self::Scalar,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512Vnni,
        Self::Neon,
        Self::NeonDot,
        Self::NeonArmv7,
    ];

    /// Its name in configuration and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Neon => "neon",
            Self::NeonDot => "neon-dotprod",
            Self::NeonArmv7 => "neon-armv7",
        }
    }

    /// Whether quantised layers run faster on this path than f32 ones, as far as is known without measuring.
    pub fn prefers_u8(self) -> bool {
        matches!(self, Self::AvxVnni | Self::Avx512Vnni | Self::NeonDot)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Path {
    type Err = KernelError;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|path| path.name() == name).ok_or_else(|| {
            KernelError::shape(
                "path",
                format!("'{name}' is none of {}", Self::ALL.map(Self::name).join(", ")),
            )
        })
    }
}

/// The kernels of one path. A copy of a pointer.
#[derive(Clone, Copy)]
pub struct Kernels {
    pub(crate) dispatch: &'static DispatchTable,
}

impl Kernels {
    /// The best path that this machine can run.
    pub fn detect() -> Self {
        let best = Self::available().into_iter().next_back().unwrap_or(Path::Scalar);
        Self { dispatch: dispatch_table(best).unwrap_or(&crate::portable::DISPATCH) }
    }

    /// The kernels of this path, for tests and for who pins one.
    ///
    /// # Errors
    /// This machine cannot run it.
    pub fn force(path: Path) -> Result<Self> {
        dispatch_table(path).map(|dispatch| Self { dispatch }).ok_or(KernelError::Path { path: path.name() })
    }

    /// The paths that this machine can run, the best last.
    pub fn available() -> Vec<Path> {
        Path::ALL.into_iter().filter(|path| dispatch_table(*path).is_some()).collect()
    }

    /// The path of these kernels.
    pub fn path(self) -> Path {
        self.dispatch.path
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernels({})", self.path())
    }
}

/// The table of a path if this machine has its instructions. The only place that decides so.
fn dispatch_table(path: Path) -> Option<&'static DispatchTable> {
    match path {
        Path::Scalar => Some(&crate::portable::DISPATCH),
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 | Path::AvxVnni | Path::Avx512Vnni => crate::x86::dispatch_table(path),
        #[cfg(target_arch = "aarch64")]
        Path::Neon | Path::NeonDot => crate::aarch64::dispatch_table(path),
        #[cfg(all(target_arch = "arm", target_os = "linux"))]
        Path::NeonArmv7 => crate::armv7::dispatch_table(),
        _ => None,
    }
}
