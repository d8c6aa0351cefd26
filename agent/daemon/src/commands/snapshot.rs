//! Pictures for answers: a frame as JPEG in base64, never above a size that every broker takes.
//!
//! Blocking: call it on a blocking thread.

use aimass_core::frame::Frame;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use aimass_media::jpeg;
use aimass_protocol::command::{CommandError, Picture};

/// The largest JPEG in an answer; in base64 a third more.
pub(super) const MAX_JPEG_BYTES: usize = 384 * 1024;

/// The frame, no side longer than `max_side_px`, made smaller until it fits into an answer.
pub(super) fn encode(frame: &Frame, max_side_px: u32) -> Result<Picture, CommandError> {
    let (width, height) = (frame.picture.width(), frame.picture.height());
    let mut factor = jpeg::factor_for(width, height, max_side_px);
    let mut out = Vec::new();
    loop {
        jpeg::encode(&frame.picture, factor, jpeg::QUALITY, &mut out)
            .map_err(|e| CommandError::new("not_encoded", e.to_string()))?;
        if out.len() <= MAX_JPEG_BYTES {
            break;
        }
        factor *= 2;
    }
    let (width, height) = jpeg::scaled_size(width, height, factor);
    Ok(Picture { width, height, jpeg_base64: STANDARD.encode(&out) })
}
