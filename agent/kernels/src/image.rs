//! Where an image lies in memory: NHWC with a padding, of one element type.
//!
//! Invariant: an [`Image`] that [`Image::extent`] accepts has disjoint rows, so rows can be given to threads.

use std::ops::Range;

use crate::error::{KernelError, Result};

/// Readable pixels around an image, so that a convolution needs no border code.
///
/// Whoever makes the image fills them ([`crate::Arena::fill_padding`]): with the zero point, or 0.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Pixels to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Pixels to the right.
    pub right: usize,
}

impl Padding {
    /// The least padding that holds both.
    pub fn union(self, other: Self) -> Self {
        Self {
            top: self.top.max(other.top),
            left: self.left.max(other.left),
            bottom: self.bottom.max(other.bottom),
            right: self.right.max(other.right),
        }
    }
}

/// A place for an image: channels lie side by side in a pixel, pixels in a row, rows below each other.
///
/// All numbers count **elements** of the image's type (bytes for `u8`, four bytes for `f32`), never bytes: an `f32`
/// image at `offset` 16 begins at byte 64 of its arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// Element of channel 0 of pixel (0, 0); the padding lies before it.
    pub offset: usize,
    /// Rows, without the padding.
    pub height: usize,
    /// Pixels in a row, without the padding.
    pub width: usize,
    /// Channels of this image.
    pub channels: usize,
    /// Elements from one row to the next.
    pub row_stride: usize,
    /// Elements from one pixel to the next; more than `channels` in a slice of a wider image.
    pub pixel_stride: usize,
    /// Readable pixels around.
    pub padding: Padding,
}

impl Image {
    /// A dense image whose memory, padding included, begins at element `start` and is [`Image::footprint`] long.
    pub fn dense(start: usize, height: usize, width: usize, channels: usize, padding: Padding) -> Self {
        let row_stride = (padding.left + width + padding.right) * channels;
        Self {
            offset: start + padding.top * row_stride + padding.left * channels,
            height,
            width,
            channels,
            row_stride,
            pixel_stride: channels,
            padding,
        }
    }

    /// Elements that the image takes with its padding.
    pub fn footprint(&self) -> usize {
        (self.padding.top + self.height + self.padding.bottom) * self.row_stride
    }

    /// Channels `first..first + channels` of this image as an image of their own: writing there is concatenation,
    /// reading there is a split, both without a copy.
    pub fn channel_slice(&self, first: usize, channels: usize) -> Self {
        Self { offset: self.offset + first, channels, ..*self }
    }

    /// Whether pixels follow each other without a gap.
    pub fn is_dense(&self) -> bool {
        self.pixel_stride == self.channels
    }

    /// The elements that the image touches with its padding.
    ///
    /// # Errors
    /// The strides overlap, a dimension is 0, the padding begins before element 0, or a number overflows.
    pub fn extent(&self) -> Result<Range<usize>> {
        if self.height == 0 || self.width == 0 || self.channels == 0 {
            return Err(KernelError::image(format!(
                "{}x{}x{} has an empty dimension",
                self.height, self.width, self.channels
            )));
        }
        if self.pixel_stride < self.channels {
            return Err(KernelError::image("pixels overlap"));
        }
        let overflow = || KernelError::image("its size overflows");
        let Padding { top, left, bottom, right } = self.padding;
        let across = left.checked_add(self.width).and_then(|w| w.checked_add(right)).ok_or_else(overflow)?;
        let row = across.checked_mul(self.pixel_stride).ok_or_else(overflow)?;
        if self.row_stride < row {
            return Err(KernelError::image(format!(
                "rows of {row} elements overlap at a stride of {}",
                self.row_stride
            )));
        }
        let before = top
            .checked_mul(self.row_stride)
            .and_then(|t| t.checked_add(left * self.pixel_stride))
            .ok_or_else(overflow)?;
        let start = self
            .offset
            .checked_sub(before)
            .ok_or_else(|| KernelError::image("its padding begins before the memory"))?;
        let last_row = (self.height - 1).checked_add(bottom).and_then(|r| r.checked_mul(self.row_stride));
        let end = last_row
            .and_then(|r| r.checked_add((self.width - 1 + right) * self.pixel_stride))
            .and_then(|r| r.checked_add(self.channels))
            .and_then(|r| r.checked_add(self.offset))
            .ok_or_else(overflow)?;
        Ok(start..end)
    }

    /// The elements of rows `rows`, without padding.
    pub(crate) fn rows_extent(&self, rows: &Range<usize>) -> Range<usize> {
        let start = self.offset + rows.start * self.row_stride;
        if rows.is_empty() {
            return start..start;
        }
        start
            ..self.offset
                + (rows.end - 1) * self.row_stride
                + (self.width - 1) * self.pixel_stride
                + self.channels
    }

    /// Height, width and channels.
    pub fn shape(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }
}
