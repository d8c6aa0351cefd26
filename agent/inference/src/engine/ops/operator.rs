//! Operators of two numbers, by tract's names.

use serde::{Deserialize, Serialize};
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::binary::TypedBinOp;

/// What is done with two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
}

impl Operator {
    /// That of a node, if it is one of these.
    pub(super) fn of(node: &TypedNode) -> Option<Self> {
        Some(match node.op_as::<TypedBinOp>()?.0.name() {
            "Add" => Operator::Add,
            "Sub" => Operator::Sub,
            "Mul" => Operator::Mul,
            "Div" => Operator::Div,
            "Max" => Operator::Max,
            "Min" => Operator::Min,
            _ => return None,
        })
    }

    /// The result.
    pub(super) fn of_two(self, a: f32, b: f32) -> f32 {
        match self {
            Operator::Add => a + b,
            Operator::Sub => a - b,
            Operator::Mul => a * b,
            Operator::Div => a / b,
            Operator::Max => a.max(b),
            Operator::Min => a.min(b),
        }
    }
}
