//! What the source tests share: media made on the spot, sinks that remember, deadlines.
pub mod rtsp;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use aimass_core::frame::{Frame, Picture, TimeSource};
use aimass_core::geometry::{Point, Polygon};
use aimass_core::runtime::clock::SystemClock;
use aimass_core::runtime::stop::StopToken;
use aimass_core::traits::{Ended, Flow, FrameSink, Source, SourceError, StreamInfo};
use aimass_media::{SourceOptions, SourceUri};
use gstreamer as gst;
use gstreamer::prelude::*;

/// Long enough for a busy machine; only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const MJPEG_MOV: &str = "jpegenc ! qtmux";
pub const THEORA_OGG: &str = "theoraenc ! oggmux";
pub const VP8_WEBM: &str = "vp8enc deadline=1 keyframe-max-dist=50 ! webmmux";
pub const MPEG4_AVI: &str = "avenc_mpeg4 bitrate=2000000 max-bframes=0 gop-size=50 ! avimux";

/// Says on the real stderr, past the test runner's capture, that a test was not run.
pub fn skip(why: &str) {
    use std::io::Write;
    let thread = std::thread::current();
    writeln!(std::io::stderr(), "skipped: {}: {why}", thread.name().unwrap_or("a test")).ok();
}

/// A clip of a moving ball: `frames` at `fps`.
pub fn clip(folder: &Path, codec: &str, (w, h): (u32, u32), fps: u32, frames: u32) -> PathBuf {
    let name = codec.split([' ', '=']).next().unwrap();
    let path = folder.join(format!("{name}-{w}x{h}-{fps}-{frames}"));
    render(&format!(
        "videotestsrc num-buffers={frames} pattern=smpte horizontal-speed=2 \
         ! video/x-raw,width={w},height={h},framerate={fps}/1 ! {codec} ! filesink location={}",
        path.display()
    ));
    path
}

/// Runs a pipeline to its end.
pub fn render(description: &str) {
    gst::init().unwrap();
    let pipeline = gst::parse::launch(description).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let message = pipeline
        .bus()
        .unwrap()
        .timed_pop_filtered(
            gst::ClockTime::from_seconds(60),
            &[gst::MessageType::Eos, gst::MessageType::Error],
        )
        .unwrap();
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    pipeline.set_state(gst::State::Null).unwrap();
}

pub fn file_uri(path: &Path, options: &str) -> SourceUri {
    format!("file:{}{options}", path.display()).parse().unwrap()
}

/// All frames, unshrunk: what offline analysis asks for.
pub fn options(uri: SourceUri) -> SourceOptions {
    let mut options = SourceOptions::new("dock".parse().unwrap(), uri);
    options.fps = 0.0;
    options
}

pub fn source(options: SourceOptions) -> Box<dyn Source> {
    options.build(SystemClock::shared()).unwrap()
}

pub fn left_half() -> Polygon {
    Polygon([[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]].into_iter().map(Point::from).collect())
}

/// What is kept of a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub seq: u64,
    pub elapsed: Duration,
    pub wall: jiff::Timestamp,
    pub wall_source: TimeSource,
    pub size: (u32, u32),
    /// Luma of the left and of the right half, row by row; empty unless asked for.
    pub left: Vec<u8>,
    pub right: Vec<u8>,
}

/// Remembers frames; has enough after `most`.
pub struct Recorder {
    pub opened: Vec<StreamInfo>,
    pub frames: Vec<Seen>,
    pub last: Option<Picture>,
    pub most: usize,
    pub keep_pixels: bool,
    pub on_frame: Option<SyncSender<u64>>,
}

impl Recorder {
    pub fn new(most: usize) -> Self {
        Recorder { opened: vec![], frames: vec![], last: None, most, keep_pixels: false, on_frame: None }
    }

    pub fn with_pixels(most: usize) -> Self {
        Recorder { keep_pixels: true, ..Self::new(most) }
    }
}

impl FrameSink for Recorder {
    fn opened(&mut self, info: &StreamInfo) {
        self.opened.push(info.clone());
    }

    fn frame(&mut self, frame: Frame) -> Flow {
        assert!(!self.opened.is_empty(), "a frame before opened()");
        let (mut left, mut right) = (vec![], vec![]);
        if self.keep_pixels {
            let luma = frame.picture.luma().unwrap();
            for y in 0..luma.rows {
                let (l, r) = luma.row(y).split_at(luma.row_bytes / 2);
                left.extend(l);
                right.extend(r);
            }
        }
        self.frames.push(Seen {
            seq: frame.seq,
            elapsed: frame.capture_time.elapsed,
            wall: frame.capture_time.wall,
            wall_source: frame.capture_time.wall_source,
            size: (frame.picture.width(), frame.picture.height()),
            left,
            right,
        });
        self.last = Some(frame.picture);
        if let Some(tell) = &self.on_frame {
            tell.try_send(frame.seq).ok();
        }
        if self.frames.len() >= self.most { Flow::Stop } else { Flow::Continue }
    }
}

/// Runs the work on a thread; fails the test if it is not done in time.
pub fn within<T: Send + 'static>(deadline: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = sync_channel(1);
    let worker = std::thread::Builder::new().spawn(move || done.send(work())).unwrap();
    match wait.recv_timeout(deadline) {
        Ok(result) => result,
        Err(RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(_) => unreachable!("it sent nothing"),
        },
        Err(RecvTimeoutError::Timeout) => panic!("not done within {deadline:?}"),
    }
}

/// One attempt, up to `most` frames.
pub fn run(options: SourceOptions, most: usize) -> (Result<Ended, SourceError>, Recorder) {
    run_into(options, Recorder::new(most))
}

pub fn run_into(options: SourceOptions, mut recorder: Recorder) -> (Result<Ended, SourceError>, Recorder) {
    within(PATIENCE, move || {
        let result = source(options).run_once(&mut recorder, &StopToken::new());
        (result, recorder)
    })
}

pub fn failure(options: SourceOptions) -> SourceError {
    let (result, recorder) = run(options, usize::MAX);
    let error = result.unwrap_err();
    assert!(recorder.frames.is_empty());
    assert!(error.message.contains("camera dock") && !error.message.contains('\n'), "{error}");
    error
}
