//! Kernels of the inference engine: quantised and f32 layers over NHWC images, for the instruction sets of each CPU.
//!
//! Everything public is safe: a call checks its views, shapes and padding and refuses what does not fit, so the code
//! below it may use pointers. [`Kernels::detect`] chooses a [`Path`] once; layers are packed for it by their `new`.
//!
//! # Conventions
//! * Images are NHWC ([`Image`]); a padding around them saves border code. Whoever writes an image fills its padding, with
//!   the zero point (u8) or 0.0 ([`Arena::fill_padding`]).
//! * A quantised activation is `u8` and means `(q - zero_point) * scale`; weights are `i8`, symmetric, with a scale for
//!   each output channel. This holds on every path: whatever a path does about signs stays within its own packing. An
//!   `i8` activation `s` is given as `s ^ 0x80` with its zero point moved by 128.
//! * Requantisation rounds half to even and saturates; all paths agree on it to the bit ([`OutputU8`]). F32 results may
//!   differ between paths in the last bits, because the order of their sums differs.
//! * Kernels read nothing outside of their views: memory needs no slack. They hold no state and start no threads: give
//!   each thread a view of some rows ([`ViewMut::split_rows`]; [`ThreadPool`] does so with threads of its own).

#![allow(
    clippy::needless_range_loop,
    reason = "constant bounds over several arrays at once are what keeps them in registers"
)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod arena;
#[cfg(all(target_arch = "arm", target_os = "linux"))]
mod armv7;
mod conv;
mod cpu;
mod dispatch;
mod error;
mod image;
mod ops;
mod portable;
mod quant;
mod thread_pool;
mod view;
mod view_access;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use arena::{Arena, Inputs};
pub use conv::{Activation, Conv2dF32, Conv2dU8, ConvShape, ConvWeightsU8};
pub use cpu::{Kernels, Path};
pub use error::{KernelError, Result};
pub use image::{Image, Padding};
pub use ops::broadcast::Broadcast;
pub use ops::matmul::{MatMulF32, MatMulU8, Scratch};
pub use ops::pool::PoolShape;
pub use ops::resize::{Axis, Coordinates, Nearest, Resize};
pub use ops::unary_fn::{BinaryFn, LayerNorm, Reduction, UnaryFn};
pub use quant::{AddU8, Dequantise, MulU8, OutputU8, PreluU8, Quantise, RescaleU8};
pub use thread_pool::{MAX_THREADS, ThreadPool};
pub use view::{Element, View, ViewMut};
