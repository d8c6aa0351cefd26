//! Depthwise convolutions: what their kernels get. A layer chooses the first kernel of its path that supports it.

use super::conv_f32::Activation;
use super::conv_u8::Sink;
use super::pack::Packed;
use super::shape::{ConvShape, Walk};
use crate::quant::Rounding;

/// One call of a quantised depthwise kernel. The walk's runs are the kernel's taps.
pub(crate) struct DepthwiseU8Job<'a> {
    pub(crate) walk: Walk,
    /// Input pixels from one output pixel to the next, across.
    #[cfg_attr(target_arch = "arm", allow(dead_code, reason = "no kernel there keeps columns"))]
    pub(crate) stride: usize,
    pub(crate) input: &'a [u8],
    pub(crate) packed: &'a Packed<i8, i32>,
    pub(crate) rounding: Rounding,
    pub(crate) lookup_table: Option<&'a [u8; 256]>,
}

impl DepthwiseU8Job<'_> {
    #[cfg_attr(target_arch = "arm", allow(dead_code, reason = "kernels there look each pixel up"))]
    /// Applies the table to the output row that begins at element `output`.
    pub(crate) fn finish_row(
        &self,
        output: usize,
        sink: &mut Sink<'_>,
        lookup: impl Fn(&mut [u8], &[u8; 256]),
    ) {
        let walk = &self.walk;
        let (Some(table), Sink::Bytes(bytes)) = (self.lookup_table, sink) else { return };
        if walk.output_step[1] == walk.channels {
            lookup(&mut bytes[output..][..walk.width * walk.channels], table);
        } else {
            for x in 0..walk.width {
                lookup(&mut bytes[output + x * walk.output_step[1]..][..walk.channels], table);
            }
        }
    }
}

/// Packs weights in ONNX's order, folded biases and multipliers.
type PackU8 = fn(&ConvShape, &[i8], &[i32], &[f32]) -> Packed<i8, i32>;

/// A way to convolve depthwise.
pub(crate) struct DepthwiseU8Kernel {
    pub(crate) name: &'static str,
    pub(crate) supports: fn(&ConvShape) -> bool,
    /// As `ConvU8Kernel::offset`.
    pub(crate) offset: i32,
    pub(crate) pack: PackU8,
    /// Safety: as `ConvU8Kernel::run`; `pack` made the weights for a shape that `supports` accepts.
    pub(crate) run: unsafe fn(&DepthwiseU8Job<'_>, Sink<'_>),
}

impl std::fmt::Debug for DepthwiseU8Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// One call of an f32 depthwise kernel.
pub(crate) struct DepthwiseF32Job<'a> {
    pub(crate) walk: Walk,
    pub(crate) input: &'a [f32],
    /// For each tap, along rows first, one for each channel.
    pub(crate) weights: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) activation: &'a Activation,
}

/// How a path convolves f32 depthwise.
pub(crate) struct DepthwiseF32Kernel {
    /// Safety: as `ConvU8Kernel::run`; `weights` are as many as taps × channels, `bias` as channels.
    pub(crate) run: unsafe fn(&DepthwiseF32Job<'_>, &mut [f32]),
}
