//! Privacy masks: what lies inside is painted over before any other part of the program sees the frame.

use crate::frame::PixelFormat;
use crate::geometry::{Point, Polygon};

/// A run of bytes in a row that is to be painted.
type Run = (usize, std::ops::Range<usize>);

/// Polygons rasterised for one picture size and format.
#[derive(Debug, Clone)]
pub struct Mask {
    planes: Vec<Vec<Run>>,
    format: PixelFormat,
}

impl Mask {
    /// Prepares the polygons for pictures of this size and format. A pixel is masked when any part of the
    /// sampling grid around its centre lies inside; chroma follows whenever one of its luma pixels is masked.
    pub fn new(polygons: &[Polygon], width: u32, height: u32, format: PixelFormat) -> Self {
        let (w, h) = (width as usize, height as usize);
        let mut luma = Vec::new();
        for y in 0..h {
            for (begin, end) in masked_spans(polygons, y, w, h) {
                luma.push((y, begin..end));
            }
        }
        let planes = match format {
            PixelFormat::Gray8 => vec![luma],
            PixelFormat::Rgb8 => vec![luma.into_iter().map(|(y, r)| (y, r.start * 3..r.end * 3)).collect()],
            PixelFormat::I420 => {
                let chroma: Vec<Run> =
                    luma.iter().map(|(y, r)| (y / 2, r.start / 2..r.end.div_ceil(2))).collect();
                vec![luma, chroma.clone(), chroma]
            }
            PixelFormat::Nv12 => {
                let chroma =
                    luma.iter().map(|(y, r)| (y / 2, r.start / 2 * 2..r.end.div_ceil(2) * 2)).collect();
                vec![luma, chroma]
            }
        };
        Mask { planes, format }
    }

    /// Whether nothing is masked.
    pub fn is_empty(&self) -> bool {
        self.planes.iter().all(Vec::is_empty)
    }

    /// Paints plane `n`: mid-dark luma, neutral chroma. Rows that the plane does not have are left out.
    pub fn paint(&self, n: usize, data: &mut [u8], stride: usize) {
        let chroma = n > 0 && matches!(self.format, PixelFormat::I420 | PixelFormat::Nv12);
        let value = if chroma { 128 } else { 32 };
        for (y, run) in self.planes.get(n).into_iter().flatten() {
            if let Some(row) = data.get_mut(y * stride + run.start..y * stride + run.end) {
                row.fill(value);
            }
        }
    }
}

/// Pixel spans of row `y` that any polygon touches, sampled along the row's upper edge, middle and lower edge.
fn masked_spans(polygons: &[Polygon], y: usize, w: usize, h: usize) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    for polygon in polygons {
        for part in [0.0, 0.5, 1.0] {
            let row = (y as f32 + part) / h as f32;
            let mut crossings: Vec<f32> = edges(polygon)
                .filter(|(a, b)| (a.y > row) != (b.y > row))
                .map(|(a, b)| (b.x - a.x) * (row - a.y) / (b.y - a.y) + a.x)
                .collect();
            crossings.sort_by(f32::total_cmp);
            for pair in crossings.chunks_exact(2) {
                let begin = (pair[0] * w as f32).floor().max(0.0) as usize;
                let end = ((pair[1] * w as f32).ceil().max(0.0) as usize).min(w);
                if begin < end {
                    spans.push((begin, end));
                }
            }
        }
    }
    spans.sort_unstable();
    spans.dedup_by(|next, last| {
        let joined = next.0 <= last.1;
        if joined {
            last.1 = last.1.max(next.1);
        }
        joined
    });
    spans
}

fn edges(polygon: &Polygon) -> impl Iterator<Item = (Point, Point)> + '_ {
    let corners = &polygon.0;
    (0..corners.len()).map(move |n| (corners[n], corners[(n + 1) % corners.len()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_half() -> Vec<Polygon> {
        vec![Polygon([[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]].into_iter().map(Point::from).collect())]
    }

    #[test]
    fn everything_inside_is_painted_and_nothing_outside() {
        let mask = Mask::new(&left_half(), 8, 4, PixelFormat::Gray8);
        let mut plane = vec![200u8; 10 * 4];
        mask.paint(0, &mut plane, 10);
        for y in 0..4 {
            assert_eq!(&plane[y * 10..y * 10 + 4], &[32; 4]);
            assert_eq!(&plane[y * 10 + 4..y * 10 + 10], &[200; 6]);
        }
    }

    #[test]
    fn chroma_is_neutral_where_luma_is_masked_in_every_format() {
        for format in [PixelFormat::I420, PixelFormat::Nv12] {
            let mask = Mask::new(&left_half(), 9, 5, format);
            let (bytes, rows) = format.plane_size(1, 9, 5);
            let mut plane = vec![7u8; bytes * rows];
            mask.paint(1, &mut plane, bytes);
            let masked = if format == PixelFormat::Nv12 { 6 } else { 3 };
            assert_eq!(&plane[..masked], &vec![128u8; masked][..], "{format:?}");
            assert_eq!(plane[bytes * rows - 1], 7);
        }
    }

    #[test]
    fn a_mask_made_for_another_size_never_writes_out_of_bounds() {
        let mask = Mask::new(&left_half(), 1000, 1000, PixelFormat::I420);
        let mut small = vec![0u8; 16];
        for n in 0..5 {
            mask.paint(n, &mut small, 4);
        }
    }
}
