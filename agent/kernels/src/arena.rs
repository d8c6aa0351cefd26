//! One block of memory for all images of a model's run.
//!
//! Invariant: the block begins at a multiple of 64 bytes and is a multiple of 64 long, so an element offset of any type
//! is aligned; [`Arena::writing`] never hands out an input that overlaps the output.

use std::ops::Range;

use crate::error::{KernelError, Result};
use crate::image::Image;
use crate::view::{Element, View, ViewMut};

const LINE: usize = 64;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

/// Memory for images of all types; an image names its place by elements of its own type.
#[derive(Debug)]
pub struct Arena {
    lines: Vec<Line>,
}

impl Arena {
    /// At least `bytes` bytes, all zero.
    pub fn new(bytes: usize) -> Self {
        Self { lines: vec![Line([0; LINE]); bytes.div_ceil(LINE).max(1)] }
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.lines.len() * LINE
    }

    /// Never: an arena holds at least one line.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: a `Line` is 64 bytes without padding, the vector owns all of them, and they are initialised.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * LINE) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; the vector is borrowed mutably for as long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.lines.len() * LINE) }
    }

    /// An image to read.
    ///
    /// # Errors
    /// It does not lie within the arena.
    pub fn view<T: Element>(&self, image: &Image) -> Result<View<'_, T>> {
        View::new(cast(self.bytes()), image)
    }

    /// An image to write while others are read: [`Inputs::view`] gives those.
    ///
    /// # Errors
    /// It does not lie within the arena.
    pub fn writing<T: Element>(&mut self, output: &Image) -> Result<(Inputs<'_>, ViewMut<'_, T>)> {
        let size = size_of::<T>();
        let length = self.len();
        let extent = output.extent()?;
        if extent.end > length / size {
            return Err(KernelError::image(format!(
                "an output ends at element {} of {}",
                extent.end,
                length / size
            )));
        }
        let rows = 0..output.height;
        let written = output.rows_extent(&rows);
        let (before, rest) = self.bytes_mut().split_at_mut(written.start * size);
        let (data, after) = rest.split_at_mut(written.len() * size);
        let inputs = Inputs { before, after, after_start: written.end * size };
        Ok((inputs, ViewMut { data: cast_mut(data), image: *output, rows }))
    }

    /// Moves these rows of an image, with what lies left and right of them, to its beginning: row 0 and those after it.
    ///
    /// # Errors
    /// The image does not lie within the arena, has no such rows, or is a slice of a wider one.
    pub fn move_rows<T: Element>(&mut self, image: &Image, rows: Range<usize>) -> Result<()> {
        let extent = image.extent()?;
        let across = (image.padding.left + image.width + image.padding.right) * image.channels;
        if rows.start > rows.end || rows.end > image.height || image.row_stride != across {
            return Err(KernelError::image(format!("rows {rows:?} of {} cannot be moved", image.height)));
        }
        let memory: &mut [T] = cast_mut(self.bytes_mut());
        let length = memory.len();
        let memory = memory.get_mut(extent.clone()).ok_or_else(|| {
            KernelError::image(format!("rows that are moved end at element {} of {length}", extent.end))
        })?;
        let first = image.padding.top * across;
        memory.copy_within(first + rows.start * across..first + rows.end * across, first);
        Ok(())
    }

    /// Writes `value` to all pixels around the image, and to nothing of the image itself.
    ///
    /// For a slice of a wider image it writes the slice's channels.
    ///
    /// # Errors
    /// The image does not lie within the arena.
    pub fn fill_padding<T: Element>(&mut self, image: &Image, value: T) -> Result<()> {
        let extent = image.extent()?;
        let memory: &mut [T] = cast_mut(self.bytes_mut());
        let length = memory.len();
        let memory = memory.get_mut(extent.clone()).ok_or_else(|| {
            KernelError::image(format!("a padding ends at element {} of {length}", extent.end))
        })?;
        let padding = image.padding;
        let across = padding.left + image.width + padding.right;
        let mut fill = |row: usize, pixels: Range<usize>| {
            let at = row * image.row_stride;
            if image.is_dense() {
                memory[at + pixels.start * image.channels..at + pixels.end * image.channels].fill(value);
            } else {
                for pixel in pixels {
                    memory[at + pixel * image.pixel_stride..][..image.channels].fill(value);
                }
            }
        };
        for row in 0..padding.top {
            fill(row, 0..across);
        }
        for row in padding.top..padding.top + image.height {
            fill(row, 0..padding.left);
            fill(row, padding.left + image.width..across);
        }
        for row in padding.top + image.height..padding.top + image.height + padding.bottom {
            fill(row, 0..across);
        }
        Ok(())
    }
}

/// All of an arena but the rows that are being written.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    before: &'a [u8],
    after: &'a [u8],
    /// Byte of the arena at which `after` begins.
    after_start: usize,
}

impl<'a> Inputs<'a> {
    /// An image to read.
    ///
    /// # Errors
    /// It overlaps the output, or does not lie within the arena.
    pub fn view<T: Element>(&self, image: &Image) -> Result<View<'a, T>> {
        let size = size_of::<T>();
        let extent = image.extent()?;
        if extent.end <= self.before.len() / size {
            return View::new(cast(self.before), image);
        }
        // The first whole element after the output; the bytes before it belong to no image that may be read.
        let first = self.after_start.div_ceil(size);
        let Some(rest) = self.after.get(first * size - self.after_start..).filter(|_| extent.start >= first)
        else {
            return Err(KernelError::image(format!(
                "an input at elements {}..{} overlaps the output",
                extent.start, extent.end
            )));
        };
        let moved = Image { offset: image.offset - first, ..*image };
        let mut view = View::new(cast(rest), &moved)?;
        view.image = *image;
        Ok(view)
    }
}

/// The bytes as elements; a rest that is no whole element is left out.
fn cast<T: Element>(bytes: &[u8]) -> &[T] {
    // SAFETY: `Element` is sealed to types for which any initialised bytes are a value; `align_to` finds the alignment.
    let (head, body, _) = unsafe { bytes.align_to::<T>() };
    // Callers cut at multiples of the element's size from the arena's start, which is aligned.
    debug_assert!(head.is_empty() || bytes.len() < size_of::<T>());
    body
}

fn cast_mut<T: Element>(bytes: &mut [u8]) -> &mut [T] {
    // SAFETY: as in `cast`; and any element leaves initialised bytes behind.
    let (head, body, _) = unsafe { bytes.align_to_mut::<T>() };
    debug_assert!(head.is_empty());
    body
}

#[cfg(test)]
#[path = "arena_tests.rs"]
mod tests;
