//! What a kernel refuses, before it touches memory.

use std::fmt;

/// Why a kernel did not run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelError {
    /// An image does not lie within its memory, or its strides overlap.
    Image {
        /// What is wrong with it.
        reason: String,
    },
    /// The shapes, padding or parameters of one call do not fit together.
    Shape {
        /// The kernel that refused.
        kernel: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// This machine cannot run the path that was asked for.
    Path {
        /// Name of the path.
        path: &'static str,
    },
    /// A thread of a team died: the team is to be made again.
    ThreadPool,
}

impl KernelError {
    pub(crate) fn shape(kernel: &'static str, reason: impl Into<String>) -> Self {
        Self::Shape { kernel, reason: reason.into() }
    }

    pub(crate) fn image(reason: impl Into<String>) -> Self {
        Self::Image { reason: reason.into() }
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image { reason } => write!(f, "cannot use an image buffer: {reason}"),
            Self::Shape { kernel, reason } => write!(f, "cannot run kernel {kernel}: {reason}"),
            Self::ThreadPool => write!(f, "a thread that shared the rows of a layer died"),
            Self::Path { path } => {
                write!(
                    f,
                    "this machine cannot run the kernel path '{path}': choose one of those it lists, or none"
                )
            }
        }
    }
}

impl std::error::Error for KernelError {}

/// What kernels return.
pub type Result<T> = std::result::Result<T, KernelError>;
