//! `ConvTranspose` whose windows do not overlap: a product at each pixel, and its parts spread over the window.

use aimass_kernels::{Activation as Bounds, ConvShape, Image, Kernels, Padding};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::cnn::{Deconv, KernelFormat};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::conv_f32::{FloatConv, bounds};
use crate::engine::arena::Buffer;
use crate::engine::compile::{Compiler, MapShape};
use crate::engine::constant::Constant;
use crate::engine::step::{Memory, Step, ensure, kernel_error};
use crate::engine::value::{Activation, BufferId};

/// `ConvTranspose` with a window as large as its stride.
pub(in crate::engine) fn rule(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let Some(op) = node.op_as::<Deconv>() else { return Ok(false) };
    let (outlet, spec) = (OutletId::new(node.id, 0), &op.pool_spec);
    let [height, width] = spec.kernel_shape[..] else { return Ok(false) };
    let plain = op.group == 1
        && op.kernel_format == KernelFormat::OIHW
        && spec.data_format == DataFormat::NCHW
        && (0..2).all(|axis| {
            spec.stride(axis) == spec.kernel_shape[axis]
                && spec.dilation(axis) == 1
                && op.adjustments[axis] == 0
                && spec.padding.valid_dim(axis, false)
        });
    if !plain {
        return Ok(false);
    }
    let (Some(weights), Some(bias)) = (compiler.floats(node.inputs[1]), compiler.floats(node.inputs[2]))
    else {
        return Ok(false);
    };
    let Some((input, from)) = compiler.map(node.inputs[0])? else { return Ok(false) };
    let Some(to) = compiler.map_shape(outlet) else { return Ok(false) };
    let (inputs, taps) = (from.channels, height * width);
    let fits =
        to == MapShape { height: from.height * height, width: from.width * width, channels: to.channels };
    if input.pad != Padding::default() || !fits || weights.len() != taps * inputs * to.channels {
        return Ok(false);
    }
    let bias = if bias.len() == 1 { vec![bias[0]; to.channels] } else { bias };
    // A pixel's product holds all channels of the first place of the window, then of the next.
    let weight = |row: usize, input: usize| {
        let (tap, output) = (row / to.channels, row % to.channels);
        weights[(output * inputs + input) * taps + tap]
    };
    let turned =
        (0..taps * to.channels).flat_map(|row| (0..inputs).map(move |input| weight(row, input))).collect();
    let product = compiler.new_f32_buffer(MapShape { channels: taps * to.channels, ..from });
    let shape = ConvShape::pointwise(inputs, taps * to.channels);
    compiler.emit(FloatConv::new(shape, Constant::values(turned), bias.repeat(taps), input.buffer, product));
    let output = compiler.new_f32_buffer(to);
    compiler.emit(DepthToSpace {
        window: [height, width],
        input: product,
        output,
        activation: Activation::NONE,
        bounds: Bounds::none(),
    });
    compiler.set_map(outlet, output);
    Ok(true)
}

/// Channels of a pixel become pixels of a window.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct DepthToSpace {
    window: [usize; 2],
    input: BufferId,
    output: BufferId,
    activation: Activation,
    /// The activation for kernels.
    #[serde(skip, default = "Bounds::none")]
    bounds: Bounds,
}

impl Step for DepthToSpace {
    fn kind(&self) -> String {
        "depth to space f32".into()
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn check(&self, buffers: &[Buffer]) -> Result<(), String> {
        let (from, to) = (&buffers[self.input.0], &buffers[self.output.0]);
        let [height, width] = self.window;
        let fits = from.height.checked_mul(height) == Some(to.height)
            && from.width.checked_mul(width) == Some(to.width)
            && height.checked_mul(width).and_then(|taps| taps.checked_mul(to.channels))
                == Some(from.channels);
        ensure(fits, "windows do not fill the picture")
    }

    fn prepare(&mut self, _: Kernels, _: &[Image]) -> Result<(), String> {
        self.bounds = bounds(self.activation, &[]);
        Ok(())
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let (input, whole) = (memory.image(self.input), memory.image(self.output));
        let [height, width] = self.window;
        for tap in 0..height * width {
            let from = input.channel_slice(tap * whole.channels, whole.channels);
            // Every place of all windows is a picture of its own, with larger steps.
            let to = Image {
                offset: whole.offset + tap / width * whole.row_stride + tap % width * whole.pixel_stride,
                height: input.height,
                width: input.width,
                row_stride: whole.row_stride * height,
                pixel_stride: whole.pixel_stride * width,
                padding: Padding::default(),
                ..whole
            };
            memory.copy::<f32>(&from, &to)?;
        }
        if self.activation != Activation::NONE {
            let kernels = memory.kernels;
            let (_, output) = memory.write::<f32>(self.output)?;
            kernels.activate_in_place(output, &self.bounds).map_err(kernel_error)?;
        }
        Ok(())
    }

    fn fuse_activation(&mut self, activation: Activation) -> bool {
        self.activation.then(activation).inspect(|both| self.activation = *both).is_some()
    }
}
