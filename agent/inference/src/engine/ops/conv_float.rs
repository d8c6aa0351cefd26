//! Convolutions of f32.

use aimass_kernels::{Activation as Bounds, Conv2dF32, ConvShape, Curve, Halo, Image, Kernels};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::cnn::Conv;

use super::conv::{kind, shape_of};
use super::refused;
use crate::engine::compile::Compiler;
use crate::engine::constant::Constant;
use crate::engine::saved::kernels::{ConvShapeParts, Curves};
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
    compiler.emit(ConvFloats::new(shape, weights, bias, input.buffer, output));
    let outlet = OutletId::new(node.id, 0);
    let sole = compiler.is_sole(outlet);
    compiler.set(outlet, Value::Floats(Floats { buffer: output, pad: Halo::default(), sole }));
    Ok(true)
}

/// A convolution.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct ConvFloats {
    #[serde(with = "ConvShapeParts")]
    shape: ConvShape,
    weights: Constant,
    /// What the weights are multiplied by, and the bias was.
    factor: f32,
    bias: Vec<f32>,
    input: BufferId,
    output: BufferId,
    activation: Activation,
    /// For what is below 0, in place of the activation's one slope.
    slopes: Vec<f32>,
    /// What becomes of each value after the activation.
    curves: Curves,
    #[serde(skip)]
    layer: Option<Conv2dF32>,
}

impl ConvFloats {
    /// With a bias for each output channel.
    pub(super) fn new(
        shape: ConvShape,
        weights: Constant,
        bias: Vec<f32>,
        input: BufferId,
        output: BufferId,
    ) -> Self {
        Self {
            shape,
            weights,
            factor: 1.0,
            bias,
            input,
            output,
            activation: Activation::NONE,
            slopes: Vec::new(),
            curves: Curves::default(),
            layer: None,
        }
    }

    /// Whether its numbers are sums of products and nothing else yet.
    fn is_plain(&self) -> bool {
        self.activation == Activation::NONE && self.slopes.is_empty() && self.curves.0.is_empty()
    }
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
        let mut values = weights.as_floats()?;
        if self.factor != 1.0 {
            values.to_mut().iter_mut().for_each(|weight| *weight *= self.factor);
        }
        let layer = Conv2dF32::new(kernels, &self.shape, &values, &self.bias, &bounds).map_err(refused)?;
        self.layer = Some(layer.with_curves(self.curves.0.clone()));
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
        let free = self.is_plain();
        if free {
            self.slopes = slopes.to_vec();
        }
        free
    }

    fn fuse_curve(&mut self, curve: Curve) -> bool {
        match curve {
            Curve::Line { factor, term } if self.is_plain() && factor.is_finite() && term.is_finite() => {
                self.factor *= factor;
                self.bias.iter_mut().for_each(|bias| *bias = *bias * factor + term);
            }
            curve => self.curves.0.push(curve),
        }
        true
    }

    fn fuse_activation(&mut self, activation: Activation) -> bool {
        if !self.curves.0.is_empty() || !self.slopes.is_empty() && activation.slope != 1.0 {
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
