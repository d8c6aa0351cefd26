//! Loads one model, runs it, and prints times and peak memory:
//! `cargo run --release -p aimass-inference --example load -- coco-ssd-lite [tract|engine-f32|engine-int8] [runs] [state
//! folder]`; with a folder, the compiled plan is kept there and is used by the next start.
#![allow(clippy::print_stdout, reason = "an example that prints")]

use std::path::PathBuf;
use std::sync::Arc;

use aimass_core::finding::StageTimes;
use aimass_core::frame::{Colour, Picture, PixelFormat};
use aimass_core::geometry::Region;
use aimass_core::runtime::clock::Stopwatch;
use aimass_inference::{Backend, Detector, Library, ModelCache};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().map_or("coco-ssd-lite", String::as_str);
    let wanted = arguments.get(1).map_or("engine-int8", String::as_str);
    let backend = Backend::ALL.into_iter().find(|b| b.as_str() == wanted).ok_or("no such backend")?;
    let runs: usize = arguments.get(2).and_then(|n| n.parse().ok()).unwrap_or(20);
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models");
    println!("start: {}", memory());
    let mut watch = Stopwatch::start();
    let state = arguments.get(3).map(PathBuf::from);
    let models = ModelCache::new(Library::open(&[folder])?, state);
    let model = models.get_by(name, backend)?;
    println!("loaded in {:?}: {}", watch.lap(), memory());
    let mut detector = Detector::new(model)?;
    let (w, h) = (768usize, 576usize);
    let planes = [vec![90u8; w * h], vec![128u8; w * h / 4], vec![128u8; w * h / 4]];
    let size = (w as u32, h as u32);
    let picture = Picture::new(size, PixelFormat::I420, Colour::SD, [w, w / 2, w / 2], Arc::new(planes))?;
    let mut laps = Vec::new();
    for _ in 0..runs {
        let mut times = StageTimes::default();
        detector.detect(&picture, Region::FULL, 0.5, &mut times)?.for_each(drop);
        laps.push((times.infer, times.prepare, times.decode));
    }
    println!("first run {:?}", laps[0]);
    laps.sort_unstable();
    println!("median (infer, prepare, decode) {:?}, fastest {:?}", laps[laps.len() / 2], laps[0]);
    println!("end: {}", memory());
    Ok(())
}

/// Peak and present memory of this process, as the kernel counts it.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let wanted = status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS"));
    wanted.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}
