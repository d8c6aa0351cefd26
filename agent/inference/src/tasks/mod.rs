//! The analyzers: what a chain can be made of. One file each; adding one is a file and its lines here.

pub mod box_detector;
mod detect;
mod faces;

use aimass_core::finding::Label;
use aimass_core::traits::Analyzer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use detect::DetectConfig;
pub use faces::FacesConfig;

use crate::error::InferenceError;
use crate::library::manifest::{Manifest, Task};
use crate::model_cache::ModelCache;

/// The label of a face.
pub const FACE: &str = "face";

/// What an analyzer is and how it works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum AnalyzerConfig {
    /// Finds objects of the model's classes.
    Detect(DetectConfig),
    /// Finds faces with their landmarks.
    Faces(FacesConfig),
}

impl AnalyzerConfig {
    /// The kinds that there are, as a chain may name them.
    pub const KINDS: [&str; 2] = ["detect", "faces"];

    /// The configuration that a bare name in a chain stands for: `detect` or `faces` with their defaults.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "detect" => Some(AnalyzerConfig::Detect(DetectConfig::default())),
            "faces" => Some(AnalyzerConfig::Faces(FacesConfig::default())),
            _ => None,
        }
    }

    /// What a table without its `kind` says of an analyzer of this kind; `None` for a kind that there is not. serde looks
    /// at a tagged table as a whole: this is for whoever wants to know which of its fields is wrong.
    pub fn of_kind<'de, D: serde::Deserializer<'de>>(kind: &str, table: D) -> Option<Result<Self, D::Error>> {
        match kind {
            "detect" => Some(DetectConfig::deserialize(table).map(AnalyzerConfig::Detect)),
            "faces" => Some(FacesConfig::deserialize(table).map(AnalyzerConfig::Faces)),
            _ => None,
        }
    }

    /// Whether its models are there and made for what it does.
    ///
    /// # Errors
    /// One is unknown, for another task, or its file is missing.
    pub fn check_models(&self, models: &crate::library::Library) -> Result<(), InferenceError> {
        let task = match self {
            AnalyzerConfig::Detect(_) => Task::Detect,
            AnalyzerConfig::Faces(_) => Task::Faces,
        };
        for name in std::iter::once(self.model()).chain(self.smaller_model()) {
            let entry = models.get(name)?;
            check_task(&entry.manifest, task)?;
            if !entry.has_file() {
                return Err(InferenceError::MissingFile { model: name.to_owned(), path: entry.file.clone() });
            }
        }
        Ok(())
    }

    /// What it can find, by the words that zones may ask for.
    ///
    /// # Errors
    /// Its model is unknown, or its list of classes cannot be read.
    pub fn labels(&self, models: &crate::library::Library) -> Result<Vec<Label>, InferenceError> {
        let entry = models.get(self.model())?;
        match self {
            AnalyzerConfig::Detect(config) if config.labels.is_empty() => {
                Ok(entry.read_labels()?.into_iter().flatten().collect())
            }
            AnalyzerConfig::Detect(config) => Ok(config.labels.iter().map(|l| l.as_str().into()).collect()),
            AnalyzerConfig::Faces(_) => Ok(vec![FACE.into()]),
        }
    }

    /// The model that it needs.
    pub fn model(&self) -> &str {
        match self {
            AnalyzerConfig::Detect(config) => &config.model,
            AnalyzerConfig::Faces(config) => &config.model,
        }
    }

    /// The model that takes over when there is not enough time for the other.
    pub fn smaller_model(&self) -> Option<&str> {
        match self {
            AnalyzerConfig::Detect(config) => config.smaller_model.as_deref(),
            AnalyzerConfig::Faces(config) => config.smaller_model.as_deref(),
        }
    }

    /// Score below which nothing is reported; `None` is the model's own default.
    pub fn min_score(&self) -> Option<f32> {
        match self {
            AnalyzerConfig::Detect(config) => config.min_score,
            AnalyzerConfig::Faces(config) => config.min_score,
        }
    }

    /// Takes another model, another least score, or both.
    pub fn set(&mut self, model: Option<&str>, min_score: Option<f32>) {
        let (own_model, own_score) = match self {
            AnalyzerConfig::Detect(config) => (&mut config.model, &mut config.min_score),
            AnalyzerConfig::Faces(config) => (&mut config.model, &mut config.min_score),
        };
        if let Some(model) = model {
            model.clone_into(own_model);
        }
        *own_score = min_score.or(*own_score);
    }

    /// What is wrong with these settings, without looking at the model: the field, and what to do.
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let outside = |value: f32| !(0.0..=1.0).contains(&value);
        let mut wrong = Vec::new();
        if let Some(score) = self.min_score().filter(|s| outside(*s)) {
            wrong.push(("min_score", format!("{score} is not within 0..1")));
        }
        if self.smaller_model() == Some(self.model()) {
            wrong.push(("smaller_model", format!("\"{}\" is the model itself: leave it out", self.model())));
        }
        if let AnalyzerConfig::Faces(config) = self
            && outside(config.min_size)
        {
            wrong.push(("min_size", format!("{} is not within 0..1", config.min_size)));
        }
        wrong
    }

    /// The longest side, in pixels, that is of use to it, whichever of its models does the work; `None` if its model
    /// is unknown.
    pub fn useful_side_px(&self, models: &crate::library::Library) -> Option<u32> {
        let side = |model: &str| models.get(model).ok().map(|entry| useful_side(&entry.manifest.input));
        side(self.model()).max(self.smaller_model().and_then(side))
    }
}

/// Builds the analyzer that a chain calls `name`, for one thread. Loads its model if nobody has it yet.
///
/// # Errors
/// The model is unknown, missing, damaged or for another task; a setting does not fit.
pub fn build(
    name: &str,
    config: &AnalyzerConfig,
    models: &ModelCache,
) -> Result<Box<dyn Analyzer>, InferenceError> {
    Ok(match config {
        AnalyzerConfig::Detect(config) => Box::new(detect::Detect::new(name, config, models)?),
        AnalyzerConfig::Faces(config) => Box::new(faces::Faces::new(name, config, models)?),
    })
}

fn check_fraction(what: &str, value: f32) -> Result<f32, InferenceError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(value);
    }
    Err(InferenceError::Config { what: what.into(), problem: format!("{value} is not within 0..=1") })
}

fn check_task(manifest: &Manifest, task: Task) -> Result<(), InferenceError> {
    let what = match task {
        Task::Detect => "objects",
        Task::Faces => "faces",
    };
    let problem = format!("{} is no model for {what}", manifest.name);
    (manifest.task == task)
        .then_some(())
        .ok_or_else(|| InferenceError::Config { what: "model".into(), problem })
}

/// The label of each class, ready to be cloned into findings.
fn labels_of(model: &crate::model_cache::LoadedModel) -> Vec<Label> {
    let name = crate::golden::label_of(model);
    (0..model.decoder.classes())
        .map(|class| match model.labels.get(class) {
            Some(Some(label)) => label.clone(),
            _ => name(class).into(),
        })
        .collect()
}

/// The longest side of a picture beyond which this input sees nothing more. A stretched input loses most on the
/// long side of a wide picture; with 8/3 a 16:9 picture still has 1.5 source pixels a target pixel on its short
/// side, so that scaling before does not show.
fn useful_side(input: &crate::library::manifest::InputSpec) -> u32 {
    let side = input.width().max(input.height()) as u32;
    match input.resize {
        crate::library::manifest::Resize::Stretch => side * 8 / 3,
        crate::library::manifest::Resize::Letterbox | crate::library::manifest::Resize::LetterboxCentred => {
            side
        }
    }
}
