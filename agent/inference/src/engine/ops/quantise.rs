//! `QuantizeLinear` and `DequantizeLinear` of activations, by one scale.
//!
//! Signed and unsigned activations are both bytes here: a signed value s lies in the byte s + 128.

use aimass_kernels::{OutputU8, Padding, Quantise as Parameters, UnaryFn};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::quant::{DequantizeLinearF32, QuantizeLinearI8, QuantizeLinearU8};

use super::layout::{as_map, check_flat};
use super::unary;
use crate::engine::arena::Buffer;
use crate::engine::compile::Compiler;
use crate::engine::serialization::kernel_types::{QuantiseDef, bytes};
use crate::engine::step::{Memory, Step, kernel_error};
use crate::engine::value::{Affine, BufferId, DequantTable, Flat, FloatMap, Order, QuantMap, Value};

/// How a node quantises.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quantiser {
    pub(super) scale: f32,
    /// The byte that stands for 0.
    pub(super) zero: u8,
    /// ExtractedWeights from a byte to get the graph's integer: 0, or 128 if that is signed.
    offset: i32,
}

impl Quantiser {
    /// Of a node that quantises.
    pub(super) fn of(compiler: &Compiler<'_>, node: &TypedNode) -> Option<Self> {
        let op = &node.op_as::<ElementWiseOp>()?.0;
        let (inverse_scale, zero, offset) = if let Some(q) = op.downcast_ref::<QuantizeLinearU8>() {
            (q.scale, q.zero_point, 0)
        } else {
            let q = op.downcast_ref::<QuantizeLinearI8>()?;
            (q.scale, (i32::from(q.zero_point) + 128) as u8, 128)
        };
        // tract keeps the reciprocal, whose last bit is wrong half of the time; who undoes it has the file's number.
        let reciprocal = 1.0 / inverse_scale;
        let exact = node.outputs.first()?.successors.iter().find_map(|next| {
            let scale = compiler.model().node(next.node).op_as::<DequantizeLinearF32>()?.scale;
            ((scale - reciprocal).abs() <= reciprocal * 1e-6).then_some(scale)
        });
        let scale = exact.unwrap_or(reciprocal);
        (scale.is_normal() && scale > 0.0).then_some(Quantiser { scale, zero, offset })
    }

    /// The byte of a number.
    pub(super) fn byte(self, value: f32) -> u8 {
        let steps = (value / self.scale).round_ties_even();
        // A number beyond all bounds saturates, and what is no number becomes 0.
        (steps.clamp(-1000.0, 1000.0) as i32 + i32::from(self.zero)).clamp(0, 255) as u8
    }

    /// The byte of each byte of a table.
    pub(super) fn bytes(self, table: &DequantTable) -> [u8; 256] {
        table.map(|value| self.byte(value))
    }

    /// A value of the graph's integers.
    pub(super) fn value(self, buffer: BufferId, single_use: bool) -> Value {
        let affine = Affine { scale: 1.0, zero: self.offset };
        Value::Quant(QuantMap {
            buffer,
            table: affine.table(),
            affine: Some(affine),
            pad: Padding::default(),
            single_use,
        })
    }

    fn parameters(self) -> Parameters {
        Parameters { scale: self.scale, zero_point: self.zero }
    }
}

/// `QuantizeLinear`.
pub(in crate::engine) fn quantise(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let outlet = OutletId::new(node.id, 0);
    let Some(quantiser) = Quantiser::of(compiler, node) else { return Ok(false) };
    let Some(shape) = compiler.map_shape(outlet) else { return steps(compiler, node, quantiser) };
    let none = Padding::default();
    let source = match compiler.value(node.inputs[0]).cloned() {
        Some(Value::Quant(quant)) if quant.pad == none => {
            requantise(compiler, outlet, quantiser, &quant);
            return Ok(true);
        }
        Some(Value::Floats(FloatMap { buffer, pad, .. })) if pad == none => Source::Map(buffer),
        Some(Value::Flat(Flat { buffer, order, .. })) => Source::Flat(buffer, order),
        Some(Value::Tensor(_)) => Source::Flat(compiler.flat(node.inputs[0])?, Order::RowMajor),
        _ => return Ok(false),
    };
    let output = compiler.new_u8_buffer(shape, quantiser.zero);
    compiler.emit(Quantise { source, output, parameters: quantiser.parameters() });
    let single_use = compiler.has_single_use(outlet);
    compiler.set(outlet, quantiser.value(output, single_use));
    Ok(true)
}

/// What is no picture stays f32, in whole steps: the graph's integers.
fn steps(compiler: &mut Compiler<'_>, node: &TypedNode, quantiser: Quantiser) -> Result<bool, String> {
    let (input, outlet) = (node.inputs[0], OutletId::new(node.id, 0));
    if !unary::is_computed_f32(compiler, input) || compiler.shape(outlet).is_none() {
        return Ok(false);
    }
    let (zero, offset) = (f32::from(quantiser.zero), quantiser.offset as f32);
    let (low, high) = (-offset, 255.0 - offset);
    let curve = UnaryFn::Quantise { scale: quantiser.scale, zero: zero - offset, low, high };
    unary::apply(compiler, curve, input, outlet)?;
    Ok(true)
}

/// Bytes to other bytes: a table, within the step that makes the bytes if nobody else wants them.
fn requantise(compiler: &mut Compiler<'_>, outlet: OutletId, quantiser: Quantiser, quant: &QuantMap) {
    let table = quantiser.bytes(&quant.table);
    let single_use = compiler.has_single_use(outlet);
    let same = table.iter().enumerate().all(|(byte, to)| byte == usize::from(*to));
    if same && compiler.buffer(quant.buffer).fill == quantiser.zero {
        compiler.set(outlet, quantiser.value(quant.buffer, single_use && quant.single_use));
        return;
    }
    if quant.single_use && compiler.producer(quant.buffer).is_some_and(|step| step.fuse_lookup_table(&table))
    {
        compiler.buffer_mut(quant.buffer).fill = quantiser.zero;
        compiler.set(outlet, quantiser.value(quant.buffer, single_use));
        return;
    }
    let buffer = compiler.buffer(quant.buffer);
    let shape = crate::engine::compile::MapShape {
        height: buffer.height,
        width: buffer.width,
        channels: buffer.channels,
    };
    let output = compiler.new_u8_buffer(shape, quantiser.zero);
    compiler.emit(Lookup { input: quant.buffer, output, table: Box::new(table) });
    compiler.set(outlet, quantiser.value(output, single_use));
}

/// `DequantizeLinear`: arithmetic on the table.
pub(in crate::engine) fn dequantise(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let Some(op) = node.op_as::<DequantizeLinearF32>() else { return Ok(false) };
    if let Some(Value::Flat(_)) = compiler.value(node.inputs[0]) {
        let curve = UnaryFn::Affine { factor: op.scale, term: -op.scale * op.zero_point as f32 };
        unary::apply(compiler, curve, node.inputs[0], OutletId::new(node.id, 0))?;
        return Ok(true);
    }
    let Some(Value::Quant(quant)) = compiler.value(node.inputs[0]).cloned() else { return Ok(false) };
    // Only the graph's integers can be dequantised.
    let Some(affine) = quant.affine.filter(|a| a.scale == 1.0) else { return Ok(false) };
    let outlet = OutletId::new(node.id, 0);
    let affine = Affine { scale: op.scale, zero: affine.zero + op.zero_point };
    let single_use = quant.single_use && compiler.has_single_use(outlet);
    compiler.set(
        outlet,
        Value::Quant(QuantMap { table: affine.table(), affine: Some(affine), single_use, ..quant }),
    );
    Ok(true)
}

#[derive(Debug, Serialize, Deserialize)]
enum Source {
    Map(BufferId),
    Flat(BufferId, Order),
}

impl Source {
    fn buffer(&self) -> BufferId {
        match self {
            Source::Map(id) | Source::Flat(id, _) => *id,
        }
    }
}

/// Numbers to bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Quantise {
    source: Source,
    output: BufferId,
    #[serde(with = "QuantiseDef")]
    parameters: Parameters,
}

impl Step for Quantise {
    fn kind(&self) -> String {
        "quantise".into()
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.source.buffer()]
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn check(&self, buffers: &[Buffer]) -> Result<(), String> {
        match self.source {
            Source::Map(_) => Ok(()),
            Source::Flat(id, _) => check_flat(&buffers[id.0], buffers[self.output.0].shape()),
        }
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let (kernels, shape, source) =
            (memory.kernels, memory.image(self.output).shape(), memory.image(self.source.buffer()));
        let (inputs, output) = memory.write::<u8>(self.output)?;
        match self.source {
            Source::Map(_) => {
                kernels.quantise(inputs.view(&source).map_err(kernel_error)?, output, &self.parameters)
            }
            Source::Flat(_, Order::ChannelsLast) => kernels.quantise(
                inputs.view(&as_map(source, shape)).map_err(kernel_error)?,
                output,
                &self.parameters,
            ),
            Source::Flat(_, Order::RowMajor) => {
                let planes = inputs.view::<f32>(&source).map_err(kernel_error)?;
                kernels.quantise_planes(planes.pixel(0, 0), output, &self.parameters)
            }
        }
        .map_err(kernel_error)
    }
}

/// Bytes to other bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Lookup {
    input: BufferId,
    output: BufferId,
    #[serde(with = "bytes")]
    table: Box<[u8; 256]>,
}

impl Step for Lookup {
    fn kind(&self) -> String {
        "table".into()
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        memory.map(self.input, self.output, |kernels, from, to| kernels.lookup_u8(from, to, &self.table))
    }

    fn fuse_lookup_table(&mut self, table: &[u8; 256]) -> bool {
        compose(&mut self.table, table);
        true
    }
}

/// Makes `table` the last step of a quantised output.
pub(super) fn append_table(output: &mut OutputU8, table: &[u8; 256]) {
    match &mut output.lookup_table {
        Some(first) => compose(first, table),
        None => output.lookup_table = Some(Box::new(*table)),
    }
}

/// First `table`, then `next`.
pub(super) fn compose(table: &mut [u8; 256], next: &[u8; 256]) {
    table.iter_mut().for_each(|byte| *byte = next[usize::from(*byte)]);
}
