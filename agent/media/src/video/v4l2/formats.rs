//! What a camera may offer, and which of it is taken.
//!
//! Owner: none, pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use nokhwa::utils::{CameraFormat, FrameFormat, Resolution};

use crate::video::uri::V4l2Device;

/// A pixel format that we can read, the cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Format {
    Nv12,
    I420,
    Yuyv,
    Gray,
    Mjpeg,
}

impl Format {
    /// By the driver's four characters.
    pub(super) fn of(fourcc: [u8; 4]) -> Option<Format> {
        match &fourcc {
            b"NV12" => Some(Format::Nv12),
            b"YU12" => Some(Format::I420),
            b"YUYV" => Some(Format::Yuyv),
            b"GREY" => Some(Format::Gray),
            b"MJPG" | b"JPEG" => Some(Format::Mjpeg),
            _ => None,
        }
    }

    /// As people write it, in capitals.
    pub(super) fn name(self) -> &'static str {
        match self {
            Format::Nv12 => "NV12",
            Format::I420 => "I420",
            Format::Yuyv => "YUYV",
            Format::Gray => "GRAY",
            Format::Mjpeg => "MJPEG",
        }
    }
}

/// One thing that a camera can send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Offer {
    pub(super) format: Format,
    /// The driver's own name of the format.
    pub(super) fourcc: [u8; 4],
    pub(super) width: u32,
    pub(super) height: u32,
    /// Seconds a frame, as a fraction; 0/0 if the driver does not say.
    pub(super) interval: (u32, u32),
}

impl Offer {
    /// Frames a second; 0 if the driver does not say.
    pub(super) fn fps(&self) -> f64 {
        if self.interval.0 == 0 { 0.0 } else { f64::from(self.interval.1) / f64::from(self.interval.0) }
    }

    /// The same in nokhwa's words. It has none for I420 (YU12), calls gray frames "GRAY" where the kernel calls them
    /// "GREY", and counts whole frames a second only.
    pub(super) fn in_nokhwa(&self) -> Option<CameraFormat> {
        let format = match &self.fourcc {
            b"NV12" => FrameFormat::NV12,
            b"YUYV" => FrameFormat::YUYV,
            b"MJPG" => FrameFormat::MJPEG,
            _ => return None,
        };
        let size = Resolution::new(self.width, self.height);
        (self.interval.0 == 1).then(|| CameraFormat::new(size, format, self.interval.1))
    }
}

/// Everything that a camera can send.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Offers {
    /// In formats that we can read.
    pub(super) list: Vec<Offer>,
    /// Names of formats that we cannot.
    pub(super) others: Vec<String>,
}

impl Offers {
    /// For messages: by format and size, with the frames a second.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut by_size: BTreeMap<(Format, u32, u32), Vec<f64>> = BTreeMap::new();
        for offer in &self.list {
            by_size.entry((offer.format, offer.width, offer.height)).or_default().push(offer.fps());
        }
        let line = |((format, width, height), mut rates): ((Format, u32, u32), Vec<f64>)| {
            rates.sort_by(f64::total_cmp);
            rates.dedup();
            let mut text = format!("{} {width}x{height}", format.name());
            for (n, fps) in rates.iter().filter(|fps| **fps > 0.0).enumerate() {
                // Two digits tell 29.97 from 30.
                let fps = (fps * 100.0).round() / 100.0;
                write!(text, "{}{fps}", if n == 0 { " at " } else { "/" }).ok();
            }
            text
        };
        by_size.into_iter().map(line).collect()
    }

    /// For messages: one line.
    pub(super) fn listed(&self) -> String {
        let others = match self.others.as_slice() {
            [] => String::new(),
            others => format!("; {} cannot be read here", others.join(", ")),
        };
        if self.list.is_empty() {
            return format!("no format that can be read (NV12, I420, YUYV, GRAY, MJPEG){others}");
        }
        format!("{}{others}", self.lines().join(", "))
    }

    /// The offer that costs least and serves: wanted sizes as given; otherwise fast enough first, then the smallest
    /// that is not below the useful side (1280 where that is open), then the one that needs least decoding.
    pub(super) fn choose(&self, device: &V4l2Device, max_side: u32, fps: f32) -> Option<Offer> {
        let useful = if max_side == 0 { 1280 } else { max_side };
        // Who wants all frames does not want a camera at its slowest.
        let fps = if fps > 0.0 { fps } else { 25.0 };
        let wanted = |offer: &&Offer| {
            device.width.is_none_or(|w| w == offer.width)
                && device.height.is_none_or(|h| h == offer.height)
                && device.format.as_deref().is_none_or(|name| offer.format.name().eq_ignore_ascii_case(name))
                // YUYV holds pixels in pairs.
                && (offer.format != Format::Yuyv || offer.width.is_multiple_of(2))
        };
        let cost = |offer: &&Offer| {
            let side = offer.width.max(offer.height);
            let is_slow = offer.fps() > 0.0 && offer.fps() < f64::from(fps);
            let rate = (offer.fps() * 1000.0) as u64;
            (is_slow, side < useful, side.abs_diff(useful), offer.format, rate)
        };
        self.list.iter().filter(wanted).min_by_key(cost).copied()
    }
}
