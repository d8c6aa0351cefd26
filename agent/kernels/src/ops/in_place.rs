//! What changes an image where it lies.

use super::check_one_per_channel;
use crate::conv::Activation;
use crate::cpu::Kernels;
use crate::error::Result;
use crate::ops::unary_fn::UnaryFn;
use crate::view::ViewMut;

impl Kernels {
    /// An activation of what was just written.
    ///
    /// # Errors
    /// The slopes fit neither all nor each of the channels.
    pub fn activate_in_place(self, mut image: ViewMut<'_, f32>, activation: &Activation) -> Result<()> {
        let (shape, slopes) = (*image.image(), activation.slopes.len());
        if slopes > 1 {
            check_one_per_channel("activate_in_place", "slopes", slopes, &shape)?;
        }
        let run = self.dispatch.runs.activate;
        let whole = shape.is_dense() && slopes <= 1;
        // SAFETY: the table's path runs on this machine; with a slope for each channel a run is a pixel.
        in_place(&mut image, whole, |values| unsafe { run(values, activation) });
        Ok(())
    }

    /// A function of each value of what was just written.
    pub fn unary_in_place(self, mut image: ViewMut<'_, f32>, function: &UnaryFn) {
        let (run, whole) = (self.dispatch.runs.unary_fn, image.image().is_dense());
        // SAFETY: the table's path runs on this machine.
        in_place(&mut image, whole, |values| unsafe { run(values, function) });
    }
}

/// Calls `run` for each row if all of it is the image's own, else for each pixel.
fn in_place(image: &mut ViewMut<'_, f32>, whole: bool, run: impl Fn(&mut [f32])) {
    let shape = *image.image();
    for y in image.rows() {
        let row = image.row_values_mut(y);
        let step = if whole { row.len() } else { shape.pixel_stride };
        for pixel in row.chunks_mut(step) {
            run(if whole { pixel } else { &mut pixel[..shape.channels] });
        }
    }
}
