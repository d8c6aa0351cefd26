//! Sources through GStreamer: files, RTSP, the administrator's own pipelines, test pictures.
//!
//! Owner: the source's thread; GStreamer's own threads never outlive a run. Invariant: GStreamer is initialised
//! when the first source is built, not before, so that an idle agent stays small.

mod errors;
mod frames;
mod head;
mod paint;
mod run;
mod source;
mod tail;

use std::sync::OnceLock;

use gstreamer as gst;

pub(crate) use source::GstSource;

/// Initialises GStreamer, once.
///
/// # Errors
/// Why it cannot start, with what to look at.
pub(crate) fn init() -> Result<(), String> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    STARTED
        .get_or_init(|| {
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
