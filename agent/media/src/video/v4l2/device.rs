//! A device as its driver describes it: whether it is a camera, what it offers, how it is set.
//!
//! Owner: whoever opens it. What nokhwa leaves out is asked of the driver with v4l, the crate that nokhwa itself stands
//! on: formats that it has no word for, frame rates that are no whole numbers, sizes in steps, controls by their names.

use std::io;
use std::path::Path;

use aimass_core::traits::SourceErrorKind;
use v4l::capability::Flags;
use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::video::Capture;
use v4l::video::capture::Parameters;
use v4l::{Device, FourCC, Fraction};

use super::Problem;
use super::formats::{Format, Offer, Offers};
use crate::video::uri::V4l2Device;

/// Sizes and rates that are tried where a driver takes any within bounds.
const USUAL_SIZES: [(u32, u32); 6] =
    [(320, 240), (640, 360), (640, 480), (1280, 720), (1920, 1080), (3840, 2160)];
const USUAL_RATES: [u32; 8] = [1, 2, 5, 10, 15, 25, 30, 60];

/// Opens the device at the end of the path; links, such as those by id, are followed anew each time.
pub(crate) fn open(path: &Path) -> Result<Device, Problem> {
    Device::with_path(path).map_err(|e| opening(path, &e))
}

/// Refuses what is no camera: a USB camera has a second device for its metadata. One that does not answer, as while it is
/// unplugged, is another matter.
pub(crate) fn check_camera(device: &Device, path: &Path) -> Result<(), Problem> {
    let about = device.query_caps().map_err(|error| opening(path, &error))?;
    let at = path.display();
    is_camera(&about).map_err(|text| (SourceErrorKind::Config, format!("{at} {text}")))
}

fn is_camera(about: &v4l::Capabilities) -> Result<(), String> {
    let can = about.capabilities;
    if can.contains(Flags::VIDEO_CAPTURE | Flags::STREAMING) {
        return Ok(());
    }
    if can.contains(Flags::VIDEO_CAPTURE_MPLANE) {
        return Err("speaks V4L2 with several planes only: for a camera on a CSI connector use libcamera:, for others \
                    gst:v4l2src device=… ! videoconvert"
            .to_owned());
    }
    Err("delivers no pictures (metadata, an output, or a codec): `aimass-agent probe` lists the cameras"
        .to_owned())
}

/// Whether a handle that does not stream can wait for frames too, as it can where the driver has one queue for the device
/// (uvcvideo, and whatever stands on the kernel's videobuf2). v4l2loopback has one for each handle.
pub(super) fn tells_every_handle(device: &Device) -> bool {
    device.query_caps().is_ok_and(|about| about.driver != "v4l2 loopback")
}

pub(super) fn opening(path: &Path, error: &io::Error) -> Problem {
    let at = path.display();
    match error.raw_os_error() {
        // ENOENT, ENXIO, ENODEV
        Some(2 | 6 | 19) => {
            let text = format!("{at} is not there ({error}): `aimass-agent probe` lists the cameras");
            (SourceErrorKind::NotFound, text)
        }
        // EACCES, EPERM
        Some(13 | 1) => {
            let text =
                format!("{at} may not be opened ({error}): the agent's user must be in the group video");
            (SourceErrorKind::Unavailable, text)
        }
        // EBUSY
        Some(16) => {
            let text = format!("{at} is in use ({error}): only one program at a time can have it");
            (SourceErrorKind::Unavailable, text)
        }
        // ENOTTY, EINVAL
        Some(25 | 22) => (SourceErrorKind::Config, format!("{at} is no camera ({error}): give /dev/videoN")),
        _ => (SourceErrorKind::Unavailable, format!("{at} cannot be used ({error}): check the cable")),
    }
}

/// What the camera can send. Where its sizes are open, `wanted` is among them if it can be.
pub(crate) fn offers(device: &Device, wanted: &V4l2Device) -> io::Result<Offers> {
    let mut offers = Offers::default();
    for description in device.enum_formats()? {
        let fourcc = description.fourcc;
        let Some(format) = Format::of(fourcc.repr) else {
            offers.others.push(fourcc_name(fourcc.repr));
            continue;
        };
        // A driver that does not list its sizes has the one that is set.
        let listed = device.enum_framesizes(fourcc).unwrap_or_default();
        let mut found: Vec<(u32, u32)> = listed.iter().flat_map(|s| sizes(&s.size, wanted)).collect();
        if found.is_empty() {
            found.extend(device.format().map(|f| (f.width, f.height)).ok());
        }
        for (width, height) in found {
            let listed = device.enum_frameintervals(fourcc, width, height).unwrap_or_default();
            let mut intervals: Vec<(u32, u32)> = listed.iter().flat_map(|i| intervals(&i.interval)).collect();
            if intervals.is_empty() {
                intervals.push((0, 0));
            }
            let offer = |interval| Offer { format, fourcc: fourcc.repr, width, height, interval };
            offers.list.extend(intervals.into_iter().map(offer));
        }
    }
    offers.list.sort();
    offers.list.dedup();
    offers.others.sort();
    offers.others.dedup();
    Ok(offers)
}

/// The sizes of one entry of the driver's list.
pub(super) fn sizes(entry: &FrameSizeEnum, wanted: &V4l2Device) -> Vec<(u32, u32)> {
    match entry {
        FrameSizeEnum::Discrete(one) => vec![(one.width, one.height)],
        FrameSizeEnum::Stepwise(range) => {
            let fits = |value: u32, least: u32, most: u32, step: u32| {
                (least..=most).contains(&value) && (value - least).is_multiple_of(step.max(1))
            };
            let mut sizes = USUAL_SIZES.to_vec();
            sizes.extend([(range.min_width, range.min_height), (range.max_width, range.max_height)]);
            if let (Some(width), Some(height)) = (wanted.width, wanted.height) {
                sizes.push((width, height));
            }
            sizes.retain(|(width, height)| {
                fits(*width, range.min_width, range.max_width, range.step_width)
                    && fits(*height, range.min_height, range.max_height, range.step_height)
            });
            sizes
        }
    }
}

/// The seconds a frame of one entry of the driver's list, as fractions.
pub(super) fn intervals(entry: &FrameIntervalEnum) -> Vec<(u32, u32)> {
    match entry {
        FrameIntervalEnum::Discrete(one) => vec![(one.numerator, one.denominator)],
        FrameIntervalEnum::Stepwise(range) => {
            let seconds = |f: &Fraction| f64::from(f.numerator) / f64::from(f.denominator.max(1));
            let within = seconds(&range.min)..=seconds(&range.max);
            let usual = USUAL_RATES.iter().map(|fps| (1, *fps));
            usual.filter(|(_, fps)| within.contains(&(1.0 / f64::from(*fps)))).collect()
        }
    }
}

/// What the system says, and what it means where a camera can be opened, but not used.
fn used(error: &io::Error) -> String {
    match error.raw_os_error() {
        // EBUSY
        Some(16) => {
            format!("{error}: another program has it, perhaps the node itself; only one at a time can")
        }
        _ => error.to_string(),
    }
}

/// A fourcc as people write it. Its highest bit says that the bytes of a pixel come the other way round.
pub(super) fn fourcc_name(mut fourcc: [u8; 4]) -> String {
    let swapped = fourcc[3] & 0x80 != 0;
    fourcc[3] &= 0x7f;
    let name = String::from_utf8_lossy(&fourcc).trim().to_owned();
    if swapped { format!("{name}-BE") } else { name }
}

/// Sets what was chosen. Drivers take the nearest that they can do and say so: anything else than what they offered is
/// an error.
pub(super) fn set(device: &Device, offer: &Offer) -> Result<(), Problem> {
    let refused = |what: &dyn std::fmt::Display| {
        let (name, width, height) = (offer.format.name(), offer.width, offer.height);
        let text = format!("the driver offers {name} {width}x{height} but does not set it ({what})");
        (SourceErrorKind::Unavailable, text)
    };
    let mut format = device.format().map_err(|e| refused(&used(&e)))?;
    (format.width, format.height, format.fourcc) = (offer.width, offer.height, FourCC::new(&offer.fourcc));
    // The driver knows how long its rows are.
    (format.stride, format.size) = (0, 0);
    let set = device.set_format(&format).map_err(|e| refused(&used(&e)))?;
    if (set.width, set.height, set.fourcc.repr) != (offer.width, offer.height, offer.fourcc) {
        return Err(refused(&format!("it makes {}x{} {} of it", set.width, set.height, set.fourcc)));
    }
    if offer.interval.0 > 0 {
        let interval = Fraction::new(offer.interval.0, offer.interval.1);
        if let Err(error) = device.set_params(&Parameters::new(interval)) {
            // The limit holds all the same; the camera only works harder than it must.
            tracing::debug!(%error, "the frame rate cannot be set");
        }
    }
    Ok(())
}

/// How many bytes lie from row to row in what is set; drivers may pad rows.
pub(super) fn stride(device: &Device) -> usize {
    device.format().map_or(0, |f| f.stride as usize)
}
