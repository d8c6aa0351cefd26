//! Measures a model in each precision it can run in, on the caller's thread.

use std::sync::Arc;
use std::time::Duration;

use aimass_core::clock::Stopwatch;
use aimass_core::finding::StageTimes;
use aimass_core::frame::{Colour, Picture, PixelFormat};
use aimass_core::geometry::Region;
use serde::Serialize;

use crate::choice::Choice;
use crate::detector::{Detector, LoadedModel, ModelCache};
use crate::error::InferenceError;
use crate::manifest::Precision;

/// The figures of one precision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrecisionBench {
    /// Which one.
    pub precision: Precision,
    /// From the file to a model that can run.
    pub load_ms: f64,
    /// Median of one run of the model alone.
    pub infer_median_ms: f64,
    /// The fastest run.
    pub infer_min_ms: f64,
    /// Median of making the input from a 768 × 576 I420 picture.
    pub prepare_median_ms: f64,
    /// Median of reading the outputs.
    pub decode_median_ms: f64,
    /// Whether all golden cases pass; `None` if the model has none.
    pub golden: Option<bool>,
}

/// The figures of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelBench {
    /// Its name.
    pub model: String,
    /// By precision, in the order measured.
    pub figures: Vec<PrecisionBench>,
    /// What is used from now on: the fastest of those that pass their golden cases.
    pub chosen: Precision,
}

/// Measures a model, `runs` times in each precision, and remembers the winner.
///
/// # Errors
/// The model cannot be loaded or run, or the state folder cannot be written.
pub fn bench_model(models: &ModelCache, name: &str, runs: usize) -> Result<ModelBench, InferenceError> {
    let entry = models.library().get(name)?;
    let precisions: &[Precision] = match entry.manifest.precision {
        Precision::F32 => &[Precision::F32],
        Precision::Int8 => &[Precision::F32, Precision::Int8],
    };
    let mut figures = Vec::new();
    for &precision in precisions {
        let mut watch = Stopwatch::start();
        let model = Arc::new(LoadedModel::load(entry, precision)?);
        let load = watch.lap();
        let golden = crate::verify::verify_loaded(entry, &model)?.map(|report| report.passed());
        let mut detector = Detector::new(model)?;
        let picture = test_picture();
        let min_score = entry.manifest.default_min_score;
        let mut laps: [Vec<Duration>; 3] = Default::default();
        // The first run pays for caches and lazy allocations.
        for run in 0..runs.max(1) + 1 {
            let mut times = StageTimes::default();
            detector.detect(&picture, Region::FULL, min_score, &mut times)?.for_each(drop);
            if run > 0 {
                for (laps, lap) in laps.iter_mut().zip([times.infer, times.prepare, times.decode]) {
                    laps.push(lap);
                }
            }
        }
        laps.iter_mut().for_each(|l| l.sort_unstable());
        let median = |n: usize| ms(laps[n][laps[n].len() / 2]);
        figures.push(PrecisionBench {
            precision,
            load_ms: ms(load),
            infer_median_ms: median(0),
            infer_min_ms: ms(laps[0][0]),
            prepare_median_ms: median(1),
            decode_median_ms: median(2),
            golden,
        });
    }
    let best = figures
        .iter()
        .filter(|f| f.golden != Some(false))
        .min_by(|a, b| a.infer_median_ms.total_cmp(&b.infer_median_ms));
    let chosen = best.map_or(Precision::F32, |f| f.precision);
    if let [f32_figures, int8_figures] = &figures[..] {
        let choice = Choice {
            precision: chosen,
            f32_ms: f32_figures.infer_median_ms,
            int8_ms: int8_figures.infer_median_ms,
        };
        models.choices().remember(&entry.manifest.sha256, choice)?;
    }
    Ok(ModelBench { model: name.to_owned(), figures, chosen })
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// A picture with something in it everywhere, the same on every machine.
fn test_picture() -> Picture {
    let (w, h) = (768usize, 576usize);
    let plane = |w: usize, h: usize, seed: usize| -> Vec<u8> {
        (0..w * h).map(|n| ((n % w * 7) ^ (n / w * 13) ^ seed) as u8).collect()
    };
    let planes = [plane(w, h, 1), plane(w / 2, h / 2, 2), plane(w / 2, h / 2, 3)];
    Picture::new((w as u32, h as u32), PixelFormat::I420, Colour::SD, [w, w / 2, w / 2], Arc::new(planes))
        .expect("the planes have the size of the picture")
}
