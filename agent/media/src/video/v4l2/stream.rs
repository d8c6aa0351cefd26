//! The frames of an open camera: through nokhwa, or, where nokhwa has no word for what was chosen, through v4l.
//!
//! Owner: the capture thread. Invariants: nobody spins: a wait for a frame sleeps in the kernel, at most as long as asked
//! (but for the first frame through nokhwa, which has no time limit); at most one of the driver's buffers is ours.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::time::Duration;

use aimass_core::traits::SourceErrorKind;
use nokhwa::Camera;
use nokhwa::utils::{ApiBackend, CameraIndex, RequestedFormat, RequestedFormatType};
use v4l::Device;
use v4l::buffer::{Flags, Type};
use v4l::io::mmap::Stream as Mapped;
use v4l::io::traits::CaptureStream;

use super::formats::Offer;
use super::{Problem, device};

/// Buffers that the driver fills in turn.
const BUFFERS: u32 = 4;
/// "There is something to read", as poll has it.
const POLLIN: i16 = 1;

enum Through {
    /// With the device once more, to wait with a time limit: nokhwa does not show its own handle.
    Nokhwa(Box<Camera>, Device),
    V4l(Box<Mapped<'static>>),
}

/// An open camera that streams.
pub(super) struct Stream {
    through: Through,
    started: bool,
}

impl Stream {
    /// Begins to stream what is set on the device. The first frame through v4l may take `patience`.
    pub(super) fn open(path: &Path, offer: &Offer, patience: Duration) -> Result<Stream, Problem> {
        let through = match nokhwa(path, offer) {
            Some(camera) => Through::Nokhwa(Box::new(camera), device::open(path)?),
            None => {
                let handle = device::open(path)?;
                let mapped = Mapped::with_buffers(&handle, Type::VideoCapture, BUFFERS);
                let mut mapped = mapped.map_err(|e| device::opening(path, &e))?;
                mapped.set_timeout(patience.min(Duration::from_secs(600)));
                Through::V4l(Box::new(mapped))
            }
        };
        Ok(Stream { through, started: false })
    }

    /// By what the frames come, for people.
    pub(super) fn through(&self) -> &'static str {
        match self.through {
            Through::Nokhwa(..) => "nokhwa",
            Through::V4l(_) => "v4l",
        }
    }

    /// The next frame; `None` if none came in time, or a damaged one.
    pub(super) fn next(&mut self, patience: Duration) -> Result<Option<Cow<'_, [u8]>>, Problem> {
        if self.started {
            let ms = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
            let handle = match &self.through {
                Through::Nokhwa(_, waiting) => waiting.handle(),
                Through::V4l(mapped) => mapped.handle(),
            };
            match handle.poll(POLLIN, ms) {
                Ok(0) => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(None),
                // Trouble too: the read says what it is.
                Ok(_) | Err(_) => {}
            }
        }
        self.started = true;
        match &mut self.through {
            Through::Nokhwa(camera, _) => camera.frame_raw().map(Some).map_err(|e| broken(&e)),
            Through::V4l(mapped) => match mapped.next() {
                Ok((_, about)) if about.flags.contains(Flags::ERROR) => Ok(None),
                Ok((bytes, about)) => {
                    let used = (about.bytesused as usize).min(bytes.len());
                    Ok(Some(Cow::Borrowed(&bytes[..used])))
                }
                Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                    let text = "no first frame: check the cable, and that the port gives enough power";
                    Err((SourceErrorKind::Stalled, text.to_owned()))
                }
                Err(e) => Err(broken(&e)),
            },
        }
    }
}

fn broken(error: &dyn std::fmt::Display) -> Problem {
    let error = error.to_string();
    let text = match error.contains("No such device") {
        true => {
            format!("was unplugged, or its driver gave up ({error}): it is opened again when it is there")
        }
        false => format!("stopped ({error}): check the cable"),
    };
    (SourceErrorKind::Broken, text)
}

/// The camera through nokhwa, if it knows the format and takes the device as it is set, and one can wait for its frames.
fn nokhwa(path: &Path, offer: &Offer) -> Option<Camera> {
    let wanted = offer.in_nokhwa()?;
    if !device::tells_every_handle(&device::open(path).ok()?) {
        return None;
    }
    // It opens by number only.
    let target = path.canonicalize().ok()?;
    let index = target.to_str()?.strip_prefix("/dev/video")?.parse().ok()?;
    let formats = [wanted.format()];
    let request = RequestedFormat::with_formats(RequestedFormatType::Exact(wanted), &formats);
    let opened = Camera::with_backend(CameraIndex::Index(index), request, ApiBackend::Video4Linux)
        .and_then(|mut camera| camera.open_stream().map(|()| camera));
    opened.inspect_err(|error| tracing::debug!(%error, "nokhwa does not take the camera as it is set")).ok()
}
