//! What changes an image where it lies.

use super::one_a_channel;
use crate::conv::Activation;
use crate::cpu::Kernels;
use crate::error::Result;
use crate::view::ViewMut;

impl Kernels {
    /// An activation of what was just written.
    ///
    /// # Errors
    /// The slopes fit neither all nor each of the channels.
    pub fn activate_in_place(self, mut image: ViewMut<'_, f32>, activation: &Activation) -> Result<()> {
        let (shape, slopes) = (*image.image(), activation.slopes.len());
        if slopes > 1 {
            one_a_channel("activate_in_place", "slopes", slopes, &shape)?;
        }
        let run = self.table.runs.activate;
        let whole = shape.is_dense() && slopes <= 1;
        for y in image.rows() {
            let row = image.row_values_mut(y);
            let step = if whole { row.len() } else { shape.pixel_stride };
            for pixel in row.chunks_mut(step) {
                let pixel = if whole { pixel } else { &mut pixel[..shape.channels] };
                // SAFETY: the table's path runs on this machine; with a slope for each channel a run is a pixel.
                unsafe { run(pixel, activation) };
            }
        }
        Ok(())
    }
}
