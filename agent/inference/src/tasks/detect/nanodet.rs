//! NanoDet's head: for each cell of each level, class scores and four distances as distributions over bins.

use crate::tasks::box_detector::nms::Detection;
use crate::tasks::box_detector::postprocess::{Find, Outputs};

#[derive(Debug, Clone)]
struct Level {
    scores: usize,
    boxes: usize,
    stride: f32,
    columns: usize,
}

/// See [`crate::library::manifest::DecoderSpec::Nanodet`].
#[derive(Debug, Clone)]
pub struct Nanodet {
    levels: Vec<Level>,
    classes: usize,
    bins: usize,
}

impl Nanodet {
    pub(crate) fn new(
        find: &Find<'_>,
        scores: &[String],
        boxes: &[String],
        strides: &[usize],
        bins: usize,
        (width, height): (usize, usize),
    ) -> Result<Self, String> {
        let mut levels = Vec::with_capacity(strides.len());
        let mut classes = None;
        for ((scores, boxes), &stride) in scores.iter().zip(boxes).zip(strides) {
            let (columns, rows) = (width.div_ceil(stride), height.div_ceil(stride));
            let cells = columns * rows;
            let role = format!("scores at stride {stride}");
            let (_, shape) = find.named(&role, scores)?;
            let wide = *classes.get_or_insert_with(|| shape.last().copied().unwrap_or(0));
            levels.push(Level {
                scores: find.shaped(&role, scores, &[1, cells, wide])?,
                boxes: find.shaped(&format!("boxes at stride {stride}"), boxes, &[1, cells, 4 * bins])?,
                stride: stride as f32,
                columns,
            });
        }
        Ok(Nanodet { levels, classes: classes.unwrap_or(0).max(1), bins })
    }

    pub(crate) fn classes(&self) -> usize {
        self.classes
    }

    pub(crate) fn decode(
        &self,
        outputs: &impl Outputs,
        min_score: f32,
        wanted: &[bool],
        found: &mut Vec<Detection>,
    ) {
        for level in &self.levels {
            let scores = outputs.output(level.scores).chunks_exact(self.classes);
            let boxes = outputs.output(level.boxes).chunks_exact(4 * self.bins);
            for (cell, (row, distances)) in scores.zip(boxes).enumerate() {
                if row.iter().fold(0.0f32, |top, s| if *s > top { *s } else { top }) < min_score {
                    continue;
                }
                let side = |n: usize| expectation(&distances[n * self.bins..][..self.bins]) * level.stride;
                let x = ((cell % level.columns) as f32 + 0.5) * level.stride;
                let y = ((cell / level.columns) as f32 + 0.5) * level.stride;
                let corners = [x - side(0), y - side(1), x + side(2), y + side(3)];
                for (class, &score) in row.iter().enumerate() {
                    if score >= min_score && wanted.get(class) == Some(&true) {
                        found.push(Detection { class, score, corners, ..Default::default() });
                    }
                }
            }
        }
    }
}

/// The mean bin under softmax.
fn expectation(logits: &[f32]) -> f32 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (n, logit) in logits.iter().enumerate() {
        let e = (logit - top).exp();
        sum += e;
        weighted += e * n as f32;
    }
    weighted / sum
}
