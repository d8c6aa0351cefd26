//! Non-maximum suppression: of detections of one class that overlap, the strongest stays.

use aimass_core::geometry::Point;

/// The most candidates that are compared; beyond it the weakest go first.
pub const MAX_CANDIDATES: usize = 1000;
/// The most detections of one run.
pub const MAX_DETECTIONS: usize = 200;
/// The most landmarks of a detection.
pub const MAX_POINTS: usize = 6;

/// Something a decoder found, in pixels of the model's input.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Detection {
    /// Index of its class.
    pub class: usize,
    /// How sure the model is, 0..1.
    pub score: f32,
    /// Left, top, right, bottom.
    pub corners: [f32; 4],
    /// Landmarks; the first `point_count` count.
    pub points: [Point; MAX_POINTS],
    /// How many landmarks there are.
    pub point_count: usize,
}

impl Detection {
    /// Whether it can be compared: finite numbers, an area, a score.
    fn is_sound(&self) -> bool {
        let [x0, y0, x1, y1] = self.corners;
        self.score.is_finite()
            && self.corners.iter().all(|v| v.is_finite() && v.abs() < 1e6)
            && x1 > x0
            && y1 > y0
            && self.points[..self.point_count].iter().all(|p| p.x.is_finite() && p.y.is_finite())
    }

    fn area(&self) -> f32 {
        let [x0, y0, x1, y1] = self.corners;
        (x1 - x0) * (y1 - y0)
    }

    fn overlaps(&self, other: &Detection, iou: f32) -> bool {
        let ([ax0, ay0, ax1, ay1], [bx0, by0, bx1, by1]) = (self.corners, other.corners);
        let w = (ax1.min(bx1) - ax0.max(bx0)).max(0.0);
        let h = (ay1.min(by1) - ay0.max(by0)).max(0.0);
        let common = w * h;
        common >= iou * (self.area() + other.area() - common)
    }
}

/// Sorts by score, strongest first, and removes what overlaps a stronger one of its class by `iou` or more, what
/// is not finite or has no area, and what is beyond [`MAX_DETECTIONS`]. Equal scores keep their order.
pub fn suppress(found: &mut Vec<Detection>, iou: f32) {
    found.retain(Detection::is_sound);
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(MAX_CANDIDATES);
    let mut kept = 0;
    for n in 0..found.len() {
        let candidate = found[n];
        let beaten =
            found[..kept].iter().any(|k| k.class == candidate.class && k.overlaps(&candidate, iou.max(1e-6)));
        if !beaten {
            found[kept] = candidate;
            kept += 1;
        }
        if kept == MAX_DETECTIONS {
            break;
        }
    }
    found.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(class: usize, score: f32, x: f32) -> Detection {
        Detection { class, score, corners: [x, 0.0, x + 10.0, 10.0], ..Default::default() }
    }

    #[test]
    fn the_strongest_of_a_heap_stays_and_other_classes_are_left_alone() {
        let mut found = vec![at(1, 0.6, 0.0), at(1, 0.9, 1.0), at(2, 0.5, 1.0), at(1, 0.7, 30.0)];
        suppress(&mut found, 0.5);
        assert_eq!(found, [at(1, 0.9, 1.0), at(1, 0.7, 30.0), at(2, 0.5, 1.0)]);
    }

    #[test]
    fn boxes_that_are_no_numbers_go() {
        let mut found =
            vec![at(1, f32::NAN, 0.0), at(1, 0.9, f32::NAN), at(1, 0.8, f32::INFINITY), at(1, 0.1, 0.0)];
        suppress(&mut found, 0.5);
        assert_eq!(found, [at(1, 0.1, 0.0)]);
    }

    proptest! {
        #[test]
        fn what_stays_is_sorted_apart_and_explains_what_went(
            boxes in prop::collection::vec((0..3usize, 0f32..1.0, 0f32..50.0, 0f32..50.0, -1f32..40.0, 1f32..40.0), 0..60),
            iou in 0.05f32..0.95,
        ) {
            let all: Vec<Detection> = boxes.iter().map(|&(class, score, x, y, w, h)| Detection {
                class, score, corners: [x, y, x + w, y + h], ..Default::default()
            }).collect();
            let mut kept = all.clone();
            suppress(&mut kept, iou);
            prop_assert!(kept.windows(2).all(|w| w[0].score >= w[1].score));
            for (n, a) in kept.iter().enumerate() {
                prop_assert!(!kept[..n].iter().any(|b| a.class == b.class && b.overlaps(a, iou)));
            }
            for gone in all.iter().filter(|a| a.is_sound() && !kept.contains(a)) {
                prop_assert!(kept.iter().any(|k| k.class == gone.class && k.score >= gone.score && k.overlaps(gone, iou)));
            }
        }
    }
}
