//! What a frame costs from the decoder to our hands: CPU time of a whole run, less that of decoding alone.
//!
//! `cargo run --release -p aimass-media --example frame_cost -- CLIP`; without a clip it makes one, 768×576 MPEG-4 in AVI.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

use std::path::{Path, PathBuf};

use aimass_core::frame::Frame;
use aimass_core::geometry::{Point, Polygon};
use aimass_core::runtime::clock::SystemClock;
use aimass_core::runtime::stop::StopToken;
use aimass_core::traits::{Flow, FrameSink, StreamInfo};
use aimass_media::SourceOptions;
use gstreamer as gst;
use gstreamer::prelude::*;

#[derive(Default)]
struct Count {
    frames: u32,
    picture: String,
}

impl FrameSink for Count {
    fn opened(&mut self, _: &StreamInfo) {}

    fn frame(&mut self, frame: Frame) -> Flow {
        self.frames += 1;
        if self.frames == 1 {
            self.picture = format!("{:?}", frame.picture);
        }
        Flow::Continue
    }
}

/// CPU time of this process, all threads, in milliseconds.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) * 10.0
}

fn kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find(|l| l.starts_with(field)).unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Runs a pipeline to its end.
fn play(description: &str) {
    let pipeline = gst::parse::launch(description).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::NONE, &ends).unwrap();
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    pipeline.set_state(gst::State::Null).unwrap();
}

fn deliver(clip: &Path, change: impl FnOnce(&mut SourceOptions)) -> Count {
    let uri = format!("file:{}?realtime=false", clip.display()).parse().unwrap();
    let mut options = SourceOptions::new("bench".parse().unwrap(), uri);
    options.fps = 0.0;
    change(&mut options);
    let mut count = Count::default();
    options.build(SystemClock::shared()).unwrap().run_once(&mut count, &StopToken::new()).unwrap();
    count
}

fn main() {
    let before = kib("VmRSS:");
    gst::init().unwrap();
    println!("memory: {before} KiB at start, {} KiB with GStreamer initialised", kib("VmRSS:"));
    let clip = std::env::args_os().nth(1).map(PathBuf::from).unwrap_or_else(|| {
        let path = std::env::temp_dir().join("aimass-frame-cost.avi");
        play(&format!(
            "videotestsrc num-buffers=1000 horizontal-speed=2 ! video/x-raw,width=768,height=576,framerate=25/1 \
             ! avenc_mpeg4 bitrate=2000000 ! avimux ! filesink location={}",
            path.display()
        ));
        path
    });
    let frames = f64::from(deliver(&clip, |_| ()).frames);
    println!("memory: {} KiB after the first clip, {} of it our own", kib("VmRSS:"), kib("RssAnon:"));
    let decode = format!("filesrc location={} ! decodebin ! fakesink sync=false", clip.display());
    let start = cpu_ms();
    play(&decode);
    let alone = cpu_ms() - start;
    println!("{frames} frames; decoding alone {:.3} ms a frame", alone / frames);
    let half = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];
    let mask = Polygon(half.into_iter().map(Point::from).collect());
    type Change<'a> = Box<dyn FnOnce(&mut SourceOptions) + 'a>;
    let cases: [(&str, Change<'_>); 5] = [
        ("as it is", Box::new(|_| ())),
        ("shrunk to 320", Box::new(|o| o.max_side_px = 320)),
        ("half masked", Box::new(|o| o.masks = vec![mask.clone()])),
        ("shrunk, masked", Box::new(|o| (o.max_side_px, o.masks) = (320, vec![mask.clone()]))),
        ("2 a second", Box::new(|o| o.fps = 2.0)),
    ];
    for (name, change) in cases {
        let start = cpu_ms();
        let count = deliver(&clip, change);
        let cost = (cpu_ms() - start - alone) / frames;
        println!("{name:15} {:4} × {:30} {cost:+.3} ms a decoded frame", count.frames, count.picture);
    }
    println!("memory: {} KiB now, {} KiB at most", kib("VmRSS:"), kib("VmHWM:"));
}
