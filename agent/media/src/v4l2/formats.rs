//! What a camera offers, and which of it is taken.
//!
//! Owner: the capture thread.

use std::path::Path;

use aimass_core::ports::SourceErrorKind;
use nokhwa::Camera;
use nokhwa::utils::{
    ApiBackend, CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType,
};

use super::Problem;
use crate::uri::V4l2Device;

/// What we can read, the cheapest first.
const USABLE: [FrameFormat; 4] =
    [FrameFormat::NV12, FrameFormat::YUYV, FrameFormat::MJPEG, FrameFormat::GRAY];

/// What the camera can send, in formats that we can read.
pub(crate) fn offers(index: u32) -> Result<Vec<CameraFormat>, String> {
    let request = RequestedFormat::with_formats(RequestedFormatType::None, &USABLE);
    let camera = Camera::with_backend(CameraIndex::Index(index), request, ApiBackend::Video4Linux);
    let mut formats = camera.and_then(|mut c| c.compatible_camera_formats()).map_err(|e| e.to_string())?;
    formats.retain(|f| USABLE.contains(&f.format()));
    formats.sort_by_key(|f| (f.format(), f.width(), f.height(), f.frame_rate()));
    formats.dedup();
    Ok(formats)
}

pub(super) fn opening(path: &Path, error: &str) -> Problem {
    let kind = match error {
        e if e.contains("No such") => SourceErrorKind::NotFound,
        e if e.contains("Fufill") => SourceErrorKind::NotMedia,
        _ => SourceErrorKind::Unavailable,
    };
    (kind, format!("{} cannot be opened ({error}): check that no other program uses it", path.display()))
}

/// For messages: every format once, with its sizes and rates.
pub(crate) fn listed(offers: &[CameraFormat]) -> String {
    if offers.is_empty() {
        return "no format that we can read (NV12, YUYV, MJPEG, GRAY)".to_owned();
    }
    let one = |f: &CameraFormat| format!("{} {}x{} at {}", f.format(), f.width(), f.height(), f.frame_rate());
    offers.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The device's number: what nokhwa opens. Links, such as those by id, are followed.
pub(super) fn device_index(path: &Path) -> Result<u32, Problem> {
    let target = path.canonicalize().map_err(|e| {
        let text = format!("{} is not there ({e}): `aimass-agent probe` lists the cameras", path.display());
        (SourceErrorKind::NotFound, text)
    })?;
    let number = target.to_str().and_then(|t| t.strip_prefix("/dev/video")).and_then(|n| n.parse().ok());
    number.ok_or_else(|| {
        let text = format!("{} is no camera: give /dev/videoN or a link to it", path.display());
        (SourceErrorKind::Config, text)
    })
}

/// The format that costs least and serves: wanted sizes as given; otherwise fast enough first, then the smallest
/// that is not below the useful side (1280 where that is open), then the one that needs least decoding.
pub(super) fn choose(
    offers: &[CameraFormat],
    device: &V4l2Device,
    max_side: u32,
    fps: f32,
) -> Option<CameraFormat> {
    let useful = if max_side == 0 { 1280 } else { max_side };
    let wanted = |f: &&CameraFormat| {
        device.width.is_none_or(|w| w == f.width())
            && device.height.is_none_or(|h| h == f.height())
            && device.format.as_deref().is_none_or(|name| f.format().to_string().eq_ignore_ascii_case(name))
            // YUYV holds pixels in pairs.
            && (f.format() != FrameFormat::YUYV || f.width().is_multiple_of(2))
    };
    let cost = |f: &&CameraFormat| {
        let side = f.width().max(f.height());
        let decoding = USABLE.iter().position(|u| *u == f.format()).unwrap_or(USABLE.len());
        let (below, distance) = (side < useful, side.abs_diff(useful));
        ((f.frame_rate() as f32) < fps, below, distance, decoding, f.frame_rate())
    };
    offers.iter().filter(|f| USABLE.contains(&f.format())).filter(wanted).min_by_key(cost).copied()
}
