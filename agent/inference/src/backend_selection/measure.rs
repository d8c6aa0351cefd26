//! The first load of a model on a board: what runs it fastest, among what answers rightly ([`crate::golden::proof`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::backend::{Backend, prefers_int8};
use crate::backend_selection::{Choice, Choices};
use crate::benchmark::{laps, ms};
use crate::error::InferenceError;
use crate::golden::proof::Proof;
use crate::library::Entry;
use crate::memory::LargeBlocksApart;
use crate::model_cache::LoadedModel;
use crate::threads::Threads;

/// The most time that one candidate's timed runs may take, but for the first.
const LIMIT: Duration = Duration::from_millis(250);
/// The most timed runs of a candidate.
const RUNS: usize = 9;

/// Measures the candidates, the one that is expected to be fastest first, and remembers the winner. `loading` is held
/// only while one is loaded.
pub(crate) fn choose(
    entry: &Entry,
    candidates: &[Backend],
    choices: &Choices,
    loading: &Mutex<()>,
) -> Backend {
    let name = &entry.manifest.name;
    let _measuring = choices.measuring(&entry.manifest.sha256);
    let mut measured: BTreeMap<Backend, f64> = BTreeMap::new();
    if let Err(error) = choices.begin(&entry.manifest.sha256) {
        tracing::debug!(%error, "That measuring begins cannot be noted.");
    }
    let mut proof = Proof::new(entry, loading);
    for &backend in candidates {
        match measure(entry, backend, &mut proof, loading) {
            Ok(took) => {
                measured.insert(backend, took);
            }
            Err(problem) => {
                tracing::warn!(
                    model = name,
                    by = backend.as_str(),
                    problem,
                    "A way to run the model is left out."
                );
                continue;
            }
        }
        // Where int8 has instructions of its own, nothing else comes near: the f32 forms are not even loaded, which
        // keeps their memory from ever being needed.
        if backend == Backend::EngineInt8 && prefers_int8() {
            break;
        }
    }
    let best = measured.iter().min_by(|a, b| a.1.total_cmp(b.1)).map(|(backend, _)| *backend);
    let kept = match best {
        Some(backend) => {
            tracing::info!(
                model = name,
                by = backend.as_str(),
                measured_ms = shown(&measured),
                "The fastest way to run the model was measured."
            );
            choices.remember(&entry.manifest.sha256, Choice { backend, ms: measured, unfinished: 0 })
        }
        // Measuring came to its end: nothing ended the program, and the next start may find things mended.
        None => choices.forget(&entry.manifest.sha256),
    };
    if let Err(error) = kept {
        tracing::warn!(%error, "What was measured cannot be kept, and will be measured again.");
    }
    best.unwrap_or(Backend::Tract)
}

/// As in `tract 14.6, engine-int8 4.3`.
fn shown(measured: &BTreeMap<Backend, f64>) -> String {
    let each: Vec<String> =
        measured.iter().map(|(backend, ms)| format!("{} {ms:.1}", backend.as_str())).collect();
    each.join(", ")
}

/// The median of a run in milliseconds.
fn measure(
    entry: &Entry,
    backend: Backend,
    proof: &mut Proof<'_>,
    loading: &Mutex<()>,
) -> Result<f64, String> {
    let text = |error: InferenceError| error.to_string();
    let model = {
        let _loading = loading.lock().unwrap_or_else(PoisonError::into_inner);
        let _apart = LargeBlocksApart::begin();
        Arc::new(LoadedModel::load(entry, backend).map_err(text)?)
    };
    if backend != Backend::Tract {
        proof.of(&model).map_err(text)?.1?;
    }
    let mut laps =
        laps(model, &Threads::default(), entry.manifest.default_min_score, RUNS, LIMIT).map_err(text)?;
    laps[0].sort_unstable();
    Ok(ms(laps[0][laps[0].len() / 2]))
}
