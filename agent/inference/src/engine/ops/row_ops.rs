//! What goes over rows of numbers without gaps: softmax, sums and extremes of axes, layer normalisation.

use aimass_kernels::{LayerNorm, Reduction};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, Softmax, SoftmaxKind};

use super::patterns::number;
use super::unary::is_computed_f32;
use crate::engine::compile::Compiler;
use crate::engine::serialization::kernel_types::{LayerNormDef, ReductionDef};
use crate::engine::step::{Memory, Step};
use crate::engine::value::{BufferId, Value};

fn emit(compiler: &mut Compiler<'_>, kind: Kind, input: OutletId, outlet: OutletId) -> Result<(), String> {
    let input = compiler.flat(input)?;
    let output = compiler.flat_buffer(outlet)?;
    compiler.emit(RowOp { kind, input, output });
    compiler.set_flat(outlet, output);
    Ok(())
}

/// How many places the last axes have, if `axes` are these.
fn last(axes: &[usize], shape: &[usize]) -> Option<usize> {
    let first = shape.len().checked_sub(axes.len())?;
    axes.iter().copied().eq(first..shape.len()).then(|| shape[first..].iter().product())
}

/// `Softmax` of the last axes.
pub(in crate::engine) fn softmax(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let (Some(op), &[input]) = (node.op_as::<Softmax>(), &node.inputs[..]) else { return Ok(false) };
    let row = compiler.shape(input).and_then(|shape| last(&op.axes, &shape));
    let Some(row) = row.filter(|_| op.kind == SoftmaxKind::Softmax && is_computed_f32(compiler, input))
    else {
        return Ok(false);
    };
    emit(compiler, Kind::Softmax(row), input, OutletId::new(node.id, 0))?;
    Ok(true)
}

/// Sums, greatest and least values of neighbouring axes.
pub(in crate::engine) fn reduce(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let (Some(op), &[input]) = (node.op_as::<Reduce>(), &node.inputs[..]) else { return Ok(false) };
    let by = match op.reducer {
        Reducer::Sum => Reduction::Sum,
        Reducer::Max => Reduction::Max,
        Reducer::Min => Reduction::Min,
        _ => return Ok(false),
    };
    let (Some(shape), Some(first)) = (compiler.shape(input), op.axes.first().copied()) else {
        return Ok(false);
    };
    let end = first + op.axes.len();
    if !op.axes.iter().copied().eq(first..end) || end > shape.len() || !is_computed_f32(compiler, input) {
        return Ok(false);
    }
    let size = [shape[first..end].iter().product(), shape[end..].iter().product()];
    emit(compiler, Kind::Reduce(size, by), input, OutletId::new(node.id, 0))?;
    Ok(true)
}

/// Layer normalisation, seen from the sum over its rows, which comes first.
pub(in crate::engine) fn layer_norm(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let Some(parts) = Parts::of(compiler, node)? else { return Ok(false) };
    for outlet in parts.absorbed {
        compiler.set(outlet, Value::Absorbed);
    }
    emit(compiler, Kind::LayerNorm(parts.norm), node.inputs[0], parts.output)?;
    Ok(true)
}

struct Parts {
    norm: LayerNorm,
    output: OutletId,
    absorbed: Vec<OutletId>,
}

impl Parts {
    /// Sum, mean, difference, its square, their mean, a small number, the root, the quotient; then a factor and a term
    /// for each place of a row, if there are some.
    fn of(compiler: &mut Compiler<'_>, sum: &TypedNode) -> Result<Option<Self>, String> {
        let [input] = sum.inputs[..] else { return Ok(None) };
        let row = sums(compiler, sum).filter(|_| is_computed_f32(compiler, input));
        let Some(row) = row else { return Ok(None) };
        let start = OutletId::new(sum.id, 0);
        let mut absorbed = vec![start];
        let Some(mean) = mean_of(compiler, start, row)? else { return Ok(None) };
        let Some(sub) = compiler.single_consumer(mean) else { return Ok(None) };
        if name(sub) != Some("Sub") || sub.inputs[..] != [input, mean] {
            return Ok(None);
        }
        let difference = OutletId::new(sub.id, 0);
        let Some([square, scaled]) = pair(compiler, difference) else { return Ok(None) };
        // Whichever of the two uses is the square.
        let (square, scaled) = match is_square(compiler, square, difference)? {
            true => (square, scaled),
            false if is_square(compiler, scaled, difference)? => (scaled, square),
            false => return Ok(None),
        };
        let squares = OutletId::new(square.id, 0);
        let Some(total) = compiler.single_consumer(squares) else { return Ok(None) };
        if sums(compiler, total) != Some(row) {
            return Ok(None);
        }
        let total = OutletId::new(total.id, 0);
        let Some(variance) = mean_of(compiler, total, row)? else { return Ok(None) };
        let Some(add) = compiler.single_consumer(variance) else { return Ok(None) };
        let Some(epsilon) = number(compiler, add, variance, "Add")? else { return Ok(None) };
        let sum = OutletId::new(add.id, 0);
        let Some(root) = compiler.single_consumer(sum) else { return Ok(None) };
        let factor = OutletId::new(root.id, 0);
        let operator = match root.op_as::<ElementWiseOp>().map(|op| op.0.name()).as_deref() {
            Some("Sqrt") => "Div",
            Some("Rsqrt") => "Mul",
            _ => return Ok(None),
        };
        let joins = match scaled.inputs[..] {
            [a, b] => [a, b] == [difference, factor] || operator == "Mul" && [b, a] == [difference, factor],
            _ => false,
        };
        let is_last = compiler.single_consumer(factor).is_some_and(|node| node.id == scaled.id);
        if name(scaled) != Some(operator) || !joins || !is_last {
            return Ok(None);
        }
        absorbed.extend([mean, difference, squares, total, variance, sum, factor]);
        let mut output = OutletId::new(scaled.id, 0);
        let mut norm = LayerNorm { scale: vec![1.0; row], bias: vec![0.0; row], epsilon };
        for (operator, values) in [("Mul", &mut norm.scale), ("Add", &mut norm.bias)] {
            if let Some(next) = compiler.single_consumer(output)
                && let Some(found) = row_of(compiler, next, output, operator, row)?
            {
                *values = found;
                absorbed.push(output);
                output = OutletId::new(next.id, 0);
            }
        }
        Ok(Some(Parts { norm, output, absorbed }))
    }
}

/// The name of an operator of two values.
fn name(node: &TypedNode) -> Option<&str> {
    Some(node.op_as::<TypedBinOp>()?.0.name())
}

/// The places of the rows that a node sums.
fn sums(compiler: &Compiler<'_>, node: &TypedNode) -> Option<usize> {
    let op = node.op_as::<Reduce>().filter(|op| op.reducer == Reducer::Sum)?;
    last(&op.axes, &compiler.shape(*node.inputs.first()?)?)
}

/// The two users of a value.
fn pair<'m>(compiler: &Compiler<'m>, outlet: OutletId) -> Option<[&'m TypedNode; 2]> {
    let model = compiler.model();
    let mut users: Vec<usize> =
        model.node(outlet.node).outputs[outlet.slot].successors.iter().map(|inlet| inlet.node).collect();
    users.sort_unstable();
    users.dedup();
    match users[..] {
        [a, b] if !compiler.is_output(outlet) => Some([model.node(a), model.node(b)]),
        _ => None,
    }
}

/// What a node combines the places of a row with.
fn row_of(
    compiler: &mut Compiler<'_>,
    node: &TypedNode,
    value: OutletId,
    operator: &str,
    row: usize,
) -> Result<Option<Vec<f32>>, String> {
    let other = match node.inputs[..] {
        [a, b] if a == value => b,
        [a, b] if b == value => a,
        _ => return Ok(None),
    };
    let size = compiler.shape(other).map(|shape| shape.iter().product::<usize>());
    let ends = compiler.shape(other).and_then(|shape| shape.last().copied());
    if name(node) != Some(operator) || size != Some(row) || ends != Some(row) {
        return Ok(None);
    }
    compiler.constant_now(other)
}

/// A sum's quotient by the number of places, if nobody else needs the sum.
fn mean_of(compiler: &mut Compiler<'_>, sum: OutletId, row: usize) -> Result<Option<OutletId>, String> {
    let Some(node) = compiler.single_consumer(sum) else { return Ok(None) };
    let (by, share) = (number(compiler, node, sum, "Div")?, number(compiler, node, sum, "Mul")?);
    let fits = by == Some(row as f32) || share.is_some_and(|share| (share * row as f32 - 1.0).abs() < 1e-6);
    Ok(fits.then(|| OutletId::new(node.id, 0)))
}

/// Whether a node squares a value: by name, by an exponent, or by itself.
fn is_square(compiler: &mut Compiler<'_>, node: &TypedNode, value: OutletId) -> Result<bool, String> {
    if let Some(op) = node.op_as::<ElementWiseOp>() {
        return Ok(op.0.name() == "Square");
    }
    if name(node) == Some("Mul") {
        return Ok(node.inputs[..] == [value, value]);
    }
    Ok(node.inputs.first() == Some(&value) && number(compiler, node, value, "Pow")? == Some(2.0))
}

#[derive(Debug, Serialize, Deserialize)]
enum Kind {
    /// RowOp of so many.
    Softmax(usize),
    /// So many places, so many apart.
    Reduce([usize; 2], #[serde(with = "ReductionDef")] Reduction),
    LayerNorm(#[serde(with = "LayerNormDef")] LayerNorm),
}

/// A function of rows.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct RowOp {
    kind: Kind,
    input: BufferId,
    output: BufferId,
}

impl Step for RowOp {
    fn kind(&self) -> String {
        match self.kind {
            Kind::Softmax(_) => "softmax".into(),
            Kind::Reduce(_, by) => format!("reduce by {by:?}").to_lowercase(),
            Kind::LayerNorm(_) => "layer norm".into(),
        }
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        memory.map_flat([self.input], self.output, |kernels, [input], output| match &self.kind {
            Kind::Softmax(row) => kernels.softmax(input, output, *row),
            Kind::Reduce(size, by) => kernels.reduce(input, output, *size, *by),
            Kind::LayerNorm(norm) => kernels.layer_norm(input, output, norm),
        })
    }
}
