//! How one source sees, said on its thread: from the states of its connection and from its frames.

use aimass_core::finding::Attributes;
use aimass_core::frame::Frame;
use aimass_core::runtime::clock::SharedClock;
use aimass_core::source_health::{Change, VideoFault, VideoHealthConfig, VideoHealthMonitor, VideoMetrics};
use aimass_core::traits::SourceError;
use aimass_media::reconnect::SourceState;
use aimass_media::video::SourceOptions;
use aimass_media::video::SourceUri;
use aimass_media::video::stills::is_still;
use serde_json::Value;

use super::presence::Presence;
use super::{Meaning, Report};

/// The eyes of one source.
pub struct CameraHealth {
    config: VideoHealthConfig,
    sight: VideoHealthMonitor,
    presence: Presence,
}

impl CameraHealth {
    /// CameraHealth that have seen nothing. A source that may rightly show one picture for long is not judged for `frozen`.
    pub fn new(mut config: VideoHealthConfig, source: &SourceOptions, clock: SharedClock) -> Self {
        if may_stand_still(&source.uri) {
            config.look_for.retain(|loss| *loss != VideoFault::Frozen);
        }
        let sight = VideoHealthMonitor::new(config.clone(), source.masks.clone());
        let presence = Presence::new(config.enabled, config.severity, config.away_after_s, clock);
        CameraHealth { config, sight, presence }
    }

    /// Pictures are about to come, perhaps after a while without.
    pub fn opened(&mut self) {
        if !self.presence.delivers {
            self.sight.reopened();
        }
    }

    /// What a new state of the connection means for sight.
    pub fn state(&mut self, state: &SourceState) -> Option<Report> {
        self.presence.state(state)
    }

    /// The source failed.
    pub fn failed(&self, error: &SourceError) -> Report {
        self.presence.failed(error)
    }

    /// What a frame means for sight, if that changed.
    pub fn frame(&mut self, frame: &Frame) -> Option<Report> {
        self.presence.seen();
        let change = self.sight.look(frame)?;
        let mut report = match change.loss {
            None => Report::new(
                "ok",
                Meaning::Well(if change.relearnt { "reference_updated" } else { "recovered" }),
            ),
            Some(loss) => {
                let c = &self.config;
                let severity = if loss.may_be_tampering() { c.tamper_severity } else { c.severity };
                Report::new(loss.as_str(), Meaning::Lost(severity))
            }
        };
        report.facts = facts(&change);
        report.at = Some((frame.capture_time.wall, frame.capture_time.wall_source));
        Some(report)
    }
}

/// Whether one picture for long is no sign of a defect: a still, a test picture, a file that keeps no pace.
fn may_stand_still(uri: &SourceUri) -> bool {
    match uri {
        SourceUri::Test(_) => true,
        SourceUri::File(clip) => !clip.realtime || is_still(&clip.path),
        SourceUri::Rtsp(_) | SourceUri::V4l2(_) | SourceUri::Libcamera(_) | SourceUri::Gst(_) => false,
    }
}

/// The figures that a verdict rests on.
fn facts(change: &Change) -> Attributes {
    let m: &VideoMetrics = &change.measures;
    let rounded = |v: f32| Value::from((f64::from(v) * 1000.0).round() / 1000.0);
    let mut facts = Attributes::new();
    let mut say = |name: &'static str, value: f32| drop(facts.insert(name.into(), rounded(value)));
    match change.loss {
        None => {}
        Some(VideoFault::Black) => {
            say("brightness", m.brightness);
            say("bright_area", m.bright_area);
        }
        Some(VideoFault::Covered) => {
            say("brightness", m.brightness);
            say("edges_missing", m.gone);
        }
        Some(VideoFault::Frozen) => say("unchanged_s", m.same_s),
        Some(VideoFault::Moved) => {
            say("similarity", m.alike);
            if let Some([x, y]) = m.shift {
                say("shift_x", x);
                say("shift_y", y);
            }
        }
        Some(VideoFault::OutOfFocus) => say("sharpness", m.focus.unwrap_or_default()),
    }
    facts
}
