//! `Pad`: becomes part of the padding where a convolution or a pool reads it; else it is a copy into a larger picture.

use aimass_kernels::{Image, Padding};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::array::{Pad as PadOp, PadMode};
use tract_onnx::tract_core::ops::cnn::{Conv, MaxPool};

use super::concat;
use crate::engine::arena::Buffer;
use crate::engine::compile::{Compiler, MapShape};
use crate::engine::serialization::kernel_types::PaddingDef;
use crate::engine::step::{Memory, Step, ensure};
use crate::engine::value::{BufferId, FloatMap, QuantMap, Value};

/// The most numbers that are put beside others by themselves: they are part of the plan.
const MAX_PADDED_ELEMENTS: usize = 1 << 18;

/// `Pad` of one axis of numbers without gaps: more numbers of a kind beside each row.
pub(in crate::engine) fn axis(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let Some(op) = node.op_as::<PadOp>() else { return Ok(false) };
    let (input, outlet) = (node.inputs[0], OutletId::new(node.id, 0));
    let padded: Vec<_> = op.pads.iter().enumerate().filter(|(_, pads)| **pads != (0, 0)).collect();
    if padded.is_empty()
        && let Some(value) = compiler.value(input).cloned()
    {
        compiler.set_alias(outlet, value);
        return Ok(true);
    }
    let (PadMode::Constant(number), [(axis, (before, after))]) = (&op.mode, &padded[..]) else {
        return Ok(false);
    };
    let (Ok(number), Some(shape)) = (number.cast_to_scalar::<f32>(), compiler.shape(input)) else {
        return Ok(false);
    };
    // What is or becomes a picture has padding of its own, and a convolution reads it from the padding.
    let next_is_picture =
        compiler.single_consumer(outlet).is_some_and(|next| next.op.is::<Conv>() || next.op.is::<MaxPool>());
    let fits = match compiler.value(input) {
        Some(Value::Flat(_)) => shape.len() != 4 || !next_is_picture,
        Some(Value::Floats(floats)) => shape.len() == 3 && floats.pad == Padding::default(),
        _ => false,
    };
    if !fits || !compiler.is_f32(outlet) || compiler.shape(outlet).is_none() {
        return Ok(false);
    }
    let (rows, inner) =
        (shape[..*axis].iter().product::<usize>(), shape[*axis + 1..].iter().product::<usize>());
    let beside =
        |count: usize| count.checked_mul(inner).filter(|n| n.saturating_mul(rows) <= MAX_PADDED_ELEMENTS);
    let (Some(before), Some(after)) = (beside(*before), beside(*after)) else { return Ok(false) };
    let value = (compiler.flat(input)?, shape[*axis] * inner);
    let mut parts = Vec::new();
    for (chunk, part) in [(before, None), (value.1, Some(value.0)), (after, None)] {
        if chunk > 0 {
            let buffer = part.unwrap_or_else(|| compiler.constant_buffer(vec![number; rows * chunk]));
            parts.push((buffer, chunk));
        }
    }
    concat::rows(compiler, outlet, rows, parts)?;
    Ok(true)
}

/// `Pad` with one number.
pub(in crate::engine) fn rule(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let Some(border) = Border::of(compiler, node) else { return Ok(false) };
    let outlet = OutletId::new(node.id, 0);
    let (pad, none) = (border.pad, Padding::default());
    // A window that begins within the padding must still see a pixel.
    let reads_halo = compiler.single_consumer(outlet).is_some_and(|next| {
        (border.number == 0.0 && next.op.is::<Conv>() && next.inputs.first() == Some(&outlet))
            || (border.number == f32::NEG_INFINITY && next.op.is::<MaxPool>() && within(&pad, next))
    });
    if border.channels == (0, 0) && reads_halo {
        match compiler.value(node.inputs[0]).cloned() {
            Some(Value::Quant(quant)) if quant.pad == none => {
                compiler.set(outlet, Value::Quant(QuantMap { pad, single_use: false, ..quant }));
                return Ok(true);
            }
            Some(Value::Floats(floats)) if floats.pad == none => {
                compiler.set(outlet, Value::Floats(FloatMap { pad, single_use: false, ..floats }));
                return Ok(true);
            }
            _ => {}
        }
    }
    border.write(compiler, node)
}

/// Makes a step of padding that a consumer was expected to read from the padding, and does not: no rule took it.
///
/// # Errors
/// The value is no padded picture.
pub(in crate::engine) fn materialise(compiler: &mut Compiler<'_>, outlet: OutletId) -> Result<(), String> {
    let node = compiler.model().node(outlet.node);
    match Border::of(compiler, node) {
        Some(border) if border.write(compiler, node)? => Ok(()),
        _ => Err("the padding of a picture is not known any more".into()),
    }
}

/// What a `Pad` puts around a picture.
struct Border {
    pad: Padding,
    /// Before and after.
    channels: (usize, usize),
    number: f32,
    shape: MapShape,
}

impl Border {
    fn of(compiler: &Compiler<'_>, node: &TypedNode) -> Option<Self> {
        let op = node.op_as::<PadOp>()?;
        let outlet = OutletId::new(node.id, 0);
        let (PadMode::Constant(number), [(0, 0), channels, rows, columns]) = (&op.mode, &op.pads[..]) else {
            return None;
        };
        let is_f32 = compiler.is_f32(outlet);
        is_f32.then_some(())?;
        Some(Border {
            pad: Padding { top: rows.0, left: columns.0, bottom: rows.1, right: columns.1 },
            channels: *channels,
            number: number.cast_to_scalar::<f32>().ok()?,
            shape: compiler.map_shape(outlet)?,
        })
    }

    /// Copies the picture into a larger one. `Ok(false)`: it is none.
    fn write(&self, compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
        let (outlet, none) = (OutletId::new(node.id, 0), Padding::default());
        match compiler.map(node.inputs[0])? {
            Some((floats, _)) if floats.pad == none => {
                let output = compiler.new_f32_buffer(self.shape);
                compiler.emit(Pad {
                    input: floats.buffer,
                    output,
                    pad: self.pad,
                    front: self.channels.0,
                    number: self.number,
                });
                compiler.set_map(outlet, output);
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// Whether padding is less than the pool's window.
fn within(pad: &Padding, pool: &TypedNode) -> bool {
    let Some(op) = pool.op_as::<MaxPool>() else { return false };
    let [height, width] = op.pool_spec.kernel_shape[..] else { return false };
    pad.top.max(pad.bottom) < height && pad.left.max(pad.right) < width
}

/// A picture within a larger one.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Pad {
    input: BufferId,
    output: BufferId,
    #[serde(with = "PaddingDef")]
    pad: Padding,
    /// Channels before.
    front: usize,
    number: f32,
}

impl Step for Pad {
    fn kind(&self) -> String {
        "pad f32".into()
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn check(&self, buffers: &[Buffer]) -> Result<(), String> {
        let (from, to) = (&buffers[self.input.0], &buffers[self.output.0]);
        let sum = |a: usize, b: usize, c: usize| a.checked_add(b).and_then(|ab| ab.checked_add(c));
        let fits = sum(self.pad.top, from.height, self.pad.bottom) == Some(to.height)
            && sum(self.pad.left, from.width, self.pad.right) == Some(to.width)
            && sum(self.front, from.channels, 0).is_some_and(|channels| channels <= to.channels);
        ensure(fits, "a picture does not fit into its padding")
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let (input, whole) = (memory.image(self.input), memory.image(self.output));
        {
            let (_, mut output) = memory.write::<f32>(self.output)?;
            (0..whole.height).for_each(|y| output.row_values_mut(y).fill(self.number));
        }
        let inner = Image {
            offset: whole.offset
                + self.pad.top * whole.row_stride
                + self.pad.left * whole.pixel_stride
                + self.front,
            height: input.height,
            width: input.width,
            channels: input.channels,
            padding: Padding::default(),
            ..whole
        };
        memory.copy::<f32>(&input, &inner)
    }
}
