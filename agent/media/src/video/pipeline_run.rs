//! One run of a GStreamer pipeline: open, deliver, notice the end, the stall or the error, close.
//!
//! Owner: the source's thread, which pulls frames; GStreamer's threads decode. Invariant: when a run is dropped the
//! pipeline is in state NULL and all of its threads are gone.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aimass_core::frame::{CaptureTime, Frame, TimeSource};
use aimass_core::runtime::clock::SharedClock;
use aimass_core::runtime::stop::StopToken;
use aimass_core::traits::{Ended, Flow, FrameSink, SourceErrorKind, StreamInfo};
use gstreamer as gst;
use gstreamer::prelude::*;
use jiff::Timestamp;

use super::frame_mapping::Frames;
use super::sink_bin::{Tail, TailOptions};
use super::source_bin::{self as head};
use crate::gst::errors::{self, Problem};
use crate::gst::{is_anything_running, quiet_bus, rewind};
use crate::video::options::SourceOptions;
use crate::video::rate_limit::RateLimit;
use crate::video::uri::SourceUri;

/// How long a wait for a frame may last before the stop is looked at again.
const GLANCE: Duration = Duration::from_millis(200);

/// How frames are stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timeline {
    /// By the clock, when they arrive.
    Live,
    /// By their position, counted from the opening.
    File,
}

/// A pipeline from its opening to its end.
pub(super) struct Run<'a> {
    options: &'a SourceOptions,
    clock: SharedClock,
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    tail: Tail,
    frames: Frames,
    timeline: Timeline,
    /// Waiting for frames is no sign of a stall: the clip itself may pause.
    paced_file: bool,
    opened_wall: Timestamp,
    opened: Duration,
    last_sign: Duration,
    decoded: u64,
    pulled: u64,
    missing: Option<Problem>,
    was_idle: bool,
    /// The size that was told last.
    told_size: Option<(u32, u32)>,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        // Waits until the streaming threads have ended.
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!(source = %self.options.id, "the pipeline did not close cleanly");
        }
        let passed = self.tail.watch.passed.load(Ordering::Relaxed);
        let lost = passed.saturating_sub(self.pulled);
        // Two may have been on their way when it ended.
        if lost > 2 {
            tracing::warn!(source = %self.options.id, lost, delivered = self.pulled, "frames were not taken in time");
        }
    }
}

impl<'a> Run<'a> {
    pub(super) fn open(options: &'a SourceOptions, udp: bool, clock: SharedClock) -> Result<Self, Problem> {
        let (live, paced) = match &options.uri {
            SourceUri::File(clip) => (false, clip.realtime),
            SourceUri::Test(test) => (test.realtime, false),
            // Whether an own pipeline is live is known once it is paused.
            SourceUri::Rtsp(_) | SourceUri::Libcamera(_) | SourceUri::Gst(_) | SourceUri::V4l2(_) => {
                (true, false)
            }
        };
        let pipeline = gst::Pipeline::new();
        let bus = quiet_bus(&pipeline)?;
        let tail_options = TailOptions {
            limit: RateLimit::of(options),
            max_side: options.max_side_px,
            masks: &options.masks,
            drop_when_full: live,
            paced,
        };
        let tail = Tail::new(&pipeline, &tail_options).map_err(|e| {
            Problem::new(
                SourceErrorKind::Config,
                format!("{e}: install the package gstreamer1.0-plugins-base"),
            )
        })?;
        tail.tune_decoders(&pipeline);
        let (opened_wall, opened) = (clock.wall(), clock.monotonic());
        let timeline = if live { Timeline::Live } else { Timeline::File };
        let mut run = Run {
            options,
            clock,
            pipeline,
            bus,
            tail,
            frames: Frames::default(),
            timeline,
            paced_file: paced,
            opened_wall,
            opened,
            last_sign: opened,
            decoded: 0,
            pulled: 0,
            missing: None,
            was_idle: false,
            told_size: None,
        };
        head::build(&run.pipeline, &run.tail, options, udp)?;
        run.start()?;
        Ok(run)
    }

    fn start(&mut self) -> Result<(), Problem> {
        let paused = self.pipeline.set_state(gst::State::Paused);
        if matches!(self.options.uri, SourceUri::Gst(_)) && paused != Ok(gst::StateChangeSuccess::NoPreroll) {
            // Not live: it has its own times, and is to keep its pace.
            self.timeline = Timeline::File;
            self.paced_file = true;
            self.tail.sink.set_sync(true);
            self.tail.sink.set_drop(false);
        }
        let started = paused.and_then(|_| self.pipeline.set_state(gst::State::Playing));
        match started {
            Ok(_) => Ok(()),
            Err(_) => Err(self.trouble().unwrap_or_else(|| {
                Problem::new(
                    SourceErrorKind::Unavailable,
                    "the pipeline does not start, and does not say why",
                )
            })),
        }
    }

    pub(super) fn deliver(
        &mut self,
        seq: &mut u64,
        elapsed: &mut Duration,
        sink: &mut dyn FrameSink,
        stop: &StopToken,
    ) -> Result<Ended, Problem> {
        // Where position 0 of the file lies on the timeline, of this run and of the source.
        let (mut run_base, source_base) = (Duration::ZERO, *elapsed);
        let mut since_rewind = 0u64;
        let mut last_position = Duration::ZERO;
        loop {
            if stop.is_requested() {
                return Ok(Ended::Stopped);
            }
            let Some(sample) =
                self.tail.sink.try_pull_sample(gst::ClockTime::from_nseconds(GLANCE.as_nanos() as u64))
            else {
                if let Some(problem) = self.trouble() {
                    return Err(problem);
                }
                if !self.tail.sink.is_eos() {
                    self.check_signs_of_life()?;
                    continue;
                }
                let looped = matches!(&self.options.uri, SourceUri::File(clip) if clip.looped);
                if self.pulled == 0 || (looped && since_rewind == 0) {
                    return Err(self.empty());
                }
                if matches!(self.options.uri, SourceUri::Rtsp(_)) {
                    return Err(Problem::new(SourceErrorKind::Broken, "the camera ended the stream"));
                }
                if !looped {
                    return Ok(Ended::EndOfStream);
                }
                run_base += last_position + self.frame_time();
                (last_position, since_rewind) = (Duration::ZERO, 0);
                rewind(&self.pipeline)?;
                self.last_sign = self.clock.monotonic();
                continue;
            };
            let size = self.tail.watch.input().map(|input| (input.width(), input.height()));
            if self.pulled == 0 || size != self.told_size {
                // Also in mid-stream, when a camera is switched to another resolution.
                self.told_size = size;
                sink.opened(&self.info());
            }
            self.pulled += 1;
            since_rewind += 1;
            let picture =
                self.frames.picture(&sample).map_err(|text| Problem::new(SourceErrorKind::NotMedia, text))?;
            let capture_time = match self.timeline {
                Timeline::Live => CaptureTime {
                    wall: self.clock.wall(),
                    wall_source: TimeSource::Clock,
                    elapsed: self.clock.monotonic(),
                },
                Timeline::File => {
                    last_position = position_of(&sample).unwrap_or(last_position).max(last_position);
                    let position = run_base + last_position;
                    *elapsed = (*elapsed).max(source_base + position + self.frame_time());
                    CaptureTime {
                        wall: self.opened_wall.checked_add(position).unwrap_or(self.opened_wall),
                        wall_source: TimeSource::File,
                        elapsed: source_base + position,
                    }
                }
            };
            drop(sample);
            let frame = Frame { source: self.options.id.clone(), seq: *seq, capture_time, picture };
            *seq += 1;
            if sink.frame(frame) == Flow::Stop {
                return Ok(Ended::Stopped);
            }
            self.last_sign = self.clock.monotonic();
        }
    }

    /// The time that one frame of the source takes; a nominal 40 ms where it is not declared.
    fn frame_time(&self) -> Duration {
        let fps = self.tail.watch.input().map(|i| i.fps()).filter(|f| f.numer() > 0 && f.denom() > 0);
        fps.map_or(Duration::from_millis(40), |f| {
            Duration::from_secs_f64(f64::from(f.denom()) / f64::from(f.numer()))
        })
    }

    fn info(&self) -> StreamInfo {
        let codec = self.tail.watch.codec();
        let codec = if codec.is_empty() { "raw".to_owned() } else { codec };
        let container = errors::found_type(&self.pipeline).map(|t| format!("{t}, ")).unwrap_or_default();
        let Some(input) = self.tail.watch.input() else {
            return StreamInfo::default();
        };
        let fps = input.fps();
        StreamInfo {
            width: input.width(),
            height: input.height(),
            fps: if fps.denom() > 0 { f64::from(fps.numer()) / f64::from(fps.denom()) } else { 0.0 },
            description: format!("{container}{codec}, {}", input.format()),
        }
    }

    /// The first error on the bus, if there is one.
    fn trouble(&mut self) -> Option<Problem> {
        while let Some(message) = self.bus.pop() {
            match message.view() {
                gst::MessageView::Error(error) => {
                    let found = errors::found_type(&self.pipeline);
                    let problem = errors::from_bus(
                        &error.error(),
                        error.debug().as_deref(),
                        error.details(),
                        &self.options.uri,
                        self.pulled > 0,
                        found.as_deref(),
                    );
                    if let Some(why) = self.tail.watch.untrusted.get() {
                        return Some(errors::untrusted(why));
                    }
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
        let watch = &self.tail.watch;
        if watch.no_video.load(Ordering::SeqCst) {
            return Err(self.missing.take().unwrap_or_else(|| self.empty()));
        }
        // decodebin swallows an error that its demuxer posts while it is being plugged in: then nothing more is
        // said and nothing runs. Twice in a row, as between two elements nothing runs either.
        if self.pulled == 0 && matches!(self.options.uri, SourceUri::File(_)) {
            let idle = !is_anything_running(&self.pipeline);
            if idle && std::mem::replace(&mut self.was_idle, idle) {
                return Err(self.empty());
            }
            self.was_idle = idle;
        }
        if self.pulled == 0 && now.saturating_sub(self.opened) >= self.options.open_timeout {
            let text = format!(
                "no picture within {:?}: check that it is on and sends video; \
                 for a camera that needs longer raise open_timeout",
                self.options.open_timeout
            );
            return Err(Problem::new(SourceErrorKind::Unavailable, text));
        }
        let decoded = watch.decoded.load(Ordering::Relaxed);
        if decoded != self.decoded {
            self.decoded = decoded;
            self.last_sign = now;
        } else if self.pulled > 0
            && !self.paced_file
            && now.saturating_sub(self.last_sign) >= self.options.stall_after
        {
            let text = format!("no frame for {:?}: it stopped sending", self.options.stall_after);
            return Err(Problem::new(SourceErrorKind::Stalled, text));
        }
        Ok(())
    }

    fn empty(&self) -> Problem {
        let found = errors::found_type(&self.pipeline).map(|f| format!(" (found: {f})")).unwrap_or_default();
        let text = format!("no video that can be decoded{found}: {}", errors::check(&self.options.uri));
        Problem::new(SourceErrorKind::NotMedia, text)
    }
}

/// Where in the file the sample lies.
fn position_of(sample: &gst::SampleRef) -> Option<Duration> {
    let pts = sample.buffer()?.pts()?;
    let time = sample.segment()?.downcast_ref::<gst::ClockTime>()?.to_stream_time(pts)?;
    Some(Duration::from_nanos(time.nseconds()))
}
