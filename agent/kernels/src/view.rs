//! Borrowed images: what kernels read and write. A view owns the right to exactly the elements it touches.

use std::ops::Range;

use crate::error::{KernelError, Result};
use crate::image::Image;

mod sealed {
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for f32 {}
    impl Sealed for i32 {}
}

/// Types that an arena can hold: plain numbers, for which any bytes are a value.
pub trait Element:
    sealed::Sealed + Copy + Default + PartialEq + Send + Sync + std::fmt::Debug + 'static
{
}
impl Element for u8 {}
impl Element for f32 {}
impl Element for i32 {}

/// An image to read, padding included.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, T> {
    pub(crate) data: &'a [T],
    /// Element of `data` at which pixel (0, 0) begins.
    pub(crate) origin: usize,
    pub(crate) image: Image,
}

impl<'a, T: Element> View<'a, T> {
    /// The image within `memory`, which begins at element 0 of the image's count.
    ///
    /// # Errors
    /// The image does not lie within `memory`.
    pub fn new(memory: &'a [T], image: &Image) -> Result<Self> {
        let extent = image.extent()?;
        let data = memory.get(extent.clone()).ok_or_else(|| outside(image, memory.len()))?;
        Ok(Self { data, origin: image.offset - extent.start, image: *image })
    }

    /// Where the image lies.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// One pixel. `y` and `x` may lie in the padding; outside of it this panics.
    pub fn pixel(&self, y: isize, x: isize) -> &'a [T] {
        let at =
            self.origin as isize + y * self.image.row_stride as isize + x * self.image.pixel_stride as isize;
        &self.data[at as usize..at as usize + self.image.channels]
    }

    /// Row `y` from its first to its last pixel, gaps of a slice included.
    pub(crate) fn row(&self, y: usize) -> &'a [T] {
        let start = self.origin + y * self.image.row_stride;
        &self.data[start..start + (self.image.width - 1) * self.image.pixel_stride + self.image.channels]
    }
}

/// Rows of an image to write, without the padding.
#[derive(Debug)]
pub struct ViewMut<'a, T> {
    /// Begins at pixel (`rows.start`, 0).
    pub(crate) data: &'a mut [T],
    pub(crate) image: Image,
    pub(crate) rows: Range<usize>,
}

impl<'a, T: Element> ViewMut<'a, T> {
    /// All rows of the image within `memory`, which begins at element 0 of the image's count.
    ///
    /// # Errors
    /// The image does not lie within `memory`.
    pub fn new(memory: &'a mut [T], image: &Image) -> Result<Self> {
        let extent = image.extent()?;
        let length = memory.len();
        if extent.end > length {
            return Err(outside(image, length));
        }
        let rows = 0..image.height;
        let data = &mut memory[image.rows_extent(&rows)];
        Ok(Self { data, image: *image, rows })
    }

    /// Where the image lies.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The rows that this view may write.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// The same rows for a shorter time: for a call that would consume the view.
    pub fn reborrow(&mut self) -> ViewMut<'_, T> {
        ViewMut { data: self.data, image: self.image, rows: self.rows.clone() }
    }

    /// Rows before `row`, and from it on: each can be written by a thread of its own.
    pub fn split_at_row(self, row: usize) -> (Self, Self) {
        let row = row.clamp(self.rows.start, self.rows.end);
        let (image, rows) = (self.image, self.rows);
        let at = ((row - rows.start) * image.row_stride).min(self.data.len());
        let (upper, lower) = self.data.split_at_mut(at);
        let keep = image.rows_extent(&(rows.start..row)).len();
        (
            Self { data: &mut upper[..keep], image, rows: rows.start..row },
            Self { data: lower, image, rows: row..rows.end },
        )
    }

    /// Cuts into `parts` views of about as many rows each; fewer when there are fewer rows.
    pub fn split_rows(self, parts: usize) -> Vec<Self> {
        let (first, count) = (self.rows.start, self.rows.len());
        let parts = parts.clamp(1, count.max(1));
        let mut views = Vec::with_capacity(parts);
        let mut rest = self;
        for part in 1..parts {
            let (upper, lower) = rest.split_at_row(first + count * part / parts);
            views.push(upper);
            rest = lower;
        }
        views.push(rest);
        views
    }

    /// Row `y` (of the image, within [`Self::rows`]) from its first to its last pixel.
    pub(crate) fn row(&mut self, y: usize) -> &mut [T] {
        let start = (y - self.rows.start) * self.image.row_stride;
        &mut self.data[start..start + (self.image.width - 1) * self.image.pixel_stride + self.image.channels]
    }
}

fn outside(image: &Image, length: usize) -> KernelError {
    KernelError::image(format!(
        "{}x{}x{} at element {} does not lie within {length} elements",
        image.height, image.width, image.channels, image.offset
    ))
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
