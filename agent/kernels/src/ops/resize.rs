//! Resizing by nearest pixel or bilinear interpolation, with ONNX's ways to count coordinates.

use crate::cpu::Kernels;
use crate::error::{KernelError, Result};
use crate::portable::resize::Sample;
use crate::quant::{Dequantise, RescaleU8};
use crate::view::{Element, View, ViewMut};

/// ONNX's `coordinate_transformation_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coordinates {
    /// Pixels have their value in their middle.
    HalfPixel,
    /// As half pixel, but an output of one pixel is at 0.
    PytorchHalfPixel,
    /// The first and last pixels of both lie upon each other.
    AlignCorners,
    /// Output pixel / scale.
    Asymmetric,
}

/// ONNX's `nearest_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nearest {
    /// Nearest, the lower at a tie.
    RoundPreferFloor,
    /// Nearest, the upper at a tie.
    RoundPreferCeil,
    /// The lower.
    Floor,
    /// The upper.
    Ceil,
}

/// Which two input pixels an output pixel lies between, along one axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    input: usize,
    /// Lower, upper, and the upper one's share.
    taps: Vec<(usize, usize, f32)>,
}

impl Axis {
    /// For bilinear interpolation from `input` to `output` pixels. `scale` is the file's if it gives scales, else
    /// output / input.
    pub fn linear(coordinates: Coordinates, input: usize, output: usize, scale: f32) -> Self {
        let last = input.max(1) - 1;
        let tap = |index| {
            let at = coordinate(coordinates, input, output, scale, index).clamp(0.0, last as f32);
            let low = (at as usize).min(last);
            (low, (low + 1).min(last), at - low as f32)
        };
        Self { input, taps: (0..output).map(tap).collect() }
    }

    /// For the nearest pixel.
    pub fn nearest(coordinates: Coordinates, mode: Nearest, input: usize, output: usize, scale: f32) -> Self {
        let last = input.max(1) - 1;
        let tap = |index| {
            let at = coordinate(coordinates, input, output, scale, index);
            let nearest = match mode {
                Nearest::RoundPreferFloor => (at - 0.5).ceil(),
                Nearest::RoundPreferCeil => (at + 0.5).floor(),
                Nearest::Floor => at.floor(),
                Nearest::Ceil => at.ceil(),
            };
            let pixel = (nearest.max(0.0) as usize).min(last);
            (pixel, pixel, 0.0)
        };
        Self { input, taps: (0..output).map(tap).collect() }
    }

    #[inline(always)]
    pub(crate) fn tap(&self, output: usize) -> (usize, usize, f32) {
        self.taps[output]
    }
}

fn coordinate(coordinates: Coordinates, input: usize, output: usize, scale: f32, index: usize) -> f32 {
    let index = index as f32;
    match coordinates {
        Coordinates::PytorchHalfPixel if output <= 1 => 0.0,
        Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (index + 0.5) / scale - 0.5,
        Coordinates::AlignCorners if output <= 1 => 0.0,
        Coordinates::AlignCorners => index * (input as f32 - 1.0) / (output as f32 - 1.0),
        Coordinates::Asymmetric => index / scale,
    }
}

/// Both axes of a resize.
#[derive(Debug, Clone, PartialEq)]
pub struct Resize {
    /// Down.
    pub rows: Axis,
    /// Across.
    pub columns: Axis,
}

/// One output row.
pub(crate) struct ResizeJob<'a, T> {
    pub(crate) upper: &'a [T],
    pub(crate) lower: &'a [T],
    /// The lower row's share.
    pub(crate) down: f32,
    pub(crate) columns: &'a Axis,
    pub(crate) channels: usize,
    pub(crate) pixel_stride: usize,
}

impl Resize {
    fn check(
        &self,
        kernel: &'static str,
        input: &View<'_, impl Element>,
        output: &ViewMut<'_, impl Element>,
    ) -> Result<()> {
        let (from, to) = (input.image(), output.image());
        let expected = [self.rows.input, self.columns.input, from.channels];
        let made = [self.rows.taps.len(), self.columns.taps.len(), from.channels];
        if from.shape() == expected && to.shape() == made {
            return Ok(());
        }
        Err(KernelError::shape(
            kernel,
            format!("it resizes {expected:?} to {made:?} and not {:?} to {:?}", from.shape(), to.shape()),
        ))
    }

    fn row<'a, T: Element + Sample>(&'a self, input: View<'a, T>, y: usize) -> ResizeJob<'a, T> {
        let (upper, lower, down) = self.rows.tap(y);
        ResizeJob {
            upper: input.row(upper),
            lower: input.row(lower),
            down,
            columns: &self.columns,
            channels: input.image().channels,
            pixel_stride: input.image().pixel_stride,
        }
    }
}

impl Kernels {
    /// Takes the nearest pixel; bytes keep their scale and zero point.
    ///
    /// # Errors
    /// The images do not match the resize.
    pub fn resize_nearest<T: Element>(
        self,
        input: View<'_, T>,
        mut output: ViewMut<'_, T>,
        resize: &Resize,
    ) -> Result<()> {
        resize.check("resize_nearest", &input, &output)?;
        let (from, to, channels) = (*input.image(), *output.image(), input.image().channels);
        for y in output.rows() {
            let row = input.row(resize.rows.tap(y).0);
            for (x, pixel) in output.row(y).chunks_mut(to.pixel_stride).enumerate() {
                let at = resize.columns.tap(x).0 * from.pixel_stride;
                pixel[..channels].copy_from_slice(&row[at..at + channels]);
            }
        }
        Ok(())
    }

    /// Interpolates f32.
    ///
    /// # Errors
    /// The images do not match the resize.
    pub fn resize_linear_f32(
        self,
        input: View<'_, f32>,
        mut output: ViewMut<'_, f32>,
        resize: &Resize,
    ) -> Result<()> {
        resize.check("resize_linear_f32", &input, &output)?;
        let kernel = self.dispatch.runs.resize_f32;
        resize_rows(input, &mut output, resize, kernel, |values, to| to.copy_from_slice(values));
        Ok(())
    }

    /// Interpolates bytes and dequantises the result.
    ///
    /// # Errors
    /// The images do not match the resize.
    pub fn resize_linear_u8_to_f32(
        self,
        input: View<'_, u8>,
        mut output: ViewMut<'_, f32>,
        resize: &Resize,
        dequantise: &Dequantise,
    ) -> Result<()> {
        resize.check("resize_linear_u8_to_f32", &input, &output)?;
        let zero = f32::from(dequantise.zero_point);
        let kernel = self.dispatch.runs.resize_u8;
        resize_rows(input, &mut output, resize, kernel, |values, to| {
            to.iter_mut().zip(values).for_each(|(to, value)| *to = (*value - zero) * dequantise.scale);
        });
        Ok(())
    }

    /// Interpolates bytes.
    ///
    /// # Errors
    /// The images do not match the resize.
    pub fn resize_linear_u8(
        self,
        input: View<'_, u8>,
        mut output: ViewMut<'_, u8>,
        resize: &Resize,
        rescale: &RescaleU8,
    ) -> Result<()> {
        resize.check("resize_linear_u8", &input, &output)?;
        let rounding = rescale.output.rounding();
        let zero = f32::from(rescale.zero_point);
        let kernel = self.dispatch.runs.resize_u8;
        resize_rows(input, &mut output, resize, kernel, |values, to| {
            values.iter_mut().for_each(|value| *value = (*value - zero) * rescale.ratio);
            // SAFETY: the table's path runs on this machine; both runs are one row or one pixel.
            unsafe { (self.dispatch.runs.round)(values, to, &rounding) };
            self.finish(to, &rescale.output);
        });
        Ok(())
    }
}

/// Interpolates each output row into memory of its own and hands it on by runs.
fn resize_rows<T: Element + Sample, U: Element>(
    input: View<'_, T>,
    output: &mut ViewMut<'_, U>,
    resize: &Resize,
    kernel: unsafe fn(&ResizeJob<'_, T>, &mut [f32]),
    finish: impl Fn(&mut [f32], &mut [U]),
) {
    let to = *output.image();
    let mut values = vec![0.0; to.width * to.channels];
    for y in output.rows() {
        // SAFETY: the kernel comes from the table of a path that this machine runs; its accesses are checked.
        unsafe { kernel(&resize.row(input, y), &mut values) };
        let row = output.row(y);
        if to.is_dense() {
            finish(&mut values, row);
        } else {
            let pixels = values.chunks_mut(to.channels).zip(row.chunks_mut(to.pixel_stride));
            pixels.for_each(|(values, pixel)| finish(values, &mut pixel[..to.channels]));
        }
    }
}
