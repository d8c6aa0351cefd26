//! Pictures from what a V4L2 camera sends.
//!
//! Owner: the capture thread. Invariant: no allocation per frame once the first ones came back.

use std::io::Cursor;

use aimass_core::frame::{BadPicture, Colour, Picture, PixelFormat};
use aimass_core::mask::Mask;
use image::{ImageDecoder, ImageReader};
use nokhwa::utils::{CameraFormat, FrameFormat};

use crate::convert::{rgb_to_i420, yuyv_to_i420};
use crate::options::SourceOptions;
use crate::pool::Pool;

/// Makes pictures from what the camera sends, in memory that is used again.
pub(super) struct Pictures {
    format: CameraFormat,
    pool: Pool,
    rgb: Vec<u8>,
    mask: Mask,
    kind: PixelFormat,
}

impl Pictures {
    pub(super) fn new(format: CameraFormat, options: &SourceOptions) -> Self {
        let kind = match format.format() {
            FrameFormat::NV12 => PixelFormat::Nv12,
            FrameFormat::GRAY => PixelFormat::Gray8,
            _ => PixelFormat::I420,
        };
        let mask = Mask::new(&options.masks, format.width(), format.height(), kind);
        Pictures { format, pool: Pool::default(), rgb: Vec::new(), mask, kind }
    }

    pub(super) fn picture(&mut self, raw: &[u8]) -> Result<Picture, String> {
        let Pictures { format, pool, rgb, mask, kind } = self;
        let (width, height) = (format.width(), format.height());
        let (w, h) = (width as usize, height as usize);
        let needed = match format.format() {
            FrameFormat::YUYV => w * h * 2,
            FrameFormat::NV12 => w * h + w.div_ceil(2) * 2 * h.div_ceil(2),
            FrameFormat::MJPEG => 1,
            _ => w * h,
        };
        if raw.len() < needed {
            return Err(format!("{} bytes where {needed} are needed", raw.len()));
        }
        let is_jpeg = format.format() == FrameFormat::MJPEG;
        if is_jpeg {
            let reader = ImageReader::with_format(Cursor::new(raw), image::ImageFormat::Jpeg);
            let decoder = reader.into_decoder().map_err(|e| e.to_string())?;
            if decoder.dimensions() != (width, height) || decoder.color_type() != image::ColorType::Rgb8 {
                return Err("a picture of another size or kind".to_owned());
            }
            rgb.resize(w * h * 3, 0);
            decoder.read_image(rgb).map_err(|e| e.to_string())?;
        }
        let colour = Colour { bt709: false, full_range: is_jpeg };
        pool.picture::<BadPicture>((width, height), *kind, colour, |planes| {
            match format.format() {
                FrameFormat::MJPEG => rgb_to_i420(rgb, w, h, planes),
                FrameFormat::YUYV => yuyv_to_i420(raw, w, h, planes),
                _ => {
                    let mut at = 0;
                    for plane in planes.iter_mut() {
                        let length = plane.len();
                        plane.copy_from_slice(&raw[at..at + length]);
                        at += length;
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
