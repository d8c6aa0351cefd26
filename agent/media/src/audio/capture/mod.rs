//! Microphones through GStreamer: ALSA, PulseAudio (and so PipeWire), files, own pipelines, a test tone.
//!
//! [`MicrophoneUri`] is what people write, [`MicrophoneOptions::build`] makes the source; it delivers windows of mono
//! sound at 16 kHz through the same port as a camera its pictures. Owner: the source's thread.

mod errors;
mod pipeline_run;
mod source;
mod source_bin;
mod uri;

#[cfg(test)]
mod tests;

use std::time::Duration;

use aimass_core::audio::AudioChunk;
use aimass_core::id::Name;
use aimass_core::runtime::clock::SharedClock;
use aimass_core::traits::{Source, SourceError, SourceErrorKind};

pub use uri::{MicrophoneUri, TestTone};

/// The shortest and the longest window.
const WINDOWS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(10);

/// Everything that a microphone needs to know.
#[derive(Debug, Clone)]
pub struct MicrophoneOptions {
    /// The microphone's id, in windows and messages.
    pub id: Name,
    /// Where the sound comes from.
    pub uri: MicrophoneUri,
    /// How long each window is. The device is asked to wake nobody more often.
    pub window: Duration,
    /// A live source that delivers nothing for so long has stalled.
    pub stall_after: Duration,
    /// The time from opening to the first sample, at most.
    pub open_timeout: Duration,
}

impl MicrophoneOptions {
    /// The defaults: windows of half a second, 10 s to open, 5 s to stall.
    pub fn new(id: Name, uri: MicrophoneUri) -> Self {
        MicrophoneOptions {
            id,
            uri,
            window: Duration::from_millis(500),
            stall_after: Duration::from_secs(5),
            open_timeout: Duration::from_secs(10),
        }
    }

    /// An error about this microphone: begins with its name and address.
    pub(crate) fn error(&self, kind: SourceErrorKind, problem: impl std::fmt::Display) -> SourceError {
        SourceError::new(kind, format!("microphone {} ({}): {problem}", self.id, self.uri))
    }

    /// Samples of a window.
    pub(crate) fn window_samples(&self) -> usize {
        (self.window.as_micros() * u128::from(aimass_core::audio::RATE_HZ) / 1_000_000) as usize
    }

    /// Builds the source; nothing is opened yet.
    ///
    /// # Errors
    /// [`SourceErrorKind::Config`]: an option that cannot be, or GStreamer that cannot start.
    pub fn build(self, clock: SharedClock) -> Result<Box<dyn Source<AudioChunk>>, SourceError> {
        let config = |problem: String| Err(self.error(SourceErrorKind::Config, problem));
        if !WINDOWS.contains(&self.window) {
            return config(format!("a window of {:?}: give 10 ms to 10 s", self.window));
        }
        for (what, duration) in [("stall_after", self.stall_after), ("open_timeout", self.open_timeout)] {
            if duration.is_zero() {
                return config(format!("{what} must be above 0"));
            }
        }
        Ok(Box::new(source::SoundSource::new(self, clock)?))
    }
}
