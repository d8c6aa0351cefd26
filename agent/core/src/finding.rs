//! What an analyzer says about a frame: the narrow waist, the same for boxes, faces, texts and sounds.

use std::sync::Arc;
use std::time::Duration;

pub use aimass_protocol::event::{Attributes, Label, ModelRef};
use serde::Serialize;

use crate::geometry::{Point, Region};

/// One thing that was found in a frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Its class.
    pub label: Label,
    /// How sure the model is, 0..1.
    pub score: f32,
    /// Where it is, in fractions of the frame.
    pub region: Region,
    /// The track it belongs to, once the tracker has seen it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track: Option<u64>,
    /// Landmarks, in fractions of the frame, in the order that the analyzer documents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<Point>,
    /// Extra facts.
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    /// Which model said it. Left out of per-frame documents, where it would repeat itself.
    #[serde(skip)]
    pub model: Arc<ModelRef>,
}

/// How long the stages of an analysis took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StageTimes {
    /// From the frame's planes to the model's input tensor.
    pub prepare: Duration,
    /// The model itself.
    pub infer: Duration,
    /// From the model's outputs to findings.
    pub decode: Duration,
    /// Number of times the model ran.
    pub inferences: u32,
}

impl std::ops::AddAssign for StageTimes {
    fn add_assign(&mut self, other: Self) {
        self.prepare += other.prepare;
        self.infer += other.infer;
        self.decode += other.decode;
        self.inferences += other.inferences;
    }
}

/// What a chain of analyzers has found in one frame so far, and what that cost.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// In the order in which they were found.
    pub list: Vec<Finding>,
    /// Summed over the chain.
    pub times: StageTimes,
}
