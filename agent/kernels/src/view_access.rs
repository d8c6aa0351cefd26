//! Rows as slices, for steps that have no kernel of their own.

use crate::view::{Element, View, ViewMut};

impl<'a, T: Element> View<'a, T> {
    /// Row `y` from its first to its last pixel, gaps of a slice included. Panics outside of the image.
    pub fn row_values(&self, y: usize) -> &'a [T] {
        assert!(y < self.image.height, "row {y} of {}", self.image.height);
        self.row(y)
    }
}

impl<T: Element> ViewMut<'_, T> {
    /// Row `y`, one of [`Self::rows`], from its first to its last pixel, gaps of a slice included. Panics outside.
    pub fn row_values_mut(&mut self, y: usize) -> &mut [T] {
        assert!(self.rows.contains(&y), "row {y} of {:?}", self.rows);
        self.row(y)
    }
}
