//! Quantised convolutions: bytes times the file's own 8-bit weights, to bytes if a quantiser follows, else to f32.

use aimass_kernels::{Conv2dU8, ConvShape, ConvWeightsU8, Image, Kernels, OutputU8, Padding};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::epilogue::Epilogue;
use super::quantise::append_table;
use crate::engine::arena::Buffer;
use crate::engine::compile::{Compiler, MapShape};
use crate::engine::constant::Constant;
use crate::engine::row_tiling::{RowAccess, RowReach};
use crate::engine::serialization::kernel_types::{ConvShapeDef, OutputDef};
use crate::engine::step::{Memory, Step, kernel_error};
use crate::engine::value::{BufferId, QuantMap, Value};
use crate::engine::weights::{Integers, QuantWeights};

/// The shape of a convolution over pictures; `None` for other convolutions. `pad` came before it as a node of its own.
pub(super) fn shape_of(
    compiler: &Compiler<'_>,
    node: &TypedNode,
    pad: Padding,
) -> Option<(ConvShape, MapShape)> {
    let op = node.op_as::<Conv>()?;
    let spec = &op.pool_spec;
    if op.q_params.is_some() || op.kernel_fmt != KernelFormat::OIHW || spec.data_format != DataFormat::NCHW {
        return None;
    }
    let (from, to) = (compiler.rows_shape(node.inputs[0])?, compiler.rows_shape(OutletId::new(node.id, 0))?);
    let size = [from.height, from.width];
    // Along one axis: a picture of one row.
    let axes = spec.kernel_shape.len();
    let missing = 2usize.checked_sub(axes).filter(|missing| *missing < 2)?;
    let padding = spec.computed_padding(&size[missing..]);
    let of_axis =
        |axis: usize, of: &dyn Fn(usize) -> usize, else_: usize| axis.checked_sub(missing).map_or(else_, of);
    let both = |of: &dyn Fn(usize) -> usize, without: usize| [0, 1].map(|axis| of_axis(axis, of, without));
    let [above, left] = both(&|axis| padding[axis].pad_before, 0);
    let shape = ConvShape {
        kernel: both(&|axis| spec.kernel_shape[axis], 1),
        stride: both(&|axis| spec.stride(axis), 1),
        dilation: both(&|axis| spec.dilation(axis), 1),
        padding: [above + pad.top, left + pad.left],
        groups: op.group,
        input_channels: from.channels,
        output_channels: to.channels,
        input_pixel_stride: from.channels,
    };
    Some((shape, to))
}

/// `Conv` of bytes.
pub(in crate::engine) fn rule(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    if !node.op.is::<Conv>() || node.inputs.len() != 3 {
        return Ok(false);
    }
    let (Some(Value::Quant(input)), Some(Value::Weights(weights))) =
        (compiler.value(node.inputs[0]).cloned(), compiler.value(node.inputs[1]).cloned())
    else {
        return Ok(false);
    };
    let Some((shape, to)) = shape_of(compiler, node, input.pad) else { return Ok(false) };
    let Some(sums) = sums(compiler, node, &input, &weights) else { return Ok(false) };
    let outlet = OutletId::new(node.id, 0);
    let from = compiler.buffer(input.buffer);
    compiler.require_padding(
        input.buffer,
        shape.required_padding([from.height, from.width], [to.height, to.width]),
    );
    let mut step = QuantConv {
        shape,
        weights: Constant::signed(weights),
        input: input.buffer,
        input_zero: sums.zero,
        bias: sums.bias,
        multiplier: sums.scales,
        output: input.buffer,
        writing: Writing::Floats,
        layer: None,
    };
    if let Some(epilogue) = Epilogue::of(compiler, outlet) {
        let quantiser = epilogue.quantiser;
        step.multiplier.iter_mut().for_each(|m| *m /= quantiser.scale);
        step.writing = Writing::Bytes(epilogue.output());
        step.output = epilogue.make_output(compiler, to);
    } else {
        step.output = compiler.new_f32_buffer(to);
        compiler.set_map(outlet, step.output);
    }
    compiler.emit(step);
    Ok(true)
}

/// How the sums of products begin, and what one of them is worth.
struct Sums {
    zero: u8,
    bias: Vec<i32>,
    scales: Vec<f32>,
}

/// `None` if bytes and weights are none that a kernel multiplies.
fn sums(compiler: &Compiler<'_>, node: &TypedNode, input: &QuantMap, weights: &QuantWeights) -> Option<Sums> {
    let affine = input.affine?;
    let zero = u8::try_from(affine.zero).ok()?;
    // The padding was filled by whoever quantised; a dequantiser with another zero makes something else of it.
    (compiler.buffer(input.buffer).fill == zero).then_some(())?;
    weights.is_around_zero().then_some(())?;
    let scales: Vec<f32> = weights.scales_by_output()?.iter().map(|scale| scale * affine.scale).collect();
    if weights.dims.len() != 4 || !scales.iter().all(|s| s.is_normal()) {
        return None;
    }
    let bias = match compiler.value(node.inputs[2])? {
        // The file's own integers, if they count the same steps.
        Value::Weights(bias) if bias.counts(&scales) => match &bias.values {
            Integers::I32(values) => values.clone(),
            _ => return None,
        },
        _ => {
            let values = compiler.floats(node.inputs[2])?;
            let value = |n: usize| values.get(if values.len() == 1 { 0 } else { n }).copied();
            let step = |(n, scale): (usize, &f32)| {
                Some((f64::from(value(n)?) / f64::from(*scale)).round().clamp(-1e9, 1e9) as i32)
            };
            scales.iter().enumerate().map(step).collect::<Option<_>>()?
        }
    };
    Some(Sums { zero, bias, scales })
}

/// How a quantised convolution writes.
#[derive(Debug, Serialize, Deserialize)]
enum Writing {
    Floats,
    Bytes(#[serde(with = "OutputDef")] OutputU8),
}

/// A quantised convolution.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct QuantConv {
    #[serde(with = "ConvShapeDef")]
    shape: ConvShape,
    weights: Constant,
    input: BufferId,
    input_zero: u8,
    bias: Vec<i32>,
    multiplier: Vec<f32>,
    output: BufferId,
    writing: Writing,
    #[serde(skip)]
    layer: Option<Conv2dU8>,
}

impl Step for QuantConv {
    fn kind(&self) -> String {
        kind(&self.shape, "int8")
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn constants(&mut self) -> Vec<&mut Constant> {
        vec![&mut self.weights]
    }

    fn prepare(&mut self, kernels: Kernels, images: &[Image]) -> Result<(), String> {
        let weights = self.weights.take();
        let values = weights.as_signed()?;
        self.shape.input_pixel_stride = images[self.input.0].pixel_stride;
        let weights = ConvWeightsU8 {
            weights: &values,
            bias: &self.bias,
            multiplier: &self.multiplier,
            input_zero_point: self.input_zero,
        };
        let floats = OutputU8::new(0);
        let output = if let Writing::Bytes(output) = &self.writing { output } else { &floats };
        self.layer = Some(Conv2dU8::new(kernels, &self.shape, &weights, output).map_err(kernel_error)?);
        (self.bias, self.multiplier) = (Vec::new(), Vec::new());
        Ok(())
    }

    fn row_access(&self, _: &[Buffer]) -> Option<RowAccess> {
        Some(RowAccess { reads: vec![Some(reach(&self.shape)?)], weights: self.weights.bytes() })
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let layer = self.layer.as_ref().ok_or("a convolution was not packed")?;
        let (input, output) = (memory.image(self.input), memory.image(self.output));
        let work = self.shape.multiplications(output.height, output.width);
        if let Writing::Bytes(_) = self.writing {
            memory.write_rows(self.output, work, |inputs, output| layer.run(inputs.view(&input)?, output))
        } else {
            memory.write_rows(self.output, work, |inputs, output| layer.run_f32(inputs.view(&input)?, output))
        }
    }

    fn fuse_lookup_table(&mut self, table: &[u8; 256]) -> bool {
        let Writing::Bytes(writing) = &mut self.writing else { return false };
        append_table(writing, table);
        true
    }
}

/// The input rows of an output row; `None` if none of them lies below its padding.
pub(super) fn reach(shape: &ConvShape) -> Option<RowReach> {
    let (stride, above) = (shape.stride[0], shape.padding[0]);
    let below = shape.kernel[0].checked_sub(1)?.checked_mul(shape.dilation[0])?.checked_sub(above)?;
    Some(RowReach { stride, above, below })
}

/// A convolution in tables of times.
pub(super) fn kind(shape: &ConvShape, numbers: &str) -> String {
    let [height, width] = shape.kernel;
    let name = if shape.is_depthwise() { "depthwise" } else { "conv" };
    // Along one axis, that of the columns is the one that counts.
    format!("{name} {height}x{width} s{} {numbers}", shape.stride[usize::from(height == 1)])
}
