//! Measures a model by each backend that can run it, on the caller's thread.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aimass_core::finding::StageTimes;
use aimass_core::frame::{Colour, Picture, PixelFormat};
use aimass_core::geometry::Region;
use aimass_core::runtime::clock::Stopwatch;
use serde::Serialize;

use crate::backend::Backend;
use crate::backend_selection::Choice;
use crate::engine::StepTime;
use crate::error::InferenceError;
use crate::golden::proof::{Against, Proof};
use crate::library::Entry;
use crate::model_cache::{Detector, LoadedModel, ModelCache};
use crate::threads::Threads;

/// The figures of one backend.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackendBench {
    /// Which one.
    pub backend: Backend,
    /// From the file to a model that can run.
    pub load_ms: f64,
    /// Median of one run of the model alone.
    pub infer_median_ms: f64,
    /// The fastest run.
    pub infer_min_ms: f64,
    /// Median of one run on the threads that were asked for, if those are more than one and the engine runs the model.
    pub shared_median_ms: Option<f64>,
    /// Median of making the input from a 768 × 576 I420 picture.
    pub prepare_median_ms: f64,
    /// Median of reading the outputs.
    pub decode_median_ms: f64,
    /// Whether all golden cases pass; `None` if the model has none.
    pub golden: Option<bool>,
    /// Without golden cases: whether it answers like tract.
    pub like_tract: Option<bool>,
    /// Nodes of the graph that the engine left to tract.
    pub fallbacks: usize,
    /// A session's own memory, where that is known.
    pub session_bytes: Option<usize>,
    /// What each kind of step takes, the slowest first; empty where tract runs the model.
    pub steps: Vec<StepTime>,
}

/// The figures of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelBench {
    /// Its name.
    pub model: String,
    /// By backend, in the order measured.
    pub figures: Vec<BackendBench>,
    /// Backends that cannot run it, and why.
    pub refused: Vec<(Backend, String)>,
    /// What is used from now on: the fastest of those that pass their golden cases.
    pub chosen: Backend,
}

/// Measures a model, `runs` times by each backend, and remembers the winner; by the engine on `threads` threads too.
///
/// # Errors
/// The model's files are missing or damaged, it cannot be loaded or run by any backend, or the state folder cannot be written.
pub fn bench_model(
    models: &ModelCache,
    name: &str,
    runs: usize,
    threads: usize,
) -> Result<ModelBench, InferenceError> {
    let entry = models.library().get(name)?;
    let (mut figures, mut refused) = (Vec::new(), Vec::new());
    let loading = Mutex::new(());
    let mut proof = Proof::new(entry, &loading);
    for backend in Backend::candidates(entry.manifest.precision) {
        match bench_backend(entry, backend, [runs, threads], &mut proof) {
            Ok(of_backend) => figures.push(of_backend),
            // What is wrong with one backend says nothing of the next.
            Err(InferenceError::BadModel { problem, .. } | InferenceError::Failed { problem, .. }) => {
                refused.push((backend, problem));
            }
            Err(error) => return Err(error),
        }
    }
    if figures.is_empty() {
        let problems: Vec<String> = refused.iter().map(|(b, p)| format!("{}: {p}", b.as_str())).collect();
        return Err(InferenceError::BadModel { model: name.to_owned(), problem: problems.join("; ") });
    }
    let best = figures
        .iter()
        .filter(|f| f.golden != Some(false) && f.like_tract != Some(false))
        .min_by(|a, b| a.infer_median_ms.total_cmp(&b.infer_median_ms));
    let chosen = best.map_or(Backend::Tract, |f| f.backend);
    let by_backend: BTreeMap<_, _> = figures.iter().map(|f| (f.backend, f.infer_median_ms)).collect();
    models
        .choices()
        .remember(&entry.manifest.sha256, Choice { backend: chosen, ms: by_backend, unfinished: 0 })?;
    Ok(ModelBench { model: name.to_owned(), figures, refused, chosen })
}

fn bench_backend(
    entry: &Entry,
    backend: Backend,
    [runs, threads]: [usize; 2],
    proof: &mut Proof<'_>,
) -> Result<BackendBench, InferenceError> {
    let mut watch = Stopwatch::start();
    let model = Arc::new(LoadedModel::load(entry, backend)?);
    let load = watch.lap();
    let (against, outcome) = proof.of(&model)?;
    let answer = |to: Against| (against == to).then_some(outcome.is_ok());
    let failed = |problem| InferenceError::Failed { model: entry.manifest.name.clone(), problem };
    let steps =
        model.model().session().and_then(|mut session| session.profile(runs.min(10))).map_err(failed)?;
    let (fallbacks, session_bytes) = (model.model().fallbacks(), model.model().session_bytes());
    let laps_on = |threads: usize| {
        let (threads, min_score) = (Threads::new(threads, None), entry.manifest.default_min_score);
        let mut laps = laps(model.clone(), &threads, min_score, runs, Duration::MAX)?;
        laps.iter_mut().for_each(|l| l.sort_unstable());
        Ok::<_, InferenceError>(laps)
    };
    let laps = laps_on(1)?;
    let shared = if threads > 1 && backend != Backend::Tract { Some(laps_on(threads)?) } else { None };
    let median = |n: usize| ms(laps[n][laps[n].len() / 2]);
    Ok(BackendBench {
        backend,
        load_ms: ms(load),
        infer_median_ms: median(0),
        infer_min_ms: ms(laps[0][0]),
        shared_median_ms: shared.map(|laps| ms(laps[0][laps[0].len() / 2])),
        prepare_median_ms: median(1),
        decode_median_ms: median(2),
        golden: answer(Against::Golden),
        like_tract: answer(Against::Tract),
        fallbacks,
        session_bytes,
        steps,
    })
}

/// What inference, preparation and decoding took, run by run, after a first run that pays for caches. Ends after
/// `runs` runs, or with the first that goes beyond `limit` in all.
pub(crate) fn laps(
    model: Arc<LoadedModel>,
    threads: &Threads,
    min_score: f32,
    runs: usize,
    limit: Duration,
) -> Result<[Vec<Duration>; 3], InferenceError> {
    let mut detector = Detector::new(model)?.shared_by(threads);
    let picture = test_picture();
    let mut laps: [Vec<Duration>; 3] = Default::default();
    let mut spent = Duration::ZERO;
    for run in 0..runs.max(1) + 1 {
        let mut times = StageTimes::default();
        detector.detect(&picture, Region::FULL, min_score, &mut times)?.for_each(drop);
        if run > 0 {
            for (laps, lap) in laps.iter_mut().zip([times.infer, times.prepare, times.decode]) {
                laps.push(lap);
            }
            spent += times.infer;
            if spent >= limit {
                break;
            }
        }
    }
    Ok(laps)
}

pub(crate) fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// A picture with something in it everywhere, the same on every machine.
pub(crate) fn test_picture() -> Picture {
    let (w, h) = (768usize, 576usize);
    let plane = |w: usize, h: usize, seed: usize| -> Vec<u8> {
        (0..w * h).map(|n| ((n % w * 7) ^ (n / w * 13) ^ seed) as u8).collect()
    };
    let planes = [plane(w, h, 1), plane(w / 2, h / 2, 2), plane(w / 2, h / 2, 3)];
    Picture::new((w as u32, h as u32), PixelFormat::I420, Colour::SD, [w, w / 2, w / 2], Arc::new(planes))
        .expect("the planes have the size of the picture")
}
