//! What GStreamer says about sound, in our words: a kind for programs, one line for people.
//!
//! Owner: none, pure. Invariant: one line, no secrets.

use aimass_core::traits::SourceErrorKind;
use gstreamer as gst;
use gstreamer::glib;

use super::MicrophoneUri;
use crate::gst::errors::{Problem, kind_of, said};

/// What an error message on the bus means.
pub(super) fn from_bus(
    error: &glib::Error,
    debug: Option<&str>,
    uri: &MicrophoneUri,
    delivered: bool,
) -> Problem {
    let said = said(error, debug);
    let no_device =
        ["No such file", "No such device", "No such entity", "cannot find card", "Invalid device"];
    let kind = match kind_of(error, delivered) {
        SourceErrorKind::Unavailable if no_device.iter().any(|n| debug.unwrap_or_default().contains(n)) => {
            SourceErrorKind::NotFound
        }
        kind => kind,
    };
    let text = match (kind, uri) {
        (SourceErrorKind::Broken, _) => format!("broke while it was delivering ({said}): check the plug"),
        (SourceErrorKind::NotMedia, _) => format!("no sound that can be decoded ({said}): {}", check(uri)),
        (_, MicrophoneUri::Alsa(_)) => format!(
            "cannot be opened ({said}): `aimass-agent probe` lists the microphones; the agent's user must be in the \
             group audio, and no other program may use it"
        ),
        (_, MicrophoneUri::Pulse(_)) => format!(
            "cannot be opened ({said}): check that PulseAudio or PipeWire runs for the agent's user, and the name \
             (`pactl list short sources`)"
        ),
        _ => format!("{said}: {}", check(uri)),
    };
    Problem::new(kind, text)
}

/// What to do about a source without sound.
pub(super) fn check(uri: &MicrophoneUri) -> &'static str {
    match uri {
        MicrophoneUri::File(_) => "check that it is a file with sound",
        MicrophoneUri::Gst(_) => "check that the pipeline ends in a raw pad of sound",
        _ => "check that it is a microphone",
    }
}

/// An element that a pipeline needs and that is not there.
pub(super) fn missing_element(name: &str) -> Problem {
    let package = match name {
        "alsasrc" => "gstreamer1.0-alsa",
        "pulsesrc" => "gstreamer1.0-pulseaudio",
        _ => "gstreamer1.0-plugins-base",
    };
    let text = format!("GStreamer has no element {name}: install the package {package}");
    Problem::new(SourceErrorKind::Config, text)
}

/// The problem that a missing decoder is, from GStreamer's element message about it.
pub(super) fn missing_plugin(structure: &gst::StructureRef) -> Option<Problem> {
    let detail = structure.get::<gst::Caps>("detail").ok()?;
    let name = detail.structure(0)?.name();
    if structure.name() != "missing-plugin"
        || !(name.starts_with("audio/") || name.starts_with("application/"))
    {
        return None;
    }
    let what = structure.get::<String>("name").unwrap_or_else(|_| name.to_string());
    let text = format!(
        "needs the GStreamer plugin for {what}: install the package gstreamer1.0-plugins-good, or gstreamer1.0-libav"
    );
    Some(Problem::new(SourceErrorKind::NotMedia, text))
}
