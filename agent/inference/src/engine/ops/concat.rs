//! `Concat`: each input is written to its place in the output.

use aimass_kernels::{Image, Padding};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::array::TypedConcat;

use super::epilogue::Epilogue;
use super::quantise::compose;
use crate::engine::arena::Buffer;
use crate::engine::compile::Compiler;
use crate::engine::serialization::kernel_types::bytes;
use crate::engine::step::{Memory, Step, ensure, kernel_error};
use crate::engine::value::{BufferId, QuantMap, Value};

/// `Concat` of pictures by their channels, and of numbers without gaps by any axis.
pub(in crate::engine) fn rule(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let Some(op) = node.op_as::<TypedConcat>() else { return Ok(false) };
    let outlet = OutletId::new(node.id, 0);
    let is_f32 = compiler.is_f32(outlet);
    if !is_f32 {
        return Ok(false);
    }
    let maps =
        node.inputs.iter().any(|i| matches!(compiler.value(*i), Some(Value::Quant(_) | Value::Floats(_))));
    if maps && op.axis == 1 && compiler.map_shape(outlet).is_some() {
        return Ok(quantised(compiler, node, outlet) || pictures(compiler, node, outlet)?);
    }
    flats(compiler, node, outlet, op.axis)
}

/// Bytes that a quantiser follows: each input through a table.
fn quantised(compiler: &mut Compiler<'_>, node: &TypedNode, outlet: OutletId) -> bool {
    let (Some(epilogue), Some(shape)) = (Epilogue::of(compiler, outlet), compiler.map_shape(outlet)) else {
        return false;
    };
    let mut inputs = Vec::new();
    for input in &node.inputs {
        let Some(Value::Quant(QuantMap { buffer, table, pad, .. })) = compiler.value(*input) else {
            return false;
        };
        if *pad != Padding::default() {
            return false;
        }
        let table =
            epilogue.quantiser.bytes(table).map(|byte| byte.clamp(epilogue.bounds.0, epilogue.bounds.1));
        inputs.push(Part { buffer: *buffer, table: Box::new(table) });
    }
    let output = epilogue.make_output(compiler, shape);
    compiler.emit(QuantConcat { inputs, output });
    true
}

fn pictures(compiler: &mut Compiler<'_>, node: &TypedNode, outlet: OutletId) -> Result<bool, String> {
    let Some(shape) = compiler.map_shape(outlet) else { return Ok(false) };
    let mut inputs = Vec::new();
    for input in &node.inputs {
        match compiler.map(*input)? {
            Some((floats, _)) if floats.pad == Padding::default() => inputs.push(floats.buffer),
            _ => return Ok(false),
        }
    }
    let output = compiler.new_f32_buffer(shape);
    compiler.emit(Concat { inputs, output, chunks: None });
    compiler.set_map(outlet, output);
    Ok(true)
}

fn flats(
    compiler: &mut Compiler<'_>,
    node: &TypedNode,
    outlet: OutletId,
    axis: usize,
) -> Result<bool, String> {
    let Some(shape) = compiler.shape(outlet) else { return Ok(false) };
    let tensors =
        node.inputs.iter().filter(|i| matches!(compiler.value(**i), Some(Value::Tensor(_)))).count();
    if tensors * 2 > node.inputs.len() || node.inputs.iter().any(|i| compiler.shape(*i).is_none()) {
        return Ok(false);
    }
    let outer: usize = shape[..axis].iter().product();
    let mut parts = Vec::new();
    for input in &node.inputs {
        let of_input = compiler.shape(*input).ok_or("a shape is not fixed")?;
        parts.push((compiler.flat(*input)?, of_input[axis..].iter().product()));
    }
    rows(compiler, outlet, outer, parts)?;
    Ok(true)
}

/// Makes `outlet` of rows, each of so many numbers of each part, one part after the other.
///
/// # Errors
/// The outlet has no fixed shape.
pub(super) fn rows(
    compiler: &mut Compiler<'_>,
    outlet: OutletId,
    outer: usize,
    parts: Vec<(BufferId, usize)>,
) -> Result<(), String> {
    let (inputs, chunks) = parts.into_iter().unzip();
    let output = compiler.flat_buffer(outlet)?;
    compiler.emit(Concat { inputs, output, chunks: Some((outer, chunks)) });
    compiler.set_flat(outlet, output);
    Ok(())
}

/// Concatenation of bytes by channels.
/// An input, and what becomes of its bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    buffer: BufferId,
    #[serde(with = "bytes")]
    table: Box<[u8; 256]>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct QuantConcat {
    inputs: Vec<Part>,
    output: BufferId,
}

impl Step for QuantConcat {
    fn kind(&self) -> String {
        "concat int8".into()
    }

    fn reads(&self) -> Vec<BufferId> {
        self.inputs.iter().map(|part| part.buffer).collect()
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn check(&self, buffers: &[Buffer]) -> Result<(), String> {
        let channels = self.inputs.iter().map(|part| buffers[part.buffer.0].channels);
        check_sum(channels, buffers[self.output.0].channels)
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let (kernels, whole) = (memory.kernels, memory.image(self.output));
        let mut first = 0;
        for Part { buffer, table } in &self.inputs {
            let input = memory.image(*buffer);
            let part = whole.channel_slice(first, input.channels);
            let (inputs, output) = memory.arena.writing::<u8>(&part).map_err(kernel_error)?;
            let input_view = inputs.view(&input).map_err(kernel_error)?;
            if table.iter().enumerate().all(|(byte, to)| byte == usize::from(*to)) {
                kernels.copy(input_view, output).map_err(kernel_error)?;
            } else {
                kernels.lookup_u8(input_view, output, table).map_err(kernel_error)?;
            }
            first += input.channels;
        }
        Ok(())
    }

    fn fuse_lookup_table(&mut self, table: &[u8; 256]) -> bool {
        self.inputs.iter_mut().for_each(|part| compose(&mut part.table, table));
        true
    }
}

/// Concatenation of f32.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Concat {
    inputs: Vec<BufferId>,
    output: BufferId,
    /// For numbers without gaps: how often each input gives how many.
    chunks: Option<(usize, Vec<usize>)>,
}

impl Step for Concat {
    fn kind(&self) -> String {
        "concat f32".into()
    }

    fn reads(&self) -> Vec<BufferId> {
        self.inputs.clone()
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn check(&self, buffers: &[Buffer]) -> Result<(), String> {
        let to = &buffers[self.output.0];
        let Some((outer, chunks)) = &self.chunks else {
            return check_sum(self.inputs.iter().map(|id| buffers[id.0].channels), to.channels);
        };
        let rows = |id: &BufferId, chunk: &usize| {
            buffers[id.0].is_flat() && outer.checked_mul(*chunk) == Some(buffers[id.0].channels)
        };
        if !to.is_flat() || *outer == 0 || chunks.len() != self.inputs.len() || chunks.contains(&0) {
            return Err("rows and inputs are not as many".into());
        }
        if !self.inputs.iter().zip(chunks).all(|(id, chunk)| rows(id, chunk)) {
            return Err("rows do not fill an input".into());
        }
        check_sum(self.inputs.iter().map(|id| buffers[id.0].channels), to.channels)
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let mut whole = memory.image(self.output);
        if let Some((outer, chunks)) = &self.chunks {
            whole = Image::dense(whole.offset, 1, *outer, chunks.iter().sum(), Padding::default());
        }
        let mut first = 0;
        for (n, id) in self.inputs.iter().enumerate() {
            let mut input = memory.image(*id);
            if let Some((outer, chunks)) = &self.chunks {
                input = Image::dense(input.offset, 1, *outer, chunks[n], Padding::default());
            }
            memory.copy::<f32>(&input, &whole.channel_slice(first, input.channels))?;
            first += input.channels;
        }
        Ok(())
    }
}

/// Whether the inputs fill the output.
fn check_sum(mut inputs: impl Iterator<Item = usize>, output: usize) -> Result<(), String> {
    let sum = inputs.try_fold(0usize, |sum, channels| sum.checked_add(channels));
    ensure(sum == Some(output), "inputs do not fill the output")
}
