//! Memory for pictures that we must write ourselves, used again and again: no allocation per frame.
//!
//! Owner: whoever makes pictures; buffers come back from any thread. Invariant: at most [`KEPT`] idle buffers.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use aimass_core::frame::{BadPicture, Colour, Picture, PixelBuffer, PixelFormat};

/// Idle buffers that are kept. More are only ever out when somebody hoards pictures.
const KEPT: usize = 6;

type Idle = Mutex<Vec<Vec<u8>>>;

/// Hands out buffers and takes them back when the last handle to their picture is gone.
#[derive(Debug, Default)]
pub(crate) struct Pool(Arc<Idle>);

/// A buffer that goes back to its pool. Planes lie one behind the other.
#[derive(Debug)]
struct Pooled {
    bytes: Vec<u8>,
    offsets: [usize; 3],
    home: Weak<Idle>,
}

impl PixelBuffer for Pooled {
    fn plane(&self, n: usize) -> &[u8] {
        &self.bytes[self.offsets[n]..]
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            let mut idle = home.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < KEPT {
                idle.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

impl Pool {
    /// A picture with tightly packed planes; `fill` gets them one after the other, with what was in them before.
    ///
    /// # Errors
    /// The size is out of bounds, or what `fill` says.
    pub(crate) fn picture<E: From<BadPicture>>(
        &self,
        (width, height): (u32, u32),
        format: PixelFormat,
        colour: Colour,
        fill: impl FnOnce(&mut [&mut [u8]]) -> Result<(), E>,
    ) -> Result<Picture, E> {
        let sizes: [(usize, usize); 3] = std::array::from_fn(|n| match n < format.planes() {
            true => format.plane_size(n, width, height),
            false => (0, 0),
        });
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        bytes.resize(sizes.iter().map(|(w, h)| w * h).sum(), 0);
        let (mut offsets, mut at, mut planes) = ([0; 3], 0, Vec::with_capacity(3));
        let mut rest = bytes.as_mut_slice();
        for (n, (w, h)) in sizes.into_iter().enumerate().take(format.planes()) {
            let (plane, after) = rest.split_at_mut(w * h);
            planes.push(plane);
            (offsets[n], at, rest) = (at, at + w * h, after);
        }
        fill(&mut planes)?;
        let buffer = Pooled { bytes, offsets, home: Arc::downgrade(&self.0) };
        let strides = sizes.map(|(w, _)| w);
        Ok(Picture::new((width, height), format, colour, strides, Arc::new(buffer))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gray(pool: &Pool, value: u8) -> Picture {
        pool.picture::<BadPicture>((4, 2), PixelFormat::Gray8, Colour::SD, |planes| {
            planes[0].fill(value);
            Ok(())
        })
        .unwrap()
    }

    #[test]
    fn a_buffer_is_used_again_once_the_last_handle_is_gone() {
        let pool = Pool::default();
        let first = gray(&pool, 1);
        let handle = first.clone();
        let place = first.plane(0).data.as_ptr();
        drop(first);
        assert_ne!(gray(&pool, 2).plane(0).data.as_ptr(), place, "it is still held");
        assert_eq!(handle.plane(0).row(1), [1; 4]);
        drop(handle);
        assert_eq!(gray(&pool, 3).plane(0).data.as_ptr(), place);
    }

    #[test]
    fn a_pool_keeps_few_idle_buffers_and_none_after_its_end() {
        let pool = Pool::default();
        let many: Vec<_> = (0..20).map(|n| gray(&pool, n)).collect();
        drop(many);
        assert_eq!(pool.0.lock().unwrap().len(), KEPT);
        let last = gray(&pool, 9);
        drop(pool);
        assert_eq!(last.plane(0).row(0), [9; 4]);
    }

    #[test]
    fn planes_lie_behind_each_other_also_for_odd_sizes() {
        let picture = Pool::default()
            .picture::<BadPicture>((5, 3), PixelFormat::I420, Colour::SD, |planes| {
                for (n, plane) in planes.iter_mut().enumerate() {
                    plane.fill(n as u8 + 1);
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(picture.plane(0).row(2), [1; 5]);
        assert_eq!(picture.plane(1).row(1), [2; 3]);
        assert_eq!(picture.plane(2).row(1), [3; 3]);
    }
}
