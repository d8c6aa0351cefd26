//! `model.toml`: what a model is, what it eats, how its outputs are read, where it comes from.
//!
//! Invariant: a [`Manifest`] that exists is sound: names are plain, sizes are bounded, numbers are finite.

use serde::{Deserialize, Serialize};

/// The largest manifest, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 64 * 1024;
/// The largest model file, in bytes.
pub const MAX_MODEL_BYTES: u64 = 256 * 1024 * 1024;
/// The longest side of a model's input, in pixels.
pub const MAX_INPUT_SIDE: usize = 2048;

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Objects by class.
    Detect,
    /// Faces with landmarks.
    Faces,
}

/// How a model's weights are held while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// All f32; a file stored as int8 is folded to f32 at load.
    F32,
    /// As stored: int8 weights and activations with Quantize/Dequantize pairs.
    Int8,
}

impl Precision {
    /// As in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Int8 => "int8",
        }
    }
}

/// The order of an input tensor's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Batch, channel, row, column.
    Nchw,
    /// Batch, row, column, channel.
    Nhwc,
}

/// The order of the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// How a picture is fitted into the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// To the input's size, whatever the aspect.
    Stretch,
    /// Aspect kept, picture at the top left, the rest black.
    Letterbox,
    /// Aspect kept, picture in the middle, the rest black.
    LetterboxCentred,
}

/// The model's one input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// The tensor's name in the graph.
    pub name: String,
    /// Its shape; batch 1, 3 channels.
    pub shape: [usize; 4],
    /// The order of its axes.
    pub layout: Layout,
    /// The order of its channels.
    pub colour: ChannelOrder,
    /// Taken from each value (0..255), in the order of `colour`.
    pub mean: [f32; 3],
    /// Divides what is left, in the order of `colour`.
    pub std: [f32; 3],
    /// How a picture is fitted in.
    pub resize: Resize,
}

impl InputSpec {
    /// Width in pixels.
    pub fn width(&self) -> usize {
        if self.layout == Layout::Nchw { self.shape[3] } else { self.shape[2] }
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        if self.layout == Layout::Nchw { self.shape[2] } else { self.shape[1] }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.width() * self.height() * 3
    }

    /// Never true of a sound manifest.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How the outputs become detections, with the outputs' names by role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum DecoderSpec {
    /// Scores `[1, n, classes]` (sigmoid done) and boxes `[1, n, 1, 4]` or `[1, n, 4]`: y0, x0, y1, x1 in 0..1.
    Ssd {
        /// Output with the scores.
        scores: String,
        /// Output with the boxes.
        boxes: String,
        /// Overlap at which the weaker of two boxes of a class goes.
        nms_iou: f32,
    },
    /// For each level scores `[1, cells, classes]` (sigmoid done) and boxes `[1, cells, 4 × bins]`: distributions
    /// of the four distances from the cell's centre.
    Nanodet {
        /// Outputs with the scores, by level.
        scores: Vec<String>,
        /// Outputs with the boxes, by level.
        boxes: Vec<String>,
        /// Pixels a cell, by level.
        strides: Vec<usize>,
        /// Bins of each distance.
        bins: usize,
        /// Overlap at which the weaker of two boxes of a class goes.
        nms_iou: f32,
    },
    /// Heat map `[1, 1, h, w]`, log sizes (h, w), offsets (y, x) and 5 landmarks (y, x pairs in parts of the box).
    Centerface {
        /// Output with the heat map, sigmoid done.
        heatmap: String,
        /// Output with the log sizes.
        size: String,
        /// Output with the offsets.
        offset: String,
        /// Output with the landmarks.
        landmarks: String,
        /// Pixels a cell.
        stride: usize,
        /// Overlap at which the weaker of two faces goes.
        nms_iou: f32,
    },
    /// For each layer scores `[1, n, 1]` (logits) and boxes `[1, n, 16]`: centre, size and 6 points in pixels,
    /// relative to the anchor.
    Blazeface {
        /// Outputs with the scores, by layer.
        scores: Vec<String>,
        /// Outputs with the boxes, by layer.
        boxes: Vec<String>,
        /// Pixels a cell and anchors a cell, by layer.
        anchors: Vec<[usize; 2]>,
        /// Overlap at which the weaker of two faces goes.
        nms_iou: f32,
    },
}

impl DecoderSpec {
    /// The kind, as in the manifest.
    pub fn kind(&self) -> &'static str {
        match self {
            DecoderSpec::Ssd { .. } => "ssd",
            DecoderSpec::Nanodet { .. } => "nanodet",
            DecoderSpec::Centerface { .. } => "centerface",
            DecoderSpec::Blazeface { .. } => "blazeface",
        }
    }

    /// Overlap at which the weaker of two detections of a class goes.
    pub fn nms_iou(&self) -> f32 {
        match self {
            DecoderSpec::Ssd { nms_iou, .. }
            | DecoderSpec::Nanodet { nms_iou, .. }
            | DecoderSpec::Centerface { nms_iou, .. }
            | DecoderSpec::Blazeface { nms_iou, .. } => *nms_iou,
        }
    }
}

/// Under which terms the weights may be used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Licence {
    /// SPDX expression.
    pub spdx: String,
    /// Text of the licence, beside the manifest.
    #[serde(default)]
    pub file: Option<String>,
    /// Where that is stated.
    #[serde(default)]
    pub note: Option<String>,
}

/// Where the file comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Kind of registry.
    pub registry: String,
    /// Package there.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The file inside it.
    #[serde(default)]
    pub path: Option<String>,
    /// SHA-256 of the package archive as the registry serves it.
    #[serde(default)]
    pub sha256: Option<String>,
    /// What turns it into the model file.
    #[serde(default)]
    pub build: Option<String>,
}

/// A model's description.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name: the folder's.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is for.
    pub task: Task,
    /// The model file, beside the manifest.
    pub file: String,
    /// SHA-256 of the file, in lower-case hex.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// How it is stored.
    pub precision: Precision,
    /// The list of classes, beside the manifest: one a line, line number = class index, empty = unused.
    #[serde(default)]
    pub labels: Option<String>,
    /// Score below which nothing is reported, unless the configuration says otherwise.
    pub default_min_score: f32,
    /// What it eats.
    pub input: InputSpec,
    /// How its outputs are read.
    pub decoder: DecoderSpec,
    /// Terms of use.
    pub licence: Licence,
    /// Where it comes from.
    pub source: Origin,
    /// Figures for people.
    #[serde(default)]
    pub measured: Option<toml::Table>,
}

impl Manifest {
    /// Reads a manifest and checks it.
    ///
    /// # Errors
    /// What is wrong, on one line: for syntax errors and unknown keys with the place.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_MANIFEST_BYTES {
            return Err(format!("longer than {MAX_MANIFEST_BYTES} bytes"));
        }
        let manifest: Manifest = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let message = error.message().replace('\n', " ");
            line.map_or(message.clone(), |line| format!("line {line}: {message}"))
        })?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        self.name.parse::<aimass_core::id::Name>().map_err(|e| format!("name: {e}"))?;
        if self.version.is_empty() || self.version.len() > 40 {
            return Err("version: give 1 to 40 characters".into());
        }
        check_file_name("file", &self.file)?;
        if let Some(labels) = &self.labels {
            check_file_name("labels", labels)?;
        }
        if let Some(file) = &self.licence.file {
            check_file_name("licence.file", file)?;
        }
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err("sha256: give 64 lower-case hex digits".into());
        }
        if !(1..=MAX_MODEL_BYTES).contains(&self.bytes) {
            return Err(format!("bytes: {} is not within 1..={MAX_MODEL_BYTES}", self.bytes));
        }
        check_fraction("default_min_score", self.default_min_score)?;
        if self.task == Task::Detect && self.labels.is_none() {
            return Err("labels: a detect model needs its list of classes".into());
        }
        self.check_input()?;
        self.check_decoder()
    }

    fn check_input(&self) -> Result<(), String> {
        let input = &self.input;
        let (channels, sides) = match input.layout {
            Layout::Nchw => (input.shape[1], [input.shape[2], input.shape[3]]),
            Layout::Nhwc => (input.shape[3], [input.shape[1], input.shape[2]]),
        };
        if input.name.is_empty() {
            return Err("input.name: is empty".into());
        }
        if input.shape[0] != 1 || channels != 3 {
            return Err(format!("input.shape: {:?} is not one picture of 3 channels", input.shape));
        }
        if sides.iter().any(|side| !(8..=MAX_INPUT_SIDE).contains(side)) {
            return Err(format!("input.shape: a side is not within 8..={MAX_INPUT_SIDE}"));
        }
        if input.mean.iter().any(|m| !m.is_finite()) {
            return Err("input.mean: give finite numbers".into());
        }
        if input.std.iter().any(|s| !s.is_normal()) {
            return Err("input.std: give finite numbers other than 0".into());
        }
        Ok(())
    }

    fn check_decoder(&self) -> Result<(), String> {
        check_fraction("decoder.nms_iou", self.decoder.nms_iou())?;
        let levels = |a: usize, b: usize, c: usize| {
            if a == 0 || a > 8 || a != b || a != c {
                return Err("decoder: give 1 to 8 levels, the same number in each list".to_owned());
            }
            Ok(())
        };
        let stride = |s: usize| {
            if !(1..=256).contains(&s) {
                return Err(format!("decoder: a stride of {s} is not within 1..=256"));
            }
            Ok(())
        };
        match &self.decoder {
            DecoderSpec::Ssd { .. } => Ok(()),
            DecoderSpec::Nanodet { scores, boxes, strides, bins, .. } => {
                levels(scores.len(), boxes.len(), strides.len())?;
                if !(2..=64).contains(bins) {
                    return Err(format!("decoder.bins: {bins} is not within 2..=64"));
                }
                strides.iter().try_for_each(|s| stride(*s))
            }
            DecoderSpec::Centerface { stride: s, .. } => stride(*s),
            DecoderSpec::Blazeface { scores, boxes, anchors, .. } => {
                levels(scores.len(), boxes.len(), anchors.len())?;
                anchors.iter().try_for_each(|[s, n]| {
                    if !(1..=32).contains(n) {
                        return Err(format!("decoder.anchors: {n} anchors a cell is not within 1..=32"));
                    }
                    stride(*s)
                })
            }
        }
    }
}

/// A manifest names files beside itself, never a path: it may come from outside.
fn check_file_name(key: &str, name: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.bytes().all(plain) {
        return Err(format!(
            "{key}: {name:?} is not a plain file name: use letters, digits, '-', '_' and '.', not at the start"
        ));
    }
    Ok(())
}

fn check_fraction(key: &str, value: f32) -> Result<(), String> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(format!("{key}: {value} is not within 0..=1")) }
}

#[cfg(test)]
pub(crate) mod tests;
