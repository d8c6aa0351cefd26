//! Pictures from what a V4L2 camera sends.
//!
//! Owner: the capture thread. Invariant: no allocation per frame once the first ones came back, but for what the JPEG
//! decoder needs inside.

use aimass_core::frame::{BadPicture, Colour, Picture, PixelFormat};
use aimass_core::mask::Mask;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::formats::{Format, Offer};
use crate::video::buffer_pool::Pool;
use crate::video::convert::{ycbcr_to_i420, yuyv_to_i420};
use crate::video::options::SourceOptions;

/// Makes pictures from what the camera sends, in memory that is used again.
pub(super) struct Pictures {
    offer: Offer,
    /// Bytes from row to row of the first plane, as the driver says; 0 if rows are tight.
    stride: usize,
    pool: Pool,
    /// A decoded JPEG: luma and both chromas of each pixel.
    decoded: Vec<u8>,
    mask: Mask,
    kind: PixelFormat,
}

impl Pictures {
    pub(super) fn new(offer: Offer, stride: usize, options: &SourceOptions) -> Self {
        let kind = match offer.format {
            Format::Nv12 => PixelFormat::Nv12,
            Format::Gray => PixelFormat::Gray8,
            Format::I420 | Format::Yuyv | Format::Mjpeg => PixelFormat::I420,
        };
        let mask = Mask::new(&options.masks, offer.width, offer.height, kind);
        Pictures { offer, stride, pool: Pool::default(), decoded: Vec::new(), mask, kind }
    }

    pub(super) fn picture(&mut self, raw: &[u8]) -> Result<Picture, String> {
        let Pictures { offer, stride, pool, decoded, mask, kind } = self;
        let (width, height) = (offer.width, offer.height);
        let (w, h) = (width as usize, height as usize);
        let is_jpeg = offer.format == Format::Mjpeg;
        let stride = (*stride).max(if offer.format == Format::Yuyv { w * 2 } else { w });
        if is_jpeg {
            decode(raw, (w, h), decoded)?;
        } else {
            let needed = bytes_of(offer.format, stride, h);
            if raw.len() < needed {
                return Err(format!("{} bytes where {needed} are needed", raw.len()));
            }
        }
        let colour = Colour { bt709: false, full_range: is_jpeg };
        pool.picture::<BadPicture>((width, height), *kind, colour, |planes| {
            match offer.format {
                Format::Mjpeg => ycbcr_to_i420(decoded, w, h, planes),
                Format::Yuyv => yuyv_to_i420(raw, stride, w, h, planes),
                Format::Nv12 | Format::I420 | Format::Gray => {
                    let mut at = 0;
                    for (n, plane) in planes.iter_mut().enumerate() {
                        let (row, rows) = kind.plane_size(n, width, height);
                        // Chroma planes of their own have half as long rows.
                        let stride =
                            if *kind == PixelFormat::I420 && n > 0 { stride.div_ceil(2) } else { stride };
                        for (out, from) in plane.chunks_exact_mut(row).zip(raw[at..].chunks(stride.max(row)))
                        {
                            out.copy_from_slice(&from[..row]);
                        }
                        at += stride * rows;
                    }
                }
            }
            for (n, plane) in planes.iter_mut().enumerate() {
                mask.paint(n, plane, kind.plane_size(n, width, height).0);
            }
            Ok(())
        })
        .map_err(|e| e.to_string())
    }
}

/// The bytes of a raw picture.
fn bytes_of(format: Format, stride: usize, h: usize) -> usize {
    match format {
        Format::Nv12 => stride * h + stride.next_multiple_of(2) * h.div_ceil(2),
        Format::I420 => stride * h + 2 * stride.div_ceil(2) * h.div_ceil(2),
        Format::Yuyv | Format::Gray | Format::Mjpeg => stride * h,
    }
}

/// Decodes a JPEG to luma and chroma: what cameras put in, without the way over RGB.
fn decode(jpeg: &[u8], (w, h): (usize, usize), decoded: &mut Vec<u8>) -> Result<(), String> {
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::YCbCr)
        .set_max_width(w)
        .set_max_height(h)
        .set_strict_mode(false);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    decoder.decode_headers().map_err(|e| e.to_string())?;
    let size = decoder.info().map(|i| (usize::from(i.width), usize::from(i.height)));
    if size != Some((w, h)) || decoder.input_colorspace() != Some(ColorSpace::YCbCr) {
        return Err("a picture of another size or kind".to_owned());
    }
    decoded.resize(w * h * 3, 0);
    decoder.decode_into(decoded).map_err(|e| e.to_string())
}
