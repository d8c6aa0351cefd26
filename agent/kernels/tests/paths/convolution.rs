//! Convolutions and matrix products: every path against the portable one. Whole memories are compared, so a path that
//! writes beside its output fails too.

use aimass_kernels::{
    Activation, Conv2dF32, Conv2dU8, ConvWeightsU8, Dequantise, Kernels, MatMulF32, MatMulU8, Scratch, View,
    ViewMut,
};
use proptest::prelude::*;

use crate::case::{Random, close, config, fast_paths, same, scalar};
use crate::guarded::Guarded;
use crate::shape::Case;

/// Runs a layer in parts of rows, as threads would.
fn in_parts<T: aimass_kernels::Element>(output: ViewMut<'_, T>, parts: usize, run: impl Fn(ViewMut<'_, T>)) {
    output.split_rows(parts).into_iter().for_each(run);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn quantised_convolutions_agree_to_the_bit(seed: u64, depthwise: bool, extreme: bool, parts in 1_usize..4) {
        let mut random = Random(seed);
        let case = Case::random(&mut random, depthwise);
        let memory = Guarded::new(&random.bytes(case.input_length, extreme));
        let weights = random.weights(case.weights(), extreme);
        let channels = case.shape.output_channels;
        let bias: Vec<i32> = (0..channels).map(|_| random.next() as i32 >> 12).collect();
        let scale = if extreme { 2.0 } else { 1.0 / (64.0 * (case.shape.weights_per_channel() as f32).sqrt()) };
        let multiplier: Vec<f32> = (0..channels).map(|_| (random.float() + 1.1) * scale).collect();
        let given = ConvWeightsU8 {
            weights: &weights,
            bias: &bias,
            multiplier: &multiplier,
            input_zero_point: random.byte(),
        };
        let output = random.output();
        let run = |kernels: Kernels, parts: usize| {
            let conv = Conv2dU8::new(kernels, &case.shape, &given, &output).unwrap();
            let input = View::new(&memory, &case.input).unwrap();
            let mut bytes = Guarded::new(&vec![0xA5; case.output_length]);
            in_parts(ViewMut::new(&mut bytes, &case.output).unwrap(), parts, |o| conv.run(input, o).unwrap());
            let mut floats = Guarded::new(&vec![0.5; case.output_length]);
            in_parts(ViewMut::new(&mut floats, &case.output).unwrap(), parts, |o| conv.run_f32(input, o).unwrap());
            (bytes, floats)
        };
        let expected = run(scalar(), 1);
        for path in fast_paths() {
            let actual = run(path, parts);
            same(&expected.0, &actual.0, path, &format!("{case:?}"));
            same(&expected.1, &actual.1, path, &format!("f32 of {case:?}"));
        }
    }

    #[test]
    fn f32_convolutions_agree_but_for_rounding(seed: u64, depthwise: bool, parts in 1_usize..4) {
        let mut random = Random(seed);
        let case = Case::random(&mut random, depthwise);
        let memory = Guarded::new(&random.floats(case.input_length));
        let weights = random.floats(case.weights());
        let channels = case.shape.output_channels;
        let bias = if random.chance(3) { Vec::new() } else { random.floats(channels) };
        let activation = match random.below(4) {
            0 => Activation::none(),
            1 => Activation::clamp(0.0, 0.5),
            2 => Activation::leaky(vec![0.1]),
            _ => Activation { slopes: random.floats(channels), low: -0.5, high: 2.0 },
        };
        let run = |kernels: Kernels, parts: usize| {
            let conv = Conv2dF32::new(kernels, &case.shape, &weights, &bias, &activation).unwrap();
            let input = View::new(&memory, &case.input).unwrap();
            let mut floats = Guarded::new(&vec![0.5; case.output_length]);
            in_parts(ViewMut::new(&mut floats, &case.output).unwrap(), parts, |o| conv.run(input, o).unwrap());
            floats
        };
        let expected = run(scalar(), 1);
        for path in fast_paths() {
            let actual = run(path, parts);
            close(&expected, &actual, case.shape.weights_per_channel(), path, &format!("{case:?} {activation:?}"));
        }
    }

    #[test]
    fn matrix_products_agree(seed: u64, m in 1_usize..40, k in 1_usize..80, n in 1_usize..80) {
        let mut random = Random(seed);
        let (a, b) = (random.floats(m * k), random.floats(k * n));
        let (bytes, weights) = (random.bytes(m * k, false), random.weights(k * n, false));
        let (scales, bias) = (random.floats(n), random.floats(n));
        let meaning = Dequantise { scale: 0.25, zero_point: random.byte() };
        let mut expected = vec![0.0; m * n];
        let mut expected_u8 = expected.clone();
        for (row, column) in (0..m).flat_map(|row| (0..n).map(move |column| (row, column))) {
            let sum: f64 = (0..k).map(|i| f64::from(a[row * k + i]) * f64::from(b[i * n + column])).sum();
            expected[row * n + column] = sum as f32;
            let value = |i: usize| i32::from(bytes[row * k + i]) - i32::from(meaning.zero_point);
            let sum: i32 = (0..k).map(|i| value(i) * i32::from(weights[i * n + column])).sum();
            expected_u8[row * n + column] = sum as f32 * (scales[column] * meaning.scale);
        }
        let transposed: Vec<f32> = (0..n).flat_map(|c| (0..k).map(move |r| (r, c))).map(|(r, c)| b[r * n + c]).collect();
        for path in fast_paths().into_iter().chain([scalar()]) {
            let (mut out, mut scratch) = (vec![0.0; m * n], Scratch::default());
            MatMulF32::new(path, [k, n], &b, &[], &Activation::none()).unwrap().run(&a, &mut out).unwrap();
            close(&expected, &out, k, path, "constant");
            path.matmul_f32([k, n], &a, (&b, false), &mut out, &mut scratch).unwrap();
            close(&expected, &out, k, path, "computed");
            path.matmul_f32([k, n], &a, (&transposed, true), &mut out, &mut scratch).unwrap();
            close(&expected, &out, k, path, "transposed");
            let product = MatMulU8::new(path, [k, n], &weights, &scales, &[]).unwrap();
            product.run(&bytes, &meaning, &mut out, &mut scratch).unwrap();
            same(&expected_u8, &out, path, "quantised");
            let product = MatMulU8::new(path, [k, n], &weights, &scales, &bias).unwrap();
            product.run(&bytes, &meaning, &mut out, &mut scratch).unwrap();
            let with_bias: Vec<f32> = expected_u8.iter().enumerate().map(|(at, sum)| sum + bias[at % n]).collect();
            same(&with_bias, &out, path, "quantised with a bias");
        }
    }
}

/// More weights than a cache holds are read in another order.
#[test]
fn an_f32_layer_with_many_weights_for_few_pixels_agrees_but_for_rounding() {
    use aimass_kernels::{ConvShape, Image, Padding};
    let mut random = Random(11);
    let shape = ConvShape { kernel: [3, 3], padding: [1, 1], ..ConvShape::pointwise(130, 120) };
    let padding = Padding { top: 1, left: 1, bottom: 1, right: 1 };
    let (from, to) = (Image::dense(0, 5, 5, 130, padding), Image::dense(0, 5, 5, 120, Padding::default()));
    let memory = Guarded::new(&random.floats(from.footprint()));
    let (weights, bias) = (random.floats(9 * 130 * 120), random.floats(120));
    let run = |kernels: Kernels, parts: usize| {
        let layer = Conv2dF32::new(kernels, &shape, &weights, &bias, &Activation::leaky(vec![0.1])).unwrap();
        let input = View::new(&memory, &from).unwrap();
        let mut floats = Guarded::new(&vec![0.5; to.footprint()]);
        in_parts(ViewMut::new(&mut floats, &to).unwrap(), parts, |o| layer.run(input, o).unwrap());
        floats
    };
    let expected = run(scalar(), 1);
    for path in fast_paths() {
        let (whole, cut) = (run(path, 1), run(path, 3));
        close(&expected, &whole, shape.weights_per_channel(), path, "whole");
        same(&whole, &cut, path, "in three parts");
    }
}

#[test]
fn a_layer_with_functions_is_the_layer_and_then_the_functions() {
    use aimass_kernels::{ConvShape, Image, Padding, UnaryFn};
    let mut random = Random(7);
    // Rows enough for several strips, and a slice of a wider image.
    let shape = ConvShape::pointwise(5, 40);
    let from = Image::dense(0, 30, 67, 5, Padding::default());
    let to = Image::dense(0, 30, 67, 43, Padding::default()).channel_slice(2, 40);
    let (memory, weights) = (random.floats(from.footprint()), random.floats(5 * 40));
    let functions = vec![UnaryFn::HardSwish, UnaryFn::Affine { factor: 1.5, term: -0.25 }];
    for kernels in fast_paths().into_iter().chain([scalar()]) {
        let plain = Conv2dF32::new(kernels, &shape, &weights, &[], &Activation::clamp(-2.0, 2.0)).unwrap();
        let length = to.extent().unwrap().end;
        let (mut expected, mut actual) = (vec![0.5; length], vec![0.5; length]);
        let input = View::new(&memory, &from).unwrap();
        plain.run(input, ViewMut::new(&mut expected, &to).unwrap()).unwrap();
        for function in &functions {
            kernels.unary_in_place(ViewMut::new(&mut expected, &to).unwrap(), function);
        }
        let layer = plain.with_unary_fns(functions.clone());
        in_parts(ViewMut::new(&mut actual, &to).unwrap(), 2, |o| layer.run(input, o).unwrap());
        same(&expected, &actual, kernels, "functions");
    }
}

#[test]
fn an_output_that_no_cache_holds_is_as_right_as_a_small_one() {
    use aimass_kernels::{Arena, ConvShape, Image, Padding};
    let mut random = Random(8);
    let all = Padding { top: 1, left: 1, bottom: 1, right: 1 };
    let to = Image::dense(0, 200, 180, 80, Padding::default());
    for (groups, inputs) in [(1, 8), (80, 80)] {
        let from = Image::dense(0, 200, 180, inputs, all);
        let memory = random.floats(from.footprint());
        let kernel = if groups == 1 { [1, 1] } else { [3, 3] };
        let padding = kernel.map(|size| size / 2);
        let shape = ConvShape { kernel, padding, groups, ..ConvShape::pointwise(inputs, 80) };
        let weights = random.floats(80 * shape.weights_per_channel());
        let run = |kernels: Kernels| {
            let conv = Conv2dF32::new(kernels, &shape, &weights, &[], &Activation::none()).unwrap();
            // It begins at a cache line, as vectors may not.
            let mut arena = Arena::new(to.footprint() * 4);
            let (_, output) = arena.writing::<f32>(&to).unwrap();
            conv.run(View::new(&memory, &from).unwrap(), output).unwrap();
            (0..200).flat_map(|y| arena.view::<f32>(&to).unwrap().row_values(y).to_vec()).collect::<Vec<_>>()
        };
        let expected = run(scalar());
        for path in fast_paths() {
            close(&expected, &run(path), shape.weights_per_channel(), path, "a large output");
        }
    }
}

#[test]
fn a_convolution_refuses_what_does_not_fit() {
    use aimass_kernels::{ConvShape, Image, OutputU8, Padding};
    let shape = ConvShape { kernel: [3, 3], padding: [1, 1], ..ConvShape::pointwise(4, 8) };
    let weights = vec![1_i8; 8 * 4 * 9];
    let given = ConvWeightsU8 { weights: &weights, bias: &[], multiplier: &[0.5; 8], input_zero_point: 0 };
    let output = OutputU8::new(0);
    for kernels in fast_paths().into_iter().chain([scalar()]) {
        assert!(
            Conv2dU8::new(kernels, &shape, &ConvWeightsU8 { multiplier: &[0.5; 7], ..given }, &output)
                .is_err()
        );
        let infinite = ConvWeightsU8 { multiplier: &[f32::INFINITY; 8], ..given };
        assert!(Conv2dU8::new(kernels, &shape, &infinite, &output).is_err());
        assert!(Conv2dU8::new(kernels, &ConvShape { groups: 3, ..shape }, &given, &output).is_err());
        let conv = Conv2dU8::new(kernels, &shape, &given, &output).unwrap();
        let memory = vec![0_u8; 4096];
        let mut out = vec![0_u8; 4096];
        let to = Image::dense(0, 5, 5, 8, Padding::default());
        let all = Padding { top: 1, left: 1, bottom: 1, right: 1 };
        let mut run = |image: &Image, to: &Image| {
            conv.run(View::new(&memory, image).unwrap(), ViewMut::new(&mut out, to).unwrap()).is_ok()
        };
        assert!(run(&Image::dense(0, 5, 5, 4, all), &to));
        for padding in [
            Padding { top: 0, ..all },
            Padding { left: 0, ..all },
            Padding { bottom: 0, ..all },
            Padding { right: 0, ..all },
        ] {
            assert!(!run(&Image::dense(0, 5, 5, 4, padding), &to), "{padding:?}");
        }
        assert!(!run(&Image::dense(0, 5, 5, 5, all), &to));
        assert!(!run(&Image::dense(0, 5, 5, 5, all).channel_slice(0, 4), &to));
        assert!(!run(&Image::dense(0, 5, 5, 4, all), &Image::dense(0, 6, 5, 8, Padding::default())));
        assert!(!run(&Image::dense(0, 5, 5, 4, all), &Image::dense(0, 5, 5, 7, Padding::default())));
    }
}
