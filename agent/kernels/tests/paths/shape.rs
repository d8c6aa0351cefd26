//! Random shapes of convolutions.

use aimass_kernels::{ConvShape, Image, Padding};

use crate::case::Random;

/// A convolution with an input and an output that fit it.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) shape: ConvShape,
    pub(crate) input: Image,
    pub(crate) input_length: usize,
    pub(crate) output: Image,
    pub(crate) output_length: usize,
}

/// Channel counts that lie around the widths of blocks, and any others up to 257.
fn channels(random: &mut Random) -> usize {
    const EDGES: [usize; 20] = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 257];
    if random.chance(2) { EDGES[random.below(EDGES.len())] } else { 1 + random.below(257) }
}

impl Case {
    pub(crate) fn random(random: &mut Random, depthwise: bool) -> Self {
        let size =
            |random: &mut Random| if random.chance(4) { 1 + random.below(67) } else { 1 + random.below(14) };
        let kernel = match random.below(6) {
            0 | 1 => [1, 1],
            2 | 3 => [3, 3],
            4 => [5, 5],
            _ => [1 + random.below(7), 1 + random.below(7)],
        };
        let kernel = if depthwise && kernel == [1, 1] { [3, 3] } else { kernel };
        let stride = if random.chance(2) { [1, 1] } else { [1 + random.below(3), 1 + random.below(3)] };
        let dilation = if random.chance(4) { [1 + random.below(3), 1 + random.below(3)] } else { [1, 1] };
        let (groups, inputs, outputs) = if depthwise {
            let channels = channels(random).max(2);
            (channels, channels, channels)
        } else {
            let groups = if random.chance(5) { 2 + random.below(3) } else { 1 };
            let limit = if groups > 1 { 40 } else { 257 };
            (groups, groups * channels(random).min(limit), groups * channels(random).min(limit))
        };
        let padding = [random.below(kernel[0]), random.below(kernel[1])];
        let mut sizes = [size(random), size(random)];
        // Keeps a case within some million multiplications.
        while sizes[0] * sizes[1] * kernel[0] * kernel[1] * inputs * outputs / groups > 6_000_000
            && sizes != [1, 1]
        {
            sizes = sizes.map(|size| size.div_ceil(2));
        }
        let output_size = [0, 1].map(|axis| {
            let reach = (kernel[axis] - 1) * dilation[axis] + 1;
            let after = random.below(kernel[axis]);
            (sizes[axis] + padding[axis] + after).saturating_sub(reach) / stride[axis] + 1
        });
        let slice = random.chance(4);
        let shape = ConvShape {
            kernel,
            stride,
            dilation,
            padding,
            groups,
            input_channels: inputs,
            output_channels: outputs,
            input_pixel_stride: 0,
        };
        let extra = if random.chance(2) { random.padding() } else { Padding::default() };
        let padding = shape.required_padding(sizes, output_size).union(extra);
        let (input, input_length) = random.image(sizes[0], sizes[1], inputs, padding, slice);
        let (slice, padding) = (random.chance(4), random.padding());
        let (output, output_length) = random.image(output_size[0], output_size[1], outputs, padding, slice);
        let shape = ConvShape { input_pixel_stride: input.pixel_stride, ..shape };
        Self { shape, input, input_length, output, output_length }
    }

    pub(crate) fn weights(&self) -> usize {
        self.shape.output_channels * self.shape.weights_per_channel()
    }
}
