//! A microphone: what lasts from one run to the next.
//!
//! Owner: the source's thread. Invariant: `seq` has no gaps and `elapsed` never runs backwards, also over runs.

use std::time::Duration;

use aimass_core::audio::AudioChunk;
use aimass_core::runtime::clock::SharedClock;
use aimass_core::runtime::stop::StopToken;
use aimass_core::traits::{Ended, FrameSink, Source, SourceError, SourceErrorKind};

use super::MicrophoneOptions;
use super::pipeline_run::Run;

/// Sound that GStreamer brings.
pub(super) struct SoundSource {
    options: MicrophoneOptions,
    clock: SharedClock,
    seq: u64,
    /// Where the next run begins on the source's timeline, at the earliest.
    elapsed: Duration,
}

impl SoundSource {
    pub(super) fn new(options: MicrophoneOptions, clock: SharedClock) -> Result<Self, SourceError> {
        crate::gst::init().map_err(|problem| options.error(SourceErrorKind::Config, problem))?;
        Ok(SoundSource { options, clock, seq: 0, elapsed: Duration::ZERO })
    }
}

impl Source<AudioChunk> for SoundSource {
    fn run_once(
        &mut self,
        sink: &mut dyn FrameSink<AudioChunk>,
        stop: &StopToken,
    ) -> Result<Ended, SourceError> {
        let result = Run::open(&self.options, self.clock.clone())
            .and_then(|mut run| run.deliver(&mut self.seq, &mut self.elapsed, sink, stop));
        result.map_err(|problem| self.options.error(problem.kind, problem.text))
    }
}
