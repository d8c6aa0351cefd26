//! How one microphone hears, said on its thread: from the states of its connection and from its windows.

use aimass_core::audio::{AudioChunk, AudioHealthConfig, AudioHealthMonitor, Level};
use aimass_core::event::Severity;
use aimass_core::runtime::clock::SharedClock;
use aimass_core::traits::SourceError;
use aimass_media::reconnect::SourceState;
use serde_json::Value;

use super::presence::Presence;
use super::{Meaning, Report};

/// The ears of one microphone.
pub struct MicrophoneHealth {
    hearing: AudioHealthMonitor,
    severity: Severity,
    presence: Presence,
}

impl MicrophoneHealth {
    /// MicrophoneHealth that have heard nothing.
    pub fn new(config: AudioHealthConfig, clock: SharedClock) -> Self {
        let (enabled, severity) = (config.enabled, config.severity);
        let presence = Presence::new(enabled, severity, config.away_after_s, clock);
        MicrophoneHealth { hearing: AudioHealthMonitor::new(config), severity, presence }
    }

    /// Sound is about to come, perhaps after a while without. True unless it went on.
    pub fn opened(&mut self) -> bool {
        if !self.presence.delivers {
            self.hearing.reopened();
        }
        !self.presence.delivers
    }

    /// What a new state of the connection means for sight.
    pub fn state(&mut self, state: &SourceState) -> Option<Report> {
        self.presence.state(state)
    }

    /// The source failed.
    pub fn failed(&self, error: &SourceError) -> Report {
        self.presence.failed(error)
    }

    /// The level of a window, and what it means for sight, if that changed.
    pub fn window(&mut self, window: &AudioChunk) -> (Level, Option<Report>) {
        self.presence.seen();
        let (level, change) = self.hearing.hear(window);
        let report = change.map(|change| {
            let mut report = match change.loss {
                None => Report::new("ok", Meaning::Well("recovered")),
                Some(loss) => Report::new(loss.as_str(), Meaning::Lost(self.severity)),
            };
            for (name, dbfs) in [("rms_dbfs", change.level.rms_dbfs), ("peak_dbfs", change.level.peak_dbfs)] {
                // Through text: a tenth of a decibel is a tenth in double precision too.
                report.facts.insert(name.into(), Value::from((f64::from(dbfs) * 10.0).round() / 10.0));
            }
            report.at = Some((window.capture_time.wall, window.capture_time.wall_source));
            report
        });
        (level, report)
    }
}
