//! Convolutions of f32.

use aimass_kernels::{Activation as Bounds, Conv2dF32, ConvShape, Halo, Image, Kernels};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::cnn::Conv;

use super::conv::{kind, shape_of};
use super::refused;
use crate::engine::compile::Compiler;
use crate::engine::constant::Constant;
use crate::engine::saved::kernels::ConvShapeParts;
use crate::engine::step::{Memory, Step};
use crate::engine::value::{Activation, BufferId, Floats, Value};

/// `Conv` of f32, or of what can become that.
pub(in crate::engine) fn rule(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    if !node.op.is::<Conv>() || node.inputs.len() != 3 || shape_of(compiler, node, Halo::default()).is_none()
    {
        return Ok(false);
    }
    let weights = match compiler.value(node.inputs[1]) {
        Some(Value::Const(tensor)) => Constant::tensor(tensor.clone()),
        Some(Value::Weights(weights)) => Constant::dequantised(weights.clone()),
        _ => return Ok(false),
    };
    let Some(bias) = compiler.floats(node.inputs[2]) else { return Ok(false) };
    let Some((input, from)) = compiler.map(node.inputs[0])? else { return Ok(false) };
    let Some((shape, to)) = shape_of(compiler, node, input.pad) else { return Ok(false) };
    let bias = if bias.len() == 1 { vec![bias[0]; to.channels] } else { bias };
    compiler.widen(input.buffer, shape.halo([from.height, from.width], [to.height, to.width]));
    let output = compiler.new_floats(to);
    let activation = Activation::NONE;
    compiler.emit(ConvFloats {
        shape,
        weights,
        bias,
        input: input.buffer,
        output,
        activation,
        slopes: Vec::new(),
        layer: None,
    });
    let outlet = OutletId::new(node.id, 0);
    let sole = compiler.is_sole(outlet);
    compiler.set(outlet, Value::Floats(Floats { buffer: output, pad: Halo::default(), sole }));
    Ok(true)
}

/// A convolution.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct ConvFloats {
    #[serde(with = "ConvShapeParts")]
    pub(super) shape: ConvShape,
    pub(super) weights: Constant,
    pub(super) bias: Vec<f32>,
    pub(super) input: BufferId,
    pub(super) output: BufferId,
    pub(super) activation: Activation,
    /// For what is below 0, in place of the activation's one slope.
    pub(super) slopes: Vec<f32>,
    #[serde(skip)]
    pub(super) layer: Option<Conv2dF32>,
}

impl Step for ConvFloats {
    fn kind(&self) -> String {
        kind(&self.shape, "f32")
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
        self.shape.input_pixel_stride = images[self.input.0].pixel_stride;
        let bounds = bounds(self.activation, &self.slopes);
        let weights = self.weights.take();
        let layer = Conv2dF32::new(kernels, &self.shape, &weights.as_floats()?, &self.bias, &bounds);
        self.layer = Some(layer.map_err(refused)?);
        self.bias = Vec::new();
        Ok(())
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let layer = self.layer.as_ref().ok_or("a convolution was not packed")?;
        let (input, output) = (memory.image(self.input), memory.image(self.output));
        let work = self.shape.multiplications(output.height, output.width);
        memory.write_rows(self.output, work, |inputs, output| layer.run(inputs.view(&input)?, output))
    }

    fn fuse_slopes(&mut self, slopes: &[f32]) -> bool {
        let free = self.activation == Activation::NONE && self.slopes.is_empty();
        if free {
            self.slopes = slopes.to_vec();
        }
        free
    }

    fn fuse_activation(&mut self, activation: Activation) -> bool {
        if !self.slopes.is_empty() && activation.slope != 1.0 {
            return false;
        }
        let both = self.activation.then(activation);
        both.inspect(|both| self.activation = *both).is_some()
    }
}

/// An activation as kernels take it.
pub(super) fn bounds(activation: Activation, slopes: &[f32]) -> Bounds {
    let slopes = match activation.slope {
        1.0 => slopes.to_vec(),
        slope => vec![slope],
    };
    Bounds { slopes, low: activation.low, high: activation.high }
}
