//! The first load of a model on a board: what runs it fastest, among what answers rightly.
//!
//! That a model loads says nothing of its answers, so each candidate must pass the model's golden cases. tract in f32
//! is the last resort, and needs no proof: there is nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{Backend, prefers_int8};
use crate::bench::{laps, ms};
use crate::choice::{Choice, Choices};
use crate::detector::LoadedModel;
use crate::error::InferenceError;
use crate::library::Entry;
use crate::memory::LargeBlocksApart;

/// The most time that one candidate's timed runs may take, but for the first.
const LIMIT: Duration = Duration::from_millis(250);
/// The most timed runs of a candidate.
const RUNS: usize = 9;

/// Measures the candidates, the one that is expected to be fastest first, and remembers the winner.
pub(crate) fn choose(entry: &Entry, candidates: &[Backend], choices: &Choices) -> Backend {
    let name = &entry.manifest.name;
    let mut measured: BTreeMap<Backend, f64> = BTreeMap::new();
    if let Err(error) = choices.begin(&entry.manifest.sha256) {
        tracing::debug!(%error, "That measuring begins cannot be noted.");
    }
    for &backend in candidates {
        match measure(entry, backend) {
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
    let Some(backend) = best else { return Backend::Tract };
    tracing::info!(
        model = name,
        by = backend.as_str(),
        ?measured,
        "The fastest way to run the model was measured."
    );
    if let Err(error) =
        choices.remember(&entry.manifest.sha256, Choice { backend, ms: measured, unfinished: 0 })
    {
        tracing::warn!(%error, "What was measured cannot be kept, and will be measured again.");
    }
    backend
}

/// The median of a run in milliseconds.
fn measure(entry: &Entry, backend: Backend) -> Result<f64, String> {
    let text = |error: InferenceError| error.to_string();
    let apart = LargeBlocksApart::begin();
    let model = Arc::new(LoadedModel::load(entry, backend).map_err(text)?);
    drop(apart);
    if backend != Backend::Tract {
        let report = crate::verify::verify_loaded(entry, &model).map_err(text)?;
        let wrong = report.into_iter().flat_map(|r| r.cases).find(|case| !case.problems.is_empty());
        if let Some(case) = wrong {
            return Err(format!(
                "its answer to {} is not the recorded one: {}",
                case.picture,
                case.problems.join("; ")
            ));
        }
    }
    let mut laps = laps(model, entry.manifest.default_min_score, RUNS, LIMIT).map_err(text)?;
    laps[0].sort_unstable();
    Ok(ms(laps[0][laps[0].len() / 2]))
}
