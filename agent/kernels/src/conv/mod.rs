//! Convolutions: shape, packing and the checks before a path's kernel runs.

mod conv_f32;
mod conv_u8;
mod depthwise;
mod pack;
mod shape;
mod tiles;

pub use conv_f32::{Activation, Conv2dF32};
pub(crate) use conv_f32::{ConvF32Job, ConvF32Kernel, multiply};
pub use conv_u8::{Conv2dU8, ConvWeightsU8};
pub(crate) use conv_u8::{ConvU8Job, ConvU8Kernel, Sink};
pub(crate) use depthwise::{DepthwiseF32Job, DepthwiseF32Kernel, DepthwiseU8Job, DepthwiseU8Kernel};
pub(crate) use pack::{Packed, blocks};
pub use shape::ConvShape;
pub(crate) use shape::Walk;
pub(crate) use tiles::tiles;
