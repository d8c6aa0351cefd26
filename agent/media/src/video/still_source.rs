//! A still picture as a camera that looks at a still scene: the same picture, at the wanted rate.
//!
//! Owner: the source's thread. The picture is read, shrunk, converted to I420 and masked once; each frame is another handle to it.

use std::time::Duration;

use aimass_core::frame::{BadPicture, CaptureTime, Colour, Frame, Picture, PixelFormat, TimeSource};
use aimass_core::mask::Mask;
use aimass_core::runtime::clock::SharedClock;
use aimass_core::runtime::stop::StopToken;
use aimass_core::traits::{Ended, Flow, FrameSink, Source, SourceError, SourceErrorKind, StreamInfo};
use image::{RgbImage, imageops};

use crate::video::buffer_pool::Pool;
use crate::video::convert::{delivered_size, rgb_to_i420};
use crate::video::options::SourceOptions;
use crate::video::stills;
use crate::video::uri::SourceUri;

/// Frames a second where no limit is given.
const DEFAULT_FPS: f32 = 5.0;

/// Repeats one picture: for ever, or once when it is not to keep a pace (`realtime=false`).
pub(crate) struct StillSource {
    options: SourceOptions,
    clock: SharedClock,
    seq: u64,
    elapsed: Duration,
}

impl StillSource {
    pub(crate) fn new(options: SourceOptions, clock: SharedClock) -> Self {
        StillSource { options, clock, seq: 0, elapsed: Duration::ZERO }
    }

    fn load(&self) -> Result<(Picture, StreamInfo), SourceError> {
        let path = self.options.uri.file_path().unwrap_or(std::path::Path::new(""));
        let rgb = stills::load(path)
            .map_err(|e| SourceError::new(e.kind, format!("camera {}: {}", self.options.id, e.message)))?;
        let info = StreamInfo {
            width: rgb.width(),
            height: rgb.height(),
            fps: 0.0,
            description: "still picture".to_owned(),
        };
        let rgb = self.shrunk(rgb)?;
        let size = (rgb.width(), rgb.height());
        let (width, height) = (size.0 as usize, size.1 as usize);
        let mask = Mask::new(&self.options.masks, size.0, size.1, PixelFormat::I420);
        let colour = Colour { bt709: false, full_range: true };
        let picture = Pool::default()
            .picture::<BadPicture>(size, PixelFormat::I420, colour, |planes| {
                rgb_to_i420(rgb.plane(0).data, width, height, planes);
                for (n, plane) in planes.iter_mut().enumerate() {
                    let (stride, _) = PixelFormat::I420.plane_size(n, size.0, size.1);
                    mask.paint(n, plane, stride);
                }
                Ok(())
            })
            .map_err(|e| self.options.error(SourceErrorKind::NotMedia, e))?;
        Ok((picture, info))
    }

    fn shrunk(&self, rgb: Picture) -> Result<Picture, SourceError> {
        let (width, height) = delivered_size(rgb.width(), rgb.height(), self.options.max_side_px);
        if (width, height) == (rgb.width(), rgb.height()) {
            return Ok(rgb);
        }
        let bad = |problem: String| self.options.error(SourceErrorKind::NotMedia, problem);
        let whole = RgbImage::from_raw(rgb.width(), rgb.height(), rgb.plane(0).data.to_vec())
            .ok_or_else(|| bad("the picture has no pixels".to_owned()))?;
        let small = imageops::resize(&whole, width, height, imageops::FilterType::Triangle);
        Picture::from_rgb((width, height), small.into_raw()).map_err(|e| bad(e.to_string()))
    }
}

impl Source for StillSource {
    fn run_once(&mut self, sink: &mut dyn FrameSink, stop: &StopToken) -> Result<Ended, SourceError> {
        let (picture, info) = self.load()?;
        let once = matches!(&self.options.uri, SourceUri::File(clip) if !clip.realtime && !clip.looped);
        let fps = if self.options.fps > 0.0 { self.options.fps } else { DEFAULT_FPS };
        let opened = self.clock.wall();
        let base = self.elapsed;
        sink.opened(&info);
        let mut due = self.clock.monotonic();
        loop {
            if stop.is_requested() {
                return Ok(Ended::Stopped);
            }
            let position = self.elapsed - base;
            let capture_time = CaptureTime {
                wall: opened.checked_add(position).unwrap_or(opened),
                wall_source: TimeSource::File,
                elapsed: self.elapsed,
            };
            let frame = Frame {
                source: self.options.id.clone(),
                seq: self.seq,
                capture_time,
                picture: picture.clone(),
            };
            self.seq += 1;
            let interval = Duration::from_secs_f64(1.0 / f64::from(self.options.pace.of(fps)));
            self.elapsed += interval;
            if sink.frame(frame) == Flow::Stop {
                return Ok(Ended::Stopped);
            }
            if once {
                return Ok(Ended::EndOfStream);
            }
            due += interval;
            let now = self.clock.monotonic();
            if due < now {
                due = now;
            }
            if stop.wait(due - now) {
                return Ok(Ended::Stopped);
            }
        }
    }
}
