//! What GStreamer says, in our words: a kind for programs, one line for people.
//!
//! Owner: none, pure but for reading the pipeline. Invariant: one line, no secrets.

use aimass_core::traits::SourceErrorKind;
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;

use crate::redact::redacted;
use crate::video::uri::SourceUri;

/// A problem before the source's name is put in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: SourceErrorKind,
    pub(crate) text: String,
    /// Whether another RTSP transport may be the cure. Not if the camera could not be called, or refused for a reason
    /// that has nothing to do with it.
    pub(crate) may_be_transport: bool,
}

impl Problem {
    pub(crate) fn new(kind: SourceErrorKind, text: impl Into<String>) -> Self {
        let may_be_transport = !matches!(kind, SourceErrorKind::Unauthorised | SourceErrorKind::NotFound);
        Problem { kind, text: text.into(), may_be_transport }
    }
}

/// What an error message on the bus means.
pub(crate) fn from_bus(
    error: &glib::Error,
    debug: Option<&str>,
    details: Option<&gst::StructureRef>,
    uri: &SourceUri,
    delivered: bool,
    found: Option<&str>,
) -> Problem {
    let kind = kind_of(error, delivered);
    let said = said(error, debug);
    let is_rtsp = matches!(uri, SourceUri::Rtsp(_));
    let text = match kind {
        SourceErrorKind::Unauthorised => {
            "the camera refuses the user name or password: check username and password_file".to_owned()
        }
        SourceErrorKind::NotFound if is_rtsp => {
            format!("the camera does not know this path ({said}): check the address after the host")
        }
        SourceErrorKind::NotFound => format!("not found ({said})"),
        SourceErrorKind::Unavailable if uri.kind() == "rtsps" => {
            let check = "check that it is on, the host and the port, and that glib-networking is installed";
            format!("cannot be reached securely ({said}): {check}")
        }
        SourceErrorKind::Unavailable if is_rtsp => {
            format!("cannot be reached ({said}): check that it is on, the host and the port")
        }
        SourceErrorKind::NotMedia => {
            let found = found.map(|f| format!("found: {f}; ")).unwrap_or_default();
            format!("no video that can be decoded ({found}{said}): {}", check(uri))
        }
        SourceErrorKind::Broken => format!("broke while it was delivering ({said})"),
        _ => said,
    };
    let mut problem = Problem::new(kind, text);
    problem.may_be_transport &= !is_before_transport(error, details);
    problem
}

/// Whether any transport would have met this: nobody took the call, or the camera was busy (503, RFC 2326 section 11).
fn is_before_transport(error: &glib::Error, details: Option<&gst::StructureRef>) -> bool {
    let status = details.and_then(|details| details.get::<u32>("rtsp-status-code").ok());
    status == Some(503) || error.matches(gst::ResourceError::OpenReadWrite)
}

/// A camera whose certificate nobody vouches for.
pub(crate) fn untrusted(why: &str) -> Problem {
    let text = format!(
        "the camera's certificate is not trusted ({why}): \
         set tls_ca_file to its certificate or to its authority's"
    );
    Problem { may_be_transport: false, ..Problem::new(SourceErrorKind::Unavailable, text) }
}

/// What to do about a source without pictures.
pub(crate) fn check(uri: &SourceUri) -> &'static str {
    match uri {
        SourceUri::File(_) => "check that it is a clip",
        SourceUri::Gst(_) => "check that the pipeline ends in a raw video pad",
        _ => "check that the stream is video",
    }
}

pub(crate) fn kind_of(error: &glib::Error, delivered: bool) -> SourceErrorKind {
    use SourceErrorKind::{Broken, NotFound, NotMedia, Unauthorised, Unavailable};
    if let Some(kind) = error.kind::<gst::ResourceError>() {
        return match kind {
            gst::ResourceError::NotAuthorized => Unauthorised,
            gst::ResourceError::NotFound => NotFound,
            _ if delivered => Broken,
            _ => Unavailable,
        };
    }
    if delivered { Broken } else { NotMedia }
}

/// The message and, where it adds something, the element's own remark, as one lower-case line.
pub(crate) fn said(error: &glib::Error, debug: Option<&str>) -> String {
    let detail = debug.and_then(|d| d.split_once('\n')).map(|(_, rest)| rest).unwrap_or_default();
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (message, detail) = (one_line(error.message()), one_line(detail));
    let mut text = if detail.is_empty() || message.contains(&detail) {
        message
    } else {
        format!("{}: {detail}", message.trim_end_matches('.'))
    };
    text.truncate(text.char_indices().nth(300).map_or(text.len(), |(at, _)| at));
    let text = redacted(text.trim_end_matches('.'));
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(std::iter::once(second)).chain(chars).collect()
        }
        _ => text,
    }
}

/// The problem that a missing decoder is, from GStreamer's element message about it.
pub(crate) fn missing_plugin(structure: &gst::StructureRef) -> Option<Problem> {
    if structure.name() != "missing-plugin" {
        return None;
    }
    let what = structure.get::<String>("name").unwrap_or_else(|_| "a plugin".to_owned());
    let detail = structure.get::<gst::Caps>("detail").map(|caps| caps.to_string()).unwrap_or_default();
    if ["audio/", "text/", "subpicture/", "application/"].iter().any(|other| detail.starts_with(other)) {
        return None;
    }
    let text = format!("needs the GStreamer plugin for {what}: install the package {}", package(&detail));
    Some(Problem { may_be_transport: false, ..Problem::new(SourceErrorKind::NotMedia, text) })
}

/// An element that a pipeline needs and that is not there.
pub(crate) fn missing_element(name: &str) -> Problem {
    let package = match name {
        "rtspsrc" | "videotestsrc" if name == "videotestsrc" => "gstreamer1.0-plugins-base",
        "rtspsrc" => "gstreamer1.0-plugins-good",
        "libcamerasrc" => "gstreamer1.0-libcamera",
        _ => "gstreamer1.0-plugins-base",
    };
    Problem::new(
        SourceErrorKind::Config,
        format!("GStreamer has no element {name}: install the package {package}"),
    )
}

/// The Debian package that decodes such a stream.
pub(crate) fn package(caps: &str) -> &'static str {
    let name = caps.split([',', ' ']).next().unwrap_or_default();
    match name {
        "video/x-vp8" | "video/x-vp9" | "image/jpeg" | "video/quicktime" | "video/x-matroska"
        | "video/x-msvideo" => "gstreamer1.0-plugins-good",
        "video/x-av1" | "video/mpegts" => "gstreamer1.0-plugins-bad",
        "video/x-theora" | "application/ogg" => "gstreamer1.0-plugins-base",
        _ => "gstreamer1.0-libav",
    }
}

/// What the pipeline's type finder took the data for.
pub(crate) fn found_type(pipeline: &gst::Pipeline) -> Option<String> {
    let elements = pipeline.iterate_recurse().into_iter().flatten();
    let finder = elements.into_iter().find(|e| e.factory().is_some_and(|f| f.name() == "typefind"))?;
    let caps = finder.property::<Option<gst::Caps>>("caps")?;
    caps.structure(0).map(|s| s.name().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtsp() -> SourceUri {
        "rtsp://10.0.0.7/s".parse().unwrap()
    }

    #[test]
    fn a_refused_password_says_what_to_check() {
        let error = glib::Error::new(gst::ResourceError::NotAuthorized, "Not Authorized.");
        let problem = from_bus(&error, None, None, &rtsp(), false, None);
        assert_eq!(problem.kind, SourceErrorKind::Unauthorised);
        assert!(problem.text.contains("password_file"));
    }

    #[test]
    fn the_same_error_is_another_kind_once_frames_came() {
        let error = glib::Error::new(gst::ResourceError::Read, "Could not read from resource.");
        assert_eq!(from_bus(&error, None, None, &rtsp(), false, None).kind, SourceErrorKind::Unavailable);
        assert_eq!(from_bus(&error, None, None, &rtsp(), true, None).kind, SourceErrorKind::Broken);
    }

    #[test]
    fn a_busy_camera_and_one_that_is_off_do_not_put_the_transport_in_doubt() {
        let answered = |code: u32| {
            let error = glib::Error::new(gst::ResourceError::Read, "Unhandled error");
            let details = gst::Structure::builder("details").field("rtsp-status-code", code).build();
            from_bus(&error, None, Some(&details), &rtsp(), false, None).may_be_transport
        };
        crate::gst::init().unwrap();
        assert!(!answered(503));
        assert!(answered(461), "unsupported transport");
        assert!(answered(500), "what some cameras say to a transport that they do not know");
        let off = glib::Error::new(gst::ResourceError::OpenReadWrite, "Failed to connect.");
        assert!(!from_bus(&off, None, None, &rtsp(), false, None).may_be_transport);
        let refused = glib::Error::new(gst::ResourceError::NotAuthorized, "Not Authorized.");
        assert!(!from_bus(&refused, None, None, &rtsp(), false, None).may_be_transport);
    }

    #[test]
    fn a_message_is_one_line_without_secrets_and_without_shouting() {
        let error = glib::Error::new(gst::ResourceError::OpenRead, "Could not open resource.\nReally.");
        let debug = "file.c(1): f (): /pipeline:\nFailed at rtsp://u:hunter2@10.0.0.7/s.";
        let text = from_bus(&error, Some(debug), None, &rtsp(), false, None).text;
        assert!(text.contains("could not open resource. Really: Failed at rtsp://***@10.0.0.7/s"), "{text}");
        assert!(!text.contains('\n') && !text.contains("hunter2"));
    }

    #[test]
    fn a_missing_decoder_names_its_package() {
        crate::gst::init().unwrap();
        let missing = |caps: &str| {
            let structure = gst::Structure::builder("missing-plugin")
                .field("type", "decoder")
                .field("name", "a decoder")
                .field("detail", caps.parse::<gst::Caps>().unwrap())
                .build();
            missing_plugin(&structure).map(|p| p.text)
        };
        assert!(missing("video/x-h264, profile=high").unwrap().ends_with("gstreamer1.0-libav"));
        assert!(missing("video/x-vp8").unwrap().ends_with("gstreamer1.0-plugins-good"));
        assert_eq!(missing("audio/mpeg"), None, "sound is not our business");
    }
}
