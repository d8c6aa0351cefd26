//! Matrix products as 1×1 convolutions: `[m, k] × [k, n]`, all row-major and dense. Rows are the unit that threads share.

use crate::conv::{Activation, Conv2dF32, Conv2dU8, ConvShape, ConvWeightsU8, multiply};
use crate::cpu::Kernels;
use crate::error::{KernelError, Result};
use crate::image::{Image, Padding};
use crate::quant::{Dequantise, OutputU8};
use crate::view::{View, ViewMut};

/// A product with a constant f32 matrix.
#[derive(Debug, Clone)]
pub struct MatMulF32 {
    conv: Conv2dF32,
}

impl MatMulF32 {
    /// Packs `b`, `k` rows of `n`.
    ///
    /// # Errors
    /// The numbers do not match.
    pub fn new(
        kernels: Kernels,
        [k, n]: [usize; 2],
        b: &[f32],
        bias: &[f32],
        activation: &Activation,
    ) -> Result<Self> {
        check("matmul_f32", b.len(), k, n)?;
        let transposed: Vec<f32> =
            (0..n).flat_map(|column| (0..k).map(move |row| b[row * n + column])).collect();
        Ok(Self {
            conv: Conv2dF32::new(kernels, &ConvShape::pointwise(k, n), &transposed, bias, activation)?,
        })
    }

    /// `out = activation(a × b + bias)`, `m` rows.
    ///
    /// # Errors
    /// `a` or `out` are not `m` rows.
    pub fn run(&self, a: &[f32], out: &mut [f32]) -> Result<()> {
        let shape = self.conv.shape();
        let (from, to) = rows("matmul_f32", a.len(), out.len(), shape)?;
        self.conv.run(View::new(a, &from)?, ViewMut::new(out, &to)?)
    }
}

/// A product of a quantised matrix with a constant one, where scale and zero point of the first are known only when it
/// is computed (ONNX's `DynamicQuantizeLinear` and `MatMulInteger`).
#[derive(Debug, Clone)]
pub struct MatMulU8 {
    conv: Conv2dU8,
    sums: Vec<i32>,
    scales: Vec<f32>,
    bias: Vec<f32>,
}

impl MatMulU8 {
    /// Packs `b`, `k` rows of `n`, with a scale for each column, and what is added to each; no bias is all zero.
    ///
    /// # Errors
    /// The numbers do not match, or a scale is no finite number.
    pub fn new(kernels: Kernels, [k, n]: [usize; 2], b: &[i8], scales: &[f32], bias: &[f32]) -> Result<Self> {
        check("matmul_u8", b.len(), k, n)?;
        if !(bias.is_empty() || bias.len() == n) {
            return Err(KernelError::shape("matmul_u8", format!("{} biases are not {n}", bias.len())));
        }
        let transposed: Vec<i8> =
            (0..n).flat_map(|column| (0..k).map(move |row| b[row * n + column])).collect();
        let sums = transposed.chunks(k).map(|column| column.iter().map(|w| i32::from(*w)).sum()).collect();
        let weights =
            ConvWeightsU8 { weights: &transposed, bias: &[], multiplier: scales, input_zero_point: 0 };
        let conv = Conv2dU8::new(kernels, &ConvShape::pointwise(k, n), &weights, &OutputU8::new(0))?;
        Ok(Self { conv, sums, scales: scales.to_vec(), bias: bias.to_vec() })
    }

    /// `out = a × b + bias` in f32, `m` rows, where `a` means what `input_params` says.
    ///
    /// # Errors
    /// `a` or `out` are not `m` rows.
    pub fn run(
        &self,
        a: &[u8],
        input_params: &Dequantise,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let (from, to) = rows("matmul_u8", a.len(), out.len(), self.conv.shape())?;
        let (offset, padded) =
            self.conv.one_group().ok_or_else(|| KernelError::shape("matmul_u8", "it is no product"))?;
        let zero = i32::from(input_params.zero_point) - offset;
        let Scratch { bias, multiplier, .. } = scratch;
        bias.clear();
        bias.extend(self.sums.iter().map(|sum| zero.wrapping_mul(*sum).wrapping_neg()));
        bias.resize(padded, 0);
        multiplier.clear();
        multiplier.extend(self.scales.iter().map(|scale| scale * input_params.scale));
        multiplier.resize(padded, 0.0);
        self.conv.run_f32_with(View::new(a, &from)?, ViewMut::new(out, &to)?, bias, multiplier)?;
        if !self.bias.is_empty() {
            for row in out.chunks_exact_mut(self.bias.len()) {
                row.iter_mut().zip(&self.bias).for_each(|(to, bias)| *to += bias);
            }
        }
        Ok(())
    }
}

/// Memory that products take for their time, kept from one to the next.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    bias: Vec<i32>,
    multiplier: Vec<f32>,
    packed: Vec<f32>,
}

impl Kernels {
    /// `out = a × b`, both computed: `b` is packed at each call. `transposed` says that `b` has `n` rows of `k`.
    ///
    /// # Errors
    /// The numbers do not match.
    pub fn matmul_f32(
        self,
        [k, n]: [usize; 2],
        a: &[f32],
        (b, transposed): (&[f32], bool),
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<()> {
        check("matmul_f32", b.len(), k, n)?;
        let (from, to) = rows("matmul_f32", a.len(), out.len(), &ConvShape::pointwise(k, n))?;
        let (a, out) = (View::new(a, &from)?, ViewMut::new(out, &to)?);
        multiply(self, [k, n], a, (b, transposed), out, &mut scratch.packed)
    }
}

fn check(kernel: &'static str, length: usize, k: usize, n: usize) -> Result<()> {
    if k > 0 && n > 0 && length == k.saturating_mul(n) {
        return Ok(());
    }
    Err(KernelError::shape(kernel, format!("{length} elements are not a matrix of {k} by {n}")))
}

/// Both matrices as images of one column.
fn rows(kernel: &'static str, a: usize, out: usize, shape: &ConvShape) -> Result<(Image, Image)> {
    let (k, n) = (shape.input_channels, shape.output_channels);
    let m = a / k;
    if m == 0 || a != m * k || Some(out) != m.checked_mul(n) {
        return Err(KernelError::shape(
            kernel,
            format!("{a} and {out} elements are not rows of {k} and {n}"),
        ));
    }
    Ok((Image::dense(0, m, 1, k, Padding::default()), Image::dense(0, m, 1, n, Padding::default())))
}
