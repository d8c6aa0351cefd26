//! What the per-frame laws cost: `cargo bench -p aimass-core`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::analytics::{AnalyticsConfig, CameraAnalytics};
use aimass_core::finding::{Attributes, Finding, ModelRef};
use aimass_core::frame::{CaptureTime, Colour, Frame, Picture, PixelFormat, TimeSource};
use aimass_core::geometry::Region;
use aimass_core::motion::{MotionConfig, MotionGate};
use aimass_core::source_health::{VideoHealthConfig, VideoHealthMonitor};
use aimass_core::tracking::{Tracker, TrackerConfig};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use ulid::Ulid;

/// Twenty people who walk to and fro, each at a speed of its own.
fn findings(frame: u64) -> Vec<Finding> {
    let model = Arc::new(ModelRef { name: "m".into(), version: "1".into(), sha256: String::new() });
    let walker = |n: u64| {
        let t = frame as f32 / 10.0 * (0.05 + n as f32 * 0.002);
        let x = 0.9 * (1.0 - (t % 2.0 - 1.0).abs());
        let region = Region { x, y: 0.04 * n as f32, w: 0.05, h: 0.15 };
        let (label, score) = ("person".into(), 0.6 + 0.01 * n as f32);
        let (points, attributes) = (Vec::new(), Attributes::new());
        Finding { label, score, region, track: None, points, attributes, model: model.clone() }
    };
    (0..20).map(walker).collect()
}

fn capture_time(frame: u64) -> CaptureTime {
    let elapsed = Duration::from_millis(frame * 100);
    CaptureTime { wall: Timestamp::UNIX_EPOCH + elapsed, wall_source: TimeSource::Clock, elapsed }
}

fn picture(size: (u32, u32), shade: u8) -> Picture {
    let (w, h) = (size.0 as usize, size.1 as usize);
    let plane: Vec<u8> = (0..w * h).map(|n| (n % 251) as u8 / 2 + shade).collect();
    Picture::new(size, PixelFormat::Gray8, Colour::SD, [w, 0, 0], Arc::new(plane)).expect("a sound picture")
}

/// Two views that have nothing in common.
fn views(size: (u32, u32)) -> [Picture; 2] {
    let (w, h) = (size.0 as usize, size.1 as usize);
    let view = |seed: usize| {
        let level =
            |n: usize| (((n % w / 24 + 7 * seed) * 2_654_435_761) ^ ((n / w / 24 + seed) * 40_503)) % 200;
        let plane: Vec<u8> = (0..w * h).map(|n| level(n) as u8).collect();
        Picture::new(size, PixelFormat::Gray8, Colour::SD, [w, 0, 0], Arc::new(plane))
            .expect("a sound picture")
    };
    [view(1), view(2)]
}

fn laws(c: &mut Criterion) {
    let mut tracker = Tracker::new(TrackerConfig::default());
    let mut n = 0;
    c.bench_function("tracker: a frame with 20 objects", |b| {
        let make = || {
            n += 1;
            (n, findings(n))
        };
        b.iter_batched(
            make,
            |(n, mut f)| black_box(tracker.update(capture_time(n).elapsed, &mut f)),
            BatchSize::NumIterations(1),
        );
    });

    let text = r#"{"zone": [{"id": "bay", "polygon": [[0,0],[0.5,0],[0.5,1],[0,1]]}],
                   "line": [{"id": "door", "from": [0.5,0], "to": [0.5,1]}]}"#;
    let config: AnalyticsConfig = serde_json::from_str(text).expect("a sound scene");
    let ids = Box::new(|ms| Ulid::from_parts(ms, 1));
    let mut scene = CameraAnalytics::new("dock".parse().expect("a name"), config, ids);
    let mut n = 0;
    c.bench_function("scene: a frame with 20 objects, a zone and a line", |b| {
        let make = || {
            n += 1;
            (n, findings(n))
        };
        b.iter_batched(
            make,
            |(n, f)| black_box(scene.observe(&capture_time(n), f)),
            BatchSize::NumIterations(1),
        );
    });

    for size in [(768, 576), (1920, 1080)] {
        let pictures = [picture(size, 0), picture(size, 3)];
        let mut gate = MotionGate::new(MotionConfig::default());
        let mut n = 0;
        c.bench_function(&format!("motion gate: {}x{}", size.0, size.1), |b| {
            b.iter(|| {
                n += 1;
                let picture = pictures[(n / 8 % 2) as usize].clone();
                let source = "dock".parse().expect("a name");
                gate.gate(&Frame { source, seq: n, capture_time: capture_time(n), picture })
            });
        });

        // Ten frames a second: one in ten is looked at closely. And the worst: each one, of a view that is nowhere.
        for (what, step, pictures) in
            [("ten frames a second", 1, &pictures), ("a view that moved, each second", 10, &views(size))]
        {
            let mut sight = VideoHealthMonitor::new(VideoHealthConfig::default(), Vec::new());
            let mut n = 0;
            c.bench_function(&format!("sight: {}x{}, {what}", size.0, size.1), |b| {
                b.iter(|| {
                    n += step;
                    let picture = pictures[usize::from(n > 150)].clone();
                    let source = "dock".parse().expect("a name");
                    sight.look(&Frame { source, seq: n, capture_time: capture_time(n), picture })
                });
            });
        }
    }
}

criterion_group!(benches, laws);
criterion_main!(benches);
