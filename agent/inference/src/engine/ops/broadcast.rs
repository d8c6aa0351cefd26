//! Numbers without gaps in another order, and two or three of them combined where either is repeated: what numpy calls
//! transposing and broadcasting.

use aimass_kernels::{Combine, Spread};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::{Datum, OutletId};
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::array::MultiBroadcastTo;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::logic::Iff;

use super::{refused, unary};
use crate::engine::compile::Compiler;
use crate::engine::serialization::kernel_types::{CombineParts, spread};
use crate::engine::step::{Memory, Step};
use crate::engine::value::{BufferId, Flat, Order, Value};

/// The function of a node of two inputs.
fn function(node: &TypedNode) -> Option<Combine> {
    Some(match node.op_as::<TypedBinOp>()?.0.name() {
        "Add" => Combine::Add,
        "Sub" => Combine::Sub,
        "Mul" => Combine::Mul,
        "Div" => Combine::Div,
        "Max" => Combine::Max,
        "Min" => Combine::Min,
        "Pow" => Combine::Pow,
        "GT" => Combine::Greater,
        "GTE" => Combine::AtLeast,
        "LT" => Combine::Less,
        "LTE" => Combine::AtMost,
        "Eq" => Combine::Equal,
        "NE" => Combine::NotEqual,
        "And" => Combine::And,
        "Or" => Combine::Or,
        _ => return None,
    })
}

/// Whether the engine should compute this: not integers that tract holds.
fn ours(compiler: &Compiler<'_>, node: &TypedNode) -> bool {
    let holds = |outlet: &OutletId| {
        compiler.model().outlet_fact(*outlet).is_ok_and(|fact| unary::holds(fact.datum_type))
    };
    let mine = |outlet: &OutletId| match compiler.value(*outlet) {
        Some(Value::Const(_) | Value::Weights(_)) => compiler.floats(*outlet).is_some(),
        value => value.is_some(),
    };
    let computed = |outlet: &OutletId| match compiler.value(*outlet) {
        Some(Value::Flat(_)) => true,
        _ => unary::takes(compiler, *outlet),
    };
    node.inputs.iter().all(mine) && node.inputs.iter().all(holds) && node.inputs.iter().any(computed)
}

fn shapes<const N: usize>(
    compiler: &Compiler<'_>,
    node: &TypedNode,
) -> Option<([Vec<usize>; N], Vec<usize>)> {
    let inputs: Vec<Vec<usize>> =
        node.inputs.iter().map(|input| compiler.shape(*input)).collect::<Option<_>>()?;
    Some((inputs.try_into().ok()?, compiler.shape(OutletId::new(node.id, 0))?))
}

fn set(compiler: &mut Compiler<'_>, node: &TypedNode, buffer: BufferId) {
    let outlet = OutletId::new(node.id, 0);
    let sole = compiler.is_sole(outlet);
    compiler.set(outlet, Value::Flat(Flat { buffer, order: Order::RowMajor, sole }));
}

/// Operators of two values, either of which may be repeated; comparisons and what they are combined to.
pub(in crate::engine) fn two(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let Some(combine) = function(node).filter(|_| ours(compiler, node)) else { return Ok(false) };
    let outlet = OutletId::new(node.id, 0);
    let is_truth = compiler.model().outlet_fact(outlet).is_ok_and(|f| f.datum_type == bool::datum_type());
    let Some(([of_a, of_b], shape)) = shapes::<2>(compiler, node) else { return Ok(false) };
    if !(is_truth || compiler.is_f32(outlet)) {
        return Ok(false);
    }
    let Ok(spread) = Spread::broadcast(&shape, [&of_a, &of_b]) else { return Ok(false) };
    let inputs = [compiler.flat(node.inputs[0])?, compiler.flat(node.inputs[1])?];
    let output = compiler.flat_buffer(outlet)?;
    compiler.emit(Two { combine, spread, inputs, output });
    set(compiler, node, output);
    Ok(true)
}

/// `Where`: one or the other by a truth.
pub(in crate::engine) fn choice(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let outlet = OutletId::new(node.id, 0);
    if !node.op.is::<Iff>() || !ours(compiler, node) || !compiler.is_f32(outlet) {
        return Ok(false);
    }
    let Some(([test, yes, no], shape)) = shapes::<3>(compiler, node) else { return Ok(false) };
    let Ok(spread) = Spread::broadcast(&shape, [&test, &yes, &no]) else { return Ok(false) };
    let mut inputs = [BufferId(0); 3];
    for (buffer, input) in inputs.iter_mut().zip(&node.inputs) {
        *buffer = compiler.flat(*input)?;
    }
    let output = compiler.flat_buffer(outlet)?;
    compiler.emit(Choice { spread, inputs, output });
    set(compiler, node, output);
    Ok(true)
}

/// `Expand`: repeats a value along axes.
pub(in crate::engine) fn expand(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    if !node.op.is::<MultiBroadcastTo>() || node.inputs.len() != 1 || !ours(compiler, node) {
        return Ok(false);
    }
    let Some(([from], shape)) = shapes::<1>(compiler, node) else { return Ok(false) };
    let Ok(spread) = Spread::broadcast(&shape, [&from]) else { return Ok(false) };
    rearrange(compiler, node, spread)?;
    Ok(true)
}

/// `Transpose`: the axis `from` goes to the place `to`, those between move up.
pub(super) fn transpose(
    compiler: &mut Compiler<'_>,
    node: &TypedNode,
    shape: &[usize],
    [from, to]: [usize; 2],
) -> Result<bool, String> {
    if from >= shape.len() || to >= shape.len() {
        return Ok(false);
    }
    let mut axes: Vec<(usize, usize)> =
        (0..shape.len()).map(|axis| (shape[axis], shape[axis + 1..].iter().product())).collect();
    let moved = axes.remove(from);
    axes.insert(to, moved);
    let (shape, distances): (Vec<usize>, Vec<usize>) = axes.into_iter().unzip();
    let Ok(spread) = Spread::new(&shape, [&distances]) else { return Ok(false) };
    rearrange(compiler, node, spread)?;
    Ok(true)
}

fn rearrange(compiler: &mut Compiler<'_>, node: &TypedNode, spread: Spread<1>) -> Result<(), String> {
    let input = compiler.flat(node.inputs[0])?;
    let output = compiler.flat_buffer(OutletId::new(node.id, 0))?;
    compiler.emit(Rearrange { spread, input, output });
    set(compiler, node, output);
    Ok(())
}

/// Two values.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Two {
    #[serde(with = "CombineParts")]
    combine: Combine,
    #[serde(with = "spread")]
    spread: Spread<2>,
    inputs: [BufferId; 2],
    output: BufferId,
}

impl Step for Two {
    fn kind(&self) -> String {
        format!("{:?} f32", self.combine).to_lowercase()
    }

    fn reads(&self) -> Vec<BufferId> {
        self.inputs.to_vec()
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let (kernels, [a, b]) = (memory.kernels, self.inputs.map(|id| memory.image(id)));
        let (inputs, mut output) = memory.write::<f32>(self.output)?;
        let [a, b] = [inputs.view::<f32>(&a).map_err(refused)?, inputs.view::<f32>(&b).map_err(refused)?];
        let (inputs, output) = ([a.pixel(0, 0), b.pixel(0, 0)], output.row_values_mut(0));
        kernels.combine(inputs, output, &self.spread, self.combine).map_err(refused)
    }
}

/// One of two by a third.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Choice {
    #[serde(with = "spread")]
    spread: Spread<3>,
    inputs: [BufferId; 3],
    output: BufferId,
}

impl Step for Choice {
    fn kind(&self) -> String {
        "where f32".into()
    }

    fn reads(&self) -> Vec<BufferId> {
        self.inputs.to_vec()
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let (kernels, [test, yes, no]) = (memory.kernels, self.inputs.map(|id| memory.image(id)));
        let (inputs, mut output) = memory.write::<f32>(self.output)?;
        let [test, yes, no] = [
            inputs.view::<f32>(&test).map_err(refused)?,
            inputs.view::<f32>(&yes).map_err(refused)?,
            inputs.view::<f32>(&no).map_err(refused)?,
        ];
        let inputs = [test.pixel(0, 0), yes.pixel(0, 0), no.pixel(0, 0)];
        kernels.select(inputs, output.row_values_mut(0), &self.spread).map_err(refused)
    }
}

/// One value in another order.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Rearrange {
    #[serde(with = "spread")]
    spread: Spread<1>,
    input: BufferId,
    output: BufferId,
}

impl Step for Rearrange {
    fn kind(&self) -> String {
        "rearrange f32".into()
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let (kernels, input) = (memory.kernels, memory.image(self.input));
        let (inputs, mut output) = memory.write::<f32>(self.output)?;
        let input = inputs.view::<f32>(&input).map_err(refused)?;
        kernels.rearrange(input.pixel(0, 0), output.row_values_mut(0), &self.spread).map_err(refused)
    }
}
