//! What a path consists of: a table of functions. A path fills in what it does better than portable code and takes the
//! rest from there, compiled once more with its own instructions.

use crate::conv::Activation;
use crate::conv::{ConvF32Kernel, ConvU8Kernel, DepthwiseF32Kernel, DepthwiseU8Kernel};
use crate::cpu::Path;
use crate::ops::layout::PlanesJob;
use crate::ops::pool::PoolJob;
use crate::ops::resize::ResizeJob;
use crate::ops::unary_fn::{BinaryFn, LayerNorm, UnaryFn};
use crate::quant::{AddU8, Dequantise, MulU8, PreluU8, Quantise, Rounding};

/// The functions of a path.
///
/// Safety of all of them: this machine has the path's instructions, and slices that stand for the same run of elements
/// are equally long (`add_u8(a, b, out)`); jobs lie within their memory.
pub(crate) struct DispatchTable {
    pub(crate) path: Path,
    /// The first that supports the weights, and of which a run holds a group, is taken; portable code supports all.
    pub(crate) conv_u8: &'static [ConvU8Kernel],
    pub(crate) conv_f32: ConvF32Kernel,
    /// The first that supports a shape is taken; portable code supports all.
    pub(crate) depthwise_u8: &'static [DepthwiseU8Kernel],
    pub(crate) depthwise_f32: DepthwiseF32Kernel,
    pub(crate) runs: Runs,
}

/// Functions over runs of elements, and jobs made of such.
pub(crate) struct Runs {
    pub(crate) lookup: unsafe fn(&[u8], &mut [u8], &[u8; 256]),
    pub(crate) lookup_in_place: unsafe fn(&mut [u8], &[u8; 256]),
    /// Without the output's table, as are `mul_u8` and `prelu_u8`.
    pub(crate) add_u8: unsafe fn(&[u8], &[u8], &mut [u8], &AddU8),
    pub(crate) mul_u8: unsafe fn(&[u8], &[u8], &mut [u8], &MulU8),
    /// One pixel: as many elements as `negative`.
    pub(crate) prelu_u8: unsafe fn(&[u8], &mut [u8], &PreluU8),
    pub(crate) quantise: unsafe fn(&[f32], &mut [u8], &Quantise),
    pub(crate) dequantise: unsafe fn(&[u8], &mut [f32], &Dequantise),
    /// `sums += bytes`.
    pub(crate) sum_u8: unsafe fn(&[u8], &mut [i32]),
    /// `round(sum * ratio)`.
    pub(crate) mean_u8: unsafe fn(&[i32], &mut [u8], f32, &Rounding),
    pub(crate) max_pool_u8: unsafe fn(&PoolJob<'_, u8>, &mut [u8]),
    pub(crate) max_pool_f32: unsafe fn(&PoolJob<'_, f32>, &mut [f32]),
    pub(crate) resize_u8: unsafe fn(&ResizeJob<'_, u8>, &mut [f32]),
    pub(crate) resize_f32: unsafe fn(&ResizeJob<'_, f32>, &mut [f32]),
    /// `round(value)` of values in output steps.
    pub(crate) round: unsafe fn(&[f32], &mut [u8], &Rounding),
    pub(crate) add_f32: unsafe fn(&[f32], &[f32], &mut [f32]),
    pub(crate) mul_f32: unsafe fn(&[f32], &[f32], &mut [f32]),
    /// In place; one pixel for each-channel slopes, any run otherwise.
    pub(crate) activate: unsafe fn(&mut [f32], &Activation),
    /// In place.
    pub(crate) unary_fn: unsafe fn(&mut [f32], &UnaryFn),
    /// Either input is as long as the output, or one value.
    pub(crate) binary_fn: unsafe fn(&[f32], &[f32], &mut [f32], &BinaryFn),
    /// Sum, greatest and least into three.
    pub(crate) sum_max_min: unsafe fn(&[f32], &mut [f32]),
    /// In place, one row.
    pub(crate) softmax: unsafe fn(&mut [f32]),
    /// One row.
    pub(crate) layer_norm: unsafe fn(&[f32], &mut [f32], &LayerNorm),
    /// Planes of f32 to interleaved bytes, one row.
    pub(crate) quantise_planes: unsafe fn(&PlanesJob<'_, f32>, &mut [u8], &Quantise),
}
