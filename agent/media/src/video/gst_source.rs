//! A source whose frames GStreamer brings: what lasts from one run to the next.
//!
//! Owner: the source's thread. Invariant: `seq` has no gaps and `elapsed` never runs backwards, also over runs.

use std::time::Duration;

use aimass_core::runtime::clock::SharedClock;
use aimass_core::runtime::stop::StopToken;
use aimass_core::traits::{Ended, FrameSink, Source, SourceError, SourceErrorKind};

use super::pipeline_run::Run;
use crate::video::options::{SourceOptions, Transport};

/// A source whose frames GStreamer brings.
pub(crate) struct GstSource {
    options: SourceOptions,
    clock: SharedClock,
    seq: u64,
    /// Where the next file run begins on the source's timeline.
    elapsed: Duration,
    udp: bool,
}

impl GstSource {
    /// A source; nothing is opened yet.
    ///
    /// # Errors
    /// [`SourceErrorKind::Config`] if GStreamer cannot start.
    pub(crate) fn new(options: SourceOptions, clock: SharedClock) -> Result<Self, SourceError> {
        crate::gst::init().map_err(|problem| options.error(SourceErrorKind::Config, problem))?;
        let udp = options.transport == Transport::Udp;
        Ok(GstSource { options, clock, seq: 0, elapsed: Duration::ZERO, udp })
    }
}

impl Source for GstSource {
    fn run_once(&mut self, sink: &mut dyn FrameSink, stop: &StopToken) -> Result<Ended, SourceError> {
        let before = self.seq;
        let result = Run::open(&self.options, self.udp, self.clock.clone())
            .and_then(|mut run| run.deliver(&mut self.seq, &mut self.elapsed, sink, stop));
        result.map_err(|problem| {
            let in_doubt = problem.may_be_transport && self.seq == before;
            if in_doubt && self.options.transport == Transport::Auto {
                self.udp = !self.udp;
            }
            self.options.error(problem.kind, problem.text)
        })
    }
}
