//! CenterFace: a heat map of face centres with sizes, offsets and five landmarks for each cell.

use aimass_core::geometry::Point;

use crate::tasks::box_detector::nms::{Detection, MAX_POINTS};
use crate::tasks::box_detector::postprocess::{Find, Outputs};

/// See [`crate::library::manifest::DecoderSpec::Centerface`].
#[derive(Debug, Clone)]
pub struct Centerface {
    heatmap: usize,
    size: usize,
    offset: usize,
    landmarks: usize,
    stride: f32,
    columns: usize,
    cells: usize,
}

impl Centerface {
    pub(crate) fn new(
        find: &Find<'_>,
        [heatmap, size, offset, landmarks]: [&str; 4],
        stride: usize,
        (width, height): (usize, usize),
    ) -> Result<Self, String> {
        let (columns, rows) = (width / stride, height / stride);
        Ok(Centerface {
            heatmap: find.shaped("heatmap", heatmap, &[1, 1, rows, columns])?,
            size: find.shaped("size", size, &[1, 2, rows, columns])?,
            offset: find.shaped("offset", offset, &[1, 2, rows, columns])?,
            landmarks: find.shaped("landmarks", landmarks, &[1, 10, rows, columns])?,
            stride: stride as f32,
            columns: columns.max(1),
            cells: rows * columns,
        })
    }

    pub(crate) fn decode(&self, outputs: &impl Outputs, min_score: f32, found: &mut Vec<Detection>) {
        let (sizes, offsets) = (outputs.output(self.size), outputs.output(self.offset));
        let landmarks = outputs.output(self.landmarks);
        for (row, scores) in outputs.output(self.heatmap).chunks_exact(self.columns).enumerate() {
            for (column, &score) in scores.iter().enumerate().filter(|(_, score)| **score >= min_score) {
                let cell = row * self.columns + column;
                let at = |values: &[f32], channel: usize| values[channel * self.cells + cell];
                let (h, w) = (at(sizes, 0).exp() * self.stride, at(sizes, 1).exp() * self.stride);
                let x0 = (column as f32 + at(offsets, 1) + 0.5) * self.stride - w / 2.0;
                let y0 = (row as f32 + at(offsets, 0) + 0.5) * self.stride - h / 2.0;
                let mut points = [Point::default(); MAX_POINTS];
                for (n, point) in points.iter_mut().enumerate().take(5) {
                    *point = Point { x: at(landmarks, 2 * n + 1) * w + x0, y: at(landmarks, 2 * n) * h + y0 };
                }
                let corners = [x0, y0, x0 + w, y0 + h];
                found.push(Detection { class: 0, score, corners, points, point_count: 5 });
            }
        }
    }
}
