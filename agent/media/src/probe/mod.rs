//! What this machine offers: cameras with their formats, video decoders, GStreamer's version.
//!
//! Owner: the caller. Invariant: nothing found is not an error; what is missing is said.

use std::fs;
use std::path::{Path, PathBuf};

mod microphones;

use gstreamer as gst;
use gstreamer::prelude::*;
use serde::Serialize;

pub use microphones::MicrophoneReport;

/// A camera on this board.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CameraReport {
    /// What to give as its source: by its id where there is one, which stays when numbers change.
    pub path: PathBuf,
    /// The device as it is called now.
    pub device: PathBuf,
    /// What the driver calls it.
    pub name: String,
    /// What it can send: format and size, with the frames a second.
    pub formats: Vec<String>,
    /// What can be set on it, and to what.
    pub controls: Vec<String>,
    /// Why it cannot be asked, if so.
    pub problem: Option<String>,
}

/// How one codec is decoded here.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CodecReport {
    /// `h264`, `h265`, `mjpeg`, `vp8`, `vp9`, `av1` or `mpeg4`.
    pub codec: &'static str,
    /// GStreamer elements that decode it, the preferred one first.
    pub decoders: Vec<String>,
    /// Those of them that use hardware.
    pub hardware: Vec<String>,
    /// The Debian package that brings a decoder.
    pub package: &'static str,
}

/// What [`media`] found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MediaReport {
    /// GStreamer's version, or why it cannot start.
    pub gstreamer: Result<String, String>,
    /// Cameras on this board; empty without the feature `v4l2`.
    pub cameras: Vec<CameraReport>,
    /// Microphones on this board, as ALSA knows them.
    pub microphones: Vec<MicrophoneReport>,
    /// Every codec we look for, also those without a decoder.
    pub codecs: Vec<CodecReport>,
}

const CODECS: [(&str, &str); 7] = [
    ("h264", "video/x-h264"),
    ("h265", "video/x-h265"),
    ("mjpeg", "image/jpeg"),
    ("vp8", "video/x-vp8"),
    ("vp9", "video/x-vp9"),
    ("av1", "video/x-av1"),
    ("mpeg4", "video/mpeg, mpegversion=(int)4, systemstream=(boolean)false"),
];

/// Looks at this machine. Opens each camera for a moment.
pub fn media() -> MediaReport {
    let gstreamer = crate::gst::init().map(|()| gst::version_string().to_string());
    let codecs = if gstreamer.is_ok() { codecs() } else { Vec::new() };
    MediaReport { gstreamer, cameras: cameras(), microphones: microphones::on_this_board(), codecs }
}

fn codecs() -> Vec<CodecReport> {
    let mut factories: Vec<_> =
        gst::ElementFactory::factories_with_type(crate::gst::picture_decoders(), gst::Rank::MARGINAL)
            .into_iter()
            .collect();
    factories.sort_by_key(|f| std::cmp::Reverse(f.rank()));
    let report = |(codec, name): &(&'static str, &str)| {
        let caps: gst::Caps = name.parse().ok()?;
        let fits = factories.iter().filter(|f| f.can_sink_any_caps(&caps));
        let (mut decoders, mut hardware) = (Vec::new(), Vec::new());
        for factory in fits {
            decoders.push(factory.name().to_string());
            if is_hardware(factory) {
                hardware.push(factory.name().to_string());
            }
        }
        Some(CodecReport { codec, decoders, hardware, package: crate::gst::errors::package(name) })
    };
    CODECS.iter().filter_map(report).collect()
}

fn is_hardware(factory: &gst::ElementFactory) -> bool {
    let makers = ["v4l2", "va", "vaapi", "nv", "omx", "msdk", "qsv", "mpp", "imx"];
    let name = factory.name();
    factory.metadata("klass").is_some_and(|k| k.contains("Hardware"))
        || makers.iter().any(|maker| name.starts_with(maker))
}

fn cameras() -> Vec<CameraReport> {
    if !cfg!(feature = "v4l2") {
        return Vec::new();
    }
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut numbers: Vec<u32> =
        entries.filter_map(|e| e.file_name().to_str()?.strip_prefix("video")?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.into_iter().filter_map(camera).collect()
}

/// `None` for a device that is no camera, such as the one that brings a USB camera's metadata.
fn camera(number: u32) -> Option<CameraReport> {
    let device = PathBuf::from(format!("/dev/video{number}"));
    let name = fs::read_to_string(format!("/sys/class/video4linux/video{number}/name")).unwrap_or_default();
    let (formats, controls, problem) = match ask(&device) {
        Ok(Some((formats, controls))) => (formats, controls, None),
        Ok(None) => return None,
        Err(problem) => (Vec::new(), Vec::new(), Some(problem)),
    };
    let path = by_id(&device).unwrap_or_else(|| device.clone());
    Some(CameraReport { path, device, name: name.trim().to_owned(), formats, controls, problem })
}

/// The link that leads to a device and outlasts its number: by the camera's id, else by its plug.
fn by_id(device: &Path) -> Option<PathBuf> {
    let device = device.canonicalize().ok()?;
    ["/dev/v4l/by-id", "/dev/v4l/by-path"].iter().find_map(|folder| {
        let links = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
        links.filter(|link| link.canonicalize().is_ok_and(|end| end == device)).min()
    })
}

/// Formats and controls.
type Abilities = (Vec<String>, Vec<String>);

#[cfg(feature = "v4l2")]
fn ask(device: &Path) -> Result<Option<Abilities>, String> {
    use aimass_core::traits::SourceErrorKind;

    use crate::video::v4l2::{controls, device as v4l2};
    let opened = v4l2::open(device).map_err(|(_, text)| text)?;
    match v4l2::check_camera(&opened, device) {
        Ok(()) => {}
        Err((SourceErrorKind::Config, _)) => return Ok(None),
        Err((_, text)) => return Err(text),
    }
    let offers =
        v4l2::offers(&opened, &crate::video::uri::V4l2Device::default()).map_err(|e| e.to_string())?;
    let controls = controls::of_device(&opened).map_err(|(_, text)| text)?;
    Ok(Some((offers.lines(), controls.iter().map(controls::Control::shown).collect())))
}

#[cfg(not(feature = "v4l2"))]
fn ask(_: &Path) -> Result<Option<Abilities>, String> {
    Err("built without the feature v4l2".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_is_reported_also_when_nothing_decodes_it() {
        let report = media();
        assert!(report.gstreamer.unwrap().contains("GStreamer 1."));
        let names: Vec<&str> = report.codecs.iter().map(|c| c.codec).collect();
        assert_eq!(names, CODECS.map(|(name, _)| name));
        let mjpeg = report.codecs.iter().find(|c| c.codec == "mjpeg").unwrap();
        assert!(mjpeg.decoders.iter().any(|d| d == "jpegdec"), "{mjpeg:?}");
    }
}
