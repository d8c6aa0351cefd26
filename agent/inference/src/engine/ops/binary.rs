//! Operators of two values: sums and products of pictures, of a picture and a number for each channel, and of numbers
//! without gaps.

use aimass_kernels::{Activation as Bounds, AddU8, Image, Kernels, MulU8, Padding, View};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::TypedNode;

use super::conv_f32::bounds;
use super::epilogue::Epilogue;
use super::operator::Operator;
use super::patterns::of_same_bytes;
use super::quantise::append_table;
use crate::engine::arena::Buffer;
use crate::engine::compile::Compiler;
use crate::engine::row_tiling::RowAccess;
use crate::engine::serialization::kernel_types::{AddDef, MulDef};
use crate::engine::step::{Memory, Step, ensure, kernel_error};
use crate::engine::value::{Activation, Affine, BufferId, Flat, Order, QuantMap, Value};

/// Operators of two values of which the second is as large as the first, or one pixel, or one row of channels.
pub(in crate::engine) fn rule(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let Some(operator) = Operator::of(node) else { return Ok(false) };
    let outlet = OutletId::new(node.id, 0);
    let is_f32 = compiler.is_f32(outlet);
    let [mut a, mut b] = node.inputs[..] else { return Ok(false) };
    let (Some(shape), Some(of_a), Some(of_b)) =
        (compiler.shape(outlet), compiler.shape(a), compiler.shape(b))
    else {
        return Ok(false);
    };
    // What commutes gets the larger value first.
    let commutes = !matches!(operator, Operator::Sub | Operator::Div);
    if of_a != shape && commutes {
        (a, b) = (b, a);
    }
    let (of_a, of_b) = if compiler.shape(a) == Some(of_a.clone()) { (of_a, of_b) } else { (of_b, of_a) };
    if !is_f32 || of_a != shape || compiler.is_constant(a) && compiler.is_constant(b) {
        return Ok(false);
    }
    if of_same_bytes(compiler, |a, b| operator.of_two(a, b), outlet, [a, b])
        || quantised(compiler, operator, outlet, [a, b])?
    {
        return Ok(true);
    }
    if compiler.map_shape(outlet).is_some() && (is_map(compiler, a) || (is_map(compiler, b) && of_b == shape))
    {
        return maps(compiler, operator, outlet, [a, b]);
    }
    flats(compiler, operator, outlet, [a, b], &of_b)
}

fn is_map(compiler: &Compiler<'_>, outlet: OutletId) -> bool {
    matches!(compiler.value(outlet), Some(Value::Quant(_) | Value::Floats(_)))
}

/// A value whose bytes are a scale and a zero point.
pub(super) fn as_bytes(compiler: &Compiler<'_>, outlet: OutletId) -> Option<(BufferId, Affine)> {
    match compiler.value(outlet)? {
        Value::Quant(QuantMap { buffer, affine: Some(affine), pad, .. })
            if *pad == Padding::default() && (0..=255).contains(&affine.zero) =>
        {
            Some((*buffer, *affine))
        }
        _ => None,
    }
}

/// Sums and products of bytes, written as bytes.
fn quantised(
    compiler: &mut Compiler<'_>,
    operator: Operator,
    outlet: OutletId,
    [a, b]: [OutletId; 2],
) -> Result<bool, String> {
    let (Some((first, of_first)), Some((second, of_second)), Some(epilogue), Some(shape)) = (
        as_bytes(compiler, a),
        as_bytes(compiler, b),
        Epilogue::of(compiler, outlet),
        compiler.map_shape(outlet),
    ) else {
        return Ok(false);
    };
    let one_pixel =
        compiler.map_shape(b).is_some_and(|s| [s.height, s.width, s.channels] == [1, 1, shape.channels]);
    if compiler.map_shape(b) != Some(shape) && !one_pixel {
        return Ok(false);
    }
    let quantiser = epilogue.quantiser;
    let output = epilogue.output();
    let (zero_a, zero_b) = (of_first.zero as u8, of_second.zero as u8);
    let kind = match operator {
        Operator::Add => Bytes::Add(AddU8 {
            a_zero_point: zero_a,
            a_ratio: of_first.scale / quantiser.scale,
            b_zero_point: zero_b,
            b_ratio: of_second.scale / quantiser.scale,
            output,
        }),
        Operator::Mul => Bytes::Mul(MulU8 {
            a_zero_point: zero_a,
            b_zero_point: zero_b,
            ratio: of_first.scale * of_second.scale / quantiser.scale,
            output,
        }),
        _ => return Ok(false),
    };
    let made = epilogue.make_output(compiler, shape);
    compiler.emit(QuantBinary { kind, inputs: [first, second], output: made });
    Ok(true)
}

/// Pictures of f32.
fn maps(
    compiler: &mut Compiler<'_>,
    operator: Operator,
    outlet: OutletId,
    [a, b]: [OutletId; 2],
) -> Result<bool, String> {
    let (Some(shape), Some(of_b)) = (compiler.map_shape(outlet), compiler.map_shape(b)) else {
        return Ok(false);
    };
    let one_pixel = [of_b.height, of_b.width, of_b.channels] == [1, 1, shape.channels];
    if of_b != shape && !one_pixel {
        return Ok(false);
    }
    let Some((first, at)) = compiler.map(a)? else { return Ok(false) };
    if first.pad != Padding::default() || at != shape {
        return Ok(false);
    }
    let second = if one_pixel && of_b != shape && compiler.is_constant(b) {
        let Some(content) = compiler.floats(b) else { return Ok(false) };
        compiler.constant_buffer(content)
    } else {
        match compiler.map(b)? {
            Some((second, _)) if second.pad == Padding::default() => second.buffer,
            _ => return Ok(false),
        }
    };
    let output = compiler.new_f32_buffer(shape);
    let row = None;
    compiler.emit(Binary {
        operator,
        inputs: [first.buffer, second],
        row,
        output,
        activation: Activation::NONE,
        slopes: Vec::new(),
        bounds: Bounds::none(),
    });
    compiler.set_map(outlet, output);
    Ok(true)
}

/// Numbers without gaps; the second value may be one row, repeated.
fn flats(
    compiler: &mut Compiler<'_>,
    operator: Operator,
    outlet: OutletId,
    [a, b]: [OutletId; 2],
    of_b: &[usize],
) -> Result<bool, String> {
    let shape = compiler.shape(outlet).unwrap_or_default();
    let inner: usize = of_b.iter().product();
    // The second value repeats if it has the last dimensions of the first and 1 before.
    let skipped = of_b.iter().take_while(|d| **d == 1).count();
    let from = shape.len().saturating_sub(of_b.len() - skipped);
    if shape.get(from..) != of_b.get(skipped..) || inner == 0 {
        return Ok(false);
    }
    let is_tensor = |outlet| matches!(compiler.value(outlet), Some(Value::Tensor(_)));
    if is_tensor(a) || is_tensor(b) {
        return Ok(false);
    }
    if operator == Operator::Add && fused(compiler, outlet, [a, b]) {
        return Ok(true);
    }
    let first = compiler.flat(a)?;
    let second = compiler.flat(b)?;
    let output = compiler.flat_buffer(outlet)?;
    let row = Some(inner);
    compiler.emit(Binary {
        operator,
        inputs: [first, second],
        row,
        output,
        activation: Activation::NONE,
        slopes: Vec::new(),
        bounds: Bounds::none(),
    });
    compiler.set_flat(outlet, output);
    Ok(true)
}

/// A constant row that the step before can add.
fn fused(compiler: &mut Compiler<'_>, outlet: OutletId, [a, b]: [OutletId; 2]) -> bool {
    let Some(Value::Flat(flat)) = compiler.value(a) else { return false };
    let flat = *flat;
    // What the step before adds goes along the last axis of its own order, and the axes may have been moved since.
    let in_order = flat.single_use && flat.order == Order::RowMajor;
    let row = if in_order && compiler.is_constant(b) { compiler.floats(b) } else { None };
    let Some(row) = row else { return false };
    let fused = compiler.producer(flat.buffer).is_some_and(|step| step.fuse_bias(&row));
    if fused {
        let single_use = compiler.has_single_use(outlet);
        compiler.set(outlet, Value::Flat(Flat { single_use, ..flat }));
    }
    fused
}

#[derive(Debug, Serialize, Deserialize)]
enum Bytes {
    Add(#[serde(with = "AddDef")] AddU8),
    Mul(#[serde(with = "MulDef")] MulU8),
}

/// A sum or product of bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct QuantBinary {
    kind: Bytes,
    inputs: [BufferId; 2],
    output: BufferId,
}

impl Step for QuantBinary {
    fn kind(&self) -> String {
        match self.kind {
            Bytes::Add(_) => "add int8".into(),
            Bytes::Mul(_) => "mul int8".into(),
        }
    }

    fn reads(&self) -> Vec<BufferId> {
        self.inputs.to_vec()
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn row_access(&self, buffers: &[Buffer]) -> Option<RowAccess> {
        Some(RowAccess::elementwise(buffers, self.inputs, self.output))
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let (kernels, [a, b]) = (memory.kernels, self.inputs.map(|id| memory.image(id)));
        let (inputs, output) = memory.write::<u8>(self.output)?;
        let (a, b) = (inputs.view(&a).map_err(kernel_error)?, inputs.view(&b).map_err(kernel_error)?);
        match &self.kind {
            Bytes::Add(add) => kernels.add_u8(a, b, output, add),
            Bytes::Mul(mul) => kernels.mul_u8(a, b, output, mul),
        }
        .map_err(kernel_error)
    }

    fn fuse_lookup_table(&mut self, table: &[u8; 256]) -> bool {
        let (Bytes::Add(AddU8 { output, .. }) | Bytes::Mul(MulU8 { output, .. })) = &mut self.kind;
        append_table(output, table);
        true
    }
}

/// An operator over f32.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Binary {
    operator: Operator,
    inputs: [BufferId; 2],
    /// For numbers without gaps: how many the second value has.
    row: Option<usize>,
    output: BufferId,
    activation: Activation,
    /// For what is below 0, in place of the activation's one slope.
    slopes: Vec<f32>,
    /// The activation for kernels.
    #[serde(skip, default = "Bounds::none")]
    bounds: Bounds,
}

impl Step for Binary {
    fn kind(&self) -> String {
        format!("{:?} f32", self.operator).to_lowercase()
    }

    fn reads(&self) -> Vec<BufferId> {
        self.inputs.to_vec()
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn check(&self, buffers: &[Buffer]) -> Result<(), String> {
        let [a, b] = self.inputs.map(|id| &buffers[id.0]);
        let to = &buffers[self.output.0];
        let Some(row) = self.row else {
            let one = [1, 1, to.channels];
            let fits = a.shape() == to.shape() && (b.shape() == to.shape() || b.shape() == one);
            return ensure(fits, "pictures of different sizes");
        };
        let rows =
            row > 0 && b.channels == row && to.channels.is_multiple_of(row) && a.channels == to.channels;
        let fits = rows && [a, b, to].into_iter().all(Buffer::is_flat);
        ensure(fits, "rows do not fill the numbers")
    }

    fn prepare(&mut self, _: Kernels, _: &[Image]) -> Result<(), String> {
        self.bounds = bounds(self.activation, &self.slopes);
        Ok(())
    }

    fn row_access(&self, buffers: &[Buffer]) -> Option<RowAccess> {
        self.row.is_none().then(|| RowAccess::elementwise(buffers, self.inputs, self.output))
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let kernels = memory.kernels;
        let [mut a, mut b] = self.inputs.map(|id| memory.image(id));
        let mut to = memory.image(self.output);
        if let Some(inner) = self.row {
            let rows =
                |flat: Image| Image::dense(flat.offset, flat.channels / inner, 1, inner, Padding::default());
            (a, b, to) = (rows(a), rows(b), rows(to));
        }
        let (inputs, mut output) = memory.arena.writing::<f32>(&to).map_err(kernel_error)?;
        let (a, b) =
            (inputs.view::<f32>(&a).map_err(kernel_error)?, inputs.view::<f32>(&b).map_err(kernel_error)?);
        match self.operator {
            Operator::Add => kernels.add_f32(a, b, output.reborrow()).map_err(kernel_error)?,
            Operator::Mul => kernels.mul_f32(a, b, output.reborrow()).map_err(kernel_error)?,
            other => by_row(a, b, &mut output, |a, b| other.of_two(a, b)),
        }
        if !self.bounds.is_none() {
            kernels.activate_in_place(output, &self.bounds).map_err(kernel_error)?;
        }
        Ok(())
    }

    fn fuse_slopes(&mut self, slopes: &[f32]) -> bool {
        let free = self.activation == Activation::NONE && self.slopes.is_empty();
        if free {
            self.slopes = slopes.to_vec();
        }
        free
    }

    fn fuse_activation(&mut self, activation: Activation) -> bool {
        (self.slopes.is_empty() || activation.slope == 1.0)
            && self.activation.then(activation).inspect(|both| self.activation = *both).is_some()
    }
}

/// For operators that have no kernel; `b` may be one pixel.
fn by_row(
    a: View<'_, f32>,
    b: View<'_, f32>,
    output: &mut aimass_kernels::ViewMut<'_, f32>,
    operator: impl Fn(f32, f32) -> f32,
) {
    let (image, channels) = (*output.image(), output.image().channels);
    let one_pixel = b.image().shape() == [1, 1, channels];
    for y in 0..image.height {
        let (from, row) = (a.row_values(y), output.row_values_mut(y));
        let other = b.row_values(if one_pixel { 0 } else { y });
        let other = other.iter().cycle();
        row.iter_mut().zip(from).zip(other).for_each(|((to, a), b)| *to = operator(*a, *b));
    }
}
