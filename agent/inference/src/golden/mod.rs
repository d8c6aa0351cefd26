//! Replays a model's golden cases: pictures with the findings that a reference runtime gave for them.
//!
//! That a model loads says nothing: a wrongly quantised file answers nonsense with confidence. Only this does.

pub(crate) mod proof;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aimass_core::finding::StageTimes;
use aimass_core::frame::Picture;
use aimass_core::geometry::{Point, Region};
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::error::InferenceError;
use crate::library::{Entry, read_text, sha256_hex};
use crate::model_cache::{Detector, LoadedModel, ModelCache, Seen};

const MAX_GOLDEN_BYTES: usize = 4 * 1024 * 1024;
const MAX_PICTURE_BYTES: u64 = 16 * 1024 * 1024;

/// How far a value may be from the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// Of scores, up or down.
    pub score: f32,
    /// The least overlap of boxes.
    pub iou: f32,
    /// Of landmarks, in parts of the face's width.
    #[serde(default = "default_points")]
    pub points: f32,
}

fn default_points() -> f32 {
    0.1
}

/// A finding of the reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Its class.
    pub label: String,
    /// How sure it was.
    pub score: f32,
    /// Where.
    pub region: Region,
    /// Landmarks.
    #[serde(default)]
    pub points: Vec<Point>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    picture: String,
    sha256: String,
    min_score: f32,
    findings: Vec<Expected>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    model_sha256: String,
    made_by: String,
    tolerance: Tolerance,
    cases: Vec<Case>,
}

/// What came of one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaseReport {
    /// The picture, as the golden file names it.
    pub picture: String,
    /// How many findings the reference has.
    pub expected: usize,
    /// How many came.
    pub found: usize,
    /// What does not agree; empty if the case passes.
    pub problems: Vec<String>,
}

/// What came of all cases of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerifyReport {
    /// The model.
    pub model: String,
    /// What ran it.
    pub backend: Backend,
    /// Who made the reference.
    pub made_by: String,
    /// By case.
    pub cases: Vec<CaseReport>,
}

impl VerifyReport {
    /// Whether every case agrees.
    pub fn passed(&self) -> bool {
        self.cases.iter().all(|case| case.problems.is_empty())
    }
}

/// Loads a model and replays its golden cases; `None` if it has none.
///
/// # Errors
/// The model cannot be loaded, or its golden file or a picture of it is missing or damaged.
pub fn verify_model(
    models: &ModelCache,
    name: &str,
    pin: Option<Backend>,
) -> Result<Option<VerifyReport>, InferenceError> {
    let model = match pin {
        Some(backend) => models.get_by(name, backend)?,
        None => models.get(name, None)?,
    };
    verify_loaded(models.library().get(name)?, &model)
}

/// Replays the golden cases of a model that is loaded.
///
/// # Errors
/// As [`verify_model`].
pub fn verify_loaded(
    entry: &Entry,
    model: &Arc<LoadedModel>,
) -> Result<Option<VerifyReport>, InferenceError> {
    let path = entry.folder.join("golden.json");
    if !path.exists() {
        return Ok(None);
    }
    let text = read_text(&path, MAX_GOLDEN_BYTES)?;
    let bad = |problem: String| InferenceError::BadManifest { path: path.clone(), problem };
    let golden: Golden = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
    if golden.model_sha256 != entry.manifest.sha256 {
        return Err(bad("was made for another model file: make it again".into()));
    }
    let mut detector = Detector::new(model.clone())?;
    let mut cases = Vec::with_capacity(golden.cases.len());
    for case in &golden.cases {
        let picture = read_picture(&golden_path(&entry.folder, &case.picture).map_err(bad)?, &case.sha256)?;
        let seen: Vec<Seen> =
            detector.detect(&picture, Region::FULL, case.min_score, &mut StageTimes::default())?.collect();
        cases.push(CaseReport {
            picture: case.picture.clone(),
            expected: case.findings.len(),
            found: seen.len(),
            problems: compare(&case.findings, &seen, &golden.tolerance, &label_of(model)),
        });
    }
    Ok(Some(VerifyReport {
        model: entry.manifest.name.clone(),
        backend: model.backend(),
        made_by: golden.made_by,
        cases,
    }))
}

/// The label of a class.
pub(crate) fn label_of(model: &LoadedModel) -> impl Fn(usize) -> String + '_ {
    |class| match model.labels.get(class) {
        Some(Some(label)) => label.to_string(),
        _ if model.decoder.landmarks().is_some() => crate::tasks::FACE.to_owned(),
        _ => format!("class {class}"),
    }
}

/// Pictures lie in the model's folder, or in the folder beside it that all models share.
fn golden_path(folder: &Path, picture: &str) -> Result<PathBuf, String> {
    let (base, rest) = match picture.strip_prefix("../golden/") {
        Some(rest) => (folder.parent().unwrap_or(folder).join("golden"), rest),
        None => (folder.to_owned(), picture),
    };
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0']);
    if !rest.split('/').all(plain) {
        return Err(format!("picture {picture:?} is not a path below the model's folder or ../golden/"));
    }
    Ok(base.join(rest))
}

fn read_picture(path: &Path, sha256: &str) -> Result<Picture, InferenceError> {
    use std::io::Read;
    let bad = |problem: String| InferenceError::BadManifest { path: path.to_owned(), problem };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|f| f.take(MAX_PICTURE_BYTES).read_to_end(&mut bytes))
        .map_err(|e| InferenceError::io(path, e))?;
    let found = sha256_hex(&bytes);
    if found != sha256 {
        return Err(bad(format!("its sha256 is {found}, expected {sha256}: restore it")));
    }
    let mut reader = image::ImageReader::new(std::io::Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| InferenceError::io(path, e))?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(8192);
    limits.max_image_height = Some(8192);
    reader.limits(limits);
    let image = reader.decode().map_err(|e| bad(e.to_string()))?.into_rgb8();
    Picture::from_rgb(image.dimensions(), image.into_raw()).map_err(|e| bad(e.to_string()))
}

/// What does not agree: expected findings that did not come, and findings that nobody expects.
fn compare(
    expected: &[Expected],
    seen: &[Seen],
    tolerance: &Tolerance,
    label_of: &impl Fn(usize) -> String,
) -> Vec<String> {
    let mut left: Vec<&Seen> = seen.iter().collect();
    let mut problems = Vec::new();
    for e in expected {
        let region = e.region.clipped();
        let best = (0..left.len())
            .filter(|n| label_of(left[*n].class) == e.label)
            .max_by(|a, b| left[*a].region.iou(&region).total_cmp(&left[*b].region.iou(&region)));
        let what = format!("{} {:.2} at {:.2},{:.2}", e.label, e.score, e.region.x, e.region.y);
        let Some(n) = best.filter(|n| left[*n].region.iou(&region) >= 0.3) else {
            problems.push(format!("{what}: is missing"));
            continue;
        };
        let s = left.swap_remove(n);
        let iou = s.region.iou(&region);
        if iou < tolerance.iou {
            problems.push(format!("{what}: overlaps by {iou:.2}"));
        }
        if (s.score - e.score).abs() > tolerance.score {
            problems.push(format!("{what}: has score {:.2}", s.score));
        }
        let reach = tolerance.points * region.w.max(1e-6);
        let far = e.points.iter().zip(s.points()).any(|(a, b)| (a.x - b.x).hypot(a.y - b.y) > reach);
        if far || (!e.points.is_empty() && e.points.len() != s.points().len()) {
            problems.push(format!("{what}: has its points elsewhere"));
        }
    }
    for s in left {
        problems.push(format!(
            "{} {:.2} at {:.2},{:.2}: is not expected",
            label_of(s.class),
            s.score,
            s.region.x,
            s.region.y
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_pictures_stay_in_their_folders() {
        let folder = Path::new("/m/tiny");
        assert_eq!(golden_path(folder, "golden/a.jpg").unwrap(), Path::new("/m/tiny/golden/a.jpg"));
        assert_eq!(golden_path(folder, "../golden/a.jpg").unwrap(), Path::new("/m/golden/a.jpg"));
        for bad in ["../a.jpg", "../golden/../../a", "/etc/passwd", "a/../b", ""] {
            assert!(golden_path(folder, bad).is_err(), "{bad}");
        }
    }
}
