//! From GStreamer's buffers to our pictures: a mapping and a handle, no copy.
//!
//! Owner: the source's thread. Invariant: the pixels stay where the decoder (or scaler) wrote them, and go back
//! to its pool when the last clone of the picture is gone.

use std::sync::Arc;

use aimass_core::frame::{Colour, Picture, PixelBuffer, PixelFormat};
use gstreamer as gst;
use gstreamer_video::video_frame::Readable;
use gstreamer_video::{VideoColorMatrix, VideoColorRange, VideoFormat, VideoFrame, VideoFrameExt, VideoInfo};

struct Mapped(VideoFrame<Readable>);

impl PixelBuffer for Mapped {
    fn plane(&self, n: usize) -> &[u8] {
        self.0.plane_data(n as u32).unwrap_or(&[])
    }
}

/// Turns samples into pictures; remembers what their caps mean.
#[derive(Debug, Default)]
pub(super) struct Frames {
    known: Option<(gst::Caps, VideoInfo, PixelFormat, Colour)>,
}

impl Frames {
    /// The sample's picture.
    pub(super) fn picture(&mut self, sample: &gst::SampleRef) -> Result<Picture, String> {
        let caps = sample.caps().ok_or("a frame came without its format")?;
        if self.known.as_ref().is_none_or(|(known, ..)| known.as_ref() != caps) {
            let info = VideoInfo::from_caps(caps).map_err(|_| format!("a frame has the format {caps}"))?;
            let format = pixel_format(info.format())
                .ok_or_else(|| format!("a frame has the format {}", info.format()))?;
            let colour = colour(&info);
            self.known = Some((caps.to_owned(), info, format, colour));
        }
        let (_, info, format, colour) = self.known.as_ref().ok_or("a frame has no format")?;
        let buffer = sample.buffer_owned().ok_or("a sample came without a frame")?;
        let frame =
            VideoFrame::from_buffer_readable(buffer, info).map_err(|_| "a frame's memory cannot be read")?;
        let mut strides = [0; 3];
        for (stride, &found) in strides.iter_mut().zip(frame.plane_stride()) {
            *stride = usize::try_from(found).map_err(|_| "a frame's rows run backwards")?;
        }
        let size = (frame.width(), frame.height());
        Picture::new(size, *format, *colour, strides, Arc::new(Mapped(frame))).map_err(|e| e.to_string())
    }
}

/// Our word for GStreamer's, if we can read it.
pub(super) fn pixel_format(format: VideoFormat) -> Option<PixelFormat> {
    match format {
        VideoFormat::I420 => Some(PixelFormat::I420),
        VideoFormat::Nv12 => Some(PixelFormat::Nv12),
        VideoFormat::Gray8 => Some(PixelFormat::Gray8),
        _ => None,
    }
}

fn colour(info: &VideoInfo) -> Colour {
    let colorimetry = info.colorimetry();
    Colour {
        bt709: colorimetry.matrix() == VideoColorMatrix::Bt709,
        full_range: colorimetry.range() == VideoColorRange::Range0_255,
    }
}
