//! Matrix products: of computed values with constant or computed ones, in f32; and of values that are quantised as the
//! model runs with the file's own 8-bit weights.

use aimass_kernels::{Activation as Bounds, Image, Kernels, MatMulF32, MatMulU8};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::{InOut, TypedNode};
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::conv_f32::bounds;
use super::dynamic_quantise::read_params;
use crate::engine::arena::Buffer;
use crate::engine::compile::Compiler;
use crate::engine::constant::Constant;
use crate::engine::step::{Memory, Step, ensure, kernel_error};
use crate::engine::value::{Activation, BufferId, Value};

/// The most matrices of a batch: a shape is data from outside, and each takes an entry.
const MAX_MATRICES: usize = 1 << 16;

/// Products of two values, as `MatMul` and `Gemm` become: `[.., m, k] × [.., k, n]`.
pub(in crate::engine) fn rule(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let Some(shape) = Shape::of(compiler, node) else { return Ok(false) };
    let [a, b] = node.inputs[..] else { return Ok(false) };
    let outlet = OutletId::new(node.id, 0);
    let constant = if shape.one_matrix() { constant(compiler, b, &shape) } else { None };
    let output = match constant {
        Some(Matrix::Quantised { weights, scales }) => {
            let (input, params) = compiler.dynamically_quantised(a)?;
            let output = compiler.flat_buffer(outlet)?;
            let size = [shape.k, shape.n];
            let step = QuantMatrix { size, weights, scales, bias: Vec::new(), layer: None };
            compiler.emit(MatMulConst { input, output, kind: Kind::Bytes(params, step) });
            output
        }
        Some(Matrix::Floats(matrix)) => {
            let input = compiler.flat(a)?;
            let output = compiler.flat_buffer(outlet)?;
            let step = FloatMatrix {
                size: [shape.k, shape.n],
                matrix: Constant::values(matrix),
                bias: Vec::new(),
                activation: Activation::NONE,
                layer: None,
            };
            compiler.emit(MatMulConst { input, output, kind: Kind::Floats(step) });
            output
        }
        None => {
            let inputs = [compiler.flat(a)?, compiler.flat(b)?];
            let output = compiler.flat_buffer(outlet)?;
            compiler.emit(MatMul { inputs, output, shape });
            output
        }
    };
    compiler.set_flat(outlet, output);
    Ok(true)
}

/// What is multiplied with what.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Shape {
    m: usize,
    k: usize,
    n: usize,
    /// Which matrix of each input makes each matrix of the output.
    pairs: Vec<[usize; 2]>,
    /// The second has `n` rows of `k`.
    transposed: bool,
}

impl Shape {
    fn of(compiler: &Compiler<'_>, node: &TypedNode) -> Option<Self> {
        let op = node.op_as::<EinSum>()?;
        let [a, b] = node.inputs[..] else { return None };
        let outlet = OutletId::new(node.id, 0);
        let is_f32 = |outlet| compiler.is_f32(outlet);
        if op.q_params.is_some() || ![a, b, outlet].into_iter().all(is_f32) {
            return None;
        }
        let sizes = [compiler.shape(a)?, compiler.shape(b)?, compiler.shape(outlet)?];
        let slots = [InOut::In(0), InOut::In(1), InOut::Out(0)];
        // The axes of each value in their order: the character that names one, and its places.
        let axes: Vec<Vec<(char, usize)>> = slots
            .iter()
            .zip(&sizes)
            .map(|(slot, size)| op.axes.axes(*slot).map(|axis| axis.repr).zip(size.iter().copied()).collect())
            .collect();
        if axes.iter().zip(&sizes).any(|(axes, size)| axes.len() != size.len()) {
            return None;
        }
        let has = |value: usize, name: char| axes[value].iter().any(|(axis, _)| *axis == name);
        let take = |value: usize, wanted: [bool; 3]| -> Vec<(char, usize)> {
            let fits = |name: char| [0, 1, 2].map(|n| has(n, name)) == wanted;
            axes[value].iter().copied().filter(|(name, _)| fits(*name)).collect()
        };
        let (batch, rows) = (take(2, [true, true, true]), take(2, [true, false, true]));
        let (columns, sums) = (take(2, [false, true, true]), take(0, [true, true, false]));
        let names = |parts: &[&[(char, usize)]]| -> Vec<char> {
            parts.iter().flat_map(|part| part.iter().map(|(name, _)| *name)).collect()
        };
        let order = |value: usize| names(&[&axes[value]]);
        let transposed = order(1) == names(&[&batch, &columns, &sums]);
        // A batch that only the second has is one of columns; the usual products have none.
        let fits = order(0) == names(&[&batch, &rows, &sums])
            && order(2) == names(&[&batch, &rows, &columns])
            && (transposed || order(1) == names(&[&batch, &sums, &columns]));
        if !fits {
            return None;
        }
        let product = |part: &[(char, usize)]| part.iter().map(|(_, places)| places).product::<usize>();
        let (mut m, n, k) = (product(&rows), product(&columns), product(&sums));
        if product(&batch) > MAX_MATRICES {
            return None;
        }
        let mut pairs = vec![[0, 0]];
        for (axis, places) in &batch {
            let of =
                |value: usize| axes[value].iter().find(|(name, _)| name == axis).map(|(_, places)| *places);
            let (of_a, of_b) = (of(0)?, of(1)?);
            if [of_a, of_b].iter().any(|own| *own != 1 && own != places) {
                return None;
            }
            let step = |[first, second]: [usize; 2], at: usize| {
                [first * of_a + at.min(of_a - 1), second * of_b + at.min(of_b - 1)]
            };
            pairs = pairs.into_iter().flat_map(|pair| (0..*places).map(move |at| step(pair, at))).collect();
        }
        // One matrix for all of a batch: its rows are rows of one product.
        let in_order = pairs.iter().enumerate().all(|(n, [a, b])| *a == n && *b == 0);
        if in_order {
            m *= pairs.len();
            pairs = vec![[0, 0]];
        }
        Some(Shape { m, k, n, pairs, transposed })
    }

    fn one_matrix(&self) -> bool {
        self.pairs.len() == 1
    }
}

/// A matrix that is known now.
#[derive(Debug)]
enum Matrix {
    /// 8-bit integers, `k` rows of `n`, and a scale for each column.
    Quantised { weights: Constant, scales: Vec<f32> },
    /// `k` rows of `n`.
    Floats(Vec<f32>),
}

/// The second matrix, if it is known now.
fn constant(compiler: &Compiler<'_>, outlet: OutletId, shape: &Shape) -> Option<Matrix> {
    let [k, n] = [shape.k, shape.n];
    if let Value::Weights(weights) = compiler.value(outlet)?
        && weights.dynamic
        && !shape.transposed
        && weights.is_around_zero()
        && (weights.scales.len() == 1 || weights.scales.len() == n && weights.axis + 1 == weights.dims.len())
    {
        let scales =
            if weights.scales.len() == n { weights.scales.clone() } else { vec![weights.scales[0]; n] };
        return Some(Matrix::Quantised { weights: Constant::signed(weights.clone()), scales });
    }
    if !compiler.is_constant(outlet) {
        return None;
    }
    let values = compiler.floats(outlet).filter(|values| values.len() == k * n)?;
    Some(Matrix::Floats(if shape.transposed { transposed(&values, k) } else { values }))
}

/// Rows of `k` as columns.
fn transposed(values: &[f32], k: usize) -> Vec<f32> {
    (0..k).flat_map(|row| values.iter().skip(row).step_by(k).copied()).collect()
}

#[derive(Debug, Serialize, Deserialize)]
enum Kind {
    Floats(FloatMatrix),
    /// With where scale and zero point of the input are.
    Bytes(BufferId, QuantMatrix),
}

/// A product with a constant matrix.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct MatMulConst {
    input: BufferId,
    output: BufferId,
    kind: Kind,
}

#[derive(Debug, Serialize, Deserialize)]
struct FloatMatrix {
    size: [usize; 2],
    matrix: Constant,
    bias: Vec<f32>,
    activation: Activation,
    #[serde(skip)]
    layer: Option<MatMulF32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct QuantMatrix {
    size: [usize; 2],
    weights: Constant,
    scales: Vec<f32>,
    bias: Vec<f32>,
    #[serde(skip)]
    layer: Option<MatMulU8>,
}

impl FloatMatrix {
    fn prepare(&mut self, kernels: Kernels) -> Result<(), String> {
        let (matrix, bias) = (self.matrix.take(), std::mem::take(&mut self.bias));
        let (matrix, bounds): (_, Bounds) = (matrix.as_floats()?, bounds(self.activation, &[]));
        self.layer = Some(MatMulF32::new(kernels, self.size, &matrix, &bias, &bounds).map_err(kernel_error)?);
        Ok(())
    }
}

impl QuantMatrix {
    fn prepare(&mut self, kernels: Kernels) -> Result<(), String> {
        let weights = self.weights.take();
        let values = weights.as_signed()?;
        let (scales, bias) = (std::mem::take(&mut self.scales), std::mem::take(&mut self.bias));
        self.layer = Some(MatMulU8::new(kernels, self.size, &values, &scales, &bias).map_err(kernel_error)?);
        Ok(())
    }
}

impl Step for MatMulConst {
    fn kind(&self) -> String {
        match self.kind {
            Kind::Floats(_) => "matmul f32".into(),
            Kind::Bytes(..) => "matmul int8".into(),
        }
    }

    fn reads(&self) -> Vec<BufferId> {
        match &self.kind {
            Kind::Floats(_) => vec![self.input],
            Kind::Bytes(params, _) => vec![self.input, *params],
        }
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn constants(&mut self) -> Vec<&mut Constant> {
        match &mut self.kind {
            Kind::Floats(step) => vec![&mut step.matrix],
            Kind::Bytes(_, step) => vec![&mut step.weights],
        }
    }

    fn prepare(&mut self, kernels: Kernels, _: &[Image]) -> Result<(), String> {
        match &mut self.kind {
            Kind::Floats(step) => step.prepare(kernels),
            Kind::Bytes(_, step) => step.prepare(kernels),
        }
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let unpacked = || "a product was not packed".to_string();
        let input = memory.image(self.input);
        match &self.kind {
            Kind::Floats(step) => {
                let layer = step.layer.as_ref().ok_or_else(unpacked)?;
                let (inputs, mut output) = memory.write::<f32>(self.output)?;
                let input = inputs.view::<f32>(&input).map_err(kernel_error)?;
                layer.run(input.pixel(0, 0), output.row_values_mut(0)).map_err(kernel_error)
            }
            Kind::Bytes(params, step) => {
                let layer = step.layer.as_ref().ok_or_else(unpacked)?;
                let params = read_params(memory.flat(*params)?)?;
                let image = memory.image(self.output);
                let Memory { arena, scratch, .. } = memory;
                let (inputs, mut output) = arena.writing::<f32>(&image).map_err(kernel_error)?;
                let input = inputs.view::<u8>(&input).map_err(kernel_error)?;
                layer.run(input.pixel(0, 0), &params, output.row_values_mut(0), scratch).map_err(kernel_error)
            }
        }
    }

    fn fuse_bias(&mut self, bias: &[f32]) -> bool {
        let (own, n, free) = match &mut self.kind {
            Kind::Floats(step) => {
                let free = step.activation == Activation::NONE;
                (&mut step.bias, step.size[1], free)
            }
            Kind::Bytes(_, step) => (&mut step.bias, step.size[1], true),
        };
        let fits = free && own.is_empty() && bias.len() == n;
        if fits {
            *own = bias.to_vec();
        }
        fits
    }

    fn fuse_activation(&mut self, activation: Activation) -> bool {
        let Kind::Floats(step) = &mut self.kind else { return false };
        step.activation.then(activation).inspect(|both| step.activation = *both).is_some()
    }
}

/// A product of two computed values.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct MatMul {
    inputs: [BufferId; 2],
    output: BufferId,
    shape: Shape,
}

impl Step for MatMul {
    fn kind(&self) -> String {
        "matmul of two f32".into()
    }

    fn reads(&self) -> Vec<BufferId> {
        self.inputs.to_vec()
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn check(&self, buffers: &[Buffer]) -> Result<(), String> {
        let Shape { m, k, n, pairs, .. } = &self.shape;
        let (Some(of_a), Some(of_b), Some(of_output)) =
            (m.checked_mul(*k), k.checked_mul(*n), m.checked_mul(*n))
        else {
            return Err("matrices are out of all proportion".into());
        };
        let [a, b] = self.inputs.map(|id| &buffers[id.0]);
        let to = &buffers[self.output.0];
        let holds = |from: &Buffer, size: usize, at: usize| at < from.channels / size;
        let fits = ![*m, *k, *n].contains(&0)
            && [a, b, to].into_iter().all(Buffer::is_flat)
            && of_output.checked_mul(pairs.len()) == Some(to.channels)
            && pairs.iter().all(|[first, second]| holds(a, of_a, *first) && holds(b, of_b, *second));
        ensure(fits, "matrices do not fill the numbers")
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let kernels = memory.kernels;
        let Shape { m, k, n, pairs, transposed } = &self.shape;
        let [a, b] = self.inputs.map(|id| memory.image(id));
        let image = memory.image(self.output);
        let Memory { arena, scratch, .. } = memory;
        let (inputs, mut output) = arena.writing::<f32>(&image).map_err(kernel_error)?;
        let [a, b] =
            [inputs.view::<f32>(&a).map_err(kernel_error)?, inputs.view::<f32>(&b).map_err(kernel_error)?];
        let (a, b) = (a.pixel(0, 0), b.pixel(0, 0));
        let parts = output.row_values_mut(0).chunks_exact_mut(m * n);
        for ([first, second], out) in pairs.iter().zip(parts) {
            let a = a.get(first * m * k..(first + 1) * m * k).ok_or("a matrix is missing")?;
            let b = b.get(second * k * n..(second + 1) * k * n).ok_or("a matrix is missing")?;
            kernels.matmul_f32([*k, *n], a, (b, *transposed), out, scratch).map_err(kernel_error)?;
        }
        Ok(())
    }
}
