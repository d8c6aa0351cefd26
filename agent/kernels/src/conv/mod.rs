//! Convolutions: shape, packing and the checks before a path's kernel runs.

mod depthwise;
mod float;
mod pack;
mod quantised;
mod shape;
mod tiles;

pub(crate) use depthwise::{DepthwiseF32Job, DepthwiseF32Kernel, DepthwiseU8Job, DepthwiseU8Kernel};
pub use float::{Activation, Conv2dF32};
pub(crate) use float::{ConvF32Job, ConvF32Kernel, multiply};
pub(crate) use pack::{Packed, blocks};
pub use quantised::{Conv2dU8, ConvWeightsU8};
pub(crate) use quantised::{ConvU8Job, ConvU8Kernel, Sink};
pub use shape::ConvShape;
pub(crate) use shape::Walk;
pub(crate) use tiles::tiles;
