//! Everything but convolutions.

use aimass_kernels::{
    Activation, AddU8, Axis, Coordinates, Dequantise, Element, Image, Kernels, MulU8, Nearest, Padding,
    PoolShape, PreluU8, Quantise, RescaleU8, Resize, View, ViewMut,
};
use proptest::prelude::*;

use crate::case::{Random, close, config, fast_paths, same, scalar};
use crate::guarded::Guarded;

/// Two inputs and an output of one size, in layouts of their own, and a gate of one pixel.
struct Inputs {
    images: [Image; 3],
    lengths: [usize; 3],
    gate: Image,
    shape: [usize; 3],
}

impl Inputs {
    fn random(random: &mut Random) -> Self {
        let shape = [1 + random.below(9), 1 + random.below(30), 1 + random.below(100)];
        let made = std::array::from_fn(|_| {
            let (padding, slice) = (random.padding(), random.chance(3));
            random.image(shape[0], shape[1], shape[2], padding, slice)
        });
        let made: [(Image, usize); 3] = made;
        let gate = Image::dense(0, 1, 1, shape[2], Padding::default());
        Self { images: made.map(|m| m.0), lengths: made.map(|m| m.1), gate, shape }
    }
}

/// The whole memory after `run` wrote its image.
fn written<T: Element>(length: usize, image: &Image, fill: T, run: impl FnOnce(ViewMut<'_, T>)) -> Vec<T> {
    let mut memory = Guarded::new(&vec![fill; length]);
    run(ViewMut::new(&mut memory, image).unwrap());
    memory.to_vec()
}

/// All results of quantised kernels over one set of inputs.
fn quantised(kernels: Kernels, seed: u64) -> Vec<(&'static str, Vec<u8>)> {
    let mut random = Random(seed);
    let inputs = Inputs::random(&mut random);
    let extreme = random.chance(3);
    let memories = [0, 1].map(|index| Guarded::new(&random.bytes(inputs.lengths[index], extreme)));
    let gate = random.bytes(inputs.shape[2], extreme);
    let a = View::new(&memories[0], &inputs.images[0]).unwrap();
    let b = View::new(&memories[1], &inputs.images[1]).unwrap();
    let gate = View::new(&gate, &inputs.gate).unwrap();
    let output = random.output();
    let large = if extreme { 1e6 } else { 1.0 };
    let add = AddU8 {
        a_zero_point: random.byte(),
        a_ratio: random.float() * large,
        b_zero_point: random.byte(),
        b_ratio: random.float() * large,
        output: output.clone(),
    };
    let mul = MulU8 {
        a_zero_point: random.byte(),
        b_zero_point: random.byte(),
        ratio: random.float() / 100.0 * large,
        output: output.clone(),
    };
    let prelu = PreluU8 {
        zero_point: random.byte(),
        positive: random.float() * large,
        negative: random.floats(inputs.shape[2]),
        output: output.clone(),
    };
    let floats: Vec<f32> = (0..inputs.lengths[0])
        .map(|_| match random.below(40) {
            0 => f32::INFINITY,
            1 => f32::NEG_INFINITY,
            2 => f32::NAN,
            3 => f32::MAX,
            _ => random.float() * 200.0,
        })
        .collect();
    let planes = random.floats(inputs.shape.iter().product());
    let quantise = Quantise { scale: 0.01 + random.float().abs() * 3.0 * large, zero_point: random.byte() };
    let table: [u8; 256] = std::array::from_fn(|_| random.byte());
    let of = |run: &dyn Fn(ViewMut<'_, u8>)| written(inputs.lengths[2], &inputs.images[2], 0xA5, run);
    let f = View::new(&floats, &inputs.images[0]).unwrap();
    vec![
        ("copy", of(&|o| kernels.copy(a, o).unwrap())),
        ("lookup", of(&|o| kernels.lookup_u8(a, o, &table).unwrap())),
        ("add", of(&|o| kernels.add_u8(a, b, o, &add).unwrap())),
        ("add one pixel", of(&|o| kernels.add_u8(a, gate, o, &add).unwrap())),
        ("mul", of(&|o| kernels.mul_u8(a, b, o, &mul).unwrap())),
        ("mul by a gate", of(&|o| kernels.mul_u8(a, gate, o, &mul).unwrap())),
        ("prelu", of(&|o| kernels.prelu_u8(a, o, &prelu).unwrap())),
        ("quantise", of(&|o| kernels.quantise(f, o, &quantise).unwrap())),
        ("planes", of(&|o| kernels.quantise_planes(&planes, o, &quantise).unwrap())),
    ]
}

/// All results of f32 kernels over one set of inputs.
fn floating(kernels: Kernels, seed: u64) -> Vec<(&'static str, Vec<f32>)> {
    let mut random = Random(seed);
    let inputs = Inputs::random(&mut random);
    let memories = [0, 1].map(|index| Guarded::new(&random.floats(inputs.lengths[index])));
    let gate = random.floats(inputs.shape[2]);
    let bytes = random.bytes(inputs.lengths[0], false);
    let a = View::new(&memories[0], &inputs.images[0]).unwrap();
    let b = View::new(&memories[1], &inputs.images[1]).unwrap();
    let gate = View::new(&gate, &inputs.gate).unwrap();
    let q = View::new(&bytes, &inputs.images[0]).unwrap();
    let dequantise = Dequantise { scale: random.float() / 255.0, zero_point: random.byte() };
    let table: [f32; 256] = std::array::from_fn(|_| random.float());
    let planes = random.floats(inputs.shape.iter().product());
    let each = Activation { slopes: random.floats(inputs.shape[2]), low: -0.3, high: 0.4 };
    let of = |run: &dyn Fn(ViewMut<'_, f32>)| written(inputs.lengths[2], &inputs.images[2], 0.5, run);
    let to_planes = |run: &dyn Fn(&mut [f32])| {
        let mut planes = vec![0.0; inputs.shape.iter().product()];
        run(&mut planes);
        planes
    };
    vec![
        ("add", of(&|o| kernels.add_f32(a, b, o).unwrap())),
        ("mul by a gate", of(&|o| kernels.mul_f32(a, gate, o).unwrap())),
        ("dequantise", of(&|o| kernels.dequantise(q, o, &dequantise).unwrap())),
        ("by table", of(&|o| kernels.dequantise_by_table(q, o, &table).unwrap())),
        ("one slope", of(&|o| kernels.activate_f32(a, o, &Activation::leaky(vec![0.2])).unwrap())),
        ("slopes", of(&|o| kernels.activate_f32(a, o, &each).unwrap())),
        ("planes", of(&|o| kernels.from_planes(&planes, o).unwrap())),
        ("to planes", to_planes(&|o| kernels.to_planes(a, o).unwrap())),
        ("bytes to planes", to_planes(&|o| kernels.dequantise_to_planes(q, o, &dequantise).unwrap())),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn quantised_elementwise_kernels_agree_to_the_bit(seed: u64) {
        let expected = quantised(scalar(), seed);
        for path in fast_paths() {
            for ((name, expected), (_, actual)) in expected.iter().zip(quantised(path, seed)) {
                same(expected, &actual, path, name);
            }
        }
    }

    #[test]
    fn f32_elementwise_kernels_agree(seed: u64) {
        let expected = floating(scalar(), seed);
        for path in fast_paths() {
            for ((name, expected), (_, actual)) in expected.iter().zip(floating(path, seed)) {
                close(expected, &actual, 1, path, name);
            }
        }
    }

    #[test]
    fn pools_agree_with_their_definition(
        seed: u64, height in 1_usize..14, width in 1_usize..14, channels in 1_usize..70,
        kernel in [1_usize..5, 1_usize..5], stride in [1_usize..4, 1_usize..4], count_padding: bool,
    ) {
        let mut random = Random(seed);
        let padding = [random.below(kernel[0]), random.below(kernel[1])];
        let shape = PoolShape { kernel, stride, padding, count_padding };
        let outputs = [0, 1].map(|axis| ([height, width][axis] + padding[axis] - 1) / stride[axis] + 1);
        let outputs = outputs.map(|limit| 1 + random.below(limit));
        let (around, slice) = (random.padding(), random.chance(3));
        let (from, length) = random.image(height, width, channels, around, slice);
        let (to, out_length) = random.image(outputs[0], outputs[1], channels, around, slice);
        let bytes = Guarded::new(&random.bytes(length, false));
        let floats: Vec<f32> = bytes.iter().map(|byte| f32::from(*byte)).collect();
        let (input, input_f32) = (View::new(&bytes, &from).unwrap(), View::new(&floats, &from).unwrap());
        let rescale = RescaleU8 { zero_point: random.byte(), ratio: random.float(), output: random.output() };
        let (mut greatest, mut mean, mut mean_f32) = (vec![9; out_length], vec![9; out_length], vec![9.0; out_length]);
        for y in 0..to.height {
            for x in 0..to.width {
                for c in 0..channels {
                    let window = (0..kernel[0]).flat_map(|ky| (0..kernel[1]).map(move |kx| (ky, kx)));
                    let values: Vec<u8> = window
                        .map(|(ky, kx)| (y * stride[0] + ky, x * stride[1] + kx))
                        .filter(|(y, x)| *y >= padding[0] && *x >= padding[1])
                        .map(|(y, x)| (y - padding[0], x - padding[1]))
                        .filter(|(y, x)| *y < height && *x < width)
                        .map(|(y, x)| input.pixel(y as isize, x as isize)[c])
                        .collect();
                    let at = to.offset + y * to.row_stride + x * to.pixel_stride + c;
                    let count = if count_padding { kernel[0] * kernel[1] } else { values.len() } as f32;
                    let sum: i32 = values.iter().map(|v| i32::from(*v) - i32::from(rescale.zero_point)).sum();
                    let value = sum as f32 * (rescale.ratio / count);
                    let zero = f32::from(rescale.output.zero_point);
                    let bounds = (f32::from(rescale.output.low), f32::from(rescale.output.high));
                    let byte = (value.round_ties_even() + zero).clamp(bounds.0, bounds.1) as u8;
                    greatest[at] = *values.iter().max().unwrap();
                    mean[at] = rescale.output.lookup_table.as_ref().map_or(byte, |table| table[usize::from(byte)]);
                    mean_f32[at] = values.iter().map(|v| f32::from(*v)).sum::<f32>() / count;
                }
            }
        }
        for path in fast_paths().into_iter().chain([scalar()]) {
            let max = written(out_length, &to, 9, |o| path.max_pool_u8(input, o, &shape).unwrap());
            same(&greatest, &max, path, "greatest");
            let max = written(out_length, &to, 9.0, |o| path.max_pool_f32(input_f32, o, &shape).unwrap());
            same(&greatest.iter().map(|v| f32::from(*v)).collect::<Vec<_>>(), &max, path, "greatest of f32");
            let average = written(out_length, &to, 9, |o| path.average_pool_u8(input, o, &shape, &rescale).unwrap());
            same(&mean, &average, path, "mean");
            let average = written(out_length, &to, 9.0, |o| path.average_pool_f32(input_f32, o, &shape).unwrap());
            close(&mean_f32, &average, 256, path, "mean of f32");
        }
    }

    #[test]
    fn resizes_agree(seed: u64, height in 1_usize..10, width in 1_usize..10, channels in 1_usize..40, up in [1_usize..20, 1_usize..20]) {
        let mut random = Random(seed);
        const MODES: [Coordinates; 4] = [
            Coordinates::HalfPixel, Coordinates::PytorchHalfPixel, Coordinates::AlignCorners, Coordinates::Asymmetric,
        ];
        let mode = MODES[random.below(4)];
        let scale = [up[0] as f32 / height as f32, up[1] as f32 / width as f32];
        let resize = Resize {
            rows: Axis::linear(mode, height, up[0], scale[0]),
            columns: Axis::linear(mode, width, up[1], scale[1]),
        };
        let (padding, slice) = (random.padding(), random.chance(3));
        let (from, length) = random.image(height, width, channels, padding, slice);
        let (to, out_length) = random.image(up[0], up[1], channels, padding, slice);
        let bytes = Guarded::new(&random.bytes(length, false));
        let floats = Guarded::new(&random.floats(length));
        let (a, b) = (View::new(&bytes, &from).unwrap(), View::new(&floats, &from).unwrap());
        let rescale = RescaleU8 { zero_point: random.byte(), ratio: random.float(), output: random.output() };
        let dequantise = Dequantise { scale: 0.01, zero_point: random.byte() };
        let run = |path: Kernels| (
            written(out_length, &to, 9, |o| path.resize_linear_u8(a, o, &resize, &rescale).unwrap()),
            written(out_length, &to, 9.0, |o| path.resize_linear_f32(b, o, &resize).unwrap()),
            written(out_length, &to, 9.0, |o| path.resize_linear_u8_to_f32(a, o, &resize, &dequantise).unwrap()),
        );
        let expected = run(scalar());
        for path in fast_paths() {
            let actual = run(path);
            // Interpolation may be contracted on no path: bytes agree to the bit.
            same(&expected.0, &actual.0, path, "bytes");
            close(&expected.1, &actual.1, 1, path, "f32");
            close(&expected.2, &actual.2, 4, path, "bytes to f32");
        }
    }
}

#[test]
fn resizing_follows_the_published_examples_of_onnx() {
    // From the operator's examples: upsample linear half pixel and align corners, nearest.
    let image = Image::dense(0, 2, 2, 1, Padding::default());
    let to = Image::dense(0, 4, 4, 1, Padding::default());
    let values = [1.0, 2.0, 3.0, 4.0];
    let linear = |mode| {
        let axis = Axis::linear(mode, 2, 4, 2.0);
        let resize = Resize { rows: axis.clone(), columns: axis };
        let input = View::new(&values, &image).unwrap();
        written(16, &to, 0.0, |o| scalar().resize_linear_f32(input, o, &resize).unwrap())
    };
    let half = [1.0, 1.25, 1.75, 2.0, 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3.0, 3.25, 3.75, 4.0];
    assert_eq!(linear(Coordinates::HalfPixel), half);
    let third = |n: f32| 1.0 + n / 3.0;
    let corners: Vec<f32> = (0..4).flat_map(|y| (0..4).map(move |x| third((x + 2 * y) as f32))).collect();
    close(&corners, &linear(Coordinates::AlignCorners), 1, scalar(), "align corners");
    let axis = Axis::nearest(Coordinates::HalfPixel, Nearest::RoundPreferFloor, 2, 4, 2.0);
    let resize = Resize { rows: axis.clone(), columns: axis };
    let input = View::new(&values, &image).unwrap();
    let nearest = written(16, &to, 0.0, |o| scalar().resize_nearest(input, o, &resize).unwrap());
    assert_eq!(nearest, [1., 1., 2., 2., 1., 1., 2., 2., 3., 3., 4., 4., 3., 3., 4., 4.]);
}

#[test]
fn the_best_path_of_this_machine_is_the_one_that_is_detected() {
    let available = Kernels::available();
    assert_eq!(available.last().copied(), Some(Kernels::detect().path()));
    for path in aimass_kernels::Path::ALL {
        assert_eq!(path.name().parse(), Ok(path));
        assert_eq!(Kernels::force(path).is_ok(), available.contains(&path));
    }
    // Where the machine is known, as an emulated one is, its path must not go missing unnoticed.
    if let Ok(expected) = std::env::var("AIMASS_KERNEL_EXPECT") {
        assert_eq!(Kernels::detect().path().name(), expected);
    }
    assert!("sse9".parse::<aimass_kernels::Path>().is_err());
}
