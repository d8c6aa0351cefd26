//! Operators that only say otherwise what axes there are: most cost nothing, because the numbers lie right already.

use aimass_kernels::Padding;
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::{AxisOp, TypedNode};
use tract_onnx::tract_core::ops::identity::Identity;

use super::broadcast;
use super::layout::FromMap;
use crate::engine::compile::Compiler;
use crate::engine::value::{Flat, FloatMap, Order, QuantMap, Value};

/// A node that does nothing.
pub(in crate::engine) fn identity(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let (Some(input), true) = (node.inputs.first(), node.op.is::<Identity>()) else { return Ok(false) };
    let Some(value) = compiler.value(*input).cloned() else { return Ok(false) };
    let outlet = OutletId::new(node.id, 0);
    compiler.set_alias(outlet, value);
    Ok(true)
}

/// Transpose, Reshape, Squeeze, Unsqueeze, Flatten.
pub(in crate::engine) fn rule(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let Some(op) = node.op_as::<AxisOp>() else { return Ok(false) };
    let (input, outlet) = (node.inputs[0], OutletId::new(node.id, 0));
    let (Some(from), Some(to)) = (compiler.shape(input), compiler.shape(outlet)) else { return Ok(false) };
    let is_f32 = compiler.is_f32(outlet);
    let Some(value) = compiler.value(input).cloned() else { return Ok(false) };
    let single_use = compiler.has_single_use(outlet);
    let stays = keeps_order(op, &from);
    if stays && from == to {
        compiler.set_alias(outlet, value);
        return Ok(true);
    }
    // Whatever the graph calls them, numbers without gaps are f32.
    if !is_f32 && !matches!(value, Value::Flat(_)) {
        return Ok(false);
    }
    let swaps = matches!(op, AxisOp::Move(1, 2) | AxisOp::Move(2, 1)) && from.len() == 3 && from[0] == 1;
    let to_last = swaps || (matches!(op, AxisOp::Move(1, 3)) && from.len() == 4 && from[0] == 1);
    let to_first = swaps || (matches!(op, AxisOp::Move(3, 1)) && from.len() == 4 && from[0] == 1);
    // Rows and columns become one axis: the pixels stay in their order.
    let joins = from.len() == 4 && to.len() == 3 && stays && to[0] == 1 && to[1] == from[1];
    let one_pixel = from.len() == 4 && from[0] == 1 && from[2..] == [1, 1];
    let none = Padding::default();
    let flat = match value {
        Value::Flat(flat) if flat.order == Order::RowMajor && stays => {
            Flat { single_use: flat.single_use && single_use, ..flat }
        }
        Value::Flat(flat) if flat.order == Order::RowMajor && to_first => {
            Flat { order: Order::ChannelsLast, single_use: flat.single_use && single_use, ..flat }
        }
        Value::Flat(flat) if flat.order == Order::ChannelsLast && to_last => {
            Flat { order: Order::RowMajor, single_use: flat.single_use && single_use, ..flat }
        }
        Value::Quant(QuantMap { buffer, table, pad, .. })
            if pad == none && (to_last || joins || one_pixel && stays) =>
        {
            let output = compiler.flat_buffer(outlet)?;
            compiler.emit(FromMap::bytes(buffer, table, output, Order::ChannelsLast));
            Flat {
                buffer: output,
                order: if joins { Order::ChannelsLast } else { Order::RowMajor },
                single_use,
            }
        }
        Value::Floats(FloatMap { buffer, pad, .. })
            if pad == none && (to_last || joins || one_pixel && stays) =>
        {
            let output = compiler.flat_buffer(outlet)?;
            compiler.emit(FromMap::floats(buffer, output, Order::ChannelsLast));
            Flat {
                buffer: output,
                order: if joins { Order::ChannelsLast } else { Order::RowMajor },
                single_use,
            }
        }
        Value::Quant(_) | Value::Floats(_) | Value::Flat(_) | Value::Tensor(_) if stays => {
            Flat { buffer: compiler.flat(input)?, order: Order::RowMajor, single_use: false }
        }
        Value::Quant(_) | Value::Floats(_) | Value::Flat(_) | Value::Tensor(_) => {
            let AxisOp::Move(first, last) = op else { return Ok(false) };
            return broadcast::transpose(compiler, node, &from, [*first, *last]);
        }
        _ => return Ok(false),
    };
    compiler.set(outlet, Value::Flat(flat));
    Ok(true)
}

/// Whether numbers in the order of the shape are in the order of the new shape too.
fn keeps_order(op: &AxisOp, from: &[usize]) -> bool {
    match op {
        AxisOp::Add(_) | AxisOp::Rm(_) | AxisOp::Reshape(..) => true,
        AxisOp::Move(a, b) => {
            // Axes of one place can move freely past others.
            let moved = from.get(*a) == Some(&1);
            let between = from.get(*a.min(b)..=*a.max(b)).unwrap_or_default();
            let others = between.iter().filter(|d| **d != 1).count();
            moved || others <= 1
        }
    }
}
