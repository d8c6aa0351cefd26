//! Pooling over windows. Windows are cut at the image's border, so padding never counts as a value and needs no padding.

use std::ops::Range;

use crate::cpu::Kernels;
use crate::error::{KernelError, Result};
use crate::quant::RescaleU8;
use crate::view::{Element, View, ViewMut};

/// The windows of a pooling layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolShape {
    /// Rows and columns of a window.
    pub kernel: [usize; 2],
    /// Input pixels from one window to the next: down, across.
    pub stride: [usize; 2],
    /// Padding before the first row and column.
    pub padding: [usize; 2],
    /// For averages: divide by the window's size rather than by the pixels that lie in the image.
    pub count_padding: bool,
}

/// One call of a pooling kernel.
pub(crate) struct PoolJob<'a, T> {
    pub(crate) input: View<'a, T>,
    shape: PoolShape,
    rows: Range<usize>,
    width: usize,
    output_step: [usize; 2],
}

impl<'a, T: Element> PoolJob<'a, T> {
    fn new(
        kernel: &'static str,
        input: View<'a, T>,
        output: &ViewMut<'_, impl Element>,
        shape: &PoolShape,
    ) -> Result<Self> {
        let (from, to) = (*input.image(), *output.image());
        if from.channels != to.channels {
            return Err(KernelError::shape(
                kernel,
                format!("{} channels are not {}", from.channels, to.channels),
            ));
        }
        for (axis, (inputs, outputs)) in
            [(from.height, to.height), (from.width, to.width)].into_iter().enumerate()
        {
            let (size, stride, padding) = (shape.kernel[axis], shape.stride[axis], shape.padding[axis]);
            // Each window must see a pixel: the first by its end, the last by its start.
            if size == 0
                || stride == 0
                || padding >= size
                || (outputs - 1).saturating_mul(stride) >= inputs + padding
            {
                return Err(KernelError::shape(
                    kernel,
                    format!("a window of {shape:?} lies outside of its image"),
                ));
            }
        }
        let output_step = [to.row_stride, to.pixel_stride];
        Ok(Self { input, shape: *shape, rows: output.rows(), width: to.width, output_step })
    }

    #[inline(always)]
    fn window(&self, axis: usize, at: usize, limit: usize) -> Range<usize> {
        let start = at * self.shape.stride[axis];
        let padding = self.shape.padding[axis];
        start.saturating_sub(padding)..(start + self.shape.kernel[axis] - padding).min(limit)
    }

    /// Calls `each(rows, columns, first output element)` for every window.
    #[inline(always)]
    pub(crate) fn windows(&self, mut each: impl FnMut(Range<usize>, Range<usize>, usize)) {
        for (index, y) in self.rows.clone().enumerate() {
            let rows = self.window(0, y, self.input.image.height);
            for x in 0..self.width {
                let columns = self.window(1, x, self.input.image.width);
                each(rows.clone(), columns, index * self.output_step[0] + x * self.output_step[1]);
            }
        }
    }

    #[inline(always)]
    pub(crate) fn pixel(&self, y: usize, x: usize) -> &'a [T] {
        let image = &self.input.image;
        &self.input.data[self.input.origin + y * image.row_stride + x * image.pixel_stride..]
            [..image.channels]
    }

    /// By what a window's sum is divided.
    fn divisor(&self, rows: &Range<usize>, columns: &Range<usize>) -> f32 {
        let [height, width] = self.shape.kernel;
        (if self.shape.count_padding { height * width } else { rows.len() * columns.len() }) as f32
    }
}

impl Kernels {
    /// The greatest of each window; bytes keep their scale and zero point.
    ///
    /// # Errors
    /// The images do not match, or a window sees no pixel.
    pub fn max_pool_u8(self, input: View<'_, u8>, output: ViewMut<'_, u8>, shape: &PoolShape) -> Result<()> {
        let job = PoolJob::new("max_pool_u8", input, &output, shape)?;
        // SAFETY: the table's path runs on this machine; the kernel's accesses are checked.
        unsafe { (self.dispatch.runs.max_pool_u8)(&job, output.data) };
        Ok(())
    }

    /// The greatest of each window.
    ///
    /// # Errors
    /// As [`Self::max_pool_u8`].
    pub fn max_pool_f32(
        self,
        input: View<'_, f32>,
        output: ViewMut<'_, f32>,
        shape: &PoolShape,
    ) -> Result<()> {
        let job = PoolJob::new("max_pool_f32", input, &output, shape)?;
        // SAFETY: as in `max_pool_u8`.
        unsafe { (self.dispatch.runs.max_pool_f32)(&job, output.data) };
        Ok(())
    }

    /// The mean of each window: of the whole image when the window is as large (global pooling).
    ///
    /// # Errors
    /// As [`Self::max_pool_u8`].
    pub fn average_pool_u8(
        self,
        input: View<'_, u8>,
        output: ViewMut<'_, u8>,
        shape: &PoolShape,
        rescale: &RescaleU8,
    ) -> Result<()> {
        let job = PoolJob::new("average_pool_u8", input, &output, shape)?;
        let rounding = rescale.output.rounding();
        let channels = input.image().channels;
        let mut sums = vec![0_i32; channels];
        let out = output.data;
        job.windows(|rows, columns, at| {
            let pixels = (rows.len() * columns.len()).min(1 << 22) as i32;
            sums.fill(-i32::from(rescale.zero_point).saturating_mul(pixels));
            let ratio = rescale.ratio / job.divisor(&rows, &columns);
            for y in rows {
                for x in columns.clone() {
                    // SAFETY: the table's path runs on this machine; a pixel is as long as the sums.
                    unsafe { (self.dispatch.runs.sum_u8)(job.pixel(y, x), &mut sums) };
                }
            }
            let to = &mut out[at..at + channels];
            // SAFETY: as above.
            unsafe { (self.dispatch.runs.mean_u8)(&sums, to, ratio, &rounding) };
            self.finish(to, &rescale.output);
        });
        Ok(())
    }

    /// The mean of each window.
    ///
    /// # Errors
    /// As [`Self::max_pool_u8`].
    pub fn average_pool_f32(
        self,
        input: View<'_, f32>,
        output: ViewMut<'_, f32>,
        shape: &PoolShape,
    ) -> Result<()> {
        let job = PoolJob::new("average_pool_f32", input, &output, shape)?;
        let channels = input.image().channels;
        let mut sums = vec![0.0_f32; channels];
        let out = output.data;
        job.windows(|rows, columns, at| {
            sums.fill(0.0);
            let divisor = job.divisor(&rows, &columns);
            for y in rows {
                for x in columns.clone() {
                    sums.iter_mut().zip(job.pixel(y, x)).for_each(|(sum, value)| *sum += value);
                }
            }
            out[at..at + channels].iter_mut().zip(&sums).for_each(|(to, sum)| *to = sum / divisor);
        });
        Ok(())
    }
}
