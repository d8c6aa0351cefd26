//! `Slice` and `Split`: some channels of a picture, or part of an axis of numbers without gaps.

use aimass_kernels::{Element, Halo, Image};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::{Datum, OutletId, Tensor};
use tract_onnx::tract_core::internal::{ToDim, TypedNode};
use tract_onnx::tract_core::ops::array::{Slice as SliceOp, StridedSlice};

use super::axes::alias;
use super::refused;
use crate::engine::arena::Buffer;
use crate::engine::compile::{Compiler, MapShape};
use crate::engine::step::{Memory, Step};
use crate::engine::value::{BufferId, Flat, Floats, Order, Quant, Value};

/// A slice along one axis.
pub(in crate::engine) fn rule(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let outlet = OutletId::new(node.id, 0);
    let Some(input) = node.inputs.first().copied() else { return Ok(false) };
    let is_f32 = compiler.model().outlet_fact(outlet).is_ok_and(|f| f.datum_type == f32::datum_type());
    let is_flat = matches!(compiler.value(input), Some(Value::Flat(_)));
    let (Some(from), Some(to), true) = (compiler.shape(input), compiler.shape(outlet), is_f32 || is_flat)
    else {
        return Ok(false);
    };
    let Some((axis, start)) = start_of(compiler, node, &from, &to) else { return Ok(false) };
    if from == to {
        let Some(value) = compiler.value(input).cloned() else { return Ok(false) };
        let sole = compiler.is_sole(outlet);
        compiler.set(outlet, alias(value, sole));
        return Ok(true);
    }
    let fits = start.checked_add(to[axis]).is_some_and(|end| end <= from[axis]);
    let only = from.len() == to.len() && (0..from.len()).all(|n| n == axis || from[n] == to[n]);
    if !fits || !only {
        return Ok(false);
    }
    let sole = compiler.is_sole(outlet);
    let none = Halo::default();
    let map = compiler.map_shape(outlet).filter(|_| axis == 1);
    match (compiler.value(input).cloned(), map) {
        (Some(Value::Quant(quant)), Some(shape)) if quant.pad == none => {
            let output = compiler.new_bytes(shape, compiler.buffer(quant.buffer).fill);
            compiler.emit(Slice { kind: Kind::Bytes(start), input: quant.buffer, output });
            compiler.set(outlet, Value::Quant(Quant { buffer: output, sole, ..quant }));
        }
        (Some(Value::Floats(floats)), Some(shape)) if floats.pad == none => {
            let output = compiler.new_floats(shape);
            compiler.emit(Slice { kind: Kind::Floats(start), input: floats.buffer, output });
            compiler.set(outlet, Value::Floats(Floats { buffer: output, pad: none, sole }));
        }
        (Some(Value::Flat(_) | Value::Tensor(_)), _) => {
            let input = compiler.flat(input)?;
            let inner: usize = from[axis + 1..].iter().product();
            let rows = Rows {
                count: from[..axis].iter().product(),
                length: from[axis] * inner,
                start: start * inner,
                taken: to[axis] * inner,
            };
            let output =
                compiler.new_floats(MapShape { height: 1, width: 1, channels: rows.count * rows.taken });
            compiler.emit(Slice { kind: Kind::Flat(rows), input, output });
            compiler.set(outlet, Value::Flat(Flat { buffer: output, order: Order::RowMajor, sole }));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The axis that is cut, and where.
fn start_of(
    compiler: &Compiler<'_>,
    node: &TypedNode,
    from: &[usize],
    to: &[usize],
) -> Option<(usize, usize)> {
    if let Some(op) = node.op_as::<SliceOp>() {
        return Some((op.axis, op.start.as_i64().and_then(|start| usize::try_from(start).ok())?))
            .filter(|(axis, _)| *axis < to.len());
    }
    let op = node.op_as::<StridedSlice>()?;
    let integers = |input: usize| -> Option<Vec<i64>> {
        let tensor: std::sync::Arc<Tensor> = compiler.constant(*node.inputs.get(input)?)?;
        let tensor = tensor.cast_to::<i64>().ok()?;
        Some(tensor.as_plain_ram()?.as_slice::<i64>().ok()?.to_vec())
    };
    let steps = op.optional_steps_input.map_or(Some(Vec::new()), integers)?;
    if op.shrink_axis_mask != 0 || steps.iter().any(|step| *step != 1) || from.len() != to.len() {
        return None;
    }
    // By steps of one, what is as large is the same.
    let Some(axis) = (0..from.len()).find(|axis| from[*axis] != to[*axis]) else { return Some((0, 0)) };
    let axes = match op.optional_axes_input {
        Some(input) => integers(input)?,
        None => (0..from.len() as i64).collect(),
    };
    let rank = from.len() as i64;
    let place = axes.iter().position(|a| (if *a < 0 { a + rank } else { *a }) == axis as i64)?;
    let (begin, end) = (compiler.constant(*node.inputs.get(1)?)?, compiler.constant(*node.inputs.get(2)?)?);
    let dim = op.prepare_one_dim(place, &from[axis].to_dim(), &begin, &end, &[1; 8]).ok()?;
    Some((axis, usize::try_from(dim.begin.as_i64()?).ok()?))
}

/// Equal parts of rows.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Rows {
    count: usize,
    length: usize,
    start: usize,
    taken: usize,
}

#[derive(Debug, Serialize, Deserialize)]
enum Kind {
    /// From this channel on.
    Bytes(usize),
    Floats(usize),
    Flat(Rows),
}

/// A part of a value.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Slice {
    kind: Kind,
    input: BufferId,
    output: BufferId,
}

impl Slice {
    fn copy<T: Element>(&self, memory: &mut Memory, from: Image, to: Image) -> Result<(), String> {
        let kernels = memory.kernels;
        let (inputs, output) = memory.arena.writing::<T>(&to).map_err(refused)?;
        kernels.copy(inputs.view::<T>(&from).map_err(refused)?, output).map_err(refused)
    }
}

impl Step for Slice {
    fn kind(&self) -> String {
        "slice".into()
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn check(&self, buffers: &[Buffer]) -> Result<(), String> {
        let (from, to) = (&buffers[self.input.0], &buffers[self.output.0]);
        let within =
            |start: usize, taken: usize, of: usize| start.checked_add(taken).is_some_and(|end| end <= of);
        let fits = match self.kind {
            Kind::Bytes(start) | Kind::Floats(start) => within(start, to.channels, from.channels),
            Kind::Flat(Rows { count, length, start, taken }) => {
                from.is_flat()
                    && to.is_flat()
                    && within(start, taken, length)
                    && count.checked_mul(length) == Some(from.channels)
                    && count.checked_mul(taken) == Some(to.channels)
            }
        };
        fits.then_some(()).ok_or_else(|| "a slice ends beyond what it is cut from".into())
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let (from, to) = (memory.image(self.input), memory.image(self.output));
        let none = Halo::default();
        match self.kind {
            Kind::Bytes(start) => self.copy::<u8>(memory, from.channel_slice(start, to.channels), to),
            Kind::Floats(start) => self.copy::<f32>(memory, from.channel_slice(start, to.channels), to),
            Kind::Flat(Rows { count, length, start, taken }) => {
                let from = Image::dense(from.offset, count, 1, length, none).channel_slice(start, taken);
                self.copy::<f32>(memory, from, Image::dense(to.offset, count, 1, taken, none))
            }
        }
    }
}
