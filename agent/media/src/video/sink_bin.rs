//! The end of every pipeline: limit the rate, shrink, convert where needed, paint masks, hand over.
//!
//! Owner: the pipeline's streaming thread. Everything here happens inside GStreamer's pipeline; frames that are
//! not wanted are dropped on the decoder's pad, and what is wanted is neither scaled nor converted when it fits.
//! Invariant: a frame that leaves the tail is painted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aimass_core::geometry::Polygon;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use gstreamer_video as video;
use gstreamer_video::{VideoFormat, VideoInfo};

use super::mask_painter::Painter;
use crate::video::convert::delivered_size;
use crate::video::rate_limit::RateLimit;

/// What the streaming threads tell the source's thread.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Frames that were decoded (or, for MJPEG, came in), before the limit: the sign of life.
    pub(super) decoded: AtomicU64,
    /// Frames that passed the limit.
    pub(super) passed: AtomicU64,
    /// The limit is applied before the decoder, as every picture stands for itself.
    limited_early: AtomicBool,
    /// All streams are known, and none is video.
    pub(super) no_video: AtomicBool,
    /// Why the camera's certificate is refused.
    pub(super) untrusted: OnceLock<String>,
    input: Mutex<Option<VideoInfo>>,
    codec: Mutex<String>,
}

impl Watch {
    /// What comes out of the decoder.
    pub(super) fn input(&self) -> Option<VideoInfo> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is decoded, and by what.
    pub(super) fn codec(&self) -> String {
        self.codec.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_codec(&self, text: String) {
        *self.codec.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

/// What the tail does to frames.
#[derive(Debug)]
pub(super) struct TailOptions<'a> {
    pub(super) limit: RateLimit,
    pub(super) max_side: u32,
    pub(super) masks: &'a [Polygon],
    /// Newest frames win; otherwise the pipeline waits for us.
    pub(super) drop_when_full: bool,
    /// Frames come at the pace of the pipeline's clock.
    pub(super) paced: bool,
}

/// The tail, already in its pipeline.
#[derive(Debug)]
pub(super) struct Tail {
    /// Raw video goes in here.
    pub(super) entry: gst::Pad,
    pub(super) sink: AppSink,
    pub(super) watch: Arc<Watch>,
    limit: Arc<Mutex<RateLimit>>,
}

impl Tail {
    /// Puts the tail into the pipeline.
    pub(super) fn new(
        pipeline: &gst::Pipeline,
        options: &TailOptions<'_>,
    ) -> Result<Self, gst::glib::BoolError> {
        let scale = gst::ElementFactory::make("videoscale").build()?;
        let convert = gst::ElementFactory::make("videoconvert").build()?;
        let filter = gst::ElementFactory::make("capsfilter").build()?;
        let sink = AppSink::builder()
            .sync(options.paced)
            .max_buffers(2)
            .drop(options.drop_when_full)
            .enable_last_sample(false)
            .qos(false)
            .build();
        pipeline.add_many([&scale, &convert, &filter, sink.upcast_ref()])?;
        gst::Element::link_many([&scale, &convert, &filter, sink.upcast_ref()])?;
        let pad = |element: &gst::Element, name: &str| {
            element
                .static_pad(name)
                .ok_or_else(|| gst::glib::bool_error!("{} has no pad {name}", element.name()))
        };
        let entry = pad(&scale, "sink")?;
        let exit = pad(sink.upcast_ref(), "sink")?;
        let watch = Arc::new(Watch::default());
        let limit = Arc::new(Mutex::new(options.limit.clone()));
        shrink_and_convert(&entry, &filter, options.max_side, watch.clone());
        limit_rate(&entry, limit.clone(), watch.clone(), false);
        announce_video_meta(&exit);
        if !options.masks.is_empty() {
            paint(&exit, Painter::new(options.masks.to_vec()));
        }
        Ok(Tail { entry, sink, watch, limit })
    }

    /// Keeps decoders small and, where every picture stands for itself (MJPEG), drops before decoding.
    pub(super) fn tune_decoders(&self, pipeline: &gst::Pipeline) {
        let (watch, limit) = (self.watch.clone(), self.limit.clone());
        pipeline.connect_deep_element_added(move |_, _, element| {
            let Some(factory) = element.factory() else { return };
            if !factory.has_type(crate::gst::picture_decoders()) {
                return;
            }
            few_threads(element);
            let Some(pad) = element.static_pad("sink") else {
                return;
            };
            let (watch, limit, name) = (watch.clone(), limit.clone(), factory.name());
            pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
                if let Some(gst::EventView::Caps(event)) = info.event().map(|e| e.view())
                    && let Some(structure) = event.caps().structure(0)
                {
                    watch.set_codec(format!("{} by {name}", structure.name()));
                    if structure.name() == "image/jpeg" && !watch.limited_early.swap(true, Ordering::SeqCst) {
                        limit_rate(pad, limit.clone(), watch.clone(), true);
                    }
                }
                gst::PadProbeReturn::Ok
            });
        });
    }
}

/// A decoder's threads cost a frame of memory each, and our frame rates are low.
fn few_threads(decoder: &gst::Element) {
    const THREADS: i32 = 2;
    for name in ["max-threads", "threads", "n-threads"] {
        let Some(property) = decoder.find_property(name) else {
            continue;
        };
        if property.value_type() == i32::static_type() {
            decoder.set_property(name, THREADS);
        } else if property.value_type() == u32::static_type() {
            decoder.set_property(name, THREADS as u32);
        }
    }
}

fn limit_rate(pad: &gst::Pad, limit: Arc<Mutex<RateLimit>>, watch: Arc<Watch>, early: bool) {
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if watch.limited_early.load(Ordering::Relaxed) != early {
            return gst::PadProbeReturn::Ok;
        }
        watch.decoded.fetch_add(1, Ordering::Relaxed);
        let time = info.buffer().and_then(|b| b.pts().or(b.dts()));
        let keeps =
            time.is_none_or(|t| limit.lock().unwrap_or_else(PoisonError::into_inner).keeps(t.nseconds()));
        if keeps {
            watch.passed.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        } else {
            // Not `Drop`: older GStreamer then complains about the handle that the binding has taken.
            gst::PadProbeReturn::Handled
        }
    });
}

/// Sets the wanted caps whenever the decoder says what it gives, also in the middle of a stream.
fn shrink_and_convert(entry: &gst::Pad, filter: &gst::Element, max_side: u32, watch: Arc<Watch>) {
    let filter = filter.downgrade();
    entry.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::EventView::Caps(event)) = info.event().map(|e| e.view())
            && let Ok(input) = VideoInfo::from_caps(event.caps())
            && let Some(filter) = filter.upgrade()
        {
            let wanted = wanted_caps(&input, max_side);
            if filter.property::<gst::Caps>("caps") != wanted {
                filter.set_property("caps", &wanted);
            }
            *watch.input.lock().unwrap_or_else(PoisonError::into_inner) = Some(input);
        }
        gst::PadProbeReturn::Ok
    });
}

fn wanted_caps(input: &VideoInfo, max_side: u32) -> gst::Caps {
    let (width, height) = delivered_size(input.width(), input.height(), max_side);
    let format = match input.format() {
        kept @ (VideoFormat::I420 | VideoFormat::Nv12 | VideoFormat::Gray8) => kept,
        // RGB too: the motion gate looks at luma.
        _ => VideoFormat::I420,
    };
    let mut caps = gst::Caps::builder("video/x-raw")
        .field("format", format.to_str())
        .field("width", width as i32)
        .field("height", height as i32)
        .field("pixel-aspect-ratio", input.par());
    if input.is_yuv() {
        // Without it, the default for the new size would be taken: a shrunk HD picture is still BT.709.
        caps = caps.field("colorimetry", input.colorimetry().to_string());
    }
    caps.build()
}

/// Tells decoders that we understand padded rows: otherwise they copy each frame to get rid of the padding.
fn announce_video_meta(exit: &gst::Pad) {
    exit.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM | gst::PadProbeType::PUSH, |_, info| {
        if let Some(query) = info.query_mut()
            && let gst::QueryViewMut::Allocation(allocation) = query.view_mut()
        {
            allocation.add_allocation_meta::<video::VideoMeta>(None);
            return gst::PadProbeReturn::Handled;
        }
        gst::PadProbeReturn::Ok
    });
}

fn paint(exit: &gst::Pad, painter: Painter) {
    let painter = Mutex::new(painter);
    exit.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
        let mut painter = painter.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gst::EventView::Caps(event)) = info.event().map(|e| e.view()) {
            painter.set_caps(event.caps());
        }
        let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data else {
            return gst::PadProbeReturn::Ok;
        };
        match painter.paint(buffer) {
            Ok(()) => gst::PadProbeReturn::Ok,
            Err(problem) => {
                // A frame that cannot be painted must not be seen.
                if let Some(element) = pad.parent_element() {
                    gst::element_error!(element, gst::StreamError::Failed, ["privacy mask: {problem}"]);
                }
                gst::PadProbeReturn::Handled
            }
        }
    });
}
