//! Numbers without gaps in another order, and two or three of them combined where either is repeated: what numpy calls
//! transposing and broadcasting.

use aimass_kernels::{BinaryFn, Broadcast};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::{Datum, OutletId};
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::array::MultiBroadcastTo;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::logic::Iff;

use super::unary;
use crate::engine::compile::Compiler;
use crate::engine::serialization::kernel_types::{BinaryFnDef, broadcast};
use crate::engine::step::{Memory, Step};
use crate::engine::value::{BufferId, Value};

/// The binary_fn of a node of two inputs.
fn binary_fn(node: &TypedNode) -> Option<BinaryFn> {
    Some(match node.op_as::<TypedBinOp>()?.0.name() {
        "Add" => BinaryFn::Add,
        "Sub" => BinaryFn::Sub,
        "Mul" => BinaryFn::Mul,
        "Div" => BinaryFn::Div,
        "Max" => BinaryFn::Max,
        "Min" => BinaryFn::Min,
        "Pow" => BinaryFn::Pow,
        "GT" => BinaryFn::Greater,
        "GTE" => BinaryFn::GreaterOrEqual,
        "LT" => BinaryFn::Less,
        "LTE" => BinaryFn::LessOrEqual,
        "Eq" => BinaryFn::Equal,
        "NE" => BinaryFn::NotEqual,
        "And" => BinaryFn::And,
        "Or" => BinaryFn::Or,
        _ => return None,
    })
}

/// Whether the engine should compute this: not integers that tract holds.
fn is_supported(compiler: &Compiler<'_>, node: &TypedNode) -> bool {
    let holds = |outlet: &OutletId| {
        compiler.model().outlet_fact(*outlet).is_ok_and(|fact| unary::holds(fact.datum_type))
    };
    let mine = |outlet: &OutletId| match compiler.value(*outlet) {
        Some(Value::Const(_) | Value::Weights(_)) => compiler.floats(*outlet).is_some(),
        value => value.is_some(),
    };
    let computed = |outlet: &OutletId| match compiler.value(*outlet) {
        Some(Value::Flat(_)) => true,
        _ => unary::is_computed_f32(compiler, *outlet),
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

/// Operators of two values, either of which may be repeated; comparisons and what they are combined to.
pub(in crate::engine) fn binary(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let Some(function) = binary_fn(node).filter(|_| is_supported(compiler, node)) else { return Ok(false) };
    let outlet = OutletId::new(node.id, 0);
    let is_truth = compiler.model().outlet_fact(outlet).is_ok_and(|f| f.datum_type == bool::datum_type());
    let Some(([of_a, of_b], shape)) = shapes::<2>(compiler, node) else { return Ok(false) };
    if !(is_truth || compiler.is_f32(outlet)) {
        return Ok(false);
    }
    let Ok(broadcast) = Broadcast::of_shapes(&shape, [&of_a, &of_b]) else { return Ok(false) };
    let inputs = [compiler.flat(node.inputs[0])?, compiler.flat(node.inputs[1])?];
    let output = compiler.flat_buffer(outlet)?;
    compiler.emit(BinaryBroadcast { function, broadcast, inputs, output });
    compiler.set_flat(OutletId::new(node.id, 0), output);
    Ok(true)
}

/// `Where`: one or the other by a truth.
pub(in crate::engine) fn select(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let outlet = OutletId::new(node.id, 0);
    if !node.op.is::<Iff>() || !is_supported(compiler, node) || !compiler.is_f32(outlet) {
        return Ok(false);
    }
    let Some(([test, yes, no], shape)) = shapes::<3>(compiler, node) else { return Ok(false) };
    let Ok(broadcast) = Broadcast::of_shapes(&shape, [&test, &yes, &no]) else { return Ok(false) };
    let mut inputs = [BufferId(0); 3];
    for (buffer, input) in inputs.iter_mut().zip(&node.inputs) {
        *buffer = compiler.flat(*input)?;
    }
    let output = compiler.flat_buffer(outlet)?;
    compiler.emit(Select { broadcast, inputs, output });
    compiler.set_flat(OutletId::new(node.id, 0), output);
    Ok(true)
}

/// `Expand`: repeats a value along axes.
pub(in crate::engine) fn expand(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    if !node.op.is::<MultiBroadcastTo>() || node.inputs.len() != 1 || !is_supported(compiler, node) {
        return Ok(false);
    }
    let Some(([from], shape)) = shapes::<1>(compiler, node) else { return Ok(false) };
    let Ok(broadcast) = Broadcast::of_shapes(&shape, [&from]) else { return Ok(false) };
    rearrange(compiler, node, broadcast)?;
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
    let Ok(broadcast) = Broadcast::new(&shape, [&distances]) else { return Ok(false) };
    rearrange(compiler, node, broadcast)?;
    Ok(true)
}

fn rearrange(compiler: &mut Compiler<'_>, node: &TypedNode, broadcast: Broadcast<1>) -> Result<(), String> {
    let input = compiler.flat(node.inputs[0])?;
    let output = compiler.flat_buffer(OutletId::new(node.id, 0))?;
    compiler.emit(Rearrange { broadcast, input, output });
    compiler.set_flat(OutletId::new(node.id, 0), output);
    Ok(())
}

/// BinaryBroadcast values.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct BinaryBroadcast {
    #[serde(with = "BinaryFnDef")]
    function: BinaryFn,
    #[serde(with = "broadcast")]
    broadcast: Broadcast<2>,
    inputs: [BufferId; 2],
    output: BufferId,
}

impl Step for BinaryBroadcast {
    fn kind(&self) -> String {
        format!("{:?} f32", self.function).to_lowercase()
    }

    fn reads(&self) -> Vec<BufferId> {
        self.inputs.to_vec()
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        memory.map_flat(self.inputs, self.output, |kernels, inputs, output| {
            kernels.binary(inputs, output, &self.broadcast, self.function)
        })
    }
}

/// One of two by a third.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Select {
    #[serde(with = "broadcast")]
    broadcast: Broadcast<3>,
    inputs: [BufferId; 3],
    output: BufferId,
}

impl Step for Select {
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
        memory.map_flat(self.inputs, self.output, |kernels, inputs, output| {
            kernels.select(inputs, output, &self.broadcast)
        })
    }
}

/// One value in another order.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Rearrange {
    #[serde(with = "broadcast")]
    broadcast: Broadcast<1>,
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
        memory.map_flat([self.input], self.output, |kernels, [input], output| {
            kernels.rearrange(input, output, &self.broadcast)
        })
    }
}
