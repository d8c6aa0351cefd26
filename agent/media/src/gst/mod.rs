//! Sources through GStreamer: files, RTSP, the administrator's own pipelines, test pictures.
//!
//! Owner: the source's thread; GStreamer's own threads never outlive a run. Invariant: GStreamer is initialised
//! when the first source is built, not before, so that an idle agent stays small.

pub(crate) mod errors;
mod glib_log;

use std::sync::OnceLock;

use aimass_core::traits::SourceErrorKind;
use gstreamer as gst;
use gstreamer::prelude::*;

use errors::Problem;

/// Initialises GStreamer, once.
///
/// # Errors
/// Why it cannot start, with what to look at.
pub(crate) fn init() -> Result<(), String> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    STARTED
        .get_or_init(|| {
            glib_log::take_over();
            gst::init().map_err(|error| {
                format!("GStreamer cannot start ({error}): check that libgstreamer1.0-0 is installed")
            })
        })
        .clone()
}

/// The type of elements that decode pictures. Those for JPEG call themselves decoders of images.
pub(crate) fn picture_decoders() -> gst::ElementFactoryType {
    gst::ElementFactoryType::DECODER
        | gst::ElementFactoryType::MEDIA_VIDEO
        | gst::ElementFactoryType::MEDIA_IMAGE
}

/// The pipeline's bus, which keeps only what somebody reads: errors, and words about missing plugins. Nobody empties it
/// while frames come.
pub(crate) fn quiet_bus(pipeline: &gst::Pipeline) -> Result<gst::Bus, Problem> {
    let bus = pipeline.bus().ok_or_else(|| errors::missing_element("pipeline"))?;
    bus.set_sync_handler(|_, message| match message.view() {
        gst::MessageView::Error(_) => gst::BusSyncReply::Pass,
        gst::MessageView::Element(e) if e.structure().is_some_and(|s| s.name() == "missing-plugin") => {
            gst::BusSyncReply::Pass
        }
        _ => gst::BusSyncReply::Drop,
    });
    Ok(bus)
}

/// Back to the beginning: by a seek, or, where the format cannot seek, by a restart of the pipeline.
pub(crate) fn rewind(pipeline: &gst::Pipeline) -> Result<(), Problem> {
    if pipeline.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::ZERO).is_err() {
        let stopped = pipeline.set_state(gst::State::Ready);
        if stopped.and_then(|_| pipeline.set_state(gst::State::Playing)).is_err() {
            return Err(Problem::new(SourceErrorKind::Broken, "cannot begin anew at its end"));
        }
    }
    Ok(())
}

/// Whether any streaming thread of the pipeline is at work.
pub(crate) fn is_anything_running(pipeline: &gst::Pipeline) -> bool {
    let elements = pipeline.iterate_recurse().into_iter().flatten();
    elements.flat_map(|e| e.pads()).any(|pad| pad.task_state() == gst::TaskState::Started)
}
