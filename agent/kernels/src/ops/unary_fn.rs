//! Functions of f32 numbers that lie without gaps: of each, of two of a kind, and of rows.

use crate::cpu::Kernels;
use crate::error::{KernelError, Result};
use crate::quant::Dequantise;

/// A function of one number. Truths are 1.0 and 0.0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum UnaryFn {
    /// `x * factor + term`
    Affine {
        /// What `x` is multiplied by.
        factor: f32,
        /// What is added.
        term: f32,
    },
    /// `number / x`
    Reciprocal(f32),
    /// e to the power of `x`.
    Exp,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// The error function.
    Erf,
    /// `x / 2 * (1 + erf(x / sqrt 2))`
    Gelu,
    /// Its usual approximation by a hyperbolic tangent.
    GeluTanh,
    /// `x * sigmoid(x)`
    Silu,
    /// `x * clamp(x / 6 + 1/2, 0, 1)`
    HardSwish,
    /// Square root.
    Sqrt,
    /// `1 / sqrt(x)`
    Rsqrt,
    /// `x * x`
    Square,
    /// Without its sign.
    Abs,
    /// What is not a number becomes this one.
    ReplaceNan(f32),
    /// Towards zero, as a cast to an integer.
    Trunc,
    /// Whether it is not 0.
    IsNonZero,
    /// Whether it is 0.
    Not,
    /// `clamp(round(x / scale) + zero, low, high)`: a quantised value that stays f32.
    Quantise {
        /// A step.
        scale: f32,
        /// What stands for 0.
        zero: f32,
        /// Least result.
        low: f32,
        /// Greatest result.
        high: f32,
    },
}

/// A function of two numbers. Truths are 1.0 and 0.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum BinaryFn {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    And,
    Or,
}

/// A layer normalisation over rows.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNorm {
    /// A factor for each place of a row.
    pub scale: Vec<f32>,
    /// What is added at each place of a row.
    pub bias: Vec<f32>,
    /// Added to the variance.
    pub epsilon: f32,
}

/// What becomes of the numbers of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Reduction {
    Sum,
    Max,
    Min,
}

/// Values in one piece that are worth a call, and fit the nearest cache.
const CHUNK: usize = 4096;

impl Kernels {
    /// A function of each value.
    ///
    /// # Errors
    /// `from` and `to` are not equally long.
    pub fn unary(self, from: &[f32], to: &mut [f32], function: &UnaryFn) -> Result<()> {
        check_same_length("unary", from.len(), to.len())?;
        for (from, to) in from.chunks(CHUNK).zip(to.chunks_mut(CHUNK)) {
            to.copy_from_slice(from);
            // SAFETY: the table's path runs on this machine.
            unsafe { (self.dispatch.runs.unary_fn)(to, function) };
        }
        Ok(())
    }

    /// Softmax of each row of `row` values.
    ///
    /// # Errors
    /// `from` and `to` are not equally many rows.
    pub fn softmax(self, from: &[f32], to: &mut [f32], row: usize) -> Result<()> {
        check_rows("softmax", from.len(), to.len(), row)?;
        for (from, to) in from.chunks(row).zip(to.chunks_mut(row)) {
            to.copy_from_slice(from);
            // SAFETY: as in `curve`.
            unsafe { (self.dispatch.runs.softmax)(to) };
        }
        Ok(())
    }

    /// Layer normalisation of each row, as long as the norm's scale.
    ///
    /// # Errors
    /// `from` and `to` are not equally many rows, or scale and bias are not equally long.
    pub fn layer_norm(self, from: &[f32], to: &mut [f32], norm: &LayerNorm) -> Result<()> {
        let row = norm.scale.len();
        check_rows("layer_norm", from.len(), to.len(), row)?;
        check_same_length("layer_norm", norm.bias.len(), row)?;
        for (from, to) in from.chunks(row).zip(to.chunks_mut(row)) {
            // SAFETY: as in `curve`; rows are equally long.
            unsafe { (self.dispatch.runs.layer_norm)(from, to, norm) };
        }
        Ok(())
    }

    /// One number for each run of `row` values that lie `inner` apart: an axis of `row` places before `inner` others.
    ///
    /// # Errors
    /// The numbers do not match.
    pub fn reduce(self, from: &[f32], to: &mut [f32], [row, inner]: [usize; 2], by: Reduction) -> Result<()> {
        let each = row.saturating_mul(inner);
        if each == 0 || from.len() / each * inner != to.len() || !from.len().is_multiple_of(each) {
            return Err(KernelError::shape(
                "reduce",
                format!("{} values do not become {} by {row} each {inner} apart", from.len(), to.len()),
            ));
        }
        if inner == 1 {
            for (from, to) in from.chunks(row).zip(to) {
                let mut found = [0.0; 3];
                // SAFETY: as in `curve`; there is room for three.
                unsafe { (self.dispatch.runs.sum_max_min)(from, &mut found) };
                *to = found[by as usize];
            }
            return Ok(());
        }
        let function = match by {
            Reduction::Sum => BinaryFn::Add,
            Reduction::Max => BinaryFn::Max,
            Reduction::Min => BinaryFn::Min,
        };
        for (from, to) in from.chunks(each).zip(to.chunks_mut(inner)) {
            let (first, rest) = from.split_at(inner);
            to.copy_from_slice(first);
            for line in rest.chunks(inner) {
                let mut piece = [0.0; 64];
                for (to, line) in to.chunks_mut(64).zip(line.chunks(64)) {
                    let piece = &mut piece[..to.len()];
                    piece.copy_from_slice(to);
                    // SAFETY: as in `curve`; all three are equally long.
                    unsafe { (self.dispatch.runs.binary_fn)(piece, line, to, &function) };
                }
            }
        }
        Ok(())
    }

    /// The scale and zero point with which ONNX's `DynamicQuantizeLinear` quantises these values.
    /// Values that are not numbers are left out; values that are all 0 have scale 1.
    pub fn dynamic_range(self, values: &[f32]) -> Dequantise {
        let mut found = [0.0; 3];
        // SAFETY: as in `reduce`.
        unsafe { (self.dispatch.runs.sum_max_min)(values, &mut found) };
        let (high, low) = (found[1].max(0.0), found[2].min(0.0));
        let scale = (high - low) / 255.0;
        if !(scale.is_finite() && scale > 0.0) {
            return Dequantise { scale: 1.0, zero_point: 0 };
        }
        let zero_point = (-low / scale).round_ties_even().clamp(0.0, 255.0) as u8;
        Dequantise { scale, zero_point }
    }
}

fn check_same_length(kernel: &'static str, a: usize, b: usize) -> Result<()> {
    if a == b {
        return Ok(());
    }
    Err(KernelError::shape(kernel, format!("{a} values are not {b}")))
}

fn check_rows(kernel: &'static str, from: usize, to: usize, row: usize) -> Result<()> {
    if row > 0 && from == to && from.is_multiple_of(row) {
        return Ok(());
    }
    Err(KernelError::shape(kernel, format!("{from} and {to} values are not rows of {row}")))
}
