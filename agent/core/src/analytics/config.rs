//! What is watched at one source.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::analytics::line::LineConfig;
use crate::analytics::zone::ZoneConfig;
use crate::tracking::TrackerConfig;

/// The most zones, and the most lines, of one source.
pub const MOST_PLACES: usize = 64;

/// What is watched at one source.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AnalyticsConfig {
    /// How findings become tracks.
    pub tracker: TrackerConfig,
    /// Areas to watch.
    #[serde(rename = "zone")]
    pub zones: Vec<ZoneConfig>,
    /// Lines to watch.
    #[serde(rename = "line")]
    pub lines: Vec<LineConfig>,
}

impl AnalyticsConfig {
    /// What is wrong with these settings: the path within them (`zone[0].polygon`), and what to do.
    /// Empty if nothing is.
    pub fn check(&self) -> Vec<(String, String)> {
        let mut wrong: Vec<_> =
            self.tracker.check().into_iter().map(|(f, m)| (format!("tracker.{f}"), m)).collect();
        for (n, zone) in self.zones.iter().enumerate() {
            wrong.extend(zone.check().into_iter().map(|(f, m)| (format!("zone[{n}].{f}"), m)));
            if self.zones[..n].iter().any(|z| z.id == zone.id) {
                wrong.push((format!("zone[{n}].id"), format!("\"{}\" is taken by another zone", zone.id)));
            }
        }
        for (n, line) in self.lines.iter().enumerate() {
            wrong.extend(line.check().into_iter().map(|(f, m)| (format!("line[{n}].{f}"), m)));
            if self.lines[..n].iter().any(|l| l.id == line.id) {
                wrong.push((format!("line[{n}].id"), format!("\"{}\" is taken by another line", line.id)));
            }
        }
        for (name, count) in [("zone", self.zones.len()), ("line", self.lines.len())] {
            if count > MOST_PLACES {
                wrong.push((name.to_owned(), format!("{count} are too many: at most {MOST_PLACES}")));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_errors_are_told_at_once_with_their_paths() {
        let text = r#"{"tracker": {"confirm_frames": 0},
            "zone": [{"id": "a", "polygon": [[0,0],[1,0],[1,1]]}, {"id": "a", "polygon": [[0,0],[1,0]]}],
            "line": [{"id": "d", "from": [0,0], "to": [0,0]}]}"#;
        let wrong = serde_json::from_str::<AnalyticsConfig>(text).unwrap().check();
        let paths: Vec<_> = wrong.iter().map(|w| w.0.as_str()).collect();
        assert_eq!(paths, ["tracker.confirm_frames", "zone[1].polygon", "zone[1].id", "line[0].to"]);
        assert_eq!(AnalyticsConfig::default().check(), []);
    }
}
