//! Element by element: copies, tables, sums, products, quantisation. Rows that are dense go through as one run, rows of
//! a slice of a wider image pixel by pixel.

use super::{check_one_per_channel, check_same_size};
use crate::conv::Activation;
use crate::cpu::Kernels;
use crate::error::{KernelError, Result};
use crate::ops::unary_fn::UnaryFn;
use crate::quant::{AddU8, Dequantise, MulU8, OutputU8, PreluU8, Quantise};
use crate::view::{Element, View, ViewMut};

/// Calls `run(input, output)` for runs that are as long as they can be, or of one pixel each.
fn unary<T: Element, U: Element>(
    kernel: &'static str,
    input: View<'_, T>,
    mut output: ViewMut<'_, U>,
    by_pixel: bool,
    run: impl Fn(&[T], &mut [U]),
) -> Result<()> {
    check_same_size(kernel, input.image(), output.image())?;
    let (from, to, channels) = (*input.image(), *output.image(), input.image().channels);
    let whole = !by_pixel && from.is_dense() && to.is_dense();
    for y in output.rows() {
        let (input, output) = (input.row(y), output.row(y));
        if whole {
            run(input, output);
        } else {
            let pixels = input.chunks(from.pixel_stride).zip(output.chunks_mut(to.pixel_stride));
            pixels.for_each(|(input, output)| run(&input[..channels], &mut output[..channels]));
        }
    }
    Ok(())
}

/// As [`unary`] with two inputs; the second may be one pixel, which then stands for all.
fn binary<T: Element>(
    kernel: &'static str,
    a: View<'_, T>,
    b: View<'_, T>,
    mut output: ViewMut<'_, T>,
    run: impl Fn(&[T], &[T], &mut [T]),
) -> Result<()> {
    check_same_size(kernel, a.image(), output.image())?;
    let (of_a, of_b, to, channels) = (*a.image(), *b.image(), *output.image(), a.image().channels);
    let gate = of_b.shape() == [1, 1, channels];
    if !gate {
        check_same_size(kernel, b.image(), output.image())?;
    }
    let one_pixel = to.height == 1 && to.width == 1;
    let whole = of_a.is_dense() && of_b.is_dense() && to.is_dense() && (!gate || one_pixel);
    for y in output.rows() {
        let (a, output) = (a.row(y), output.row(y));
        if whole {
            run(a, b.row(y), output);
            continue;
        }
        let row = b.row(if gate { 0 } else { y });
        let pixels = a.chunks(of_a.pixel_stride).zip(output.chunks_mut(to.pixel_stride));
        for (x, (a, output)) in pixels.enumerate() {
            let b = &row[if gate { 0 } else { x * of_b.pixel_stride }..][..channels];
            run(&a[..channels], b, &mut output[..channels]);
        }
    }
    Ok(())
}

impl Kernels {
    /// The last step of a quantised result.
    pub(super) fn finish(self, bytes: &mut [u8], output: &OutputU8) {
        if let Some(table) = &output.lookup_table {
            // SAFETY: the table's path runs on this machine.
            unsafe { (self.dispatch.runs.lookup_in_place)(bytes, table) };
        }
    }

    /// Copies an image, for example into a slice of a wider one (concatenation).
    ///
    /// # Errors
    /// The images differ in size.
    pub fn copy<T: Element>(self, input: View<'_, T>, output: ViewMut<'_, T>) -> Result<()> {
        unary("copy", input, output, false, |from, to| match to {
            // A call for each pixel costs more than its few values.
            [to] => *to = from[0],
            to if to.len() < 8 => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
            to => to.copy_from_slice(from),
        })
    }

    /// `output = table[input]`: any activation, or another quantisation.
    ///
    /// # Errors
    /// The images differ in size.
    pub fn lookup_u8(self, input: View<'_, u8>, output: ViewMut<'_, u8>, table: &[u8; 256]) -> Result<()> {
        let run = self.dispatch.runs.lookup;
        // SAFETY: the table's path runs on this machine; `unary` gives runs of equal length.
        unary("lookup_u8", input, output, false, |from, to| unsafe { run(from, to, table) })
    }

    /// Sum of two images, or of an image and one pixel (a value for each channel).
    ///
    /// # Errors
    /// The images differ in size, and `b` is not one pixel.
    pub fn add_u8(
        self,
        a: View<'_, u8>,
        b: View<'_, u8>,
        output: ViewMut<'_, u8>,
        add: &AddU8,
    ) -> Result<()> {
        let run = self.dispatch.runs.add_u8;
        binary("add_u8", a, b, output, |a, b, to| {
            // SAFETY: the table's path runs on this machine; `binary` gives runs of equal length.
            unsafe { run(a, b, to, add) };
            self.finish(to, &add.output);
        })
    }

    /// Product of two images, or of an image and one pixel (a gate for each channel).
    ///
    /// # Errors
    /// The images differ in size, and `b` is not one pixel.
    pub fn mul_u8(
        self,
        a: View<'_, u8>,
        b: View<'_, u8>,
        output: ViewMut<'_, u8>,
        mul: &MulU8,
    ) -> Result<()> {
        let run = self.dispatch.runs.mul_u8;
        binary("mul_u8", a, b, output, |a, b, to| {
            // SAFETY: as in `add_u8`.
            unsafe { run(a, b, to, mul) };
            self.finish(to, &mul.output);
        })
    }

    /// PReLU with a slope for each channel.
    ///
    /// # Errors
    /// The images differ in size, or the slopes are not one for each channel.
    pub fn prelu_u8(self, input: View<'_, u8>, output: ViewMut<'_, u8>, prelu: &PreluU8) -> Result<()> {
        check_one_per_channel("prelu_u8", "slopes", prelu.negative.len(), output.image())?;
        let run = self.dispatch.runs.prelu_u8;
        unary("prelu_u8", input, output, true, |from, to| {
            // SAFETY: as in `add_u8`; each run is a pixel, so as long as the slopes.
            unsafe { run(from, to, prelu) };
            self.finish(to, &prelu.output);
        })
    }

    /// From f32 to bytes.
    ///
    /// # Errors
    /// The images differ in size.
    pub fn quantise(self, input: View<'_, f32>, output: ViewMut<'_, u8>, quantise: &Quantise) -> Result<()> {
        let run = self.dispatch.runs.quantise;
        // SAFETY: as in `add_u8`.
        unary("quantise", input, output, false, |from, to| unsafe { run(from, to, quantise) })
    }

    /// From bytes to f32.
    ///
    /// # Errors
    /// The images differ in size.
    pub fn dequantise(
        self,
        input: View<'_, u8>,
        output: ViewMut<'_, f32>,
        dequantise: &Dequantise,
    ) -> Result<()> {
        let run = self.dispatch.runs.dequantise;
        // SAFETY: as in `add_u8`.
        unary("dequantise", input, output, false, |from, to| unsafe { run(from, to, dequantise) })
    }

    /// Sum of two images, or of an image and one pixel.
    ///
    /// # Errors
    /// The images differ in size, and `b` is not one pixel.
    pub fn add_f32(self, a: View<'_, f32>, b: View<'_, f32>, output: ViewMut<'_, f32>) -> Result<()> {
        let run = self.dispatch.runs.add_f32;
        // SAFETY: as in `add_u8`.
        binary("add_f32", a, b, output, |a, b, to| unsafe { run(a, b, to) })
    }

    /// Product of two images, or of an image and one pixel.
    ///
    /// # Errors
    /// The images differ in size, and `b` is not one pixel.
    pub fn mul_f32(self, a: View<'_, f32>, b: View<'_, f32>, output: ViewMut<'_, f32>) -> Result<()> {
        let run = self.dispatch.runs.mul_f32;
        // SAFETY: as in `add_u8`.
        binary("mul_f32", a, b, output, |a, b, to| unsafe { run(a, b, to) })
    }

    /// An activation by itself.
    ///
    /// # Errors
    /// The images differ in size, or the slopes fit neither all nor each of the channels.
    pub fn activate_f32(
        self,
        input: View<'_, f32>,
        output: ViewMut<'_, f32>,
        activation: &Activation,
    ) -> Result<()> {
        let slopes = activation.slopes.len();
        if slopes > 1 {
            check_one_per_channel("activate_f32", "slopes", slopes, output.image())?;
        }
        let run = self.dispatch.runs.activate;
        unary("activate_f32", input, output, slopes > 1, |from, to| {
            to.copy_from_slice(from);
            // SAFETY: as in `prelu_u8`.
            unsafe { run(to, activation) };
        })
    }

    /// A function of each value of an image.
    ///
    /// # Errors
    /// The images differ in size.
    pub fn unary_image(
        self,
        input: View<'_, f32>,
        output: ViewMut<'_, f32>,
        function: &UnaryFn,
    ) -> Result<()> {
        let run = self.dispatch.runs.unary_fn;
        unary("unary_image", input, output, false, |from, to| {
            to.copy_from_slice(from);
            // SAFETY: as in `add_u8`.
            unsafe { run(to, function) };
        })
    }

    /// From bytes to f32 by a table: for bytes whose meaning is no scale and zero point.
    ///
    /// # Errors
    /// The images differ in size.
    pub fn dequantise_by_table(
        self,
        input: View<'_, u8>,
        output: ViewMut<'_, f32>,
        table: &[f32; 256],
    ) -> Result<()> {
        unary("dequantise_by_table", input, output, false, |from, to| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = table[usize::from(*from)]);
        })
    }
}

impl Dequantise {
    /// The way back.
    ///
    /// # Errors
    /// The scale is not above 0.
    pub fn quantise(&self) -> Result<Quantise> {
        if self.scale.is_finite() && self.scale > 0.0 {
            return Ok(Quantise { scale: self.scale, zero_point: self.zero_point });
        }
        Err(KernelError::shape("quantise", format!("scale {} is not above 0", self.scale)))
    }
}
