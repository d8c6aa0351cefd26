//! A picture's brightness on a coarse grid: the mean of each block, from every few rows.
//!
//! Invariant: after the first picture of a size, nothing is allocated.

use crate::frame::{Picture, PixelFormat};

/// About how many blocks a picture is wide for the motion gate. Small pictures have fewer: a block is at least 8
/// pixels wide.
const BLOCKS_ACROSS: usize = 96;
/// Rows that are read of each block.
const ROWS_READ: usize = 4;

/// Mean brightness by block, 0..255.
#[derive(Debug)]
pub(crate) struct Grid {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
    pub(crate) values: Vec<f32>,
    across: usize,
    size: (u32, u32),
    block: usize,
    sums: Vec<u16>,
}

impl Default for Grid {
    fn default() -> Self {
        Self::across(BLOCKS_ACROSS)
    }
}

impl Grid {
    /// A grid of about so many blocks from left to right.
    pub(crate) fn across(across: usize) -> Self {
        let (values, sums) = (Vec::new(), Vec::new());
        Grid { columns: 0, rows: 0, values, across, size: (0, 0), block: 0, sums }
    }

    /// Reads a picture; true if its size is another than before. RGB is read by its green samples: they carry
    /// most of the brightness, and one channel costs a third of three.
    pub(crate) fn read(&mut self, picture: &Picture) -> bool {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let resized = self.size != (picture.width(), picture.height());
        if resized {
            self.size = (picture.width(), picture.height());
            self.block = width.div_ceil(self.across).max(8).min(width.min(height));
            // A rest at the right and the lower edge that fills no block is not looked at.
            (self.columns, self.rows) = (width / self.block, height / self.block);
            self.values.clear();
            self.values.resize(self.columns * self.rows, 0.0);
        }
        let (plane, step, offset) = match picture.luma() {
            Some(plane) => (plane, 1, 0),
            None => (picture.plane(0), 3, 1),
        };
        debug_assert!(step == 1 || picture.format() == PixelFormat::Rgb8);
        let used = self.columns * self.block * step;
        self.sums.resize(used, 0);
        let read = ROWS_READ.min(self.block);
        let scale = 1.0 / (read * self.block) as f32;
        for (y, values) in self.values.chunks_exact_mut(self.columns).enumerate() {
            self.sums.fill(0);
            for n in 0..read {
                let row = &plane.row(y * self.block + n * self.block / read)[..used];
                // Adding rows first keeps this loop free of dependencies: the compiler makes it SIMD.
                for (sum, &sample) in self.sums.iter_mut().zip(row) {
                    *sum += u16::from(sample);
                }
            }
            for (value, block) in values.iter_mut().zip(self.sums.chunks_exact(self.block * step)) {
                let sum: u32 = if step == 1 {
                    block.iter().map(|&s| u32::from(s)).sum()
                } else {
                    block[offset..].iter().step_by(step).map(|&s| u32::from(s)).sum()
                };
                *value = sum as f32 * scale;
            }
        }
        resized
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gray_and_rgb_of_one_brightness_give_the_same_grid() {
        let mut gray = Grid::default();
        let ramp = |n: usize| (n % 50 * 5) as u8;
        let plane: Vec<u8> = (0..50 * 20).map(ramp).collect();
        let rgb = plane.iter().flat_map(|&v| [0, v, 255]).collect();
        let strides = [50, 0, 0];
        let colour = crate::frame::Colour::SD;
        let picture =
            Picture::new((50, 20), PixelFormat::Gray8, colour, strides, std::sync::Arc::new(plane)).unwrap();
        assert!(gray.read(&picture));
        assert!(!gray.read(&picture));
        assert_eq!((gray.columns, gray.rows), (6, 2));
        // The first block holds 0, 5, … 35.
        assert!((gray.values[0] - 17.5).abs() < 1e-4);
        let mut coloured = Grid::default();
        coloured.read(&Picture::from_rgb((50, 20), rgb).unwrap());
        assert_eq!(coloured.values, gray.values);
    }

    #[test]
    fn the_smallest_picture_has_one_block() {
        let mut grid = Grid::default();
        grid.read(&Picture::from_rgb((1, 1), vec![9, 9, 9]).unwrap());
        assert_eq!(grid.values, [9.0]);
    }
}
