//! Single-shot detectors whose graph decodes its boxes: a table of scores and a table of boxes.

use crate::tasks::box_detector::nms::Detection;
use crate::tasks::box_detector::postprocess::{Find, Outputs};

/// See [`crate::library::manifest::DecoderSpec::Ssd`].
#[derive(Debug, Clone)]
pub struct Ssd {
    scores: usize,
    boxes: usize,
    classes: usize,
    size: (f32, f32),
}

impl Ssd {
    pub(crate) fn new(
        find: &Find<'_>,
        scores: &str,
        boxes: &str,
        size: (usize, usize),
    ) -> Result<Self, String> {
        let (n, shape) = find.named("scores", scores)?;
        let &[1, rows, classes] = shape else {
            return Err(format!(
                "output \"{scores}\" for scores has the shape {shape:?} where [1, n, classes] is expected"
            ));
        };
        let (b, shape) = find.named("boxes", boxes)?;
        if shape != [1, rows, 1, 4] && shape != [1, rows, 4] {
            return Err(format!(
                "output \"{boxes}\" for boxes has the shape {shape:?} where [1, {rows}, 1, 4] or [1, {rows}, 4] is expected"
            ));
        }
        Ok(Ssd { scores: n, boxes: b, classes: classes.max(1), size: (size.0 as f32, size.1 as f32) })
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
        let scores = outputs.output(self.scores).chunks_exact(self.classes);
        for (row, corners) in scores.zip(outputs.output(self.boxes).chunks_exact(4)) {
            // Nearly all rows hold nothing: one pass without branches finds that out.
            if row.iter().fold(0.0f32, |top, s| if *s > top { *s } else { top }) < min_score {
                continue;
            }
            for (class, &score) in row.iter().enumerate() {
                if score >= min_score && wanted.get(class) == Some(&true) {
                    let [y0, x0, y1, x1] = [corners[0], corners[1], corners[2], corners[3]];
                    let corners = [x0 * self.size.0, y0 * self.size.1, x1 * self.size.0, y1 * self.size.1];
                    found.push(Detection { class, score, corners, ..Default::default() });
                }
            }
        }
    }
}
