//! From a model's outputs to detections, by the decoder that its manifest names.
//!
//! A decoder is made once, when the model is loaded: it finds its outputs by name and checks their shapes, so that
//! decoding itself cannot meet a surprise. Decoding allocates nothing but the detections.

use crate::backend::OutputInfo;
use crate::error::InferenceError;
use crate::library::manifest::{DecoderSpec, Manifest};
use crate::tasks::box_detector::nms::Detection;
use crate::tasks::detect::{nanodet, ssd};
use crate::tasks::faces::{blazeface, centerface};

/// The values of a model's outputs, by index.
pub trait Outputs {
    /// Output `n`, in row-major order.
    fn output(&self, n: usize) -> &[f32];
}

impl Outputs for crate::backend::Session {
    fn output(&self, n: usize) -> &[f32] {
        crate::backend::Session::output(self, n)
    }
}

/// A decoder that fits its model.
#[derive(Debug, Clone)]
pub enum Decoder {
    /// Single-shot detectors with decoded boxes.
    Ssd(ssd::Ssd),
    /// NanoDet and what has its head.
    Nanodet(nanodet::Nanodet),
    /// CenterFace.
    Centerface(centerface::Centerface),
    /// BlazeFace.
    Blazeface(blazeface::Blazeface),
}

impl Decoder {
    /// The decoder that the manifest names, checked against the graph's outputs.
    ///
    /// # Errors
    /// Which output is missing or has another shape, and what the graph has instead.
    pub fn new(manifest: &Manifest, outputs: &[OutputInfo]) -> Result<Self, InferenceError> {
        let find = Find { outputs };
        let input = (manifest.input.width(), manifest.input.height());
        let made = match &manifest.decoder {
            DecoderSpec::Ssd { scores, boxes, .. } => {
                ssd::Ssd::new(&find, scores, boxes, input).map(Decoder::Ssd)
            }
            DecoderSpec::Nanodet { scores, boxes, strides, bins, .. } => {
                nanodet::Nanodet::new(&find, scores, boxes, strides, *bins, input).map(Decoder::Nanodet)
            }
            DecoderSpec::Centerface { heatmap, size, offset, landmarks, stride, .. } => {
                centerface::Centerface::new(&find, [heatmap, size, offset, landmarks], *stride, input)
                    .map(Decoder::Centerface)
            }
            DecoderSpec::Blazeface { scores, boxes, anchors, .. } => {
                blazeface::Blazeface::new(&find, scores, boxes, anchors, input).map(Decoder::Blazeface)
            }
        };
        made.map_err(|problem| InferenceError::WrongOutputs {
            model: manifest.name.clone(),
            decoder: manifest.decoder.kind(),
            problem,
        })
    }

    /// Number of classes that the scores have.
    pub fn classes(&self) -> usize {
        match self {
            Decoder::Ssd(d) => d.classes(),
            Decoder::Nanodet(d) => d.classes(),
            Decoder::Centerface(_) | Decoder::Blazeface(_) => 1,
        }
    }

    /// Which landmarks its detections have, if any.
    pub fn landmarks(&self) -> Option<&'static str> {
        match self {
            Decoder::Ssd(_) | Decoder::Nanodet(_) => None,
            Decoder::Centerface(_) => Some("eyes-nose-mouth-corners"),
            Decoder::Blazeface(_) => Some("eyes-nose-mouth-ears"),
        }
    }

    /// Adds every detection with a score of at least `min_score` and a class that is wanted (classes beyond
    /// `wanted` are not), in pixels of the model's input, before suppression.
    pub fn decode(
        &self,
        outputs: &impl Outputs,
        min_score: f32,
        wanted: &[bool],
        found: &mut Vec<Detection>,
    ) {
        match self {
            Decoder::Ssd(d) => d.decode(outputs, min_score, wanted, found),
            Decoder::Nanodet(d) => d.decode(outputs, min_score, wanted, found),
            Decoder::Centerface(d) => d.decode(outputs, min_score, found),
            Decoder::Blazeface(d) => d.decode(outputs, min_score, found),
        }
    }
}

/// Finds outputs by name.
pub(crate) struct Find<'a> {
    outputs: &'a [OutputInfo],
}

impl Find<'_> {
    /// The index and shape of the output with this name.
    pub(crate) fn named(&self, role: &str, name: &str) -> Result<(usize, &[usize]), String> {
        let at = self.outputs.iter().position(|o| o.name == name);
        at.map(|n| (n, self.outputs[n].shape.as_slice())).ok_or_else(|| {
            let have: Vec<String> =
                self.outputs.iter().map(|o| format!("{} {:?}", o.name, o.shape)).collect();
            format!("the graph has no output \"{name}\" for {role}; it has {}", have.join(", "))
        })
    }

    /// The index of the output with this name, if it has this shape.
    pub(crate) fn shaped(&self, role: &str, name: &str, shape: &[usize]) -> Result<usize, String> {
        let (n, have) = self.named(role, name)?;
        if have == shape {
            return Ok(n);
        }
        Err(format!("output \"{name}\" for {role} has the shape {have:?} where {shape:?} is expected"))
    }
}

/// 1 / (1 + e^-x).
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The logit of a score: comparing logits spares an exponential for each cell.
pub(crate) fn logit(score: f32) -> f32 {
    (score / (1.0 - score)).ln()
}

#[cfg(test)]
mod tests;
