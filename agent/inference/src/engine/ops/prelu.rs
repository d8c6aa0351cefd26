//! `PRelu` with a slope for each channel, which tract writes as three nodes: `0 > x`, `x * slope`, and a choice.

use aimass_kernels::{Activation as Bounds, Padding, PreluU8};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::logic::Iff;

use super::binary::as_bytes;
use super::epilogue::Epilogue;
use super::quantise::append_table;
use crate::engine::compile::Compiler;
use crate::engine::serialization::kernel_types::{ActivationDef, PreluDef};
use crate::engine::step::{Memory, Step};
use crate::engine::value::{Affine, BufferId, Value};

/// The three nodes, seen from the comparison, which comes first.
pub(in crate::engine) fn rule(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let Some(Parts { input, slopes, product, choice }) = Parts::of(compiler, node) else { return Ok(false) };
    let Some(shape) = compiler.map_shape(input) else { return Ok(false) };
    let by_channel = compiler.map_shape(slopes).is_some_and(|s| s.height == 1 && s.width == 1);
    let Some(slopes) = compiler.constant_now(slopes)? else { return Ok(false) };
    if !(slopes.len() == 1 || by_channel && slopes.len() == shape.channels) {
        return Ok(false);
    }
    if quantised(compiler, input, &slopes, choice)? {
        compiler.set(OutletId::new(node.id, 0), Value::Absorbed);
        compiler.set(product, Value::Absorbed);
        return Ok(true);
    }
    // Nobody but the three nodes reads the input, and it is no other name of a value that others read: then it can be
    // changed where it is made.
    let producer = compiler.model().node(input.node);
    let alone = producer.outputs[input.slot].successors.len() == 3
        && !compiler.is_output(input)
        && (producer.op.is::<Conv>() || producer.op.is::<TypedBinOp>());
    let Some((floats, _)) = compiler.map(input)? else { return Ok(false) };
    if floats.pad != Padding::default() {
        return Ok(false);
    }
    let fused = alone && compiler.producer(floats.buffer).is_some_and(|step| step.fuse_slopes(&slopes));
    let buffer = if fused {
        floats.buffer
    } else {
        let output = compiler.new_f32_buffer(shape);
        compiler.emit(Prelu { bounds: Bounds::leaky(slopes), input: floats.buffer, output });
        output
    };
    compiler.set(OutletId::new(node.id, 0), Value::Absorbed);
    compiler.set(product, Value::Absorbed);
    compiler.set_map(choice, buffer);
    Ok(true)
}

/// Bytes that a quantiser follows: no number of f32 comes between.
fn quantised(
    compiler: &mut Compiler<'_>,
    input: OutletId,
    slopes: &[f32],
    choice: OutletId,
) -> Result<bool, String> {
    let (Some((from, Affine { scale, zero })), Some(epilogue), Some(shape)) =
        (as_bytes(compiler, input), Epilogue::of(compiler, choice), compiler.map_shape(choice))
    else {
        return Ok(false);
    };
    let quantiser = epilogue.quantiser;
    let ratio = scale / quantiser.scale;
    let slope = |channel: usize| slopes[if slopes.len() == 1 { 0 } else { channel }];
    let prelu = PreluU8 {
        zero_point: u8::try_from(zero).map_err(|e| e.to_string())?,
        positive: ratio,
        negative: (0..shape.channels).map(|channel| ratio * slope(channel)).collect(),
        output: epilogue.output(),
    };
    let output = epilogue.make_output(compiler, shape);
    compiler.emit(QuantPrelu { prelu, input: from, output });
    Ok(true)
}

struct Parts {
    input: OutletId,
    slopes: OutletId,
    /// Output of the product.
    product: OutletId,
    /// Output of the choice.
    choice: OutletId,
}

impl Parts {
    fn of(compiler: &Compiler<'_>, test: &TypedNode) -> Option<Self> {
        let name = test.op_as::<TypedBinOp>()?.0.name();
        let [zero, input] = test.inputs[..] else { return None };
        let is_zero = compiler.scalar(zero) == Some(0.0);
        let choice = compiler.single_consumer(OutletId::new(test.id, 0))?;
        if name != "GT" || !is_zero || !choice.op.is::<Iff>() {
            return None;
        }
        let [_, product, other] = choice.inputs[..] else { return None };
        let node = compiler.model().node(product.node);
        let multiplies = node.op_as::<TypedBinOp>()?.0.name() == "Mul" && compiler.has_single_use(product);
        let slopes = match node.inputs[..] {
            [a, b] if a == input => b,
            [a, b] if b == input => a,
            _ => return None,
        };
        let fits = multiplies && other == input && choice.inputs[0] == OutletId::new(test.id, 0);
        fits.then_some(Parts { input, slopes, product, choice: OutletId::new(choice.id, 0) })
    }
}

/// An activation with a slope for each channel.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Prelu {
    #[serde(with = "ActivationDef")]
    bounds: Bounds,
    input: BufferId,
    output: BufferId,
}

impl Step for Prelu {
    fn kind(&self) -> String {
        "prelu f32".into()
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        memory.map(self.input, self.output, |kernels, from, to| kernels.activate_f32(from, to, &self.bounds))
    }
}

/// The same of bytes, to bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct QuantPrelu {
    #[serde(with = "PreluDef")]
    prelu: PreluU8,
    input: BufferId,
    output: BufferId,
}

impl Step for QuantPrelu {
    fn kind(&self) -> String {
        "prelu int8".into()
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        memory.map(self.input, self.output, |kernels, from, to| kernels.prelu_u8(from, to, &self.prelu))
    }

    fn fuse_lookup_table(&mut self, table: &[u8; 256]) -> bool {
        append_table(&mut self.prelu.output, table);
        true
    }
}
