//! The pipeline of a microphone: where the sound comes from, then down to one channel at 16 kHz.
//!
//! Owner: the source's thread builds it; pads are linked on GStreamer's threads as they appear. Devices are asked for
//! periods as long as a window: nobody is woken to move ten milliseconds of sound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aimass_core::audio::RATE_HZ;
use aimass_core::traits::SourceErrorKind;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;

use super::errors::{self, missing_element};
use super::{MicrophoneOptions, MicrophoneUri, TestTone};
use crate::gst::errors::Problem;
use crate::video::uri::FileClip;

/// Buffers that may wait for the source's thread; a live source loses the oldest when it is not quick enough.
const WAITING: u32 = 64;

type Made<T> = Result<T, Problem>;

/// The end of every pipeline.
pub(super) struct Tail {
    /// Raw sound goes in here.
    pub(super) entry: gst::Pad,
    pub(super) sink: AppSink,
    /// All streams are known, and none is sound.
    pub(super) no_sound: Arc<AtomicBool>,
}

fn make(name: &str) -> Made<gst::Element> {
    gst::ElementFactory::make(name).build().map_err(|_| missing_element(name))
}

fn broken(error: impl std::fmt::Display) -> Problem {
    Problem::new(SourceErrorKind::Config, format!("GStreamer refuses the pipeline ({error})"))
}

impl Tail {
    /// Puts the tail into the pipeline. `live`: the newest sound wins; `paced`: it comes at the pipeline's clock.
    pub(super) fn new(pipeline: &gst::Pipeline, live: bool, paced: bool) -> Made<Self> {
        let (convert, resample, filter) =
            (make("audioconvert")?, make("audioresample")?, make("capsfilter")?);
        let caps = gst::Caps::builder("audio/x-raw")
            .field("format", if cfg!(target_endian = "big") { "F32BE" } else { "F32LE" })
            .field("layout", "interleaved")
            .field("rate", RATE_HZ as i32)
            .field("channels", 1i32)
            .build();
        filter.set_property("caps", caps);
        let sink = AppSink::builder()
            .sync(paced)
            .max_buffers(WAITING)
            .drop(live)
            .enable_last_sample(false)
            .qos(false)
            .build();
        let chain = [&convert, &resample, &filter, sink.upcast_ref()];
        pipeline.add_many(chain).map_err(broken)?;
        gst::Element::link_many(chain).map_err(broken)?;
        let entry = convert.static_pad("sink").ok_or_else(|| missing_element("audioconvert"))?;
        Ok(Tail { entry, sink, no_sound: Arc::default() })
    }

    /// What comes in, for people; empty before it is known.
    pub(super) fn input(&self) -> String {
        let caps = self.entry.current_caps();
        let Some(sound) = caps.as_ref().and_then(|c| c.structure(0)) else { return String::new() };
        let (format, rate) =
            (sound.get::<&str>("format").unwrap_or("?"), sound.get::<i32>("rate").unwrap_or(0));
        match sound.get::<i32>("channels").unwrap_or(0) {
            1 => format!("{format}, {rate} Hz, mono"),
            channels => format!("{format}, {rate} Hz, {channels} channels"),
        }
    }
}

/// Puts the head into the pipeline and links it to the tail, now or as soon as its pads appear.
pub(super) fn build(pipeline: &gst::Pipeline, tail: &Tail, options: &MicrophoneOptions) -> Made<()> {
    match &options.uri {
        MicrophoneUri::Alsa(device) => {
            let source = make("alsasrc")?;
            source.set_property("device", device);
            device_source(pipeline, tail, &source, options.window)
        }
        MicrophoneUri::Pulse(name) => {
            let source = make("pulsesrc")?;
            if let Some(name) = name {
                source.set_property("device", name);
            }
            source.set_property("client-name", "aimass-agent");
            device_source(pipeline, tail, &source, options.window)
        }
        MicrophoneUri::File(clip) => file(pipeline, tail, clip),
        MicrophoneUri::Gst(description) => own(pipeline, tail, description),
        MicrophoneUri::Test(tone) => test_tone(pipeline, tail, tone, options.window_samples()),
    }
}

fn link(pipeline: &gst::Pipeline, tail: &Tail, source: &gst::Element) -> Made<()> {
    pipeline.add(source).map_err(broken)?;
    let end = source.static_pad("src").ok_or_else(|| broken("a source without an end"))?;
    end.link(&tail.entry).map(|_| ()).map_err(broken)
}

/// A device tells its own time: what it delivers is taken as it comes.
fn device_source(pipeline: &gst::Pipeline, tail: &Tail, source: &gst::Element, window: Duration) -> Made<()> {
    // The device takes the nearest that it can do. Four periods outlast a busy moment of ours.
    let period_us = i64::try_from(window.as_micros()).unwrap_or(i64::MAX).min(1_000_000);
    source.set_property("latency-time", period_us);
    source.set_property("buffer-time", period_us * 4);
    link(pipeline, tail, source)
}

fn file(pipeline: &gst::Pipeline, tail: &Tail, clip: &FileClip) -> Made<()> {
    crate::video::source_bin::readable(&clip.path, "check that it is a file with sound")?;
    let (source, decoder) = (make("filesrc")?, make("decodebin")?);
    source.set_property("location", clip.path.as_os_str().to_string_lossy().as_ref());
    // Pictures and texts are exposed as they are, and stay unlinked.
    decoder.connect("autoplug-continue", false, |values| {
        let caps = values.get(2).and_then(|v| v.get::<gst::Caps>().ok());
        let structure = caps.as_ref().and_then(|c| c.structure(0));
        let other = |s: &gst::StructureRef| {
            ["video/x-", "image/", "text/", "subpicture/"].iter().any(|kind| s.name().starts_with(kind))
                && !CONTAINERS.contains(&s.name().as_str())
        };
        Some((!structure.is_some_and(other)).to_value())
    });
    pipeline.add_many([&source, &decoder]).map_err(broken)?;
    let entry = tail.entry.downgrade();
    decoder.connect_pad_added(move |_, pad| {
        let Some(entry) = entry.upgrade() else { return };
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let is_sound = caps.structure(0).is_some_and(|s| s.name() == "audio/x-raw");
        if is_sound && !entry.is_linked() && pad.link(&entry).is_err() {
            tracing::debug!("a pad of sound could not be linked");
        }
    });
    let (entry, no_sound) = (tail.entry.downgrade(), tail.no_sound.clone());
    decoder.connect_no_more_pads(move |_| {
        if entry.upgrade().is_some_and(|e| !e.is_linked()) {
            no_sound.store(true, Ordering::SeqCst);
        }
    });
    source.link(&decoder).map_err(broken)
}

/// Names that look like pictures and hold sound too.
const CONTAINERS: [&str; 4] = ["video/x-matroska", "video/x-msvideo", "video/x-ms-asf", "video/x-flv"];

fn own(pipeline: &gst::Pipeline, tail: &Tail, description: &str) -> Made<()> {
    let bin = crate::video::source_bin::own_bin(description, "raw sound, such as … ! audioconvert")?;
    pipeline.add(&bin).map_err(broken)?;
    let pad = bin.static_pad("src").ok_or_else(|| broken("a pipeline without an end"))?;
    pad.link(&tail.entry).map(|_| ()).map_err(|_| {
        let text = "the pipeline does not end in raw sound (audio/x-raw in system memory): add a decoder";
        Problem::new(SourceErrorKind::Config, text)
    })
}

fn test_tone(pipeline: &gst::Pipeline, tail: &Tail, tone: &TestTone, window: usize) -> Made<()> {
    let source = make("audiotestsrc")?;
    source.set_property("is-live", tone.realtime);
    source.set_property("freq", f64::from(tone.hz));
    source.set_property("volume", tone.volume);
    source.set_property_from_str("wave", &tone.wave);
    source.set_property("samplesperbuffer", i32::try_from(window).unwrap_or(i32::MAX));
    if let Some(seconds) = tone.seconds {
        let buffers = (u64::from(seconds) * u64::from(RATE_HZ)).div_ceil(window.max(1) as u64);
        source.set_property("num-buffers", i32::try_from(buffers).unwrap_or(i32::MAX));
    }
    link(pipeline, tail, &source)
}

/// The own words for what a file without sound is.
pub(super) fn empty(uri: &MicrophoneUri, found: Option<String>) -> Problem {
    let found = found.map(|f| format!(" (found: {f})")).unwrap_or_default();
    Problem::new(
        SourceErrorKind::NotMedia,
        format!("no sound that can be decoded{found}: {}", errors::check(uri)),
    )
}
