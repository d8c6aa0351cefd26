//! What a value of the graph is while it is compiled: where it lies, and what its bytes stand for.
//!
//! A quantised value is a buffer of bytes and a table of 256 numbers. Any function of one number is then arithmetic
//! on the table, and costs nothing at run time: LeakyRelu, Sigmoid, Clip, HardSwish need no kernel of their own.

use std::sync::Arc;

use aimass_kernels::Padding;
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::Tensor;

use super::weights::QuantWeights;

/// A place in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct BufferId(pub(super) usize);

/// A tensor that tract holds while the plan runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Slot(pub(super) usize);

/// What each byte stands for.
pub(super) type DequantTable = Arc<[f32; 256]>;

/// Pixels that a `Pad` put around a picture: its consumer reads them from the padding.
pub(super) type Pad = Padding;

/// Scale, and the byte that stands for 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Affine {
    pub(super) scale: f32,
    pub(super) zero: i32,
}

impl Affine {
    pub(super) fn table(self) -> DequantTable {
        Arc::new(std::array::from_fn(|byte| (byte as i32 - self.zero) as f32 * self.scale))
    }
}

/// A quantised picture.
#[derive(Debug, Clone)]
pub(super) struct QuantMap {
    pub(super) buffer: BufferId,
    pub(super) table: DequantTable,
    /// Given as long as the table is a straight line.
    pub(super) affine: Option<Affine>,
    pub(super) pad: Pad,
    /// Nobody else reads the buffer: its bytes may be given another params where they are made.
    pub(super) single_use: bool,
}

/// A picture of f32.
#[derive(Debug, Clone, Copy)]
pub(super) struct FloatMap {
    pub(super) buffer: BufferId,
    pub(super) pad: Pad,
    pub(super) single_use: bool,
}

/// The order of numbers that lie without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    /// As the shape says.
    RowMajor,
    /// Of shape `[1, c, h, w]` or `[1, c, n]`, but channels lie side by side.
    ChannelsLast,
}

/// f32 without gaps or padding, of any rank.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flat {
    pub(super) buffer: BufferId,
    pub(super) order: Order,
    pub(super) single_use: bool,
}

/// A value of the graph.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Shape `[1, c, h, w]` as bytes.
    Quant(QuantMap),
    /// Shape `[1, c, h, w]` as f32, with a padding; what a convolution made of `[1, c, n]` too, as one row.
    Floats(FloatMap),
    /// Any shape.
    Flat(Flat),
    /// Any shape, held by tract.
    Tensor(Slot),
    /// Known now.
    Const(Arc<Tensor>),
    /// Known now, as the file holds it.
    Weights(Arc<QuantWeights>),
    /// Was made part of its only consumer.
    Absorbed,
}

/// What a step does to each number before it writes it: `clamp(x < 0 ? slope * x : x, low, high)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Activation {
    pub(super) slope: f32,
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Activation {
    pub(super) const NONE: Activation =
        Activation { slope: 1.0, low: f32::NEG_INFINITY, high: f32::INFINITY };

    /// This one, and then `next`; `None` if that is no such function.
    pub(super) fn then(self, next: Activation) -> Option<Activation> {
        if next.slope != 1.0 && self != Activation::NONE {
            return None;
        }
        if next.slope != 1.0 {
            return Some(next);
        }
        let low = self.low.max(next.low).min(next.high);
        let high = self.high.max(next.low).min(next.high);
        Some(Activation { slope: self.slope, low, high })
    }
}
