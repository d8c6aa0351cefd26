//! Pictures to JPEG, for viewers only: never on the data path. Runs on whatever thread calls it (blocking).
//!
//! Invariant: planes go to the encoder row by row as the YCbCr that JPEG wants (BT.601, full range); no RGB
//! copy of the picture is ever made. The output vector is the caller's and keeps its capacity.

use aimass_core::frame::{Colour, Picture, PixelFormat, Plane};
use jpeg_encoder::{ChromaSubsamplingMethod, Encoder, ImageBuffer, JpegColorType, SamplingFactor};

/// Good enough to look at, small enough for a phone.
pub const QUALITY: u8 = 80;

/// Why a picture could not be encoded.
#[derive(Debug, thiserror::Error)]
#[error("jpeg of a {width}x{height} picture: {problem}")]
pub struct JpegError {
    width: u32,
    height: u32,
    problem: String,
}

/// Encodes `picture`, made smaller `factor` times on both sides, into `out`, which is cleared first.
/// A factor of 0 counts as 1; sides round up.
///
/// # Errors
/// The encoder refuses the picture.
pub fn encode(picture: &Picture, factor: u32, quality: u8, out: &mut Vec<u8>) -> Result<(), JpegError> {
    out.clear();
    let rows = Rows::new(picture, factor.max(1));
    let mut encoder = Encoder::new(&mut *out, quality.clamp(1, 100));
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    if rows.factor == 1 && picture.format() != PixelFormat::Rgb8 {
        // Chroma was subsampled before and comes repeated: averaging it would only cost time.
        encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Nearest);
    } else {
        encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    }
    let (width, height) = (picture.width(), picture.height());
    encoder.encode_image(rows).map_err(|e| JpegError { width, height, problem: e.to_string() })
}

/// The smallest power of two that brings the longest side down to `max_side` pixels.
pub fn factor_for(width: u32, height: u32, max_side: u32) -> u32 {
    width.max(height).div_ceil(max_side.max(1)).max(1).next_power_of_two()
}

/// Sides of a picture made smaller `factor` times.
pub fn scaled_size(width: u32, height: u32, factor: u32) -> (u32, u32) {
    (width.div_ceil(factor), height.div_ceil(factor))
}

/// A picture as the rows that the encoder asks for.
struct Rows<'a> {
    picture: &'a Picture,
    factor: usize,
    width: usize,
    height: usize,
    /// Limited to full range, for luma and for chroma.
    luma: [u8; 256],
    chroma: [u8; 256],
    bt709: bool,
}

impl<'a> Rows<'a> {
    fn new(picture: &'a Picture, factor: u32) -> Self {
        let colour = match picture.format() {
            // Gray and RGB carry no YUV convention: their values are what is meant.
            PixelFormat::Rgb8 | PixelFormat::Gray8 => Colour { bt709: false, full_range: true },
            _ => picture.colour(),
        };
        let (width, height) = scaled_size(picture.width(), picture.height(), factor);
        Rows {
            picture,
            factor: factor as usize,
            width: width as usize,
            height: height as usize,
            luma: range_table(colour.full_range, 16, 219),
            chroma: chroma_table(colour.full_range),
            bt709: colour.bt709,
        }
    }

    /// The columns and rows of the full picture that output pixel (`x`, `y`) covers.
    fn block(&self, x: usize, y: usize) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let f = self.factor;
        let (w, h) = (self.picture.width() as usize, self.picture.height() as usize);
        (x * f..((x + 1) * f).min(w), y * f..((y + 1) * f).min(h))
    }

    /// The mean of each block of a plane whose pixels are `step` bytes apart.
    fn mean(&self, plane: &Plane<'_>, x: usize, y: usize, step: usize, offset: usize) -> u8 {
        let (columns, rows) = self.block(x, y);
        let count = (columns.len() * rows.len()) as u32;
        let mut sum = 0u32;
        for row in rows {
            let row = plane.row(row);
            sum += columns.clone().map(|c| u32::from(row[c * step + offset])).sum::<u32>();
        }
        ((sum + count / 2) / count) as u8
    }

    fn fill_luma(&self, y: usize, out: &mut Vec<u8>) {
        let plane = self.picture.plane(0);
        if self.factor == 1 {
            out.extend(plane.row(y).iter().map(|&v| self.luma[usize::from(v)]));
        } else {
            out.extend((0..self.width).map(|x| self.luma[usize::from(self.mean(&plane, x, y, 1, 0))]));
        }
    }

    /// One chroma component of row `y`, a value for each output pixel: the nearest sample.
    fn fill_chroma(&self, y: usize, plane: &Plane<'_>, step: usize, offset: usize, out: &mut Vec<u8>) {
        let middle = self.factor / 2;
        let row = plane.row(((y * self.factor + middle) / 2).min(plane.rows - 1));
        if self.factor == 1 {
            for sample in row.chunks_exact(step) {
                let value = self.chroma[usize::from(sample[offset])];
                out.extend_from_slice(&[value, value]);
            }
            // An odd width has half a sample at its end.
            let excess = plane.row_bytes / step * 2 - self.width;
            out.truncate(out.len() - excess);
        } else {
            let last = plane.row_bytes / step - 1;
            out.extend((0..self.width).map(|x| {
                let sample = ((x * self.factor + middle) / 2).min(last);
                self.chroma[usize::from(row[sample * step + offset])]
            }));
        }
    }

    fn fill_rgb(&self, y: usize, [luma, cb, cr, _]: &mut [Vec<u8>; 4]) {
        let plane = self.picture.plane(0);
        let mut push = |r, g, b| {
            let (y, u, v) = jpeg_encoder::rgb_to_ycbcr(r, g, b);
            luma.push(y);
            cb.push(u);
            cr.push(v);
        };
        if self.factor == 1 {
            plane.row(y).chunks_exact(3).for_each(|p| push(p[0], p[1], p[2]));
        } else {
            for x in 0..self.width {
                let [r, g, b] = [0, 1, 2].map(|n| self.mean(&plane, x, y, 3, n));
                push(r, g, b);
            }
        }
    }
}

impl ImageBuffer for Rows<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        match self.picture.format() {
            PixelFormat::Gray8 => JpegColorType::Luma,
            _ => JpegColorType::Ycbcr,
        }
    }

    fn width(&self) -> u16 {
        self.width as u16
    }

    fn height(&self) -> u16 {
        self.height as u16
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        let y = usize::from(y);
        let begin = buffers[0].len();
        match self.picture.format() {
            PixelFormat::Gray8 => return self.fill_luma(y, &mut buffers[0]),
            PixelFormat::Rgb8 => return self.fill_rgb(y, buffers),
            PixelFormat::I420 => {
                self.fill_luma(y, &mut buffers[0]);
                self.fill_chroma(y, &self.picture.plane(1), 1, 0, &mut buffers[1]);
                self.fill_chroma(y, &self.picture.plane(2), 1, 0, &mut buffers[2]);
            }
            PixelFormat::Nv12 => {
                self.fill_luma(y, &mut buffers[0]);
                let chroma = self.picture.plane(1);
                self.fill_chroma(y, &chroma, 2, 0, &mut buffers[1]);
                self.fill_chroma(y, &chroma, 2, 1, &mut buffers[2]);
            }
        }
        if self.bt709 {
            let [luma, cb, cr, _] = buffers;
            to_bt601(&mut luma[begin..], &mut cb[begin..], &mut cr[begin..]);
        }
    }
}

/// Turns full-range BT.709 YCbCr into the full-range BT.601 YCbCr of JPEG, in place. The factors are the
/// product of the two standards' matrices, times 2^16.
fn to_bt601(luma: &mut [u8], cb: &mut [u8], cr: &mut [u8]) {
    for ((y, u), v) in luma.iter_mut().zip(cb).zip(cr) {
        let (d, e) = (i32::from(*u) - 128, i32::from(*v) - 128);
        let byte = |value: i32| ((value + 0x8000) >> 16).clamp(0, 255) as u8;
        *y = byte((i32::from(*y) << 16) + 6657 * d + 12_850 * e);
        *u = byte((128 << 16) + 64_871 * d - 7252 * e);
        *v = byte((128 << 16) - 4748 * d + 64_448 * e);
    }
}

/// Maps `low ..= low + span` onto 0..=255; the identity for full range.
fn range_table(full: bool, low: i32, span: i32) -> [u8; 256] {
    std::array::from_fn(|v| {
        if full { v as u8 } else { (((v as i32 - low) * 255 + span / 2) / span).clamp(0, 255) as u8 }
    })
}

/// Stretches chroma around 128 from a span of 224 to 255; the identity for full range.
fn chroma_table(full: bool) -> [u8; 256] {
    std::array::from_fn(|v| {
        let away = f64::from(v as i32 - 128);
        if full { v as u8 } else { (away * 255.0 / 224.0 + 128.0).round().clamp(0.0, 255.0) as u8 }
    })
}

#[cfg(test)]
mod tests;
