//! `Slice` and `Split`: some channels of a picture, or part of an axis of numbers without gaps.

use aimass_kernels::{Image, Padding};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::{OutletId, Tensor};
use tract_onnx::tract_core::internal::{ToDim, TypedNode};
use tract_onnx::tract_core::ops::array::{Slice as SliceOp, StridedSlice};

use crate::engine::arena::Buffer;
use crate::engine::compile::{Compiler, MapShape};
use crate::engine::step::{Memory, Step, ensure};
use crate::engine::value::{BufferId, QuantMap, Value};

/// A slice along one axis.
pub(in crate::engine) fn rule(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let outlet = OutletId::new(node.id, 0);
    let Some(input) = node.inputs.first().copied() else { return Ok(false) };
    let is_f32 = compiler.is_f32(outlet);
    let is_flat = matches!(compiler.value(input), Some(Value::Flat(_)));
    let (Some(from), Some(to), true) = (compiler.shape(input), compiler.shape(outlet), is_f32 || is_flat)
    else {
        return Ok(false);
    };
    let Some(Cut { axis, start, step }) = Cut::of(compiler, node, &from, &to) else { return Ok(false) };
    if from == to {
        let Some(value) = compiler.value(input).cloned() else { return Ok(false) };
        compiler.set_alias(outlet, value);
        return Ok(true);
    }
    let last = (to[axis] - 1).checked_mul(step).and_then(|n| n.checked_add(start));
    let fits = last.is_some_and(|last| last < from[axis]);
    let only = from.len() == to.len() && (0..from.len()).all(|n| n == axis || from[n] == to[n]);
    if !fits || !only {
        return Ok(false);
    }
    let single_use = compiler.has_single_use(outlet);
    let none = Padding::default();
    let map = compiler.map_shape(outlet).filter(|_| axis == 1 && step == 1);
    match (compiler.value(input).cloned(), map) {
        (Some(Value::Quant(quant)), Some(shape)) if quant.pad == none => {
            let output = compiler.new_u8_buffer(shape, compiler.buffer(quant.buffer).fill);
            compiler.emit(Slice { kind: Kind::Bytes(start), input: quant.buffer, output });
            compiler.set(outlet, Value::Quant(QuantMap { buffer: output, single_use, ..quant }));
        }
        (Some(Value::Floats(floats)), Some(shape)) if floats.pad == none => {
            let output = compiler.new_f32_buffer(shape);
            compiler.emit(Slice { kind: Kind::Floats(start), input: floats.buffer, output });
            compiler.set_map(outlet, output);
        }
        (Some(Value::Flat(_) | Value::Tensor(_)), _) | (Some(Value::Floats(_)), None) => {
            let input = compiler.flat(input)?;
            let inner: usize = from[axis + 1..].iter().product();
            // One part needs no step, and a step is data from outside.
            let step = if to[axis] == 1 { 1 } else { step };
            let rows = Rows {
                count: from[..axis].iter().product(),
                length: from[axis] * inner,
                start: start * inner,
                // What follows without gaps is one part.
                parts: if step == 1 { 1 } else { to[axis] },
                taken: if step == 1 { to[axis] * inner } else { inner },
                step: if step == 1 { to[axis] * inner } else { step * inner },
            };
            let channels = rows.count * rows.parts * rows.taken;
            let output = compiler.new_f32_buffer(MapShape { height: 1, width: 1, channels });
            compiler.emit(Slice { kind: Kind::Flat(rows), input, output });
            compiler.set_flat(outlet, output);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The axis that is cut, where, and how far what is taken lies apart.
struct Cut {
    axis: usize,
    start: usize,
    step: usize,
}

impl Cut {
    fn of(compiler: &Compiler<'_>, node: &TypedNode, from: &[usize], to: &[usize]) -> Option<Self> {
        if let Some(op) = node.op_as::<SliceOp>() {
            let start = op.start.as_i64().and_then(|start| usize::try_from(start).ok())?;
            return (op.axis < to.len()).then_some(Cut { axis: op.axis, start, step: 1 });
        }
        let op = node.op_as::<StridedSlice>()?;
        let integers = |input: usize| -> Option<Vec<i64>> {
            let tensor: std::sync::Arc<Tensor> = compiler.constant(*node.inputs.get(input)?)?;
            let tensor = tensor.cast_to::<i64>().ok()?;
            Some(tensor.as_plain_ram()?.as_slice::<i64>().ok()?.to_vec())
        };
        let steps = op.optional_steps_input.map_or(Some(Vec::new()), integers)?;
        let forwards = steps.iter().all(|step| (1..=i64::from(i32::MAX)).contains(step));
        if op.shrink_axis_mask != 0 || !forwards || from.len() != to.len() {
            return None;
        }
        // Forwards, what is as large is the same.
        let Some(axis) = (0..from.len()).find(|axis| from[*axis] != to[*axis]) else {
            return Some(Cut { axis: 0, start: 0, step: 1 });
        };
        let axes = match op.optional_axes_input {
            Some(input) => integers(input)?,
            None => (0..from.len() as i64).collect(),
        };
        let rank = from.len() as i64;
        let place = axes.iter().position(|a| (if *a < 0 { a + rank } else { *a }) == axis as i64)?;
        let (begin, end) =
            (compiler.constant(*node.inputs.get(1)?)?, compiler.constant(*node.inputs.get(2)?)?);
        let steps: Vec<i32> = steps.iter().map(|step| *step as i32).collect();
        let dim = op.prepare_one_dim(place, &from[axis].to_dim(), &begin, &end, &steps).ok()?;
        let step = usize::try_from(dim.stride).ok()?;
        Some(Cut { axis, start: usize::try_from(dim.begin.as_i64()?).ok()?, step })
    }
}

/// Equal parts of rows.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Rows {
    count: usize,
    length: usize,
    start: usize,
    /// How many of each row, of how many numbers, and how far apart they begin.
    parts: usize,
    taken: usize,
    step: usize,
}

impl Rows {
    /// Whether they lie in `from` numbers and fill `to`.
    fn fit(&self, from: usize, to: usize) -> bool {
        let Rows { count, length, start, parts, taken, step } = *self;
        let last = parts.checked_sub(1).and_then(|n| n.checked_mul(step)).and_then(|n| n.checked_add(start));
        last.and_then(|last| last.checked_add(taken)).is_some_and(|end| end <= length)
            // Parts lie beside each other, or one behind the other.
            && taken > 0
            && taken <= step
            && count.checked_mul(length) == Some(from)
            && count.checked_mul(parts).and_then(|n| n.checked_mul(taken)) == Some(to)
    }
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
            Kind::Flat(rows) => from.is_flat() && to.is_flat() && rows.fit(from.channels, to.channels),
        };
        ensure(fits, "a slice ends beyond what it is cut from")
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let (from, to) = (memory.image(self.input), memory.image(self.output));
        let none = Padding::default();
        match self.kind {
            Kind::Bytes(start) => memory.copy::<u8>(&from.channel_slice(start, to.channels), &to),
            Kind::Floats(start) => memory.copy::<f32>(&from.channel_slice(start, to.channels), &to),
            Kind::Flat(rows) => {
                let Rows { count, length, start, parts, taken, step } = rows;
                // Behind a row's last part there may be less than a step; so that one goes by itself.
                let first = parts - 1;
                if first > 0 {
                    let (offset, row_stride) = (from.offset + start, length);
                    let image = Image { offset, row_stride, ..parts_of(count, first, taken, step) };
                    let output = Image {
                        offset: to.offset,
                        row_stride: parts * taken,
                        ..parts_of(count, first, taken, taken)
                    };
                    memory.copy::<f32>(&image, &output)?;
                }
                let last = |offset, length, at| {
                    Image::dense(offset, 1, count, length, none).channel_slice(at, taken)
                };
                let output = last(to.offset, parts * taken, first * taken);
                memory.copy::<f32>(&last(from.offset, length, start + first * step), &output)
            }
        }
    }
}

/// Rows of parts that lie `step` numbers apart.
fn parts_of(count: usize, parts: usize, taken: usize, step: usize) -> Image {
    Image {
        offset: 0,
        height: count,
        width: parts,
        channels: taken,
        row_stride: parts * step,
        pixel_stride: step,
        padding: Padding::default(),
    }
}
