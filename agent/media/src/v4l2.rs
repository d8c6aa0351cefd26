//! Cameras on the board's own connectors, through nokhwa.
//!
//! Owner: a capture thread of its own (`v4l2-<id>`) holds the device, as the driver may block for ever; the
//! source's thread takes pictures from a one-deep slot and watches the time. Invariant: at most one capture thread
//! a source; one that hangs in the driver is waited for before the device is opened again.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use aimass_core::clock::SharedClock;
use aimass_core::frame::{BadPicture, Colour, Frame, Picture, PixelFormat, Stamp, TimeSource};
use aimass_core::mask::Mask;
use aimass_core::ports::{Ended, Flow, FrameSink, Source, SourceError, SourceErrorKind, StreamInfo};
use aimass_core::slot::{Put, SlotReceiver, SlotSender, Taken, slot};
use aimass_core::stop::Stop;
use image::{ImageDecoder, ImageReader};
use nokhwa::Camera;
use nokhwa::utils::{
    ApiBackend, CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType,
};

use crate::convert::{rgb_to_i420, yuyv_to_i420};
use crate::limit::RateLimit;
use crate::options::SourceOptions;
use crate::pool::Pool;
use crate::uri::{SourceUri, V4l2Device};

const GLANCE: Duration = Duration::from_millis(200);
const USABLE: [FrameFormat; 4] = [
    FrameFormat::NV12,
    FrameFormat::YUYV,
    FrameFormat::MJPEG,
    FrameFormat::GRAY,
];

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
        V4l2Source {
            options,
            clock,
            seq: 0,
            capture: None,
        }
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
            .map_err(|e| {
                (
                    SourceErrorKind::Unavailable,
                    format!("no thread for the camera ({e})"),
                )
            })?;
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
                    let limit = if opened {
                        self.options.stall_after
                    } else {
                        self.options.open_timeout
                    };
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
            let stamp = Stamp {
                wall: self.clock.wall(),
                wall_from: TimeSource::Clock,
                elapsed: now,
            };
            let frame = Frame {
                source: self.options.id.clone(),
                seq: self.seq,
                stamp,
                picture,
            };
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
    camera
        .open_stream()
        .map_err(|e| opening(&device.path, &e.to_string()))?;
    let (mut limit, mut pictures) = (RateLimit::new(options.fps), Pictures::new(format, options));
    loop {
        let raw = camera.frame_raw().map_err(|e| {
            (
                SourceErrorKind::Broken,
                format!("the camera stopped ({e}): check the cable"),
            )
        })?;
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

/// What the camera can send, in formats that we can read.
pub(crate) fn offers(index: u32) -> Result<Vec<CameraFormat>, String> {
    let request = RequestedFormat::with_formats(RequestedFormatType::None, &USABLE);
    let camera = Camera::with_backend(CameraIndex::Index(index), request, ApiBackend::Video4Linux);
    let mut formats = camera
        .and_then(|mut c| c.compatible_camera_formats())
        .map_err(|e| e.to_string())?;
    formats.retain(|f| USABLE.contains(&f.format()));
    formats.sort_by_key(|f| (f.format(), f.width(), f.height(), f.frame_rate()));
    formats.dedup();
    Ok(formats)
}

fn opening(path: &Path, error: &str) -> Problem {
    let kind = match error {
        e if e.contains("No such") => SourceErrorKind::NotFound,
        e if e.contains("Fufill") => SourceErrorKind::NotMedia,
        _ => SourceErrorKind::Unavailable,
    };
    (
        kind,
        format!(
            "{} cannot be opened ({error}): check that no other program uses it",
            path.display()
        ),
    )
}

/// For messages: every format once, with its sizes and rates.
pub(crate) fn listed(offers: &[CameraFormat]) -> String {
    if offers.is_empty() {
        return "no format that we can read (NV12, YUYV, MJPEG, GRAY)".to_owned();
    }
    let one = |f: &CameraFormat| {
        format!(
            "{} {}x{} at {}",
            f.format(),
            f.width(),
            f.height(),
            f.frame_rate()
        )
    };
    offers.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The device's number: what nokhwa opens. Links, such as those by id, are followed.
fn device_index(path: &Path) -> Result<u32, Problem> {
    let target = path.canonicalize().map_err(|e| {
        let text = format!(
            "{} is not there ({e}): `aimass-agent probe` lists the cameras",
            path.display()
        );
        (SourceErrorKind::NotFound, text)
    })?;
    let number = target
        .to_str()
        .and_then(|t| t.strip_prefix("/dev/video"))
        .and_then(|n| n.parse().ok());
    number.ok_or_else(|| {
        let text = format!(
            "{} is no camera: give /dev/videoN or a link to it",
            path.display()
        );
        (SourceErrorKind::Config, text)
    })
}

/// The format that costs least and serves: wanted sizes as given; otherwise fast enough first, then the smallest
/// that is not below the useful side (1280 where that is open), then the one that needs least decoding.
fn choose(offers: &[CameraFormat], device: &V4l2Device, max_side: u32, fps: f32) -> Option<CameraFormat> {
    let useful = if max_side == 0 { 1280 } else { max_side };
    let wanted = |f: &&CameraFormat| {
        device.width.is_none_or(|w| w == f.width())
            && device.height.is_none_or(|h| h == f.height())
            && device.format.as_deref().is_none_or(|name| f.format().to_string().eq_ignore_ascii_case(name))
            // YUYV holds pixels in pairs.
            && (f.format() != FrameFormat::YUYV || f.width() % 2 == 0)
    };
    let cost = |f: &&CameraFormat| {
        let side = f.width().max(f.height());
        let decoding = USABLE
            .iter()
            .position(|u| *u == f.format())
            .unwrap_or(USABLE.len());
        let (below, distance) = (side < useful, side.abs_diff(useful));
        (
            (f.frame_rate() as f32) < fps,
            below,
            distance,
            decoding,
            f.frame_rate(),
        )
    };
    offers
        .iter()
        .filter(|f| USABLE.contains(&f.format()))
        .filter(wanted)
        .min_by_key(cost)
        .copied()
}

/// Makes pictures from what the camera sends, in memory that is used again.
struct Pictures {
    format: CameraFormat,
    pool: Pool,
    rgb: Vec<u8>,
    mask: Mask,
    kind: PixelFormat,
}

impl Pictures {
    fn new(format: CameraFormat, options: &SourceOptions) -> Self {
        let kind = match format.format() {
            FrameFormat::NV12 => PixelFormat::Nv12,
            FrameFormat::GRAY => PixelFormat::Gray8,
            _ => PixelFormat::I420,
        };
        let mask = Mask::new(&options.masks, format.width(), format.height(), kind);
        Pictures {
            format,
            pool: Pool::default(),
            rgb: Vec::new(),
            mask,
            kind,
        }
    }

    fn picture(&mut self, raw: &[u8]) -> Result<Picture, String> {
        let Pictures {
            format,
            pool,
            rgb,
            mask,
            kind,
        } = self;
        let (width, height) = (format.width(), format.height());
        let (w, h) = (width as usize, height as usize);
        let needed = match format.format() {
            FrameFormat::YUYV => w * h * 2,
            FrameFormat::NV12 => w * h + w.div_ceil(2) * 2 * h.div_ceil(2),
            FrameFormat::MJPEG => 1,
            _ => w * h,
        };
        if raw.len() < needed {
            return Err(format!("{} bytes where {needed} are needed", raw.len()));
        }
        let is_jpeg = format.format() == FrameFormat::MJPEG;
        if is_jpeg {
            let reader = ImageReader::with_format(Cursor::new(raw), image::ImageFormat::Jpeg);
            let decoder = reader.into_decoder().map_err(|e| e.to_string())?;
            if decoder.dimensions() != (width, height) || decoder.color_type() != image::ColorType::Rgb8 {
                return Err("a picture of another size or kind".to_owned());
            }
            rgb.resize(w * h * 3, 0);
            decoder.read_image(rgb).map_err(|e| e.to_string())?;
        }
        let colour = Colour {
            bt709: false,
            full_range: is_jpeg,
        };
        pool.picture::<BadPicture>((width, height), *kind, colour, |planes| {
            match format.format() {
                FrameFormat::MJPEG => rgb_to_i420(rgb, w, h, planes),
                FrameFormat::YUYV => yuyv_to_i420(raw, w, h, planes),
                _ => {
                    let mut at = 0;
                    for plane in planes.iter_mut() {
                        let length = plane.len();
                        plane.copy_from_slice(&raw[at..at + length]);
                        at += length;
                    }
                }
            }
            for (n, plane) in planes.iter_mut().enumerate() {
                mask.paint(n, plane, kind.plane_size(n, width, height).0);
            }
            Ok(())
        })
        .map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use aimass_core::clock::SystemClock;
    use aimass_core::geometry::{Point, Polygon};
    use image::{Rgb, RgbImage};
    use nokhwa::utils::Resolution;

    use super::*;

    fn offer(format: FrameFormat, w: u32, h: u32, fps: u32) -> CameraFormat {
        CameraFormat::new(Resolution::new(w, h), format, fps)
    }

    struct Nobody;

    impl FrameSink for Nobody {
        fn opened(&mut self, _: &StreamInfo) {}

        fn frame(&mut self, _: Frame) -> Flow {
            Flow::Stop
        }
    }

    fn failure(uri: &str) -> SourceError {
        let options = SourceOptions::new("dock".parse().unwrap(), uri.parse().unwrap());
        let mut source = options.build(SystemClock::shared()).unwrap();
        source.run_once(&mut Nobody, &Stop::new()).unwrap_err()
    }

    #[test]
    fn a_device_that_is_not_there_or_no_camera_says_so() {
        let error = failure("v4l2:/dev/video987");
        assert_eq!(error.kind, SourceErrorKind::NotFound);
        assert!(
            error.message.contains("camera dock") && error.message.contains("probe"),
            "{error}"
        );
        assert_eq!(failure("v4l2:/dev/null").kind, SourceErrorKind::Config);
    }

    #[test]
    fn the_cheapest_format_that_serves_is_chosen() {
        use FrameFormat::{MJPEG, YUYV};
        let camera = [
            offer(YUYV, 640, 480, 30),
            offer(YUYV, 1280, 720, 5),
            offer(MJPEG, 640, 480, 30),
            offer(MJPEG, 1280, 720, 30),
            offer(MJPEG, 1920, 1080, 30),
        ];
        let any = V4l2Device::default();
        assert_eq!(choose(&camera, &any, 640, 5.0), Some(camera[0]));
        assert_eq!(choose(&camera, &any, 1000, 5.0), Some(camera[1]));
        assert_eq!(choose(&camera, &any, 1000, 10.0), Some(camera[3]));
        assert_eq!(choose(&camera, &any, 0, 10.0), Some(camera[3]));
        assert_eq!(choose(&camera, &any, 4000, 5.0), Some(camera[4]));
        let wanted = V4l2Device {
            width: Some(640),
            format: Some("mjpeg".into()),
            ..Default::default()
        };
        assert_eq!(choose(&camera, &wanted, 1000, 5.0), Some(camera[2]));
        let odd = V4l2Device {
            width: Some(123),
            ..Default::default()
        };
        assert_eq!(choose(&camera, &odd, 0, 5.0), None);
        assert!(listed(&camera).contains("MJPEG 1280x720 at 30"));
    }

    #[test]
    fn every_format_becomes_a_masked_picture_and_short_data_is_refused() {
        let mut options = SourceOptions::new("dock".parse().unwrap(), "v4l2:/dev/video0".parse().unwrap());
        let left = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];
        options.masks = vec![Polygon(left.into_iter().map(Point::from).collect())];
        let mut jpeg = Cursor::new(Vec::new());
        RgbImage::from_pixel(16, 8, Rgb([200; 3]))
            .write_to(&mut jpeg, image::ImageFormat::Jpeg)
            .unwrap();
        let jpeg = jpeg.into_inner();
        for (format, bytes) in [
            (FrameFormat::YUYV, vec![200; 16 * 8 * 2]),
            (FrameFormat::NV12, vec![200; 16 * 8 * 3 / 2]),
            (FrameFormat::GRAY, vec![200; 16 * 8]),
            (FrameFormat::MJPEG, jpeg),
        ] {
            let mut pictures = Pictures::new(offer(format, 16, 8, 10), &options);
            let picture = pictures.picture(&bytes).unwrap();
            let luma = picture.luma().unwrap();
            for y in 0..8 {
                assert_eq!(luma.row(y)[..8], [32; 8], "{format}");
                assert!(luma.row(y)[8..].iter().all(|v| v.abs_diff(200) < 3), "{format}");
            }
            assert!(pictures.picture(&bytes[..bytes.len() / 3]).is_err(), "{format}");
        }
    }
}
