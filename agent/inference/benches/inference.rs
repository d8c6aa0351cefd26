//! What the stages of an analysis cost. `cargo bench -p aimass-inference`.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::finding::Findings;
use aimass_core::frame::{CaptureTime, Colour, Frame, Picture, PixelFormat, TimeSource};
use aimass_core::geometry::Region;
use aimass_inference::library::manifest::InputSpec;
use aimass_inference::preprocess::image::Preparer;
use aimass_inference::tasks::box_detector::nms::{Detection, suppress};
use aimass_inference::{AnalyzerConfig, Library, ModelCache, build};
use criterion::{Criterion, criterion_group, criterion_main};

fn library() -> Library {
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models");
    Library::open(&[models]).expect("the model library can be read")
}

fn i420(w: usize, h: usize) -> Picture {
    let plane = |w: usize, h: usize| -> Vec<u8> { (0..w * h).map(|n| ((n % w) ^ (n / w)) as u8).collect() };
    let planes = [plane(w, h), plane(w / 2, h / 2), plane(w / 2, h / 2)];
    Picture::new((w as u32, h as u32), PixelFormat::I420, Colour::SD, [w, w / 2, w / 2], Arc::new(planes))
        .expect("a sound picture")
}

fn input_of(model: &str) -> InputSpec {
    library().get(model).expect("the model is in the library").manifest.input.clone()
}

fn prepare(c: &mut Criterion) {
    for (w, h) in [(768, 576), (1920, 1080)] {
        let picture = i420(w, h);
        for (model, shown) in [("coco-ssd-lite", "300x300"), ("centerface", "640x480")] {
            let spec = input_of(model);
            let (mut preparer, mut tensor) = (Preparer::new(&spec), vec![0.0; spec.len()]);
            c.bench_function(&format!("prepare {w}x{h} I420 to {shown}"), |b| {
                b.iter(|| black_box(preparer.prepare(&picture, Region::FULL, &mut tensor)));
            });
        }
    }
}

fn nms(c: &mut Criterion) {
    let many: Vec<Detection> = (0..300usize)
        .map(|n| {
            let (x, y) = ((n * 37 % 280) as f32, (n * 53 % 280) as f32);
            let corners = [x, y, x + 20.0, y + 40.0];
            Detection {
                class: n % 5,
                score: (n * 7919 % 1000) as f32 / 1000.0,
                corners,
                ..Default::default()
            }
        })
        .collect();
    let mut work = Vec::new();
    c.bench_function("nms of 300 candidates", |b| {
        b.iter(|| {
            work.clone_from(&many);
            suppress(&mut work, 0.5);
            black_box(work.len())
        });
    });
}

fn analyze(c: &mut Criterion) {
    let models = ModelCache::new(library(), None);
    let frame = Frame {
        source: "bench".parse().expect("a name"),
        seq: 0,
        capture_time: CaptureTime {
            wall: Default::default(),
            wall_source: TimeSource::File,
            elapsed: Duration::ZERO,
        },
        picture: i420(768, 576),
    };
    for name in ["detect", "faces"] {
        let config = AnalyzerConfig::named(name).expect("a known analyzer");
        let mut analyzer = build(name, &config, &models).expect("the model loads");
        c.bench_function(&format!("{name} 768x576 I420"), |b| {
            b.iter(|| {
                let mut findings = Findings::default();
                analyzer.analyze(&frame, &mut findings).expect("the model runs");
                black_box(findings.list.len())
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = prepare, nms, analyze
}
criterion_main!(benches);
