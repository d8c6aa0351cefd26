//! Points, boxes and polygons in fractions of the frame: 0..1, origin at the top left.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A point in fractions of the frame. In documents: `[x, y]`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(from = "[f32; 2]", into = "[f32; 2]")]
#[schemars(with = "[f32; 2]")]
pub struct Point {
    /// From the left edge.
    pub x: f32,
    /// From the top edge.
    pub y: f32,
}

impl From<[f32; 2]> for Point {
    fn from([x, y]: [f32; 2]) -> Self {
        Point { x, y }
    }
}

impl From<Point> for [f32; 2] {
    fn from(p: Point) -> Self {
        [p.x, p.y]
    }
}

impl Point {
    /// Whether both coordinates are finite and within the frame.
    pub fn is_in_frame(self) -> bool {
        (0.0..=1.0).contains(&self.x) && (0.0..=1.0).contains(&self.y)
    }
}

/// A box in fractions of the frame: `x`, `y` of its top left corner, width and height.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Region {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub w: f32,
    /// Height.
    pub h: f32,
}

impl Region {
    /// The whole frame.
    pub const FULL: Region = Region { x: 0.0, y: 0.0, w: 1.0, h: 1.0 };

    /// From two corners, in any order.
    pub fn from_corners(x0: f32, y0: f32, x1: f32, y1: f32) -> Self {
        Region { x: x0.min(x1), y: y0.min(y1), w: (x1 - x0).abs(), h: (y1 - y0).abs() }
    }

    /// Right edge.
    pub fn right(&self) -> f32 {
        self.x + self.w
    }

    /// Bottom edge.
    pub fn bottom(&self) -> f32 {
        self.y + self.h
    }

    /// The area, as a fraction of the frame.
    pub fn area(&self) -> f32 {
        self.w.max(0.0) * self.h.max(0.0)
    }

    /// The middle of the box.
    pub fn centre(&self) -> Point {
        Point { x: self.x + self.w / 2.0, y: self.y + self.h / 2.0 }
    }

    /// Where a standing person's feet are: the middle of the lower edge.
    pub fn bottom_centre(&self) -> Point {
        Point { x: self.x + self.w / 2.0, y: self.y + self.h }
    }

    /// The part of the box that lies in the frame; empty boxes have no width or no height.
    pub fn clipped(&self) -> Region {
        let (x0, y0) = (self.x.clamp(0.0, 1.0), self.y.clamp(0.0, 1.0));
        let (x1, y1) = (self.right().clamp(0.0, 1.0), self.bottom().clamp(0.0, 1.0));
        Region { x: x0, y: y0, w: (x1 - x0).max(0.0), h: (y1 - y0).max(0.0) }
    }

    /// The common part of two boxes, as an area.
    pub fn intersection(&self, other: &Region) -> f32 {
        let w = self.right().min(other.right()) - self.x.max(other.x);
        let h = self.bottom().min(other.bottom()) - self.y.max(other.y);
        w.max(0.0) * h.max(0.0)
    }

    /// Intersection over union, 0..1; 0 where both boxes are empty.
    pub fn iou(&self, other: &Region) -> f32 {
        let common = self.intersection(other);
        let union = self.area() + other.area() - common;
        if union > 0.0 { common / union } else { 0.0 }
    }

    /// Whether all four numbers are finite and the box has an area.
    pub fn is_sound(&self) -> bool {
        [self.x, self.y, self.w, self.h].iter().all(|v| v.is_finite()) && self.w > 0.0 && self.h > 0.0
    }
}

/// A polygon by its corners, in order; it closes itself. In documents: `[[x, y], …]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Polygon(pub Vec<Point>);

impl Polygon {
    /// Why this cannot be used as an area, if so.
    ///
    /// # Errors
    /// Fewer than 3 corners, more than 64, or a corner outside the frame.
    pub fn check(&self) -> Result<(), String> {
        if !(3..=64).contains(&self.0.len()) {
            return Err(format!("has {} corners: give 3 to 64", self.0.len()));
        }
        match self.0.iter().position(|p| !p.is_in_frame()) {
            Some(n) => Err(format!("corner {n} lies outside the frame: coordinates go from 0 to 1")),
            None => Ok(()),
        }
    }

    /// Even-odd test. A point on the left or upper edge counts as inside.
    pub fn contains(&self, p: Point) -> bool {
        let mut inside = false;
        let corners = &self.0;
        let Some(mut a) = corners.last().copied() else {
            return false;
        };
        for &b in corners {
            if (a.y > p.y) != (b.y > p.y) && p.x < (b.x - a.x) * (p.y - a.y) / (b.y - a.y) + a.x {
                inside = !inside;
            }
            a = b;
        }
        inside
    }

    /// The least distance from the point to the border, in fractions of the frame.
    pub fn distance_to_border(&self, p: Point) -> f32 {
        let mut least = f32::INFINITY;
        let Some(mut a) = self.0.last().copied() else {
            return least;
        };
        for &b in &self.0 {
            least = least.min(distance_to_segment(p, a, b));
            a = b;
        }
        least
    }
}

/// The distance from `p` to the segment from `a` to `b`.
pub fn distance_to_segment(p: Point, a: Point, b: Point) -> f32 {
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    let length2 = dx * dx + dy * dy;
    let t =
        if length2 > 0.0 { (((p.x - a.x) * dx + (p.y - a.y) * dy) / length2).clamp(0.0, 1.0) } else { 0.0 };
    (p.x - a.x - t * dx).hypot(p.y - a.y - t * dy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iou_of_a_box_with_itself_is_one_and_of_far_boxes_zero() {
        let a = Region { x: 0.1, y: 0.1, w: 0.2, h: 0.4 };
        assert!((a.iou(&a) - 1.0).abs() < 1e-6);
        assert_eq!(a.iou(&Region { x: 0.5, ..a }), 0.0);
        assert_eq!(Region::default().iou(&Region::default()), 0.0);
    }

    #[test]
    fn a_concave_polygon_knows_its_notch() {
        let notched = Polygon(
            [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.5], [0.0, 1.0]]
                .into_iter()
                .map(Point::from)
                .collect(),
        );
        assert!(notched.contains(Point { x: 0.5, y: 0.4 }));
        assert!(!notched.contains(Point { x: 0.5, y: 0.9 }));
        assert!(notched.check().is_ok());
    }

    #[test]
    fn clipping_keeps_the_part_in_the_frame() {
        let r = Region { x: -0.1, y: 0.9, w: 0.3, h: 0.3 }.clipped();
        assert!((r.w - 0.2).abs() < 1e-6 && (r.h - 0.1).abs() < 1e-6 && r.x == 0.0);
    }
}
