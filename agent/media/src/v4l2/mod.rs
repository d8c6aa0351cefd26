//! Cameras on the board's own connectors, through nokhwa.
//!
//! Owner: a capture thread of its own (`v4l2-<id>`) holds the device, as the driver may block for ever; the
//! source's thread takes pictures from a one-deep slot and watches the time. Invariant: at most one capture thread
//! a source; one that hangs in the driver is waited for before the device is opened again.

mod formats;
mod pictures;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use aimass_core::clock::SharedClock;
use aimass_core::frame::{Frame, Picture, Stamp, TimeSource};
use aimass_core::ports::{Ended, Flow, FrameSink, Source, SourceError, SourceErrorKind, StreamInfo};
use aimass_core::slot::{Put, SlotReceiver, SlotSender, Taken, slot};
use aimass_core::stop::Stop;
use nokhwa::Camera;
use nokhwa::utils::{ApiBackend, CameraFormat, CameraIndex, RequestedFormat, RequestedFormatType};

use self::formats::{choose, device_index, opening};
pub(crate) use self::formats::{listed, offers};
use self::pictures::Pictures;
use crate::limit::RateLimit;
use crate::options::SourceOptions;
use crate::uri::{SourceUri, V4l2Device};

const GLANCE: Duration = Duration::from_millis(200);

type Problem = (SourceErrorKind, String);
type Shot = Result<(Picture, CameraFormat), Problem>;

/// A camera on this board.
pub(crate) struct V4l2Source {
    options: SourceOptions,
    clock: SharedClock,
    seq: u64,
    capture: Option<JoinHandle<()>>,
}

impl V4l2Source {
    pub(crate) fn new(options: SourceOptions, clock: SharedClock) -> Self {
        V4l2Source { options, clock, seq: 0, capture: None }
    }

    /// Gives the capture thread a second to let go of the device.
    fn await_capture(&mut self) {
        let ended = Stop::new();
        for _ in 0..50 {
            if self.capture.as_ref().is_none_or(JoinHandle::is_finished) {
                self.capture = None;
                return;
            }
            ended.wait(Duration::from_millis(20));
        }
        tracing::warn!(source = %self.options.id, "the camera's driver does not let go");
    }

    fn start(&mut self, captured: Arc<AtomicU64>) -> Result<SlotReceiver<Shot>, Problem> {
        let SourceUri::V4l2(device) = &self.options.uri else {
            return Err((SourceErrorKind::Config, "is not a camera on this board".into()));
        };
        if self.capture.as_ref().is_some_and(|c| !c.is_finished()) {
            let text = "the driver still hangs in the last capture: unplug the camera or restart";
            return Err((SourceErrorKind::Unavailable, text.into()));
        }
        let index = device_index(&device.path)?;
        let (device, options, clock) = (device.clone(), self.options.clone(), self.clock.clone());
        let (sender, receiver) = slot();
        let capture = Builder::new()
            .name(format!("v4l2-{}", self.options.id))
            .spawn(move || {
                if let Err(problem) = capture(index, &device, &options, &clock, &captured, &sender) {
                    sender.put(Err(problem));
                }
            })
            .map_err(|e| (SourceErrorKind::Unavailable, format!("no thread for the camera ({e})")))?;
        self.capture = Some(capture);
        Ok(receiver)
    }

    fn deliver(
        &mut self,
        shots: &SlotReceiver<Shot>,
        captured: &AtomicU64,
        sink: &mut dyn FrameSink,
        stop: &Stop,
    ) -> Result<Ended, Problem> {
        let (mut last, mut seen, mut opened) = (self.clock.monotonic(), 0, false);
        loop {
            if stop.is_requested() {
                return Ok(Ended::Stopped);
            }
            let taken = shots.take(GLANCE);
            let now = self.clock.monotonic();
            let (picture, format) = match taken {
                Taken::Value(shot) => shot?,
                Taken::Closed => return Err((SourceErrorKind::Broken, "the capture ended".into())),
                Taken::TimedOut => {
                    let count = captured.load(Ordering::Relaxed);
                    if count != seen {
                        (seen, last) = (count, now);
                    }
                    let limit = if opened { self.options.stall_after } else { self.options.open_timeout };
                    if now.saturating_sub(last) >= limit {
                        let text =
                            format!("no frame for {limit:?}: check the cable and that nothing blocks it");
                        return Err((SourceErrorKind::Stalled, text));
                    }
                    continue;
                }
            };
            last = now;
            if !opened {
                opened = true;
                sink.opened(&StreamInfo {
                    width: format.width(),
                    height: format.height(),
                    fps: f64::from(format.frame_rate()),
                    description: format!("V4L2, {}", format.format()),
                });
            }
            let stamp = Stamp { wall: self.clock.wall(), wall_from: TimeSource::Clock, elapsed: now };
            let frame = Frame { source: self.options.id.clone(), seq: self.seq, stamp, picture };
            self.seq += 1;
            if sink.frame(frame) == Flow::Stop {
                return Ok(Ended::Stopped);
            }
        }
    }
}

impl Source for V4l2Source {
    fn run_once(&mut self, sink: &mut dyn FrameSink, stop: &Stop) -> Result<Ended, SourceError> {
        let captured = Arc::new(AtomicU64::new(0));
        let result = self.start(captured.clone()).and_then(|shots| {
            let result = self.deliver(&shots, &captured, sink, stop);
            drop(shots);
            self.await_capture();
            result
        });
        result.map_err(|(kind, text)| self.options.error(kind, text))
    }
}

/// Captures until nobody takes the pictures any more. Runs on the capture thread.
fn capture(
    index: u32,
    device: &V4l2Device,
    options: &SourceOptions,
    clock: &SharedClock,
    captured: &AtomicU64,
    shots: &SlotSender<Shot>,
) -> Result<(), Problem> {
    let offers = offers(index).map_err(|e| opening(&device.path, &e))?;
    let format = choose(&offers, device, options.max_side_px, options.fps).ok_or_else(|| {
        let text = format!("offers nothing that fits: it has {}", listed(&offers));
        (SourceErrorKind::Config, text)
    })?;
    let exact = [format.format()];
    let request = RequestedFormat::with_formats(RequestedFormatType::Exact(format), &exact);
    let mut camera = Camera::with_backend(CameraIndex::Index(index), request, ApiBackend::Video4Linux)
        .map_err(|e| opening(&device.path, &e.to_string()))?;
    camera.open_stream().map_err(|e| opening(&device.path, &e.to_string()))?;
    let (mut limit, mut pictures) = (RateLimit::of(options), Pictures::new(format, options));
    loop {
        let raw = camera
            .frame_raw()
            .map_err(|e| (SourceErrorKind::Broken, format!("the camera stopped ({e}): check the cable")))?;
        captured.fetch_add(1, Ordering::Relaxed);
        if !limit.keeps(u64::try_from(clock.monotonic().as_nanos()).unwrap_or(u64::MAX)) {
            continue;
        }
        // Cheap cameras send a damaged JPEG now and then: that frame is left out.
        let Ok(picture) = pictures.picture(&raw) else {
            continue;
        };
        if shots.put(Ok((picture, format))) == Put::Closed {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
