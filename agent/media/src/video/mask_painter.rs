//! Privacy masks, painted into frames before they leave the pipeline.
//!
//! Owner: the streaming thread. Painted in place where the memory is ours alone. A decoder may still read its
//! last frames as references for the next ones: such a frame is copied first, into a pool, or the paint would
//! smear over the picture.

use aimass_core::frame::PixelFormat;
use aimass_core::geometry::Polygon;
use aimass_core::mask::Mask;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as video;
use gstreamer_video::{VideoFrame, VideoFrameRef, VideoInfo};

use super::frame_mapping::pixel_format;

/// Paints the masks of one source.
#[derive(Debug)]
pub(super) struct Painter {
    polygons: Vec<Polygon>,
    prepared: Option<Prepared>,
}

#[derive(Debug)]
struct Prepared {
    info: VideoInfo,
    mask: Mask,
    format: PixelFormat,
    copies: Option<gst::BufferPool>,
}

impl Painter {
    pub(super) fn new(polygons: Vec<Polygon>) -> Self {
        Painter { polygons, prepared: None }
    }

    /// The frames that follow are of this kind.
    pub(super) fn set_caps(&mut self, caps: &gst::CapsRef) {
        self.prepared = VideoInfo::from_caps(caps).ok().and_then(|info| {
            let format = pixel_format(info.format())?;
            let mask = Mask::new(&self.polygons, info.width(), info.height(), format);
            Some(Prepared { info, mask, format, copies: None })
        });
    }

    /// Paints the frame; `buffer` is another one afterwards if its memory was shared.
    pub(super) fn paint(&mut self, buffer: &mut gst::Buffer) -> Result<(), String> {
        let prepared = self.prepared.as_mut().ok_or("the frame's format is not known")?;
        if !(buffer.is_writable() && buffer.is_all_memory_writable()) {
            *buffer = prepared.copy(buffer)?;
        }
        let writable = buffer.get_mut().ok_or("the frame's memory is shared")?;
        let mut frame = VideoFrameRef::from_buffer_ref_writable(writable, &prepared.info)
            .map_err(|_| "the frame's memory cannot be written")?;
        for n in 0..prepared.format.planes() {
            let stride =
                usize::try_from(video::VideoFrameExt::plane_stride(&frame)[n]).map_err(|e| e.to_string())?;
            prepared.mask.paint(n, frame.plane_data_mut(n as u32).map_err(|e| e.to_string())?, stride);
        }
        Ok(())
    }
}

impl Prepared {
    fn copy(&mut self, buffer: &gst::Buffer) -> Result<gst::Buffer, String> {
        let pool = match &self.copies {
            Some(pool) => pool,
            None => self.copies.insert(pool_for(&self.info).map_err(|e| e.to_string())?),
        };
        let mut copy = pool.acquire_buffer(None).map_err(|e| format!("no memory for a copy: {e}"))?;
        let writable = copy.get_mut().ok_or("a fresh buffer is shared")?;
        buffer
            .copy_into(writable, gst::BufferCopyFlags::FLAGS | gst::BufferCopyFlags::TIMESTAMPS, ..)
            .map_err(|e| e.to_string())?;
        let from =
            VideoFrame::from_buffer_readable(buffer.clone(), &self.info).map_err(|_| "cannot be read")?;
        let mut to = VideoFrame::from_buffer_writable(copy, &self.info).map_err(|_| "cannot be written")?;
        from.copy(&mut to).map_err(|e| e.to_string())?;
        Ok(to.into_buffer())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(pool) = &self.copies {
            // Frames that are still out go home to a closed pool and are freed.
            pool.set_active(false).ok();
        }
    }
}

fn pool_for(info: &VideoInfo) -> Result<gst::BufferPool, gst::glib::BoolError> {
    let pool: gst::BufferPool = video::VideoBufferPool::new().upcast();
    let mut config = pool.config();
    config.set_params(Some(&info.to_caps()?), info.size() as u32, 0, 0);
    pool.set_config(config)?;
    pool.set_active(true)?;
    Ok(pool)
}

#[cfg(test)]
mod tests {
    use aimass_core::geometry::Point;

    use super::*;

    fn painter(info: &VideoInfo) -> Painter {
        let left = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];
        let mut painter = Painter::new(vec![Polygon(left.into_iter().map(Point::from).collect())]);
        painter.set_caps(&info.to_caps().unwrap());
        painter
    }

    fn gray(info: &VideoInfo) -> gst::Buffer {
        gst::Buffer::from_mut_slice(vec![200u8; info.size()])
    }

    fn bytes(buffer: &gst::Buffer) -> (usize, u8, u8) {
        let map = buffer.map_readable().unwrap();
        (map.as_ptr() as usize, map[0], map[15])
    }

    #[test]
    fn a_frame_of_our_own_is_painted_where_it_lies() {
        crate::gst::init().unwrap();
        let info = VideoInfo::builder(video::VideoFormat::Nv12, 16, 8).build().unwrap();
        let (mut painter, mut buffer) = (painter(&info), gray(&info));
        let place = bytes(&buffer).0;
        painter.paint(&mut buffer).unwrap();
        assert_eq!(bytes(&buffer), (place, 32, 200));
        assert!(painter.prepared.unwrap().copies.is_none());
    }

    #[test]
    fn a_frame_that_the_decoder_still_reads_is_copied_into_the_pool_and_left_alone() {
        crate::gst::init().unwrap();
        let info = VideoInfo::builder(video::VideoFormat::I420, 16, 8).build().unwrap();
        let mut painter = painter(&info);
        for share in [|b: &gst::Buffer| b.clone(), |b: &gst::Buffer| b.copy()] {
            let mut buffer = gray(&info);
            buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(40));
            let decoders = share(&buffer);
            painter.paint(&mut buffer).unwrap();
            let (before, after) = (bytes(&decoders), bytes(&buffer));
            assert_eq!((before.1, before.2), (200, 200), "the decoder's is untouched");
            assert_eq!((after.1, after.2), (32, 200));
            assert_ne!(before.0, after.0);
            assert_eq!(buffer.pts(), decoders.pts());
        }
        assert!(painter.prepared.unwrap().copies.is_some(), "not a new allocation for each frame");
    }

    #[test]
    fn a_frame_of_unknown_format_is_not_let_through() {
        crate::gst::init().unwrap();
        let mut painter = Painter::new(vec![]);
        assert!(painter.paint(&mut gst::Buffer::new()).is_err());
    }
}
