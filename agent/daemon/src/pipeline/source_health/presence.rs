//! Whether a source is there at all: the same for cameras and microphones.

use std::time::Duration;

use aimass_core::event::Severity;
use aimass_core::runtime::clock::SharedClock;
use aimass_core::traits::{Ended, SourceError, SourceErrorKind};
use aimass_media::reconnect::SourceState;

use super::{Meaning, Report};

/// What the connection of one source says about its sight.
pub(super) struct Presence {
    /// Whether losses are told as events.
    enabled: bool,
    severity: Severity,
    away_after_s: f32,
    clock: SharedClock,
    /// When something last came, or the beginning.
    last_seen: Duration,
    /// Whether the connection delivers: then an opening is a change in mid-stream, and what was told still holds.
    pub(super) delivers: bool,
}

impl Presence {
    pub(super) fn new(enabled: bool, severity: Severity, away_after_s: f32, clock: SharedClock) -> Self {
        let last_seen = clock.monotonic();
        Presence { enabled, severity, away_after_s, clock, last_seen, delivers: false }
    }

    /// Something came.
    pub(super) fn seen(&mut self) {
        self.last_seen = self.clock.monotonic();
    }

    /// What a new state of the connection means for sight.
    pub(super) fn state(&mut self, state: &SourceState) -> Option<Report> {
        self.delivers = matches!(state, SourceState::Delivering(_));
        match state {
            SourceState::Connecting { .. } => None,
            SourceState::Delivering(_) => Some(Report::new("ok", Meaning::Well("recovered"))),
            SourceState::Stalled { message, .. } => Some(self.away("stalled", message, true)),
            SourceState::Failed { error, .. } => Some(self.failed(error)),
            // A stop of the node is told by the task that ends everything.
            SourceState::Ended(Ended::Stopped) => Some(Report::new("ended", Meaning::StateOnly)),
            SourceState::Ended(Ended::EndOfStream) => {
                Some(Report::new("ended", Meaning::Well("source_ended")))
            }
        }
    }

    /// The source failed. What only another configuration or a hand can help is not waited for.
    pub(super) fn failed(&self, error: &SourceError) -> Report {
        let gone = self.clock.monotonic().saturating_sub(self.last_seen);
        let is_certain = error.kind == SourceErrorKind::Config || gone.as_secs_f32() >= self.away_after_s;
        self.away("failed", &error.message, is_certain)
    }

    fn away(&self, state: &'static str, error: &str, is_certain: bool) -> Report {
        let mut report = Report::new(state, Meaning::StateOnly);
        if self.enabled && is_certain {
            report.meaning = Meaning::Lost(self.severity);
            report.facts.insert("error".into(), error.into());
        }
        report
    }
}
