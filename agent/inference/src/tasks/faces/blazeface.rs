//! BlazeFace: anchors in layers; a box and six landmarks relative to each anchor, in pixels.

use aimass_core::geometry::Point;

use crate::tasks::box_detector::nms::{Detection, MAX_POINTS};
use crate::tasks::box_detector::postprocess::{Find, Outputs, logit, sigmoid};

/// Values of an anchor: centre, size, 6 points.
const VALUES: usize = 4 + 2 * MAX_POINTS;

#[derive(Debug, Clone)]
struct Layer {
    scores: usize,
    boxes: usize,
    columns: usize,
    per_cell: usize,
    stride: f32,
}

/// See [`crate::library::manifest::DecoderSpec::Blazeface`].
#[derive(Debug, Clone)]
pub struct Blazeface {
    layers: Vec<Layer>,
}

impl Blazeface {
    pub(crate) fn new(
        find: &Find<'_>,
        scores: &[String],
        boxes: &[String],
        anchors: &[[usize; 2]],
        (width, height): (usize, usize),
    ) -> Result<Self, String> {
        let mut layers = Vec::with_capacity(anchors.len());
        for ((scores, boxes), &[stride, per_cell]) in scores.iter().zip(boxes).zip(anchors) {
            let (columns, rows) = (width / stride, height / stride);
            let count = columns * rows * per_cell;
            layers.push(Layer {
                scores: find.shaped(&format!("scores at stride {stride}"), scores, &[1, count, 1])?,
                boxes: find.shaped(&format!("boxes at stride {stride}"), boxes, &[1, count, VALUES])?,
                columns: columns.max(1),
                per_cell,
                stride: stride as f32,
            });
        }
        Ok(Blazeface { layers })
    }

    pub(crate) fn decode(&self, outputs: &impl Outputs, min_score: f32, found: &mut Vec<Detection>) {
        let least = logit(min_score);
        for layer in &self.layers {
            let scores = outputs.output(layer.scores);
            let boxes = outputs.output(layer.boxes).chunks_exact(VALUES);
            for (n, (&score, values)) in scores.iter().zip(boxes).enumerate() {
                if score < least || score.is_nan() {
                    continue;
                }
                let cell = n / layer.per_cell;
                let ax = ((cell % layer.columns) as f32 + 0.5) * layer.stride;
                let ay = ((cell / layer.columns) as f32 + 0.5) * layer.stride;
                let (x, y, w, h) = (ax + values[0], ay + values[1], values[2], values[3]);
                let mut points = [Point::default(); MAX_POINTS];
                for (point, pair) in points.iter_mut().zip(values[4..].chunks_exact(2)) {
                    *point = Point { x: ax + pair[0], y: ay + pair[1] };
                }
                let corners = [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0];
                found.push(Detection {
                    class: 0,
                    score: sigmoid(score),
                    corners,
                    points,
                    point_count: MAX_POINTS,
                });
            }
        }
    }
}
