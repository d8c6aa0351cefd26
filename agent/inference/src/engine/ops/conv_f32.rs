//! Convolutions of f32.

use aimass_kernels::{Activation as Bounds, Conv2dF32, ConvShape, Image, Kernels, Padding, UnaryFn};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::cnn::Conv;

use super::conv_u8::{kind, reach, shape_of};
use crate::engine::arena::Buffer;
use crate::engine::compile::Compiler;
use crate::engine::constant::Constant;
use crate::engine::row_tiling::RowAccess;
use crate::engine::serialization::kernel_types::{ConvShapeDef, UnaryFns};
use crate::engine::step::{Memory, Step, kernel_error};
use crate::engine::value::{Activation, BufferId, Value};

/// `Conv` of f32, or of what can become that.
pub(in crate::engine) fn rule(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    if !node.op.is::<Conv>()
        || node.inputs.len() != 3
        || shape_of(compiler, node, Padding::default()).is_none()
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
    compiler.require_padding(
        input.buffer,
        shape.required_padding([from.height, from.width], [to.height, to.width]),
    );
    let output = compiler.new_f32_buffer(to);
    compiler.emit(FloatConv::new(shape, weights, bias, input.buffer, output));
    let outlet = OutletId::new(node.id, 0);
    compiler.set_map(outlet, output);
    Ok(true)
}

/// A convolution.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct FloatConv {
    #[serde(with = "ConvShapeDef")]
    shape: ConvShape,
    weights: Constant,
    /// What the weights are multiplied by, and the bias was.
    factor: f32,
    /// Whether the bias holds more than the layer's own.
    #[serde(skip)]
    shifted: bool,
    bias: Vec<f32>,
    input: BufferId,
    output: BufferId,
    activation: Activation,
    /// For what is below 0, in place of the activation's one slope.
    slopes: Vec<f32>,
    /// What becomes of each value after the activation.
    unary_fns: UnaryFns,
    #[serde(skip)]
    layer: Option<Conv2dF32>,
}

/// Factors that go into weights.
const WEIGHT_FACTORS: std::ops::RangeInclusive<f32> = 1e-6..=1e6;

impl FloatConv {
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
            shifted: false,
            bias,
            input,
            output,
            activation: Activation::NONE,
            slopes: Vec::new(),
            unary_fns: UnaryFns::default(),
            layer: None,
        }
    }

    /// Whether a line may go into weights and bias. Sums begin with the bias, so a large term would take their last bits
    /// before the next step can_fold it away again, as files do that round by it; and weights must not leave what f32 can
    /// hold.
    fn can_fold(&self, factor: f32, term: f32) -> bool {
        let greatest = self.bias.iter().fold(1.0, |greatest: f32, bias| greatest.max(bias.abs()));
        let small = term == 0.0 || !self.shifted && term.abs() <= 64.0 * greatest;
        small
            && WEIGHT_FACTORS.contains(&(self.factor * factor).abs())
            && self.bias.iter().all(|bias| (bias * factor + term).is_finite())
    }

    /// Whether its numbers are sums of products and nothing else yet.
    fn is_plain(&self) -> bool {
        self.activation == Activation::NONE && self.slopes.is_empty() && self.unary_fns.0.is_empty()
    }
}

impl Step for FloatConv {
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
        let layer =
            Conv2dF32::new(kernels, &self.shape, &values, &self.bias, &bounds).map_err(kernel_error)?;
        self.layer = Some(layer.with_unary_fns(self.unary_fns.0.clone()));
        self.bias = Vec::new();
        Ok(())
    }

    fn row_access(&self, _: &[Buffer]) -> Option<RowAccess> {
        Some(RowAccess { reads: vec![Some(reach(&self.shape)?)], weights: self.weights.bytes() })
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

    fn fuse_unary_fn(&mut self, function: UnaryFn) -> bool {
        match function {
            UnaryFn::Affine { factor, term } if self.is_plain() && self.can_fold(factor, term) => {
                self.factor *= factor;
                self.bias.iter_mut().for_each(|bias| *bias = *bias * factor + term);
                self.shifted |= term != 0.0;
            }
            function => self.unary_fns.0.push(function),
        }
        true
    }

    fn fuse_activation(&mut self, activation: Activation) -> bool {
        if !self.unary_fns.0.is_empty() || !self.slopes.is_empty() && activation.slope != 1.0 {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(bias: f32) -> FloatConv {
        let weights = Constant::values(vec![1.0]);
        FloatConv::new(ConvShape::pointwise(1, 1), weights, vec![bias], BufferId(0), BufferId(1))
    }

    fn after(mut layer: FloatConv, lines: &[(f32, f32)]) -> (f32, Vec<f32>, usize) {
        for &(factor, term) in lines {
            assert!(layer.fuse_unary_fn(UnaryFn::Affine { factor, term }));
        }
        (layer.factor, layer.bias, layer.unary_fns.0.len())
    }

    #[test]
    fn a_factor_and_a_term_go_into_the_layer() {
        assert_eq!(after(layer(2.0), &[(3.0, 0.0), (1.0, 0.5)]), (3.0, vec![6.5], 0));
    }

    #[test]
    fn a_term_that_rounds_stays_behind_the_layer() {
        let round = [(1.0, 12_582_912.0), (1.0, -12_582_912.0)];
        assert_eq!(after(layer(0.0), &round), (1.0, vec![0.0], 2));
        // Small ones round too, where the second can_fold the first away again.
        assert_eq!(after(layer(0.0), &[(1.0, 32.0), (1.0, -32.0)]), (1.0, vec![32.0], 1));
    }

    #[test]
    fn weights_and_biases_stay_numbers() {
        assert_eq!(after(layer(0.0), &[(1e20, 0.0), (1e20, 0.0)]), (1.0, vec![0.0], 2));
        assert_eq!(after(layer(1e38), &[(1e3, 0.0)]), (1.0, vec![1e38], 1));
        assert_eq!(after(layer(1.0), &[(0.0, 1.0)]), (1.0, vec![1.0], 1));
        assert_eq!(after(layer(1.0), &[(f32::NAN, 0.0)]), (1.0, vec![1.0], 1));
    }
}
