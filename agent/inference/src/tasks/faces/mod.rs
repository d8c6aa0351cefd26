//! `faces`: faces with landmarks, in the whole frame. Finding faces is not knowing whose they are.
//!
//! The points of a finding come in the order of its model, which the attribute `landmarks` tells:
//! `eyes-nose-mouth-corners` (5: right eye, left eye, nose, right and left corner of the mouth; CenterFace) or
//! `eyes-nose-mouth-ears` (6: right eye, left eye, nose, middle of the mouth, right and left ear; BlazeFace).
//! Right and left are the person's own: a person who looks at the camera has the right eye on the picture's left.

pub(crate) mod blazeface;
pub(crate) mod centerface;

use std::sync::Arc;

use aimass_core::finding::{Finding, Findings, Label, ModelRef};
use aimass_core::frame::Frame;
use aimass_core::geometry::Region;
use aimass_core::traits::{AnalyzeError, Analyzer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::InferenceError;
use crate::library::manifest::{Precision, Task};
use crate::model_cache::{Detector, ModelCache};

/// Settings of `faces`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FacesConfig {
    /// Name of the model in the library.
    pub model: String,
    /// A model that costs less: it takes over while the governor has no frames left to leave out. Left out, there is
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smaller_model: Option<String>,
    /// Score below which nothing is reported, 0..1; left out, the model's own default.
    pub min_score: Option<f32>,
    /// Faces lower than this part of the frame's height are left out.
    pub min_size: f32,
    /// Only faces whose middle lies in a finding with this label that came earlier in the chain, such as
    /// `person`; the model does not run while there is none. Left out, all faces.
    pub inside: Option<String>,
    /// Pins the precision; left out, the faster one as measured on this machine.
    pub precision: Option<Precision>,
}

impl Default for FacesConfig {
    fn default() -> Self {
        FacesConfig {
            model: "centerface".into(),
            smaller_model: None,
            min_score: None,
            min_size: 0.0,
            inside: None,
            precision: None,
        }
    }
}

pub(super) struct Faces {
    name: String,
    detector: Detector,
    min_score: f32,
    min_size: f32,
    inside: Option<String>,
    label: Label,
    landmarks: Option<&'static str>,
    reference: Arc<ModelRef>,
    useful_side: u32,
    /// Where faces may be, in this frame.
    holders: Vec<Region>,
}

impl Faces {
    pub(super) fn new(name: &str, config: &FacesConfig, models: &ModelCache) -> Result<Self, InferenceError> {
        let min_score = config.min_score.map(|s| super::check_fraction("min_score", s)).transpose()?;
        let min_size = super::check_fraction("min_size", config.min_size)?;
        let manifest = models.library().get(&config.model)?.manifest.clone();
        super::check_task(&manifest, Task::Faces)?;
        let model = models.get(&config.model, config.precision)?;
        Ok(Faces {
            name: name.to_owned(),
            min_score: min_score.unwrap_or(manifest.default_min_score),
            min_size,
            inside: config.inside.clone(),
            label: super::FACE.into(),
            landmarks: model.decoder.landmarks(),
            reference: model.reference.clone(),
            useful_side: super::useful_side(&manifest.input),
            detector: Detector::new(model)?,
            holders: Vec::new(),
        })
    }
}

impl Analyzer for Faces {
    fn name(&self) -> &str {
        &self.name
    }

    fn analyze(&mut self, frame: &Frame, findings: &mut Findings) -> Result<(), AnalyzeError> {
        if let Some(inside) = &self.inside {
            self.holders.clear();
            self.holders.extend(findings.list.iter().filter(|f| *f.label == **inside).map(|f| f.region));
            if self.holders.is_empty() {
                return Ok(());
            }
        }
        let seen = self
            .detector
            .detect(&frame.picture, Region::FULL, self.min_score, &mut findings.times)
            .map_err(|e| AnalyzeError { analyzer: self.name.clone(), problem: e.to_string() })?;
        for seen in seen.filter(|seen| seen.region.h >= self.min_size) {
            let middle = seen.region.centre();
            let holds =
                |r: &Region| (r.x..=r.right()).contains(&middle.x) && (r.y..=r.bottom()).contains(&middle.y);
            if self.inside.is_some() && !self.holders.iter().any(holds) {
                continue;
            }
            let landmarks = self.landmarks.map(|l| ("landmarks".into(), Value::from(l)));
            findings.list.push(Finding {
                label: self.label.clone(),
                score: seen.score,
                region: seen.region,
                track: None,
                points: seen.points().to_vec(),
                attributes: landmarks.into_iter().collect(),
                model: self.reference.clone(),
            });
        }
        Ok(())
    }

    fn useful_side_px(&self) -> u32 {
        self.useful_side
    }
}
