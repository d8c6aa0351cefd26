//! The operators: each file holds the rule that recognises one in the graph and the step that runs it.

pub(super) mod axes;
pub(super) mod binary;
pub(super) mod composed;
pub(super) mod concat;
pub(super) mod conv;
pub(super) mod conv_float;
pub(super) mod deconv;
pub(super) mod gather;
pub(super) mod layout;
pub(super) mod matmul;
mod operator;
pub(super) mod pad;
pub(super) mod pool;
pub(super) mod prelu;
pub(super) mod quantise;
pub(super) mod quantise_by_range;
pub(super) mod resize;
pub(super) mod rows;
pub(super) mod slice;
pub(super) mod spread;
mod tail;
pub(super) mod unary;

/// A kernel's error as this crate's engine passes it on.
fn refused(error: aimass_kernels::KernelError) -> String {
    error.to_string()
}
