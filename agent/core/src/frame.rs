//! A decoded picture with its time and origin: immutable, cheap to clone, never copied at full resolution.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use aimass_protocol::event::TimeSource;
use jiff::Timestamp;

use crate::id::Name;

/// When a frame was in front of the camera.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CaptureTime {
    /// Wall time, UTC.
    pub wall: Timestamp,
    /// Where `wall` comes from.
    pub wall_source: TimeSource,
    /// Position on the source's own timeline: never runs backwards within a source; differences between frames
    /// are differences in front of the camera. Live sources: the monotonic clock. Files: the position in the
    /// file, going on over loops.
    pub elapsed: Duration,
}

/// How the samples of a picture lie in its planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    /// Three planes: Y, then U and V at half width and height.
    I420,
    /// Two planes: Y, then U and V interleaved at half width and height.
    Nv12,
    /// One plane, 3 bytes a pixel.
    Rgb8,
    /// One plane of luma.
    Gray8,
}

impl PixelFormat {
    /// Number of planes.
    pub fn planes(self) -> usize {
        match self {
            PixelFormat::I420 => 3,
            PixelFormat::Nv12 => 2,
            PixelFormat::Rgb8 | PixelFormat::Gray8 => 1,
        }
    }

    /// Width in bytes and height in rows of plane `n` for a picture of `width` × `height` pixels.
    /// Chroma planes of odd sizes round up.
    pub fn plane_size(self, n: usize, width: u32, height: u32) -> (usize, usize) {
        let (w, h) = (width as usize, height as usize);
        match (self, n) {
            (PixelFormat::Rgb8, _) => (w * 3, h),
            (PixelFormat::I420, 1 | 2) => (w.div_ceil(2), h.div_ceil(2)),
            (PixelFormat::Nv12, 1) => (w.div_ceil(2) * 2, h.div_ceil(2)),
            _ => (w, h),
        }
    }
}

/// How YUV values become RGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour {
    /// BT.709 coefficients (usual for HD) rather than BT.601.
    pub bt709: bool,
    /// Luma spans 0..255 rather than 16..235.
    pub full_range: bool,
}

impl Colour {
    /// Standard definition video: BT.601, limited range.
    pub const SD: Colour = Colour { bt709: false, full_range: false };
}

/// Memory that holds a picture's planes: the decoder's own mapped buffer, or a vector.
pub trait PixelBuffer: Send + Sync {
    /// The bytes of plane `n`, from its first row. May be longer than `stride * rows`.
    fn plane(&self, n: usize) -> &[u8];
}

impl PixelBuffer for Vec<u8> {
    fn plane(&self, _: usize) -> &[u8] {
        self
    }
}

impl PixelBuffer for [Vec<u8>; 3] {
    fn plane(&self, n: usize) -> &[u8] {
        &self[n]
    }
}

/// One plane of a picture: `rows` rows of `row_bytes` bytes, each beginning `stride` bytes after the last.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    /// The bytes; at least `stride * (rows - 1) + row_bytes` of them.
    pub data: &'a [u8],
    /// Bytes from the beginning of one row to the next.
    pub stride: usize,
    /// Meaningful bytes in a row.
    pub row_bytes: usize,
    /// Number of rows.
    pub rows: usize,
}

impl<'a> Plane<'a> {
    /// The meaningful bytes of row `y`.
    pub fn row(&self, y: usize) -> &'a [u8] {
        &self.data[y * self.stride..][..self.row_bytes]
    }
}

/// Why planes make no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plane {plane} of a {width}x{height} {format:?} picture: {problem}")]
pub struct BadPicture {
    plane: usize,
    width: u32,
    height: u32,
    format: PixelFormat,
    problem: String,
}

/// A decoded picture. Cloning it clones a handle.
#[derive(Clone)]
pub struct Picture {
    width: u32,
    height: u32,
    format: PixelFormat,
    colour: Colour,
    strides: [usize; 3],
    buffer: Arc<dyn PixelBuffer>,
}

impl Picture {
    /// The largest side that is accepted, in pixels.
    pub const MAX_SIDE: u32 = 16_384;

    /// Wraps planes. `strides` are in bytes; entries beyond the format's planes are ignored.
    ///
    /// # Errors
    /// A size of 0 or above [`Self::MAX_SIDE`], a stride below the row, or a plane that is too short.
    pub fn new(
        (width, height): (u32, u32),
        format: PixelFormat,
        colour: Colour,
        strides: [usize; 3],
        buffer: Arc<dyn PixelBuffer>,
    ) -> Result<Self, BadPicture> {
        let bad = |plane, problem| Err(BadPicture { plane, width, height, format, problem });
        if !(1..=Self::MAX_SIDE).contains(&width) || !(1..=Self::MAX_SIDE).contains(&height) {
            return bad(0, format!("a side is not within 1..={}", Self::MAX_SIDE));
        }
        for (n, &stride) in strides.iter().enumerate().take(format.planes()) {
            let (row, rows) = format.plane_size(n, width, height);
            let (have, need) = (buffer.plane(n).len(), stride * (rows - 1) + row);
            if stride < row {
                return bad(n, format!("a stride of {stride} bytes is shorter than a row of {row}"));
            }
            if have < need {
                return bad(n, format!("{have} bytes where {need} are needed"));
            }
        }
        Ok(Picture { width, height, format, colour, strides, buffer })
    }

    /// A picture from tightly packed RGB bytes.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_rgb(size: (u32, u32), rgb: Vec<u8>) -> Result<Self, BadPicture> {
        let stride = size.0 as usize * 3;
        Self::new(size, PixelFormat::Rgb8, Colour::SD, [stride, 0, 0], Arc::new(rgb))
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// How the planes are laid out.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// How YUV becomes RGB; meaningless for RGB and gray.
    pub fn colour(&self) -> Colour {
        self.colour
    }

    /// Plane `n`.
    ///
    /// # Panics
    /// If the format has no such plane.
    pub fn plane(&self, n: usize) -> Plane<'_> {
        assert!(n < self.format.planes(), "{:?} has no plane {n}", self.format);
        let (row_bytes, rows) = self.format.plane_size(n, self.width, self.height);
        Plane { data: self.buffer.plane(n), stride: self.strides[n], row_bytes, rows }
    }

    /// The luma plane; `None` for RGB, which has none.
    pub fn luma(&self) -> Option<Plane<'_>> {
        (self.format != PixelFormat::Rgb8).then(|| self.plane(0))
    }
}

impl fmt::Debug for Picture {
    /// Sizes only: pixels never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({}x{} {:?})", self.width, self.height, self.format)
    }
}

/// A picture of a source at a time.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The source's id.
    pub source: Name,
    /// Counts the frames of this source since the program began, without gaps, from 0.
    pub seq: u64,
    /// When it was in front of the camera.
    pub capture_time: CaptureTime,
    /// What was seen.
    pub picture: Picture,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_sizes_round_chroma_up() {
        assert_eq!(PixelFormat::I420.plane_size(1, 5, 3), (3, 2));
        assert_eq!(PixelFormat::Nv12.plane_size(1, 5, 3), (6, 2));
    }

    #[test]
    fn a_plane_that_is_too_short_is_refused_with_its_numbers() {
        let short = Picture::from_rgb((4, 4), vec![0; 47]).unwrap_err();
        assert!(short.to_string().contains("47 bytes where 48 are needed"), "{short}");
        assert!(Picture::from_rgb((0, 4), vec![]).is_err());
    }

    #[test]
    fn the_last_row_needs_no_padding() {
        let p =
            Picture::new((3, 2), PixelFormat::Gray8, Colour::SD, [8, 0, 0], Arc::new(vec![1u8; 11])).unwrap();
        assert_eq!(p.plane(0).row(1), &[1, 1, 1]);
    }
}
