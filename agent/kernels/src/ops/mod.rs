//! Everything but convolutions: what the engine calls on [`crate::Kernels`].

pub(crate) mod broadcast;
pub(crate) mod elementwise;
pub(crate) mod in_place;
pub(crate) mod layout;
pub(crate) mod matmul;
pub(crate) mod pool;
pub(crate) mod resize;
pub(crate) mod unary_fn;

use crate::error::{KernelError, Result};
use crate::image::Image;

/// # Errors
/// The two images differ in size.
fn check_same_size(kernel: &'static str, input: &Image, output: &Image) -> Result<()> {
    if input.shape() == output.shape() {
        return Ok(());
    }
    Err(KernelError::shape(
        kernel,
        format!("{:?} is not the size {:?} of the output", input.shape(), output.shape()),
    ))
}

/// # Errors
/// `count` is not the output's number of channels.
fn check_one_per_channel(kernel: &'static str, what: &str, count: usize, output: &Image) -> Result<()> {
    if count == output.channels {
        return Ok(());
    }
    Err(KernelError::shape(
        kernel,
        format!("{count} {what} are not one for each of {} channels", output.channels),
    ))
}
