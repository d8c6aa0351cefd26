//! Quantised convolutions.

use super::depthwise::{DepthwiseU8Job, DepthwiseU8Kernel};
use super::pack::{Packed, pack_dense, pad_blocks};
use super::shape::{ConvShape, Walk};
use crate::cpu::Kernels;
use crate::error::{KernelError, Result};
use crate::quant::{OutputU8, Rounding};
use crate::view::{Element, View, ViewMut};

const NAME: &str = "conv_u8";

/// Weights of a quantised convolution.
#[derive(Debug, Clone, Copy)]
pub struct ConvWeightsU8<'a> {
    /// In ONNX's order: output channel, input channel of the group, kernel row, kernel column.
    pub weights: &'a [i8],
    /// One for each output channel, in steps of input scale × weight scale. Empty is all zero.
    pub bias: &'a [i32],
    /// One for each output channel. For bytes: input scale × weight scale / output scale; for f32 output: without the
    /// last.
    pub multiplier: &'a [f32],
    /// Zero point of the input, which also fills its padding.
    pub input_zero_point: u8,
}

/// A quantised convolution, packed for one path.
///
/// `out = table[clamp(round((bias + Σ (x - zero_point) * w) * multiplier) + output.zero_point)]`
#[derive(Debug, Clone)]
pub struct Conv2dU8 {
    shape: ConvShape,
    output: OutputU8,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// One pack for each group.
    Dense(&'static ConvU8Kernel, Vec<Packed<i8, i32>>),
    Depthwise(&'static DepthwiseU8Kernel, Packed<i8, i32>),
}

/// Where a quantised layer's results go.
pub(crate) enum Sink<'a> {
    /// Requantised.
    Bytes(&'a mut [u8]),
    /// Times the multiplier.
    Floats(&'a mut [f32]),
}

/// One call of a dense kernel.
pub(crate) struct ConvU8Job<'a> {
    pub(crate) walk: Walk,
    pub(crate) input: &'a [u8],
    pub(crate) weights: &'a [i8],
    /// With the input's zero point folded in; padded to whole blocks, as is `multiplier`.
    pub(crate) bias: &'a [i32],
    pub(crate) multiplier: &'a [f32],
    pub(crate) rounding: Rounding,
    pub(crate) lookup_table: Option<&'a [u8; 256]>,
}

/// How a path convolves.
#[derive(Debug)]
pub(crate) struct ConvU8Kernel {
    /// Block widths, descending.
    pub(crate) widths: &'static [usize],
    /// Elements that are multiplied together; a run must have at least as many.
    pub(crate) group: usize,
    /// What the kernel takes away from each byte before it multiplies; biases are made for that.
    pub(crate) offset: i32,
    /// Whether its sums are exact for these weights.
    pub(crate) supports: fn(&[i8]) -> bool,
    /// Safety: this machine has the path's instructions; the job's walk lies within its memory, and weights are packed
    /// with these widths and this group.
    pub(crate) run: unsafe fn(&ConvU8Job<'_>, Sink<'_>),
}

impl Conv2dU8 {
    /// Packs the weights for the kernels' path.
    ///
    /// # Errors
    /// The shape makes no sense, or the weights are not as many as it says, or a multiplier is not a number.
    pub fn new(
        kernels: Kernels,
        shape: &ConvShape,
        weights: &ConvWeightsU8<'_>,
        output: &OutputU8,
    ) -> Result<Self> {
        shape.check(NAME)?;
        let (channels, each) = (shape.output_channels, shape.weights_per_channel());
        let bias_fits = weights.bias.is_empty() || weights.bias.len() == channels;
        if weights.weights.len() != channels * each || weights.multiplier.len() != channels || !bias_fits {
            return Err(KernelError::shape(
                NAME,
                format!(
                    "{channels} channels of {each} weights do not match {} weights, {} multipliers, {} biases",
                    weights.weights.len(),
                    weights.multiplier.len(),
                    weights.bias.len()
                ),
            ));
        }
        if !weights.multiplier.iter().all(|m| m.is_finite()) {
            return Err(KernelError::shape(NAME, "a multiplier is not a finite number"));
        }
        let kind = if shape.is_depthwise() {
            let kernel = kernels.dispatch.depthwise_u8.iter().find(|kernel| (kernel.supports)(shape));
            let kernel = kernel.unwrap_or(&crate::portable::depthwise::U8);
            let bias = folded_bias(weights, channels, each, kernel.offset);
            Kind::Depthwise(kernel, (kernel.pack)(shape, weights.weights, &bias, weights.multiplier))
        } else {
            let (_, run_length) = shape.runs();
            let mut fast = kernels.dispatch.conv_u8.iter();
            let fast = fast.find(|kernel| run_length >= kernel.group && (kernel.supports)(weights.weights));
            let kernel = fast.unwrap_or(&crate::portable::conv::U8);
            let bias = folded_bias(weights, channels, each, kernel.offset);
            let of_group = |group| pack_group(shape, kernel, weights, &bias, group);
            Kind::Dense(kernel, (0..shape.groups).map(of_group).collect())
        };
        Ok(Self { shape: *shape, output: output.clone(), kind })
    }

    /// The shape it was made for.
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// Convolves into bytes, the rows of `output`.
    ///
    /// # Errors
    /// The images do not match the shape, or the input's padding is too small.
    pub fn run(&self, input: View<'_, u8>, output: ViewMut<'_, u8>) -> Result<()> {
        self.run_into(input, output, |bytes| Sink::Bytes(bytes))
    }

    /// Convolves into f32: the sums times the multipliers.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_f32(&self, input: View<'_, u8>, output: ViewMut<'_, f32>) -> Result<()> {
        self.run_into(input, output, |floats| Sink::Floats(floats))
    }

    /// What is taken away from each byte before it is multiplied, and how many channels are computed with those that
    /// fill up blocks; `None` if the layer is depthwise or has groups.
    pub(crate) fn one_group(&self) -> Option<(i32, usize)> {
        match &self.kind {
            Kind::Dense(kernel, groups) if groups.len() == 1 => Some((kernel.offset, groups[0].bias.len())),
            _ => None,
        }
    }

    /// As [`Self::run_f32`] with other biases, zero point folded in, and multipliers: as many of both as
    /// [`Self::one_group`] says.
    pub(crate) fn run_f32_with(
        &self,
        input: View<'_, u8>,
        output: ViewMut<'_, f32>,
        bias: &[i32],
        multiplier: &[f32],
    ) -> Result<()> {
        let walk = self.shape.walk(NAME, &input, &output)?;
        let (Kind::Dense(kernel, groups), Some((_, padded))) = (&self.kind, self.one_group()) else {
            return Err(KernelError::shape(NAME, "a layer of groups has its own biases only"));
        };
        if bias.len() != padded || multiplier.len() != padded {
            return Err(KernelError::shape(NAME, "biases and multipliers are not one for each channel"));
        }
        if walk.rows.is_empty() {
            return Ok(());
        }
        walk.assert_within(input.data.len(), output.data.len());
        let job = ConvU8Job {
            walk,
            input: input.data,
            weights: &groups[0].weights,
            bias,
            multiplier,
            rounding: self.output.rounding(),
            lookup_table: None,
        };
        // SAFETY: as in `run_into`; biases and multipliers are as many as the layer's own.
        unsafe { (kernel.run)(&job, Sink::Floats(output.data)) };
        Ok(())
    }

    fn run_into<T: Element>(
        &self,
        input: View<'_, u8>,
        output: ViewMut<'_, T>,
        sink: impl Fn(&mut [T]) -> Sink<'_>,
    ) -> Result<()> {
        let walk = self.shape.walk(NAME, &input, &output)?;
        if walk.rows.is_empty() {
            return Ok(());
        }
        let (rounding, lookup_table) = (self.output.rounding(), self.output.lookup_table.as_deref());
        match &self.kind {
            Kind::Depthwise(kernel, packed) => {
                let walk = depthwise_walk(&self.shape, walk, input.image());
                walk.assert_within(input.data.len(), output.data.len());
                let job = DepthwiseU8Job {
                    walk,
                    stride: self.shape.stride[1],
                    input: input.data,
                    packed,
                    rounding,
                    lookup_table,
                };
                // SAFETY: the table belongs to a path that this machine runs, the walk was just checked, and the
                // kernel's own `pack` made the weights.
                unsafe { (kernel.run)(&job, sink(output.data)) };
            }
            Kind::Dense(kernel, groups) => {
                let inputs = self.shape.input_channels / self.shape.groups;
                for (group, packed) in groups.iter().enumerate() {
                    let mut walk = walk.clone();
                    walk.origin += group * inputs;
                    let memory = &mut output.data[group * walk.channels..];
                    walk.assert_within(input.data.len(), memory.len());
                    let job = ConvU8Job {
                        walk,
                        input: input.data,
                        weights: &packed.weights,
                        bias: &packed.bias,
                        multiplier: &packed.multiplier,
                        rounding,
                        lookup_table,
                    };
                    // SAFETY: as above; `pack_group` used this kernel's widths and group.
                    unsafe { (kernel.run)(&job, sink(memory)) };
                }
            }
        }
        Ok(())
    }
}

/// The walk of a depthwise convolution: each tap is a run of one element of each channel.
pub(super) fn depthwise_walk(shape: &ConvShape, walk: Walk, input: &crate::image::Image) -> Walk {
    Walk {
        runs: shape.kernel,
        run_step: [shape.dilation[0] * input.row_stride, shape.dilation[1] * input.pixel_stride],
        run_length: shape.input_channels,
        channels: shape.output_channels,
        ..walk
    }
}

/// `Σ (x - z) * w = Σ x * w - z * Σ w`: the second part goes into the bias.
/// What the kernel takes away from bytes itself is not taken away again.
fn folded_bias(weights: &ConvWeightsU8<'_>, channels: usize, each: usize, offset: i32) -> Vec<i32> {
    let zero = i32::from(weights.input_zero_point) - offset;
    let of_channel = |channel: usize| {
        let sum: i32 = weights.weights[channel * each..][..each].iter().map(|w| i32::from(*w)).sum();
        let bias = weights.bias.get(channel).copied().unwrap_or(0);
        bias.wrapping_sub(zero.wrapping_mul(sum))
    };
    (0..channels).map(of_channel).collect()
}

fn pack_group(
    shape: &ConvShape,
    kernel: &ConvU8Kernel,
    weights: &ConvWeightsU8<'_>,
    bias: &[i32],
    group: usize,
) -> Packed<i8, i32> {
    let channels = shape.output_channels / shape.groups;
    let of_group = group * channels..(group + 1) * channels;
    let ([down, across], run_length) = shape.runs();
    let weight = onnx_weight(shape, weights.weights);
    Packed {
        weights: pack_dense(
            channels,
            kernel.widths,
            down * across,
            run_length,
            kernel.group,
            |channel, run, element| weight(group * channels + channel, run, element),
        ),
        bias: pad_blocks(&bias[of_group.clone()], kernel.widths),
        multiplier: pad_blocks(&weights.multiplier[of_group], kernel.widths),
    }
}

/// Finds a weight in ONNX's order by output channel, run, and element of the run.
pub(super) fn onnx_weight<'a, W: Copy>(
    shape: &'a ConvShape,
    weights: &'a [W],
) -> impl Fn(usize, usize, usize) -> W + use<'a, W> {
    let inputs = shape.input_channels / shape.groups;
    let [height, width] = shape.kernel;
    let merged = shape.rows_are_runs();
    let ([down, across], length) = shape.runs();
    let place = |run: usize, element: usize| {
        let (row, column, input) = if merged {
            (run, element / inputs, element % inputs)
        } else {
            (run / width, run % width, element)
        };
        (input * height + row) * width + column
    };
    // The same for all channels: divided once, and not for each weight.
    let places: Vec<usize> =
        (0..down * across).flat_map(|run| (0..length).map(move |element| place(run, element))).collect();
    let each = shape.weights_per_channel();
    move |channel, run, element| weights[channel * each + places[run * length + element]]
}
