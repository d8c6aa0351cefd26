//! `detect`: objects of the model's classes, in the whole frame.

pub(crate) mod nanodet;
pub(crate) mod ssd;

use std::sync::Arc;

use aimass_core::finding::{Attributes, Finding, Findings, Label, ModelRef};
use aimass_core::frame::Frame;
use aimass_core::geometry::Region;
use aimass_core::traits::{AnalyzeError, Analyzer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::InferenceError;
use crate::library::manifest::{Precision, Task};
use crate::model_cache::{Detector, ModelCache};

/// Settings of `detect`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DetectConfig {
    /// Name of the model in the library.
    pub model: String,
    /// A model that costs less and finds the same classes: it takes over while the governor has no frames left to
    /// leave out. Left out, there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smaller_model: Option<String>,
    /// Score below which nothing is reported, 0..1; left out, the model's own default.
    pub min_score: Option<f32>,
    /// Only these classes; empty means all.
    pub labels: Vec<String>,
    /// Pins the precision; left out, the faster one as measured on this machine.
    pub precision: Option<Precision>,
}

impl Default for DetectConfig {
    fn default() -> Self {
        DetectConfig {
            model: "coco-ssd-lite".into(),
            smaller_model: None,
            min_score: None,
            labels: Vec::new(),
            precision: None,
        }
    }
}

pub(super) struct Detect {
    name: String,
    detector: Detector,
    min_score: f32,
    labels: Vec<Label>,
    reference: Arc<ModelRef>,
    useful_side: u32,
}

impl Detect {
    pub(super) fn new(
        name: &str,
        config: &DetectConfig,
        models: &ModelCache,
    ) -> Result<Self, InferenceError> {
        let min_score = config.min_score.map(|s| super::check_fraction("min_score", s)).transpose()?;
        let manifest = models.library().get(&config.model)?.manifest.clone();
        super::check_task(&manifest, Task::Detect)?;
        let model = models.get(&config.model, config.precision)?;
        let (labels, reference) = (super::labels_of(&model), model.reference.clone());
        let mut detector = Detector::new(model)?;
        if !config.labels.is_empty() {
            detector.want(&config.labels)?;
        }
        Ok(Detect {
            name: name.to_owned(),
            detector,
            min_score: min_score.unwrap_or(manifest.default_min_score),
            labels,
            reference,
            useful_side: super::useful_side(&manifest.input),
        })
    }
}

impl Analyzer for Detect {
    fn name(&self) -> &str {
        &self.name
    }

    fn analyze(&mut self, frame: &Frame, findings: &mut Findings) -> Result<(), AnalyzeError> {
        let seen = self
            .detector
            .detect(&frame.picture, Region::FULL, self.min_score, &mut findings.times)
            .map_err(|e| AnalyzeError { analyzer: self.name.clone(), problem: e.to_string() })?;
        findings.list.extend(seen.map(|seen| Finding {
            label: self.labels[seen.class].clone(),
            score: seen.score,
            region: seen.region,
            track: None,
            points: Vec::new(),
            attributes: Attributes::new(),
            model: self.reference.clone(),
        }));
        Ok(())
    }

    fn useful_side_px(&self) -> u32 {
        self.useful_side
    }
}
