//! Layers of the default models, on every path that this machine can run: multiplications a second of the thread's own
//! CPU time, which other programs disturb less than the time that passes.
//!
//! `cargo bench -p aimass-kernels -- 'u8/avx512'` takes some of them; names are type/path/layer.

use std::hint::black_box;
use std::time::Duration;

use aimass_kernels::{
    Activation, AddU8, Arena, Conv2dF32, Conv2dU8, ConvShape, ConvWeightsU8, Image, Kernels, OutputU8,
    Quantise, View, ViewMut,
};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use rustix::time::{ClockId, clock_gettime};

/// CPU time of this thread.
struct CpuTime(WallTime);

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
    }

    fn end(&self, start: Duration) -> Duration {
        self.start().saturating_sub(start)
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        self.0.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self.0.formatter()
    }
}

/// Name, input height and width, input and output channels, kernel, stride, whether depthwise.
type Layer = (&'static str, [usize; 2], [usize; 2], usize, usize, bool);

const LAYERS: [Layer; 12] = [
    ("nanodet first 3x3 s2", [416, 416], [3, 24], 3, 2, false),
    ("nanodet 3x3 s1 52x52x64", [52, 52], [64, 64], 3, 1, false),
    ("nanodet 3x3 s1 26x26x128", [26, 26], [128, 128], 3, 1, false),
    ("nanodet 3x3 s2 52x52x64", [52, 52], [64, 128], 3, 2, false),
    ("nanodet 1x1 52x52x96", [52, 52], [128, 96], 1, 1, false),
    ("coco 1x1 75x75x96", [75, 75], [96, 24], 1, 1, false),
    ("coco 1x1 19x19x576", [19, 19], [96, 576], 1, 1, false),
    ("coco dw 3x3 s1 38x38x144", [38, 38], [144, 144], 3, 1, true),
    ("coco dw 3x3 s2 75x75x144", [75, 75], [144, 144], 3, 2, true),
    ("centerface 1x1 120x160x16", [120, 160], [16, 96], 1, 1, false),
    ("centerface dw 3x3 s2 240x320x96", [240, 320], [96, 96], 3, 2, true),
    ("movenet dw 5x5 s1 24x24x96", [24, 24], [96, 96], 5, 1, true),
];

struct Prepared {
    shape: ConvShape,
    input: Image,
    output: Image,
    multiplications: u64,
}

fn prepare(layer: &Layer) -> Prepared {
    let (_, size, channels, kernel, stride, depthwise) = *layer;
    let shape = ConvShape {
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [kernel / 2; 2],
        groups: if depthwise { channels[0] } else { 1 },
        ..ConvShape::pointwise(channels[0], channels[1])
    };
    let out = size.map(|size| (size + 2 * (kernel / 2) - kernel) / stride + 1);
    let input = Image::dense(0, size[0], size[1], channels[0], shape.required_padding(size, out));
    let output = Image::dense(0, out[0], out[1], channels[1], aimass_kernels::Padding::default());
    Prepared { shape, input, output, multiplications: shape.multiplications(out[0], out[1]) }
}

fn conv_u8(group: &mut BenchmarkGroup<'_, CpuTime>, kernels: Kernels, layer: &Layer) {
    let prepared = prepare(layer);
    let channels = prepared.shape.output_channels;
    let weights: Vec<i8> =
        (0..channels * prepared.shape.weights_per_channel()).map(|i| (i * 37 % 255) as u8 as i8).collect();
    let multiplier = vec![1e-4; channels];
    let given =
        ConvWeightsU8 { weights: &weights, bias: &[], multiplier: &multiplier, input_zero_point: 128 };
    let table = Box::new(std::array::from_fn(|i| i as u8));
    let conv = Conv2dU8::new(kernels, &prepared.shape, &given, &OutputU8::new(7).with_lookup_table(table));
    let Ok(conv) = conv else { return };
    let (from, mut to) = (vec![77_u8; prepared.input.footprint()], vec![0_u8; prepared.output.footprint()]);
    group.throughput(Throughput::Elements(prepared.multiplications));
    group.bench_function(format!("u8/{}/{}", kernels.path(), layer.0), |b| {
        b.iter(|| {
            let views =
                (View::new(black_box(&from), &prepared.input), ViewMut::new(&mut to, &prepared.output));
            if let (Ok(input), Ok(output)) = views {
                conv.run(input, output).ok();
            }
        });
    });
}

fn conv_f32(group: &mut BenchmarkGroup<'_, CpuTime>, kernels: Kernels, layer: &Layer) {
    let prepared = prepare(layer);
    let weights = vec![0.01; prepared.shape.output_channels * prepared.shape.weights_per_channel()];
    let conv = Conv2dF32::new(kernels, &prepared.shape, &weights, &[], &Activation::clamp(0.0, 6.0));
    let Ok(conv) = conv else { return };
    let (from, mut to) =
        (vec![0.5_f32; prepared.input.footprint()], vec![0_f32; prepared.output.footprint()]);
    group.throughput(Throughput::Elements(prepared.multiplications));
    group.bench_function(format!("f32/{}/{}", kernels.path(), layer.0), |b| {
        b.iter(|| {
            let views =
                (View::new(black_box(&from), &prepared.input), ViewMut::new(&mut to, &prepared.output));
            if let (Ok(input), Ok(output)) = views {
                conv.run(input, output).ok();
            }
        });
    });
}

/// What lies between convolutions, in elements a second.
fn between(group: &mut BenchmarkGroup<'_, CpuTime>, kernels: Kernels) {
    const SIZE: usize = 52 * 52 * 64;
    let padding = aimass_kernels::Padding::default();
    let image = |index: usize| Image::dense(index * SIZE, 52, 52, 64, padding);
    let mut arena = Arena::new(3 * SIZE);
    let add =
        AddU8 { a_zero_point: 3, a_ratio: 0.5, b_zero_point: 4, b_ratio: 0.7, output: OutputU8::new(9) };
    let table = std::array::from_fn(|i| 255 - i as u8);
    group.throughput(Throughput::Elements(SIZE as u64));
    group.bench_function(format!("add/{}", kernels.path()), |b| {
        b.iter(|| {
            let Ok((inputs, output)) = arena.writing(&image(2)) else { return };
            let (Ok(x), Ok(y)) = (inputs.view(&image(0)), inputs.view(&image(1))) else { return };
            kernels.add_u8(x, y, output, &add).ok();
        });
    });
    group.bench_function(format!("lookup/{}", kernels.path()), |b| {
        b.iter(|| {
            let Ok((inputs, output)) = arena.writing(&image(2)) else { return };
            let Ok(x) = inputs.view(&image(0)) else { return };
            kernels.lookup_u8(x, output, &table).ok();
        });
    });
    let planes = vec![0.3_f32; 416 * 416 * 3];
    let picture = Image::dense(0, 416, 416, 3, padding);
    let mut bytes = vec![0_u8; picture.footprint()];
    let quantise = Quantise { scale: 1.0 / 60.0, zero_point: 114 };
    group.throughput(Throughput::Elements(planes.len() as u64));
    group.bench_function(format!("quantise planes/{}", kernels.path()), |b| {
        b.iter(|| {
            let Ok(output) = ViewMut::new(&mut bytes, &picture) else { return };
            kernels.quantise_planes(black_box(&planes), output, &quantise).ok();
        });
    });
}

fn layers(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("layers");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500));
    for path in Kernels::available() {
        let Ok(kernels) = Kernels::force(path) else { continue };
        for layer in &LAYERS {
            conv_u8(&mut group, kernels, layer);
            conv_f32(&mut group, kernels, layer);
        }
        between(&mut group, kernels);
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime(WallTime));
    targets = layers
}
criterion_main!(benches);
