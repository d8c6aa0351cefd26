//! F32 convolutions.

use super::conv_u8::{depthwise_walk, onnx_weight};
use super::depthwise::DepthwiseF32Job;
use super::pack::{Packed, blocks, pack_dense, pad_blocks};
use super::shape::{ConvShape, Walk};
use crate::cpu::Kernels;
use crate::dispatch::DispatchTable;
use crate::error::{KernelError, Result};
use crate::ops::unary_fn::UnaryFn;
use crate::view::{View, ViewMut};

const NAME: &str = "conv_f32";

/// What follows a layer's sum: a slope below zero, then bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Activation {
    /// Factor of values below zero for each channel (PReLU); one element is for all channels; empty is none.
    pub slopes: Vec<f32>,
    /// Least value.
    pub low: f32,
    /// Greatest value.
    pub high: f32,
}

impl Activation {
    /// Leaves values as they are.
    pub fn none() -> Self {
        Self { slopes: Vec::new(), low: f32::NEG_INFINITY, high: f32::INFINITY }
    }

    /// Relu, Relu6, Clip.
    pub fn clamp(low: f32, high: f32) -> Self {
        Self { slopes: Vec::new(), low, high }
    }

    /// LeakyRelu with one slope, PReLU with one for each channel.
    pub fn leaky(slopes: Vec<f32>) -> Self {
        Self { slopes, ..Self::none() }
    }

    /// Whether it does nothing.
    pub fn is_none(&self) -> bool {
        self.slopes.is_empty() && self.low == f32::NEG_INFINITY && self.high == f32::INFINITY
    }

    /// The value of one channel.
    #[inline(always)]
    pub(crate) fn value(&self, value: f32, channel: usize) -> f32 {
        let slope = match self.slopes.as_slice() {
            [] => 1.0,
            [slope] => *slope,
            slopes => slopes[channel],
        };
        let value = if value < 0.0 { value * slope } else { value };
        let value = if value < self.low { self.low } else { value };
        if value > self.high { self.high } else { value }
    }

    /// The part for some channels of a layer.
    fn of_channels(&self, channels: std::ops::Range<usize>) -> Self {
        let slopes = if self.slopes.len() > 1 { self.slopes[channels].to_vec() } else { self.slopes.clone() };
        Self { slopes, ..*self }
    }
}

/// An f32 convolution, packed for one path.
#[derive(Debug, Clone)]
pub struct Conv2dF32 {
    shape: ConvShape,
    kernels: Kernels,
    kind: Kind,
    /// What becomes of each value at last, in this order.
    unary_fns: Vec<UnaryFn>,
}

/// Numbers of an output that are convolved before their functions are computed: they are still near.
const CHUNK_ELEMENTS: usize = 1 << 15;

#[derive(Debug, Clone)]
enum Kind {
    Dense(Vec<(Packed<f32, f32>, Activation)>),
    Depthwise { weights: Vec<f32>, bias: Vec<f32>, activation: Activation },
}

/// One call of a dense kernel.
pub(crate) struct ConvF32Job<'a> {
    pub(crate) walk: Walk,
    pub(crate) input: &'a [f32],
    pub(crate) weights: &'a [f32],
    /// Padded to whole blocks.
    pub(crate) bias: &'a [f32],
    pub(crate) activation: &'a Activation,
}

/// How a path convolves.
#[derive(Debug)]
pub(crate) struct ConvF32Kernel {
    /// Block widths, descending.
    pub(crate) widths: &'static [usize],
    /// Safety: as `ConvU8Kernel::run`, with a group of 1; the activation has 0, 1 or `walk.channels` slopes.
    pub(crate) run: unsafe fn(&ConvF32Job<'_>, &mut [f32]),
}

impl Conv2dF32 {
    /// Packs weights (in ONNX's order: output channel, input channel of the group, row, column) for the kernels' path.
    /// No bias is all zero.
    ///
    /// # Errors
    /// The shape makes no sense, or weights, biases or slopes are not as many as it says.
    pub fn new(
        kernels: Kernels,
        shape: &ConvShape,
        weights: &[f32],
        bias: &[f32],
        activation: &Activation,
    ) -> Result<Self> {
        shape.check(NAME)?;
        let (channels, each) = (shape.output_channels, shape.weights_per_channel());
        let bias_fits = bias.is_empty() || bias.len() == channels;
        let slopes_fit = activation.slopes.len() <= 1 || activation.slopes.len() == channels;
        if weights.len() != channels * each || !bias_fits || !slopes_fit {
            return Err(KernelError::shape(
                NAME,
                format!(
                    "{channels} channels of {each} weights do not match {} weights, {} biases, {} slopes",
                    weights.len(),
                    bias.len(),
                    activation.slopes.len()
                ),
            ));
        }
        let bias = if bias.is_empty() { vec![0.0; channels] } else { bias.to_vec() };
        let kind = if shape.is_depthwise() {
            let taps = shape.kernel[0] * shape.kernel[1];
            let weights =
                (0..taps).flat_map(|tap| (0..channels).map(move |channel| weights[channel * taps + tap]));
            Kind::Depthwise { weights: weights.collect(), bias, activation: activation.clone() }
        } else {
            Kind::Dense(
                (0..shape.groups)
                    .map(|g| pack_group(shape, kernels.dispatch, weights, &bias, activation, g))
                    .collect(),
            )
        };
        Ok(Self { shape: *shape, kernels, kind, unary_fns: Vec::new() })
    }

    /// With functions of each value, one after the other, behind the activation.
    pub fn with_unary_fns(self, unary_fns: Vec<UnaryFn>) -> Self {
        Self { unary_fns, ..self }
    }

    /// The shape it was made for.
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// Convolves the rows of `output`.
    ///
    /// # Errors
    /// The images do not match the shape, or the input's padding is too small.
    pub fn run(&self, input: View<'_, f32>, output: ViewMut<'_, f32>) -> Result<()> {
        if self.unary_fns.is_empty() {
            return self.convolve(input, output);
        }
        let rows = (CHUNK_ELEMENTS / output.image().row_stride.max(1)).max(1);
        let mut rest = output;
        while !rest.rows().is_empty() {
            let end = rest.rows().start + rows;
            let (mut chunk, below) = rest.split_at_row(end);
            self.convolve(input, chunk.reborrow())?;
            for function in &self.unary_fns {
                self.kernels.unary_in_place(chunk.reborrow(), function);
            }
            rest = below;
        }
        Ok(())
    }

    fn convolve(&self, input: View<'_, f32>, output: ViewMut<'_, f32>) -> Result<()> {
        let walk = self.shape.walk(NAME, &input, &output)?;
        if walk.rows.is_empty() {
            return Ok(());
        }
        let dispatch = self.kernels.dispatch;
        match &self.kind {
            Kind::Depthwise { weights, bias, activation } => {
                let walk = depthwise_walk(&self.shape, walk, input.image());
                walk.assert_within(input.data.len(), output.data.len());
                let job = DepthwiseF32Job { walk, input: input.data, weights, bias, activation };
                // SAFETY: the table belongs to a path that this machine runs, the walk was just checked, and `new`
                // checked the numbers of weights, biases and slopes.
                unsafe { (dispatch.depthwise_f32.run)(&job, output.data) };
            }
            Kind::Dense(groups) => {
                let inputs = self.shape.input_channels / self.shape.groups;
                for (group, (packed, activation)) in groups.iter().enumerate() {
                    let mut walk = walk.clone();
                    walk.origin += group * inputs;
                    let memory = &mut output.data[group * walk.channels..];
                    walk.assert_within(input.data.len(), memory.len());
                    let job = ConvF32Job {
                        walk,
                        input: input.data,
                        weights: &packed.weights,
                        bias: &packed.bias,
                        activation,
                    };
                    // SAFETY: as above; `pack_group` used the widths of the same table.
                    unsafe { (dispatch.conv_f32.run)(&job, memory) };
                }
            }
        }
        Ok(())
    }
}

/// The largest packed matrix, in numbers: 256 MB.
const MAX_PACKED: usize = 1 << 26;

/// `out = a × b`, where `b` is packed for this one use, quickly, into `packed`. `transposed` says that `b` has `n` rows
/// of `k`.
///
/// # Errors
/// A matrix is out of all proportion, or the images do not match it.
pub(crate) fn multiply(
    kernels: Kernels,
    [k, n]: [usize; 2],
    a: View<'_, f32>,
    (b, transposed): (&[f32], bool),
    out: ViewMut<'_, f32>,
    packed: &mut Vec<f32>,
) -> Result<()> {
    let shape = ConvShape::pointwise(k, n);
    shape.check("matmul_f32")?;
    let kernel = &kernels.dispatch.conv_f32;
    let length: usize = blocks(n, kernel.widths).map(|(_, width)| width).sum();
    // A narrow matrix is filled up to a block, and may become sixteen times as large.
    if length.saturating_mul(k + 1) > MAX_PACKED {
        return Err(KernelError::shape("matmul_f32", format!("a matrix of {k} x {n} is too large to pack")));
    }
    // Weights, and behind them biases: all 0, as are the columns that fill up a block.
    packed.clear();
    packed.resize(length * (k + 1), 0.0);
    let (weights, bias) = packed.split_at_mut(length * k);
    for (start, width) in blocks(n, kernel.widths) {
        let block = &mut weights[start * k..][..width * k];
        let used = width.min(n - start);
        if transposed {
            for (column, values) in b[start * k..][..used * k].chunks_exact(k).enumerate() {
                block[column..].iter_mut().step_by(width).zip(values).for_each(|(to, from)| *to = *from);
            }
        } else {
            for (to, from) in block.chunks_exact_mut(width).zip(b.chunks_exact(n)) {
                to[..used].copy_from_slice(&from[start..start + used]);
            }
        }
    }
    let walk = shape.walk("matmul_f32", &a, &out)?;
    walk.assert_within(a.data.len(), out.data.len());
    let job = ConvF32Job { walk, input: a.data, weights, bias, activation: &Activation::none() };
    // SAFETY: the table belongs to a path that this machine runs, the walk was just checked, and the weights were packed
    // with the kernel's widths.
    unsafe { (kernel.run)(&job, out.data) };
    Ok(())
}

fn pack_group(
    shape: &ConvShape,
    dispatch: &DispatchTable,
    weights: &[f32],
    bias: &[f32],
    activation: &Activation,
    group: usize,
) -> (Packed<f32, f32>, Activation) {
    let channels = shape.output_channels / shape.groups;
    let of_group = group * channels..(group + 1) * channels;
    let ([down, across], run_length) = shape.runs();
    let weight = onnx_weight(shape, weights);
    let widths = dispatch.conv_f32.widths;
    let packed = Packed {
        weights: pack_dense(channels, widths, down * across, run_length, 1, |channel, run, element| {
            weight(group * channels + channel, run, element)
        }),
        bias: pad_blocks(&bias[of_group.clone()], widths),
        multiplier: Vec::new(),
    };
    (packed, activation.of_channels(of_group))
}
