//! The tracker's settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How findings become tracks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrackerConfig {
    /// Findings with at least this score are matched first, and may begin a track. 0..1.
    pub high_score: f32,
    /// Findings below this are not tracked. Those between this and `high_score` only keep a track alive that
    /// exists already. 0..1, at most `high_score`.
    pub low_score: f32,
    /// In how many analysed frames a thing must be seen before it counts. 1 or more.
    pub confirm_frames: u32,
    /// How long a thing may go unseen before its track ends, in seconds, counted from the first analysed frame
    /// that missed it.
    pub lost_after_s: f32,
    /// The same for things that stood still when they were last seen: somebody may stand before them.
    pub still_lost_after_s: f32,
    /// The least overlap (intersection over union) of a finding with where its track is expected. 0..1.
    pub min_iou: f32,
    /// How long a thing must not have moved to count as still, in seconds.
    pub still_after_s: f32,
    /// Labels that a model may take for each other: a thing whose label flips within a group stays one track.
    /// A label may stand in one group only.
    pub label_groups: Vec<Vec<String>>,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        let group = |labels: &[&str]| labels.iter().map(|&l| l.to_owned()).collect();
        TrackerConfig {
            high_score: 0.5,
            low_score: 0.2,
            confirm_frames: 3,
            lost_after_s: 2.0,
            still_lost_after_s: 10.0,
            min_iou: 0.2,
            still_after_s: 5.0,
            label_groups: vec![
                group(&["car", "truck", "bus", "van", "train"]),
                group(&["bicycle", "motorcycle"]),
                group(&["cat", "dog"]),
            ],
        }
    }
}

impl TrackerConfig {
    /// What is wrong with these settings: the field, and what to do. Empty if nothing is.
    pub fn check(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let mut part = |name: &str, value: f32| {
            if !(0.0..=1.0).contains(&value) {
                wrong.push((name.to_owned(), format!("{value} is not within 0..1")));
            }
        };
        part("high_score", self.high_score);
        part("low_score", self.low_score);
        part("min_iou", self.min_iou);
        if self.low_score > self.high_score {
            wrong.push(("low_score".into(), format!("is above high_score ({})", self.high_score)));
        }
        if self.confirm_frames == 0 {
            wrong.push(("confirm_frames".into(), "is 0: give 1 or more".into()));
        }
        for (name, value) in [
            ("lost_after_s", self.lost_after_s),
            ("still_lost_after_s", self.still_lost_after_s),
            ("still_after_s", self.still_after_s),
        ] {
            if !(value > 0.0 && value <= 3600.0) {
                wrong.push((name.into(), format!("{value} is not above 0 and at most 3600 seconds")));
            }
        }
        for (n, group) in self.label_groups.iter().enumerate() {
            for label in group {
                if self.label_groups[..n].iter().any(|g| g.contains(label)) {
                    wrong.push((format!("label_groups[{n}]"), format!("\"{label}\" stands in two groups")));
                }
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound() {
        assert_eq!(TrackerConfig::default().check(), []);
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let bad = TrackerConfig {
            high_score: f32::NAN,
            confirm_frames: 0,
            lost_after_s: -1.0,
            label_groups: vec![vec!["car".into()], vec!["car".into()]],
            ..TrackerConfig::default()
        };
        let fields: Vec<String> = bad.check().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["high_score", "confirm_frames", "lost_after_s", "label_groups[1]"]);
    }

    #[test]
    fn unknown_keys_are_refused_and_missing_ones_have_defaults() {
        assert_eq!(serde_json::from_str::<TrackerConfig>("{}").unwrap(), TrackerConfig::default());
        assert!(serde_json::from_str::<TrackerConfig>(r#"{"high_scor": 0.5}"#).is_err());
    }
}
