//! Between planes (NCHW, one picture), which the rest of the world has, and images (NHWC).

use crate::cpu::Kernels;
use crate::error::{KernelError, Result};
use crate::image::Image;
use crate::quant::{Dequantise, Quantise};
use crate::view::{Element, View, ViewMut};

/// One row of planes.
pub(crate) struct PlanesJob<'a, T> {
    planes: &'a [T],
    /// Of the row in the first plane.
    first: usize,
    plane: usize,
    width: usize,
    pub(crate) channels: usize,
    pub(crate) pixel_stride: usize,
}

impl<'a, T> PlanesJob<'a, T> {
    #[inline(always)]
    pub(crate) fn row(&self, channel: usize) -> &'a [T] {
        &self.planes[self.first + channel * self.plane..][..self.width]
    }
}

fn check(kernel: &'static str, planes: usize, image: &Image) -> Result<()> {
    let expected = image.shape().iter().product::<usize>();
    if planes == expected {
        return Ok(());
    }
    Err(KernelError::shape(
        kernel,
        format!("planes of {planes} elements are not an image {:?}", image.shape()),
    ))
}

fn job<'a, T>(planes: &'a [T], image: &Image, y: usize) -> PlanesJob<'a, T> {
    PlanesJob {
        planes,
        first: y * image.width,
        plane: image.height * image.width,
        width: image.width,
        channels: image.channels,
        pixel_stride: image.pixel_stride,
    }
}

impl Kernels {
    /// Quantises planes into an image.
    ///
    /// # Errors
    /// The planes are not as large as the image.
    pub fn quantise_planes(
        self,
        planes: &[f32],
        mut output: ViewMut<'_, u8>,
        quantise: &Quantise,
    ) -> Result<()> {
        let image = *output.image();
        check("quantise_planes", planes.len(), &image)?;
        for y in output.rows() {
            // SAFETY: the table's path runs on this machine; the row lies within the planes by the check.
            unsafe { (self.dispatch.runs.quantise_planes)(&job(planes, &image, y), output.row(y), quantise) };
        }
        Ok(())
    }

    /// Planes into an image, without a change of values.
    ///
    /// # Errors
    /// The planes are not as large as the image.
    pub fn from_planes<T: Element>(self, planes: &[T], mut output: ViewMut<'_, T>) -> Result<()> {
        let image = *output.image();
        check("from_planes", planes.len(), &image)?;
        for y in output.rows() {
            let (job, row) = (job(planes, &image, y), output.row(y));
            for channel in 0..image.channels {
                let pixels = row[channel..].iter_mut().step_by(image.pixel_stride);
                pixels.zip(job.row(channel)).for_each(|(to, from)| *to = *from);
            }
        }
        Ok(())
    }

    /// An image into planes, without a change of values.
    ///
    /// # Errors
    /// The planes are not as large as the image.
    pub fn to_planes<T: Element>(self, input: View<'_, T>, planes: &mut [T]) -> Result<()> {
        self.map_to_planes(input, planes, |value| value)
    }

    /// An image of bytes into planes of f32.
    ///
    /// # Errors
    /// The planes are not as large as the image.
    pub fn dequantise_to_planes(
        self,
        input: View<'_, u8>,
        planes: &mut [f32],
        dequantise: &Dequantise,
    ) -> Result<()> {
        self.map_to_planes(input, planes, |byte| dequantise.value(byte))
    }

    /// An image into planes, with a function of each value: a table of 256 values, for example.
    ///
    /// # Errors
    /// The planes are not as large as the image.
    pub fn map_to_planes<T: Element, U>(
        self,
        input: View<'_, T>,
        planes: &mut [U],
        function: impl Fn(T) -> U,
    ) -> Result<()> {
        let image = *input.image();
        check("to_planes", planes.len(), &image)?;
        let plane = image.height * image.width;
        for y in 0..image.height {
            let row = input.row(y);
            for channel in 0..image.channels {
                let to = &mut planes[channel * plane + y * image.width..][..image.width];
                let pixels = row[channel..].iter().step_by(image.pixel_stride);
                to.iter_mut().zip(pixels).for_each(|(to, from)| *to = function(*from));
            }
        }
        Ok(())
    }
}
