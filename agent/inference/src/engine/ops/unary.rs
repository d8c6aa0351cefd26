//! Functions of one number: arithmetic on the table of a quantised value; for f32 part of the step before, or a step.

use aimass_kernels::{Activation as Bounds, Image, Kernels, Padding, UnaryFn};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::{Datum, DatumType, IntoTValue, OutletId, Tensor, tensor1, tvec};
use tract_onnx::tract_core::internal::{EvalContext, TDim, TypedNode};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::nn::{GeluApproximate, LeakyRelu};

use super::conv_f32::bounds;
use crate::engine::compile::Compiler;
use crate::engine::serialization::kernel_types::UnaryFnDef;
use crate::engine::step::{Memory, Step};
use crate::engine::value::{Activation, BufferId, DequantTable, Flat, FloatMap, Order, QuantMap, Value};

/// Element-wise operators, and operators of two inputs of which one is the same number everywhere.
pub(in crate::engine) fn rule(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let Some(input) = only_input(compiler, node) else { return Ok(false) };
    let outlet = OutletId::new(node.id, 0);
    let same_type = compiler.is_f32(outlet);
    if !same_type || compiler.shape(outlet).is_none() || compiler.shape(outlet) != compiler.shape(input) {
        return Ok(false);
    }
    let single_use = compiler.has_single_use(outlet);
    match compiler.value(input).cloned() {
        Some(Value::Quant(quant)) if quant.pad == Padding::default() => {
            let Some(table) = table_of(compiler, node, input, &quant.table) else { return Ok(false) };
            let value = QuantMap { table, affine: None, single_use: quant.single_use && single_use, ..quant };
            compiler.set(outlet, Value::Quant(value));
            Ok(true)
        }
        Some(Value::Floats(floats)) if floats.pad == Padding::default() => {
            let Some(function) = Function::of(compiler, node, input) else { return Ok(false) };
            if fused(compiler, &function, floats.buffer, floats.single_use) {
                compiler.set(outlet, Value::Floats(FloatMap { single_use, ..floats }));
                return Ok(true);
            }
            let shape = compiler.rows_shape(outlet).ok_or("a picture has no picture's shape")?;
            let output = compiler.new_f32_buffer(shape);
            compiler.emit(Unary { function, input: floats.buffer, output, bounds: Bounds::none() });
            compiler.set_map(outlet, output);
            Ok(true)
        }
        Some(Value::Flat(flat)) => {
            let Some(function) = Function::of(compiler, node, input) else { return Ok(false) };
            if fused(compiler, &function, flat.buffer, flat.single_use) {
                compiler.set(outlet, Value::Flat(Flat { single_use, ..flat }));
                return Ok(true);
            }
            let output = compiler.flat_buffer(outlet)?;
            compiler.emit(Unary { function, input: flat.buffer, output, bounds: Bounds::none() });
            compiler.set(outlet, Value::Flat(Flat { buffer: output, single_use, ..flat }));
            Ok(true)
        }
        Some(Value::Tensor(_)) if is_computed_f32(compiler, input) => {
            let Some(function) = Function::of(compiler, node, input) else { return Ok(false) };
            let buffer = compiler.flat(input)?;
            let output = compiler.flat_buffer(outlet)?;
            compiler.emit(Unary { function, input: buffer, output, bounds: Bounds::none() });
            compiler.set_flat(outlet, output);
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// The one input that is not the same number everywhere.
fn only_input(compiler: &Compiler<'_>, node: &TypedNode) -> Option<OutletId> {
    if node.op.is::<ElementWiseOp>() {
        return node.inputs.first().copied();
    }
    node.op.is::<TypedBinOp>().then_some(())?;
    let [a, b] = node.inputs[..] else { return None };
    match (compiler.scalar(a), compiler.scalar(b)) {
        (None, Some(_)) => Some(a),
        (Some(_), None) => Some(b),
        _ => None,
    }
}

fn fused(compiler: &mut Compiler<'_>, function: &Function, buffer: BufferId, single_use: bool) -> bool {
    single_use
        && compiler.producer(buffer).is_some_and(|step| match *function {
            Function::Activation(activation) => step.fuse_activation(activation),
            Function::Unary(function) => step.fuse_unary_fn(function),
        })
}

/// The node's function of each entry, as tract computes it.
fn table_of(
    compiler: &Compiler<'_>,
    node: &TypedNode,
    input: OutletId,
    table: &DequantTable,
) -> Option<DequantTable> {
    let rank = compiler.shape(input)?.len();
    let mut shape = vec![1; rank];
    *shape.last_mut()? = table.len();
    let mut inputs = tvec![];
    for outlet in &node.inputs {
        let tensor: Tensor = if *outlet == input {
            tensor1(&table[..]).into_shape(&shape).ok()?
        } else {
            tensor1(&[compiler.scalar(*outlet)?]).into_shape(&vec![1; rank]).ok()?
        };
        inputs.push(tensor.into_tvalue());
    }
    let made = node.op.eval(&EvalContext::out_of_plan(), inputs).ok()?;
    let made = made.first()?.cast_to::<f32>().ok()?.into_owned();
    let values = made.as_plain_ram()?;
    let values: [f32; 256] = values.as_slice::<f32>().ok()?.try_into().ok()?;
    Some(DequantTable::new(values))
}

/// A function of f32 that the engine computes itself.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Function {
    Activation(Activation),
    Unary(#[serde(with = "UnaryFnDef")] UnaryFn),
}

impl Function {
    fn of(compiler: &Compiler<'_>, node: &TypedNode, input: OutletId) -> Option<Self> {
        if let Some(op) = node.op_as::<ElementWiseOp>() {
            if let Some(leaky) = op.0.downcast_ref::<LeakyRelu>() {
                return Some(Function::Activation(Activation { slope: leaky.alpha, ..Activation::NONE }));
            }
            if let Some(gelu) = op.0.downcast_ref::<GeluApproximate>() {
                return (!gelu.fast_impl).then_some(Function::Unary(UnaryFn::GeluTanh));
            }
            return Some(Function::Unary(match op.0.name().as_str() {
                "Sigmoid" => UnaryFn::Sigmoid,
                "Exp" => UnaryFn::Exp,
                "Tanh" => UnaryFn::Tanh,
                "Erf" => UnaryFn::Erf,
                "GeluExact" => UnaryFn::Gelu,
                "Silu" => UnaryFn::Silu,
                "HardSwish" => UnaryFn::HardSwish,
                "Sqrt" => UnaryFn::Sqrt,
                "Rsqrt" => UnaryFn::Rsqrt,
                "Recip" => UnaryFn::Reciprocal(1.0),
                "Square" => UnaryFn::Square,
                "Abs" => UnaryFn::Abs,
                "Neg" => UnaryFn::Affine { factor: -1.0, term: 0.0 },
                _ => return None,
            }));
        }
        let first = node.inputs.first() == Some(&input);
        let number = compiler.scalar(*node.inputs.iter().find(|i| **i != input)?)?;
        let line = |factor, term| Some(Function::Unary(UnaryFn::Affine { factor, term }));
        let bound = |low, high| Some(Function::Activation(Activation { low, high, ..Activation::NONE }));
        match (node.op_as::<TypedBinOp>()?.0.name(), first) {
            ("Add", _) => line(1.0, number),
            ("Sub", true) => line(1.0, -number),
            ("Sub", false) => line(-1.0, number),
            ("Mul", _) => line(number, 0.0),
            ("Div", true) => line(1.0 / number, 0.0),
            ("Div", false) => Some(Function::Unary(UnaryFn::Reciprocal(number))),
            ("Max", _) => bound(number, f32::INFINITY),
            ("Min", _) => bound(f32::NEG_INFINITY, number),
            ("Pow", true) if number == 2.0 => Some(Function::Unary(UnaryFn::Square)),
            ("Pow", true) if number == 0.5 => Some(Function::Unary(UnaryFn::Sqrt)),
            _ => None,
        }
    }
}

/// Whether the value is one that [`apply`] is_computed_f32: computed, by whomever, and f32.
pub(super) fn is_computed_f32(compiler: &Compiler<'_>, input: OutletId) -> bool {
    let computed = matches!(
        compiler.value(input),
        Some(Value::Flat(_) | Value::Floats(_) | Value::Quant(_) | Value::Tensor(_))
    );
    computed && compiler.is_f32(input) && compiler.shape(input).is_some()
}

/// As [`apply`] of a picture, where it is made if nobody else wants it.
///
/// # Errors
/// The output is no picture.
pub(super) fn apply_to_picture(
    compiler: &mut Compiler<'_>,
    function: UnaryFn,
    (input, alone): (BufferId, bool),
    output: OutletId,
) -> Result<(), String> {
    let function = Function::Unary(function);
    let mut buffer = input;
    if !fused(compiler, &function, input, alone) {
        let shape = compiler.rows_shape(output).ok_or("a picture has no picture's shape")?;
        buffer = compiler.new_f32_buffer(shape);
        compiler.emit(Unary { function, input, output: buffer, bounds: Bounds::none() });
    }
    compiler.set_map(output, buffer);
    Ok(())
}

/// Makes `output` a function of `input`.
///
/// # Errors
/// The input holds no numbers.
pub(super) fn apply(
    compiler: &mut Compiler<'_>,
    function: UnaryFn,
    input: OutletId,
    output: OutletId,
) -> Result<(), String> {
    let flat = match compiler.value(input) {
        Some(Value::Flat(flat)) => *flat,
        _ => Flat { buffer: compiler.flat(input)?, order: Order::RowMajor, single_use: false },
    };
    let buffer = compiler.flat_buffer(output)?;
    let single_use = compiler.has_single_use(output);
    compiler.emit(Unary {
        function: Function::Unary(function),
        input: flat.buffer,
        output: buffer,
        bounds: Bounds::none(),
    });
    compiler.set(output, Value::Flat(Flat { buffer, single_use, ..flat }));
    Ok(())
}

fn is_integer(kind: DatumType) -> bool {
    // tract makes its own dimensions of 64-bit integers.
    [i64::datum_type(), i32::datum_type(), TDim::datum_type()].contains(&kind)
}

/// Whether f32 holds the type's values: numbers, truths, and integers as far as they index anything here.
pub(super) fn holds(kind: DatumType) -> bool {
    is_integer(kind) || kind == f32::datum_type() || kind == bool::datum_type()
}

/// `Cast` of what the engine holds: its numbers are f32 whatever the graph calls them.
pub(in crate::engine) fn cast(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let (Some(op), &[input]) = (node.op_as::<Cast>(), &node.inputs[..]) else { return Ok(false) };
    let outlet = OutletId::new(node.id, 0);
    let Some(from) = compiler.model().outlet_fact(input).ok().map(|fact| fact.datum_type) else {
        return Ok(false);
    };
    if !holds(from) || !holds(op.to) || compiler.shape(outlet).is_none() {
        return Ok(false);
    }
    let function = if op.to == bool::datum_type() && from != op.to {
        UnaryFn::IsNonZero
    } else if is_integer(op.to) && from == f32::datum_type() {
        UnaryFn::Trunc
    } else {
        // The same numbers.
        let Some(value) = compiler.value(input).cloned() else { return Ok(false) };
        if !matches!(value, Value::Flat(_)) && from != op.to {
            return Ok(false);
        }
        compiler.set_alias(outlet, value);
        return Ok(true);
    };
    if !matches!(compiler.value(input), Some(Value::Flat(_))) {
        return Ok(false);
    }
    apply(compiler, function, input, outlet)?;
    Ok(true)
}

/// One function over all numbers of a buffer.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Unary {
    function: Function,
    input: BufferId,
    output: BufferId,
    /// The activation for kernels, if it is one.
    #[serde(skip, default = "Bounds::none")]
    bounds: Bounds,
}

impl Step for Unary {
    fn kind(&self) -> String {
        match self.function {
            Function::Activation(_) => "activation".into(),
            Function::Unary(function) => {
                format!("{function:?}").split([' ', '(']).next().unwrap_or("function").to_lowercase()
            }
        }
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn prepare(&mut self, _: Kernels, _: &[Image]) -> Result<(), String> {
        if let Function::Activation(activation) = self.function {
            self.bounds = bounds(activation, &[]);
        }
        Ok(())
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        memory.map(self.input, self.output, |kernels, from, to| match &self.function {
            Function::Activation(_) => kernels.activate_f32(from, to, &self.bounds),
            Function::Unary(function) => kernels.unary_image(from, to, function),
        })
    }

    fn fuse_activation(&mut self, activation: Activation) -> bool {
        let Function::Activation(own) = &mut self.function else { return false };
        own.then(activation).inspect(|both| *own = *both).is_some()
    }
}
