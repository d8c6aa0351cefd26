//! One run of a microphone's pipeline: open, cut the sound into windows, notice the end, the stall or the error, close.
//!
//! Owner: the source's thread, which pulls; GStreamer's threads record and convert. Invariants: when a run is dropped
//! the pipeline is in state NULL and its threads are gone; a window never holds sound from two moments: what a gap cut
//! off is thrown away.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aimass_core::audio::{AudioChunk, Samples, duration_of};
use aimass_core::frame::{CaptureTime, TimeSource};
use aimass_core::runtime::clock::SharedClock;
use aimass_core::runtime::stop::StopToken;
use aimass_core::traits::{Ended, Flow, FrameSink, SourceErrorKind, StreamInfo};
use gstreamer as gst;
use gstreamer::prelude::*;
use jiff::Timestamp;

use super::source_bin::{self as head, Tail};
use super::{MicrophoneOptions, MicrophoneUri, errors};
use crate::gst::errors::{Problem, found_type};
use crate::gst::{is_anything_running, quiet_bus, rewind};

/// How long a wait may last before the stop is looked at again.
const GLANCE: Duration = Duration::from_millis(500);
/// A file whose pipeline stands still for so long, before its first sample, holds none.
const IDLE: Duration = Duration::from_secs(3);
/// Buffers that begin so much later than the last one ended leave a gap.
const GAP: Duration = Duration::from_millis(40);

/// A pipeline from its opening to its end.
pub(super) struct Run<'a> {
    options: &'a MicrophoneOptions,
    clock: SharedClock,
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    tail: Tail,
    /// Sound has the times of the file instead of the clock's.
    by_position: bool,
    /// Waiting is no sign of a stall: the file keeps a pace of its own.
    paced_file: bool,
    opened_wall: Timestamp,
    opened: Duration,
    last_sign: Duration,
    pulled: u64,
    missing: Option<Problem>,
    /// Since when no streaming thread runs.
    idle_since: Option<Duration>,
    /// What waits for its window to become full.
    rest: Vec<f32>,
    /// Where the next buffer should begin.
    due: Option<gst::ClockTime>,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        // Waits until the streaming threads have ended.
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!(source = %self.options.id, "the pipeline did not close cleanly");
        }
    }
}

impl<'a> Run<'a> {
    pub(super) fn open(options: &'a MicrophoneOptions, clock: SharedClock) -> Result<Self, Problem> {
        let (live, paced) = match &options.uri {
            MicrophoneUri::File(clip) => (false, clip.realtime),
            MicrophoneUri::Test(tone) => (tone.realtime, false),
            // Whether an own pipeline is live is known once it is paused.
            MicrophoneUri::Alsa(_) | MicrophoneUri::Pulse(_) | MicrophoneUri::Gst(_) => (true, false),
        };
        let pipeline = gst::Pipeline::new();
        let bus = quiet_bus(&pipeline)?;
        let tail = Tail::new(&pipeline, live, paced)?;
        let (opened_wall, opened) = (clock.wall(), clock.monotonic());
        let mut run = Run {
            options,
            clock,
            pipeline,
            bus,
            tail,
            by_position: !live,
            paced_file: paced,
            opened_wall,
            opened,
            last_sign: opened,
            pulled: 0,
            missing: None,
            idle_since: None,
            rest: Vec::with_capacity(2 * options.window_samples()),
            due: None,
        };
        head::build(&run.pipeline, &run.tail, options)?;
        run.start()?;
        Ok(run)
    }

    fn start(&mut self) -> Result<(), Problem> {
        let paused = self.pipeline.set_state(gst::State::Paused);
        if matches!(self.options.uri, MicrophoneUri::Gst(_))
            && paused != Ok(gst::StateChangeSuccess::NoPreroll)
        {
            // Not live: it has its own times, and is to keep its pace.
            (self.by_position, self.paced_file) = (true, true);
            self.tail.sink.set_sync(true);
            self.tail.sink.set_drop(false);
        }
        let started = paused.and_then(|_| self.pipeline.set_state(gst::State::Playing));
        started.map(|_| ()).map_err(|_| {
            self.trouble().unwrap_or_else(|| {
                let text = "the pipeline does not start, and does not say why";
                Problem::new(SourceErrorKind::Unavailable, text)
            })
        })
    }

    pub(super) fn deliver(
        &mut self,
        seq: &mut u64,
        elapsed: &mut Duration,
        sink: &mut dyn FrameSink<AudioChunk>,
        stop: &StopToken,
    ) -> Result<Ended, Problem> {
        let base = *elapsed;
        // Samples that were delivered in this run.
        let mut told = 0u64;
        let mut since_rewind = 0u64;
        let glance = gst::ClockTime::from_nseconds(self.options.window.min(GLANCE).as_nanos() as u64);
        let size = self.options.window_samples();
        loop {
            if stop.is_requested() {
                return Ok(Ended::Stopped);
            }
            let ended = match self.tail.sink.try_pull_sample(glance) {
                Some(sample) => {
                    if self.pulled == 0 {
                        self.last_sign = self.clock.monotonic();
                        sink.opened(&self.info());
                    }
                    self.pulled += 1;
                    since_rewind += 1;
                    self.take(&sample)?;
                    false
                }
                None => {
                    if let Some(problem) = self.trouble() {
                        return Err(problem);
                    }
                    if !self.tail.sink.is_eos() {
                        self.check_signs_of_life()?;
                        continue;
                    }
                    if self.pulled == 0 || since_rewind == 0 {
                        return Err(head::empty(&self.options.uri, found_type(&self.pipeline)));
                    }
                    true
                }
            };
            let looped = matches!(&self.options.uri, MicrophoneUri::File(clip) if clip.looped);
            if ended && !looped && !self.rest.is_empty() {
                // Listeners rely on the length of a window: the last one is filled up with silence.
                self.rest.resize(self.rest.len().next_multiple_of(size), 0.0);
            }
            let full = self.rest.len() / size;
            if full > 0 {
                self.last_sign = self.clock.monotonic();
            } else if !ended {
                // Sound with a gap in every window is no sound.
                self.check_signs_of_life()?;
            }
            for n in 0..full {
                let capture_time = self.capture_time(base, told, self.rest.len() - n * size);
                let samples = Samples::from(&self.rest[n * size..][..size]);
                told += size as u64;
                *elapsed = capture_time.elapsed + self.options.window;
                let window = AudioChunk { source: self.options.id.clone(), seq: *seq, capture_time, samples };
                *seq += 1;
                if sink.frame(window) == Flow::Stop {
                    return Ok(Ended::Stopped);
                }
            }
            self.rest.drain(..full * size);
            if ended && !looped {
                return Ok(Ended::EndOfStream);
            }
            if ended {
                since_rewind = 0;
                self.due = None;
                rewind(&self.pipeline)?;
                self.last_sign = self.clock.monotonic();
            }
        }
    }

    /// The time of a window that begins so many samples before the end of what was heard.
    fn capture_time(&self, base: Duration, told: u64, before: usize) -> CaptureTime {
        if self.by_position {
            let position = duration_of(told);
            let wall = self.opened_wall.checked_add(position).unwrap_or(self.opened_wall);
            return CaptureTime { wall, wall_source: TimeSource::File, elapsed: base + position };
        }
        let ago = duration_of(before as u64);
        let now = self.clock.wall();
        let wall = now.checked_sub(ago).unwrap_or(now);
        // After a reopening the clock has gone on for longer than a window lasts.
        let elapsed = self.clock.monotonic().saturating_sub(ago).max(base);
        CaptureTime { wall, wall_source: TimeSource::Clock, elapsed }
    }

    /// Adds the buffer's samples to what waits.
    fn take(&mut self, sample: &gst::SampleRef) -> Result<(), Problem> {
        let unreadable = |what: &str| Problem::new(SourceErrorKind::NotMedia, format!("sound {what}"));
        let buffer = sample.buffer().ok_or_else(|| unreadable("came without samples"))?;
        let bytes = buffer.map_readable().map_err(|_| unreadable("cannot be read"))?;
        let gap = match (self.due, buffer.pts()) {
            (Some(due), Some(begin)) => begin.nseconds().abs_diff(due.nseconds()) > GAP.as_nanos() as u64,
            _ => false,
        };
        if gap {
            tracing::debug!(source = %self.options.id, "sound is missing; its window begins anew");
            self.rest.clear();
        }
        let samples = bytes.chunks_exact(4).map(|four| {
            let sample = f32::from_ne_bytes([four[0], four[1], four[2], four[3]]);
            // Files of floats may hold anything.
            if sample.is_finite() { sample } else { 0.0 }
        });
        self.rest.extend(samples);
        let lasts = gst::ClockTime::from_nseconds(duration_of(bytes.len() as u64 / 4).as_nanos() as u64);
        self.due = buffer.pts().map(|begin| begin + lasts);
        Ok(())
    }

    fn info(&self) -> StreamInfo {
        let container = found_type(&self.pipeline).map(|t| format!("{t}, ")).unwrap_or_default();
        let kind = match &self.options.uri {
            MicrophoneUri::Alsa(_) => "ALSA, ",
            MicrophoneUri::Pulse(_) => "PulseAudio, ",
            _ => "",
        };
        StreamInfo { description: format!("{kind}{container}{}", self.tail.input()), ..StreamInfo::default() }
    }

    /// The first error on the bus, if there is one.
    fn trouble(&mut self) -> Option<Problem> {
        while let Some(message) = self.bus.pop() {
            match message.view() {
                gst::MessageView::Error(e) => {
                    let debug = e.debug();
                    let problem =
                        errors::from_bus(&e.error(), debug.as_deref(), &self.options.uri, self.pulled > 0);
                    // "No decoder" is said twice: the first message knows which.
                    let missing = self.missing.take().filter(|_| problem.kind == SourceErrorKind::NotMedia);
                    return Some(missing.unwrap_or(problem));
                }
                gst::MessageView::Element(element) => {
                    self.missing =
                        self.missing.take().or(element.structure().and_then(errors::missing_plugin));
                }
                _ => {}
            }
        }
        None
    }

    fn check_signs_of_life(&mut self) -> Result<(), Problem> {
        let now = self.clock.monotonic();
        let empty = |run: &mut Self| {
            run.missing.take().unwrap_or_else(|| head::empty(&run.options.uri, found_type(&run.pipeline)))
        };
        if self.tail.no_sound.load(Ordering::SeqCst) {
            return Err(empty(self));
        }
        // As with pictures: decodebin swallows some errors, and then nothing runs. For a while nothing runs either
        // while it looks for elements, which takes its time on a slow board.
        if self.pulled == 0 && self.options.uri.is_file() {
            let idle = !is_anything_running(&self.pipeline);
            self.idle_since = idle.then(|| self.idle_since.unwrap_or(now));
            if self.idle_since.is_some_and(|since| now.saturating_sub(since) >= IDLE) {
                return Err(empty(self));
            }
        }
        if self.pulled == 0 && now.saturating_sub(self.opened) >= self.options.open_timeout {
            let text = format!(
                "no sound within {:?}: check that it is plugged in; for a device that needs longer raise open_timeout_s",
                self.options.open_timeout
            );
            return Err(Problem::new(SourceErrorKind::Unavailable, text));
        }
        let quiet = now.saturating_sub(self.last_sign);
        if self.pulled > 0 && !self.paced_file && quiet >= self.options.stall_after + self.options.window {
            let text = format!(
                "no unbroken sound for {:?}: it stopped sending, or samples are lost on the way",
                self.options.stall_after
            );
            return Err(Problem::new(SourceErrorKind::Stalled, text));
        }
        Ok(())
    }
}
