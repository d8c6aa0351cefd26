//! Functions of one number that a file writes as several nodes: Gelu, HardSwish; and what guards against results that are no
//! numbers.

use aimass_kernels::{Padding, UnaryFn};
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::logic::Iff;

use super::unary;
use crate::engine::compile::Compiler;
use crate::engine::value::{DequantTable, FloatMap, QuantMap, Value};

/// `x / 2 * (1 + erf(x / sqrt 2))`, seen from the quotient, which comes first.
pub(in crate::engine) fn gelu(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let Some((input, scale)) = factor(compiler, node, None)? else { return Ok(false) };
    if (scale - std::f32::consts::FRAC_1_SQRT_2).abs() > 1e-6 || !unary::is_computed_f32(compiler, input) {
        return Ok(false);
    }
    let scaled = OutletId::new(node.id, 0);
    let Some(erf) = compiler.single_consumer(scaled).filter(|node| is(node, "Erf")) else { return Ok(false) };
    let erf = OutletId::new(erf.id, 0);
    let Some(add) = compiler.single_consumer(erf) else { return Ok(false) };
    if number(compiler, add, erf, "Add")? != Some(1.0) {
        return Ok(false);
    }
    let mut sum = OutletId::new(add.id, 0);
    let mut absorbed = vec![scaled, erf, sum];
    // The half comes first, last, or with the value.
    let mut halved = false;
    if let Some(half) = compiler.single_consumer(sum)
        && number(compiler, half, sum, "Mul")? == Some(0.5)
    {
        halved = true;
        sum = OutletId::new(half.id, 0);
        absorbed.push(sum);
    }
    let Some(product) = compiler.single_consumer(sum).filter(|node| is(node, "Mul")) else {
        return Ok(false);
    };
    let other = match product.inputs[..] {
        [a, b] if a == sum => b,
        [a, b] if b == sum => a,
        _ => return Ok(false),
    };
    let mut output = OutletId::new(product.id, 0);
    if halved {
        if other != input {
            return Ok(false);
        }
    } else if other == input {
        let Some(last) = compiler.single_consumer(output) else { return Ok(false) };
        if factor(compiler, last, Some(output))?.map(|(_, factor)| factor) != Some(0.5) {
            return Ok(false);
        }
        absorbed.push(output);
        output = OutletId::new(last.id, 0);
    } else {
        let half = compiler.model().node(other.node);
        if factor(compiler, half, Some(input))?.map(|(_, factor)| factor) != Some(0.5) {
            return Ok(false);
        }
        if compiler.has_single_use(other) && compiler.value(other).is_none() {
            absorbed.push(other);
        }
    }
    for outlet in absorbed {
        compiler.set(outlet, Value::Absorbed);
    }
    unary::apply(compiler, UnaryFn::Gelu, input, output)?;
    Ok(true)
}

/// Two functions of the same bytes are a function of them too: arithmetic on tables, as `x * clip(x + 3) / 6` is.
pub(super) fn of_same_bytes(
    compiler: &mut Compiler<'_>,
    of_two: impl Fn(f32, f32) -> f32,
    outlet: OutletId,
    [a, b]: [OutletId; 2],
) -> bool {
    let (Some(Value::Quant(first)), Some(Value::Quant(second))) = (compiler.value(a), compiler.value(b))
    else {
        return false;
    };
    let none = Padding::default();
    let shape = compiler.map_shape(outlet);
    let same_shape = shape.is_some() && compiler.map_shape(a) == shape && compiler.map_shape(b) == shape;
    if first.buffer != second.buffer || first.pad != none || second.pad != none || !same_shape {
        return false;
    }
    let values = std::array::from_fn(|byte| of_two(first.table[byte], second.table[byte]));
    let buffer = first.buffer;
    let single_use = compiler.has_single_use(outlet) && compiler.is_consumed_by(buffer, outlet.node);
    compiler.set(
        outlet,
        Value::Quant(QuantMap {
            buffer,
            table: DequantTable::new(values),
            affine: None,
            pad: none,
            single_use,
        }),
    );
    true
}

/// `x * clip(x + 3, 0, 6) / 6` of pictures, seen from the sum, which comes first.
pub(in crate::engine) fn hard_swish(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let [a, b] = node.inputs[..] else { return Ok(false) };
    let input = if compiler.scalar(a).is_some() { b } else { a };
    let Some(Value::Floats(FloatMap { buffer, pad, .. })) = compiler.value(input).cloned() else {
        return Ok(false);
    };
    if pad != Padding::default() || number(compiler, node, input, "Add")? != Some(3.0) {
        return Ok(false);
    }
    let mut absorbed = vec![OutletId::new(node.id, 0)];
    let mut clipped = absorbed[0];
    let mut bounds = vec![("Max", 0.0), ("Min", 6.0)];
    while !bounds.is_empty() {
        let Some(clip) = compiler.single_consumer(clipped) else { return Ok(false) };
        let Some(at) = bounds.iter().position(|(name, _)| is(clip, name)) else { return Ok(false) };
        let (name, bound) = bounds.remove(at);
        if number(compiler, clip, clipped, name)? != Some(bound) {
            return Ok(false);
        }
        clipped = OutletId::new(clip.id, 0);
        absorbed.push(clipped);
    }
    let Some(product) = compiler.single_consumer(clipped).filter(|next| is(next, "Mul")) else {
        return Ok(false);
    };
    let scaled = OutletId::new(product.id, 0);
    let Some(last) = compiler.single_consumer(scaled) else { return Ok(false) };
    let share = factor(compiler, last, Some(scaled))?.map(|(_, factor)| factor);
    let output = OutletId::new(last.id, 0);
    let fits = product.inputs.contains(&input)
        && share.is_some_and(|share| (share - 1.0 / 6.0).abs() < 1e-7)
        && compiler.shape(output) == compiler.shape(input);
    if !fits {
        return Ok(false);
    }
    absorbed.push(scaled);
    for outlet in absorbed {
        compiler.set(outlet, Value::Absorbed);
    }
    // As in `prelu`: nobody but these nodes reads the input, and it is no other name of what others read.
    let producer = compiler.model().node(input.node);
    let alone = producer.outputs[input.slot].successors.len() == 2
        && !compiler.is_output(input)
        && (producer.op.is::<Conv>() || producer.op.is::<TypedBinOp>());
    unary::apply_to_picture(compiler, UnaryFn::HardSwish, (buffer, alone), output)?;
    Ok(true)
}

/// `Where(IsNaN(x), number, x)`, seen from the test.
pub(in crate::engine) fn guard(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let (true, [input]) = (is(node, "IsNan"), &node.inputs[..]) else { return Ok(false) };
    let test = OutletId::new(node.id, 0);
    let Some(choice) = compiler.single_consumer(test).filter(|next| next.op.is::<Iff>()) else {
        return Ok(false);
    };
    let [first, number, other] = choice.inputs[..] else { return Ok(false) };
    let output = OutletId::new(choice.id, 0);
    let fits = first == test && other == *input && compiler.shape(output) == compiler.shape(*input);
    if !fits || !unary::is_computed_f32(compiler, *input) || !single(compiler, number) {
        return Ok(false);
    }
    let Some(number) = compiler.constant_now(number)?.and_then(|values| values.first().copied()) else {
        return Ok(false);
    };
    compiler.set(test, Value::Absorbed);
    unary::apply(compiler, UnaryFn::ReplaceNan(number), *input, output)?;
    Ok(true)
}

fn is(node: &TypedNode, name: &str) -> bool {
    let of_one = node.op_as::<ElementWiseOp>().is_some_and(|op| op.0.name() == name);
    of_one || node.op_as::<TypedBinOp>().is_some_and(|op| op.0.name() == name)
}

fn single(compiler: &Compiler<'_>, outlet: OutletId) -> bool {
    compiler.shape(outlet).is_some_and(|shape| shape.iter().product::<usize>() == 1)
}

/// The one number that a node combines a value with.
pub(super) fn number(
    compiler: &mut Compiler<'_>,
    node: &TypedNode,
    value: OutletId,
    operator: &str,
) -> Result<Option<f32>, String> {
    let other = match node.inputs[..] {
        [a, b] if a == value => b,
        [a, b] if b == value && !matches!(operator, "Div" | "Sub" | "Pow") => a,
        _ => return Ok(None),
    };
    let named = node.op_as::<TypedBinOp>().is_some_and(|op| op.0.name() == operator);
    if !named || !single(compiler, other) {
        return Ok(None);
    }
    Ok(compiler.constant_now(other)?.and_then(|values| values.first().copied()))
}

/// What a node multiplies a value by, or a quotient divides it by; which value, unless it is given.
fn factor(
    compiler: &mut Compiler<'_>,
    node: &TypedNode,
    value: Option<OutletId>,
) -> Result<Option<(OutletId, f32)>, String> {
    if !(is(node, "Mul") || is(node, "Div")) {
        return Ok(None);
    }
    let candidates: Vec<OutletId> =
        node.inputs.iter().copied().filter(|input| value.is_none_or(|value| value == *input)).collect();
    for candidate in candidates {
        if let Some(factor) = number(compiler, node, candidate, "Mul")? {
            return Ok(Some((candidate, factor)));
        }
        if let Some(divisor) = number(compiler, node, candidate, "Div")? {
            return Ok(Some((candidate, 1.0 / divisor)));
        }
    }
    Ok(None)
}
