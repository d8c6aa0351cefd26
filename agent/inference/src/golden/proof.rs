//! Whether a backend's answers can be believed: by the model's golden cases, and where it has none, by tract's answers
//! to a picture that is the same everywhere.
//!
//! That a model loads says nothing of its answers. tract in f32 needs no proof: there is nothing else.

use std::sync::{Arc, Mutex, PoisonError};

use aimass_core::geometry::Region;

use crate::backend::{Backend, Model};
use crate::benchmark::test_picture;
use crate::error::InferenceError;
use crate::library::Entry;
use crate::library::manifest::Precision;
use crate::model_cache::LoadedModel;
use crate::preprocess::image::Preparer;

/// All outputs of a model, each with its name.
type Answers = Vec<(String, Vec<f32>)>;

/// Proves backends of one model; tract is asked once at most.
#[derive(Debug)]
pub(crate) struct Proof<'a> {
    entry: &'a Entry,
    /// Held while a model is loaded.
    loading: &'a Mutex<()>,
    by_tract: Option<Result<Answers, String>>,
}

/// What an answer was compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    /// The recorded answers of the reference runtime.
    Golden,
    /// tract's answers.
    Tract,
}

impl<'a> Proof<'a> {
    pub(crate) fn new(entry: &'a Entry, loading: &'a Mutex<()>) -> Self {
        Proof { entry, loading, by_tract: None }
    }

    /// Looks whether the model answers as it should.
    ///
    /// # Errors
    /// A golden file is damaged, or the model does not run. In the inner result: what it answers otherwise.
    pub(crate) fn of(
        &mut self,
        model: &Arc<LoadedModel>,
    ) -> Result<(Against, Result<(), String>), InferenceError> {
        if let Some(report) = crate::golden::verify_loaded(self.entry, model)? {
            let wrong = report.cases.into_iter().find(|case| !case.problems.is_empty());
            let outcome = wrong.map_or(Ok(()), |case| {
                let (picture, problems) = (case.picture, case.problems.join("; "));
                Err(format!("its answer to {picture} is not the recorded one: {problems}"))
            });
            return Ok((Against::Golden, outcome));
        }
        if model.backend() == Backend::Tract {
            return Ok((Against::Tract, Ok(())));
        }
        let failed = |problem| InferenceError::Failed { model: self.entry.manifest.name.clone(), problem };
        let own = answers(self.entry, model.model()).map_err(failed)?;
        let (entry, loading) = (self.entry, self.loading);
        let by_tract = self.by_tract.get_or_insert_with(|| {
            let model = {
                let _loading = loading.lock().unwrap_or_else(PoisonError::into_inner);
                let bytes = entry.read_model().map_err(|e| e.to_string())?;
                Model::load(bytes, &entry.manifest.input, Backend::Tract)?
            };
            answers(entry, &model)
        });
        let outcome = match by_tract {
            Ok(by_tract) => compare(&own, by_tract, model.backend().precision()),
            Err(problem) => Err(format!("it has no golden cases, and tract cannot be asked: {problem}")),
        };
        Ok((Against::Tract, outcome))
    }
}

/// What the model answers to the picture that is the same everywhere.
fn answers(entry: &Entry, model: &Model) -> Result<Answers, String> {
    let mut session = model.session()?;
    let mut preparer = Preparer::new(&entry.manifest.input);
    session.fill(|tensor| preparer.prepare(&test_picture(), Region::FULL, tensor))?;
    session.run()?;
    let output =
        |(n, info): (usize, &crate::backend::OutputInfo)| (info.name.clone(), session.output(n).to_vec());
    Ok(model.outputs().iter().enumerate().map(output).collect())
}

/// Whether the mean distance of each output's values is a small part of the values' own size. Single values may be far
/// off: a step of rounding within the graph moves one to the next class. A quantised model that means something else
/// is off by as much as its values are large.
fn compare(own: &Answers, reference: &Answers, precision: Precision) -> Result<(), String> {
    // Part of the values' size, and what counts as nothing in scores.
    let (part, nothing) = match precision {
        Precision::Int8 => (0.25, 0.02),
        Precision::F32 => (1e-3, 1e-4),
    };
    let size = |values: &mut dyn Iterator<Item = f32>, count: usize| {
        (values.map(|v| f64::from(v) * f64::from(v)).sum::<f64>() / count.max(1) as f64).sqrt()
    };
    for ((name, own), (_, theirs)) in own.iter().zip(reference) {
        if own.len() != theirs.len() {
            return Err(format!("output {name} has {} values where tract has {}", own.len(), theirs.len()));
        }
        let off = size(&mut own.iter().zip(theirs).map(|(a, b)| a - b), own.len());
        let usual = size(&mut theirs.iter().copied(), own.len());
        if !(off + usual).is_finite() || off > part * usual + nothing {
            return Err(format!(
                "it has no golden cases, and output {name} is off tract's by {off:.4} where its values are {usual:.4}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32]) -> Answers {
        vec![("scores".into(), values.to_vec())]
    }

    #[test]
    fn answers_that_are_near_are_believed_and_others_are_not() {
        let reference: Vec<f32> = (0..1000).map(|n| ((n * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let moved = |by: f32| -> Vec<f32> {
            reference.iter().enumerate().map(|(n, v)| v + if n % 2 == 0 { by } else { -by }).collect()
        };
        let by = |values: &[f32], precision| compare(&of(values), &of(&reference), precision);
        assert_eq!(by(&moved(1e-4), Precision::F32), Ok(()));
        assert!(by(&moved(1e-2), Precision::F32).unwrap_err().contains("output scores"));
        assert_eq!(by(&moved(0.05), Precision::Int8), Ok(()));
        assert!(by(&moved(0.4), Precision::Int8).is_err());
        let mut turned = reference.clone();
        turned.reverse();
        assert!(by(&turned, Precision::Int8).is_err(), "the same values elsewhere");
        assert!(by(&vec![0.0; 1000], Precision::Int8).is_err(), "nothing at all");
        assert!(by(&vec![f32::NAN; 1000], Precision::Int8).is_err(), "no numbers");
        assert!(by(&reference[1..], Precision::Int8).is_err(), "too few");
    }
}
