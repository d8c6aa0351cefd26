//! The portable path against what a convolution is.

use aimass_kernels::{Activation, Conv2dF32, Conv2dU8, ConvWeightsU8, OutputU8, View, ViewMut};
use proptest::prelude::*;

use crate::case::{Random, close, config, same, scalar};
use crate::shape::Case;

/// Calls `each(output element, input elements and weights that make it, channel)` by the definition.
fn for_each_output<T: aimass_kernels::Element, W: Copy>(
    case: &Case,
    input: View<'_, T>,
    weights: &[W],
    mut each: impl FnMut(usize, Vec<(T, W)>, usize),
) {
    let shape = &case.shape;
    let (inputs, outputs) = (shape.input_channels / shape.groups, shape.output_channels / shape.groups);
    for y in 0..case.output.height {
        for x in 0..case.output.width {
            for channel in 0..shape.output_channels {
                let mut products = Vec::new();
                for ky in 0..shape.kernel[0] {
                    for kx in 0..shape.kernel[1] {
                        let at = |out: usize, tap: usize, axis: usize| {
                            (out * shape.stride[axis] + tap * shape.dilation[axis]) as isize
                                - shape.padding[axis] as isize
                        };
                        let pixel = input.pixel(at(y, ky, 0), at(x, kx, 1));
                        for c in 0..inputs {
                            let index =
                                ((channel * inputs + c) * shape.kernel[0] + ky) * shape.kernel[1] + kx;
                            products.push((pixel[channel / outputs * inputs + c], weights[index]));
                        }
                    }
                }
                let to =
                    case.output.offset + y * case.output.row_stride + x * case.output.pixel_stride + channel;
                each(to, products, channel);
            }
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_portable_quantised_convolution_is_what_its_definition_says(seed: u64, depthwise: bool) {
        let mut random = Random(seed);
        let mut case = Case::random(&mut random, depthwise);
        // The definition is slow.
        case.output.height = case.output.height.min(3);
        let memory = random.bytes(case.input_length, false);
        let weights = random.weights(case.weights(), false);
        let channels = case.shape.output_channels;
        let bias: Vec<i32> = (0..channels).map(|_| random.next() as i32 >> 16).collect();
        let scale = 1.0 / (64.0 * (case.shape.weights_per_channel() as f32).sqrt());
        let multiplier: Vec<f32> = (0..channels).map(|_| (random.float() + 1.1) * scale).collect();
        let zero = random.byte();
        let input = View::new(&memory, &case.input).unwrap();
        let given =
            ConvWeightsU8 { weights: &weights, bias: &bias, multiplier: &multiplier, input_zero_point: zero };
        let conv = Conv2dU8::new(scalar(), &case.shape, &given, &OutputU8::new(100).with_bounds(3, 250)).unwrap();
        let mut expected = vec![0xA5; case.output_length];
        let mut actual = expected.clone();
        for_each_output(&case, input, &weights, |to, products, channel| {
            let sum: i64 = products.iter().map(|(x, w)| (i64::from(*x) - i64::from(zero)) * i64::from(*w)).sum();
            let value = (sum + i64::from(bias[channel])) as f32 * multiplier[channel];
            expected[to] = (value.round_ties_even() + 100.0).clamp(3.0, 250.0) as u8;
        });
        conv.run(input, ViewMut::new(&mut actual, &case.output).unwrap()).unwrap();
        same(&expected, &actual, scalar(), &format!("{case:?}"));
    }

    #[test]
    fn a_portable_f32_convolution_is_what_its_definition_says(seed: u64, depthwise: bool) {
        let mut random = Random(seed);
        let mut case = Case::random(&mut random, depthwise);
        case.output.height = case.output.height.min(3);
        let memory = random.floats(case.input_length);
        let weights = random.floats(case.weights());
        let bias = random.floats(case.shape.output_channels);
        let slopes = random.floats(case.shape.output_channels);
        let activation = Activation { slopes: slopes.clone(), low: -2.0, high: 3.0 };
        let input = View::new(&memory, &case.input).unwrap();
        let conv = Conv2dF32::new(scalar(), &case.shape, &weights, &bias, &activation).unwrap();
        let mut expected = vec![0.5; case.output_length];
        let mut actual = expected.clone();
        for_each_output(&case, input, &weights, |to, products, channel| {
            let sum: f64 = products.iter().map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            let value = (sum + f64::from(bias[channel])) as f32;
            expected[to] = (if value < 0.0 { value * slopes[channel] } else { value }).clamp(-2.0, 3.0);
        });
        conv.run(input, ViewMut::new(&mut actual, &case.output).unwrap()).unwrap();
        close(&expected, &actual, case.shape.weights_per_channel(), scalar(), &format!("{case:?}"));
    }
}
