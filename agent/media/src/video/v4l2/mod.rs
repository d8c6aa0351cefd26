//! Cameras on the board's own connectors, through nokhwa, and v4l where nokhwa has no word for what a camera offers.
//!
//! Owner: a capture thread of its own (`v4l2-<id>`) holds the device, as the driver may block for ever; the
//! source's thread takes pictures from a one-deep slot and watches the time. Invariant: at most one capture thread
//! a source; one that hangs in the driver is waited for before the device is opened again.

pub(crate) mod controls;
pub(crate) mod device;
mod formats;
mod pictures;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use aimass_core::frame::{CaptureTime, Frame, Picture, TimeSource};
use aimass_core::runtime::clock::SharedClock;
use aimass_core::runtime::latest_slot::{LatestSlotReceiver, LatestSlotSender, Put, Taken, latest_slot};
use aimass_core::runtime::stop::StopToken;
use aimass_core::traits::{Ended, Flow, FrameSink, Source, SourceError, SourceErrorKind, StreamInfo};

use self::formats::Offer;
use self::pictures::Pictures;
use self::stream::Stream;
use crate::video::options::SourceOptions;
use crate::video::rate_limit::RateLimit;
use crate::video::uri::{SourceUri, V4l2Device};

/// How long a wait for a frame may last before the stop is looked at again.
const GLANCE: Duration = Duration::from_millis(500);

type Problem = (SourceErrorKind, String);
type Shot = Result<(Picture, About), Problem>;

/// What the camera sends, and how it is read.
#[derive(Debug, Clone, Copy)]
struct About {
    offer: Offer,
    through: &'static str,
}

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
        let ended = StopToken::new();
        for _ in 0..50 {
            if self.capture.as_ref().is_none_or(JoinHandle::is_finished) {
                self.capture = None;
                return;
            }
            ended.wait(Duration::from_millis(20));
        }
        tracing::warn!(source = %self.options.id, "the camera's driver does not let go");
    }

    fn start(
        &mut self,
        captured: Arc<AtomicU64>,
        halt: StopToken,
    ) -> Result<LatestSlotReceiver<Shot>, Problem> {
        let SourceUri::V4l2(device) = &self.options.uri else {
            return Err((SourceErrorKind::Config, "is not a camera on this board".into()));
        };
        if self.capture.as_ref().is_some_and(|c| !c.is_finished()) {
            let text = "the driver still hangs in the last capture: unplug the camera or restart";
            return Err((SourceErrorKind::Unavailable, text.into()));
        }
        let (device, options, clock) = (device.clone(), self.options.clone(), self.clock.clone());
        let (sender, receiver) = latest_slot();
        let capture = Builder::new()
            .name(format!("v4l2-{}", self.options.id))
            .spawn(move || {
                if let Err(problem) = capture(&device, &options, &clock, &captured, &halt, &sender) {
                    sender.put(Err(problem));
                }
            })
            .map_err(|e| (SourceErrorKind::Unavailable, format!("no thread for the camera ({e})")))?;
        self.capture = Some(capture);
        Ok(receiver)
    }

    fn deliver(
        &mut self,
        shots: &LatestSlotReceiver<Shot>,
        captured: &AtomicU64,
        sink: &mut dyn FrameSink,
        stop: &StopToken,
    ) -> Result<Ended, Problem> {
        let (mut last, mut seen, mut opened) = (self.clock.monotonic(), 0, false);
        loop {
            if stop.is_requested() {
                return Ok(Ended::Stopped);
            }
            let taken = shots.take(GLANCE);
            let now = self.clock.monotonic();
            let (picture, about) = match taken {
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
                    width: about.offer.width,
                    height: about.offer.height,
                    fps: about.offer.fps(),
                    description: format!("V4L2, {}, by {}", about.offer.format.name(), about.through),
                });
            }
            let capture_time =
                CaptureTime { wall: self.clock.wall(), wall_source: TimeSource::Clock, elapsed: now };
            let frame = Frame { source: self.options.id.clone(), seq: self.seq, capture_time, picture };
            self.seq += 1;
            if sink.frame(frame) == Flow::Stop {
                return Ok(Ended::Stopped);
            }
        }
    }
}

impl Source for V4l2Source {
    fn run_once(&mut self, sink: &mut dyn FrameSink, stop: &StopToken) -> Result<Ended, SourceError> {
        let (captured, halt) = (Arc::new(AtomicU64::new(0)), StopToken::new());
        let result = self.start(captured.clone(), halt.clone()).and_then(|shots| {
            let result = self.deliver(&shots, &captured, sink, stop);
            halt.request();
            drop(shots);
            self.await_capture();
            result
        });
        result.map_err(|(kind, text)| self.options.error(kind, text))
    }
}

/// Captures until it is told to halt or nobody takes the pictures any more. Runs on the capture thread.
fn capture(
    device: &V4l2Device,
    options: &SourceOptions,
    clock: &SharedClock,
    captured: &AtomicU64,
    halt: &StopToken,
    shots: &LatestSlotSender<Shot>,
) -> Result<(), Problem> {
    let (offer, stride) = set_up(device, options)?;
    let mut stream = Stream::open(&device.path, &offer, options.open_timeout)?;
    let about = About { offer, through: stream.through() };
    let (mut limit, mut pictures) = (RateLimit::of(options), Pictures::new(offer, stride, options));
    let mut damaged_since = None;
    while !halt.is_requested() {
        let Some(raw) = stream.next(GLANCE)? else { continue };
        captured.fetch_add(1, Ordering::Relaxed);
        let now = clock.monotonic();
        if !limit.keeps(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)) {
            continue;
        }
        // Cheap cameras send a damaged JPEG now and then: that frame is left out. One that sends nothing else is broken.
        let picture = match pictures.picture(&raw) {
            Ok(picture) => picture,
            Err(e) => {
                let lasts = now.saturating_sub(*damaged_since.get_or_insert(now));
                if lasts < options.open_timeout {
                    continue;
                }
                let text =
                    format!("no picture of the last {lasts:?} can be read ({e}): try another ?format=");
                return Err((SourceErrorKind::Broken, text));
            }
        };
        damaged_since = None;
        if shots.put(Ok((picture, about))) == Put::Closed {
            return Ok(());
        }
    }
    Ok(())
}

/// Chooses what the camera is to send, sets it and the controls; the bytes from row to row too. The device is closed
/// again: some drivers let only that handle stream which set the format.
fn set_up(device: &V4l2Device, options: &SourceOptions) -> Result<(Offer, usize), Problem> {
    let opened = device::open(&device.path)?;
    device::check_camera(&opened, &device.path)?;
    let offers = device::offers(&opened, device).map_err(|e| device::opening(&device.path, &e))?;
    if offers.list.is_empty() && offers.others.is_empty() {
        // v4l2loopback, before somebody writes pictures into it.
        let text = format!("{} offers no pictures now: check what feeds it", device.path.display());
        return Err((SourceErrorKind::Unavailable, text));
    }
    let offer = offers.choose(device, options.max_side_px, options.fps).ok_or_else(|| {
        (SourceErrorKind::Config, format!("offers nothing that fits: it has {}", offers.listed()))
    })?;
    device::set(&opened, &offer)?;
    controls::apply(&opened, &options.controls)?;
    Ok((offer, device::stride(&opened)))
}

#[cfg(test)]
mod tests;
