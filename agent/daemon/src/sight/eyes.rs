//! How one source sees, said on its thread: from the states of its connection and from its frames.

use std::time::Duration;

use aimass_core::clock::SharedClock;
use aimass_core::finding::Attributes;
use aimass_core::frame::Frame;
use aimass_core::ports::{Ended, SourceError};
use aimass_core::sight::{Change, Loss, Measures, Sight, SightConfig};
use aimass_media::options::SourceOptions;
use aimass_media::run::SourceState;
use aimass_media::stills::is_still;
use aimass_media::uri::SourceUri;
use serde_json::Value;

use super::{Meaning, Report};

/// The eyes of one source.
pub struct Eyes {
    config: SightConfig,
    sight: Sight,
    clock: SharedClock,
    /// The last frame, or the beginning.
    last_seen: Duration,
    /// Whether the connection delivers: then an opening is a new size in mid-stream, and what was told still holds.
    delivers: bool,
}

impl Eyes {
    /// Eyes that have seen nothing. A source that may rightly show one picture for long is not judged for `frozen`.
    pub fn new(mut config: SightConfig, source: &SourceOptions, clock: SharedClock) -> Self {
        if may_stand_still(&source.uri) {
            config.look_for.retain(|loss| *loss != Loss::Frozen);
        }
        let sight = Sight::new(config.clone(), source.masks.clone());
        let last_seen = clock.monotonic();
        Eyes { config, sight, clock, last_seen, delivers: false }
    }

    /// Pictures are about to come, perhaps after a while without.
    pub fn opened(&mut self) {
        if !self.delivers {
            self.sight.reopened();
        }
    }

    /// What a new state of the connection means for sight.
    pub fn state(&mut self, state: &SourceState) -> Option<Report> {
        self.delivers = matches!(state, SourceState::Delivering(_));
        match state {
            SourceState::Connecting { .. } => None,
            SourceState::Delivering(_) => Some(Report::new("ok", Meaning::Well("recovered"))),
            SourceState::Stalled { message, .. } => Some(self.away("stalled", message, true)),
            SourceState::Failed { error, retry_in } => Some(self.failed(error, retry_in.is_none())),
            // A stop of the node is told by the task that ends everything.
            SourceState::Ended(Ended::Stopped) => Some(Report::new("ended", Meaning::StateOnly)),
            SourceState::Ended(Ended::EndOfStream) => {
                Some(Report::new("ended", Meaning::Well("source_ended")))
            }
        }
    }

    /// The source failed; `for_good` if it is not tried again.
    pub fn failed(&self, error: &SourceError, for_good: bool) -> Report {
        let gone = self.clock.monotonic().saturating_sub(self.last_seen);
        self.away("failed", &error.message, for_good || gone.as_secs_f32() >= self.config.away_after_s)
    }

    fn away(&self, state: &'static str, error: &str, is_certain: bool) -> Report {
        let mut report = Report::new(state, Meaning::StateOnly);
        if self.config.enabled && is_certain {
            report.meaning = Meaning::Lost(self.config.severity);
            report.facts.insert("error".into(), error.into());
        }
        report
    }

    /// What a frame means for sight, if that changed.
    pub fn frame(&mut self, frame: &Frame) -> Option<Report> {
        self.last_seen = self.clock.monotonic();
        let change = self.sight.look(frame)?;
        let mut report = match change.loss {
            None => Report::new("ok", Meaning::Well(if change.relearnt { "relearnt" } else { "recovered" })),
            Some(loss) => {
                let c = &self.config;
                let severity = if loss.may_be_tampering() { c.tamper_severity } else { c.severity };
                Report::new(loss.as_str(), Meaning::Lost(severity))
            }
        };
        report.facts = facts(&change);
        report.at = Some((frame.stamp.wall, frame.stamp.wall_from));
        Some(report)
    }
}

/// Whether one picture for long is no sign of a defect: a still, a test picture, a file that keeps no pace.
fn may_stand_still(uri: &SourceUri) -> bool {
    match uri {
        SourceUri::Test(_) => true,
        SourceUri::File(clip) => !clip.realtime || is_still(&clip.path),
        SourceUri::Rtsp(_) | SourceUri::V4l2(_) | SourceUri::Gst(_) => false,
    }
}

/// The figures that a verdict rests on.
fn facts(change: &Change) -> Attributes {
    let m: &Measures = &change.measures;
    let rounded = |v: f32| Value::from((f64::from(v) * 1000.0).round() / 1000.0);
    let mut facts = Attributes::new();
    let mut say = |name: &'static str, value: f32| drop(facts.insert(name.into(), rounded(value)));
    match change.loss {
        None => {}
        Some(Loss::Black) => {
            say("brightness", m.brightness);
            say("bright_area", m.bright_area);
        }
        Some(Loss::Covered) => {
            say("brightness", m.brightness);
            say("edges_gone", m.gone);
        }
        Some(Loss::Frozen) => say("same_s", m.same_s),
        Some(Loss::Moved) => {
            say("alike", m.alike);
            if let Some([x, y]) = m.shift {
                say("shift_x", x);
                say("shift_y", y);
            }
        }
        Some(Loss::OutOfFocus) => say("sharpness", m.focus.unwrap_or_default()),
    }
    facts
}
