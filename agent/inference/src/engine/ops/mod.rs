//! The operators: each file holds the rule that recognises one in the graph and the step that runs it.

pub(super) mod axes;
pub(super) mod binary;
pub(super) mod broadcast;
pub(super) mod concat;
pub(super) mod conv_f32;
pub(super) mod conv_transpose;
pub(super) mod conv_u8;
pub(super) mod dynamic_quantise;
mod epilogue;
pub(super) mod gather;
pub(super) mod layout;
pub(super) mod matmul;
mod operator;
pub(super) mod pad;
pub(super) mod patterns;
pub(super) mod pool;
pub(super) mod prelu;
pub(super) mod quantise;
pub(super) mod resize;
pub(super) mod row_ops;
pub(super) mod slice;
pub(super) mod unary;
