//! The shape of a convolution, and how a kernel walks over its input.

use std::ops::Range;

use crate::error::{KernelError, Result};
use crate::image::Padding;
use crate::view::{Element, View, ViewMut};

/// What a convolution looks like, without its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Input pixels from one output pixel to the next: down, across.
    pub stride: [usize; 2],
    /// Input pixels from one tap to the next: down, across.
    pub dilation: [usize; 2],
    /// Padding before the first row and the first column. What comes after follows from the output's size.
    pub padding: [usize; 2],
    /// Groups of channels that do not see each other; as many as channels is a depthwise convolution.
    pub groups: usize,
    /// Channels of the input.
    pub input_channels: usize,
    /// Channels of the output.
    pub output_channels: usize,
    /// [`crate::Image::pixel_stride`] of the input: `input_channels`, unless it is a slice of a wider image.
    pub input_pixel_stride: usize,
}

impl ConvShape {
    /// A 1×1 convolution: a matrix product.
    pub fn pointwise(input_channels: usize, output_channels: usize) -> Self {
        Self {
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            padding: [0, 0],
            groups: 1,
            input_channels,
            output_channels,
            input_pixel_stride: input_channels,
        }
    }

    /// Whether each channel is convolved by itself.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.input_channels && self.groups == self.output_channels
    }

    /// Weights of one output channel.
    pub fn weights_per_channel(&self) -> usize {
        self.input_channels / self.groups.max(1) * self.kernel[0] * self.kernel[1]
    }

    /// Multiplications for an output of this size.
    pub fn multiplications(&self, height: usize, width: usize) -> u64 {
        (height * width * self.output_channels) as u64 * self.weights_per_channel() as u64
    }

    /// The padding that the input needs for an output of this size.
    pub fn required_padding(&self, input: [usize; 2], output: [usize; 2]) -> Padding {
        let after = |axis: usize| {
            // Saturating: a reach that wrapped around would ask for no padding, and let the kernels read anywhere.
            let steps = (output[axis].max(1) - 1).saturating_mul(self.stride[axis]);
            let taps = (self.kernel[axis] - 1).saturating_mul(self.dilation[axis]);
            let reach = steps.saturating_add(taps).saturating_add(1);
            reach.saturating_sub(self.padding[axis].saturating_add(input[axis]))
        };
        Padding { top: self.padding[0], left: self.padding[1], bottom: after(0), right: after(1) }
    }

    /// # Errors
    /// A number is 0 or the groups do not divide the channels.
    pub(crate) fn check(&self, kernel: &'static str) -> Result<()> {
        let positive = [self.kernel, self.stride, self.dilation].as_flattened().iter().all(|v| *v > 0)
            && self.groups > 0
            && self.input_channels > 0
            && self.output_channels > 0;
        if !positive {
            return Err(KernelError::shape(
                kernel,
                "kernel, stride, dilation, groups and channels must be at least 1",
            ));
        }
        if !self.input_channels.is_multiple_of(self.groups)
            || !self.output_channels.is_multiple_of(self.groups)
        {
            return Err(KernelError::shape(
                kernel,
                format!(
                    "{} groups do not divide {} and {} channels",
                    self.groups, self.input_channels, self.output_channels
                ),
            ));
        }
        if self.input_pixel_stride < self.input_channels {
            return Err(KernelError::shape(kernel, "the input's pixel stride is less than its channels"));
        }
        // Far beyond any model, and keeps every product below from overflowing.
        let small = [self.kernel, self.stride, self.dilation, self.padding]
            .as_flattened()
            .iter()
            .all(|v| *v < 1 << 12);
        if !small || self.input_pixel_stride >= 1 << 24 || self.output_channels >= 1 << 24 {
            return Err(KernelError::shape(kernel, "a dimension is out of all proportion"));
        }
        let [height, width] = self.kernel;
        let weights = [self.input_channels / self.groups, height, width, self.output_channels];
        if weights.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).is_none_or(|n| n > 1 << 30) {
            return Err(KernelError::shape(kernel, "there are too many weights"));
        }
        Ok(())
    }

    /// Whether the taps of one kernel row lie side by side in memory, so that they are one run of elements.
    pub(crate) fn rows_are_runs(&self) -> bool {
        let group_channels = self.input_channels / self.groups;
        self.kernel[1] == 1 || (self.dilation[1] == 1 && self.input_pixel_stride == group_channels)
    }

    /// Number of runs down and across, and the length of one.
    pub(crate) fn runs(&self) -> ([usize; 2], usize) {
        let channels = self.input_channels / self.groups;
        if self.rows_are_runs() {
            ([self.kernel[0], 1], self.kernel[1] * channels)
        } else {
            (self.kernel, channels)
        }
    }

    /// Checks the views against this shape and says how to walk over them.
    ///
    /// Every element that a walk reaches lies within `input.data`, and every one it writes within `output.data`.
    pub(crate) fn walk<T: Element, U: Element>(
        &self,
        kernel: &'static str,
        input: &View<'_, T>,
        output: &ViewMut<'_, U>,
    ) -> Result<Walk> {
        let (from, to) = (input.image(), output.image());
        if from.channels != self.input_channels || to.channels != self.output_channels {
            return Err(KernelError::shape(
                kernel,
                format!(
                    "channels are {} to {} and not {} to {}",
                    from.channels, to.channels, self.input_channels, self.output_channels
                ),
            ));
        }
        if from.pixel_stride != self.input_pixel_stride {
            return Err(KernelError::shape(
                kernel,
                format!(
                    "it was packed for a pixel stride of {}, not {}",
                    self.input_pixel_stride, from.pixel_stride
                ),
            ));
        }
        let need = self.required_padding([from.height, from.width], [to.height, to.width]);
        if need.union(from.padding) != from.padding {
            return Err(KernelError::shape(
                kernel,
                format!("it needs a padding of {need:?}, its input has {:?}", from.padding),
            ));
        }
        let (runs, run_length) = self.runs();
        let walk = Walk {
            // Within the padding that was just checked.
            origin: input.origin - self.padding[0] * from.row_stride - self.padding[1] * from.pixel_stride,
            step: [self.stride[0] * from.row_stride, self.stride[1] * from.pixel_stride],
            runs,
            run_step: [self.dilation[0] * from.row_stride, self.dilation[1] * from.pixel_stride],
            run_length,
            rows: output.rows(),
            width: to.width,
            output_step: [to.row_stride, to.pixel_stride],
            channels: self.output_channels / self.groups,
        };
        Ok(walk)
    }
}

/// How a kernel walks: all numbers in elements.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    /// Element of the input at which the receptive field of output pixel (0, 0) begins.
    pub(crate) origin: usize,
    /// Input elements from one output row, and one output pixel, to the next.
    pub(crate) step: [usize; 2],
    /// Runs of input elements in a receptive field: down, across.
    pub(crate) runs: [usize; 2],
    /// Input elements from one run to the next: down, across.
    pub(crate) run_step: [usize; 2],
    /// Elements of one run.
    pub(crate) run_length: usize,
    /// Output rows to write; the output's memory begins at the first of them.
    pub(crate) rows: Range<usize>,
    /// Output pixels in a row.
    pub(crate) width: usize,
    /// Output elements from one row, and one pixel, to the next.
    pub(crate) output_step: [usize; 2],
    /// Output channels.
    pub(crate) channels: usize,
}

impl Walk {
    /// One past the last input element that is read.
    pub(crate) fn input_end(&self) -> usize {
        self.origin
            + (self.rows.end.max(1) - 1) * self.step[0]
            + (self.width - 1) * self.step[1]
            + (self.runs[0] - 1) * self.run_step[0]
            + (self.runs[1] - 1) * self.run_step[1]
            + self.run_length
    }

    /// One past the last output element that is written.
    pub(crate) fn output_end(&self) -> usize {
        if self.rows.is_empty() {
            return 0;
        }
        (self.rows.len() - 1) * self.output_step[0] + (self.width - 1) * self.output_step[1] + self.channels
    }

    /// Panics unless the walk stays within memory of these lengths: the last line of defence of unsafe code, once a
    /// call and not in a loop.
    pub(crate) fn assert_within(&self, input: usize, output: usize) {
        assert!(self.rows.is_empty() || (self.input_end() <= input && self.output_end() <= output));
    }
}
