//! Lines: directed segments that things cross, inwards or outwards.
//!
//! Looking from `from` to `to` in the picture (x to the right, y down), **in** is from the left-hand side to the
//! right-hand side:
//!
//! ```text
//!   from (0.1,0.6), to (0.9,0.6)          from (0.5,0.9), to (0.5,0.1)
//!
//!          left-hand side                            to
//!               │                                    ▲
//!   from ───────┼──────▶ to                 left ────┼───▶ right:  in
//!               ▼                                    │
//!         right-hand side:  in                      from
//! ```
//!
//! A line drawn from left to right counts what walks down the picture as **in**; exchange `from` and `to` to
//! turn that round.
//!
//! Pure; owned by the scene. What counts is the way between sightings, not the sides at its ends: who walks
//! round the end of a line has not crossed it, and who leaps over it between two frames has. A crossing is
//! settled once the thing is clearly off the line; crossings to and fro before that cancel out.
//! Invariant: the sum of all crossings (in +1, out −1) tells on which side of the segment the way went on.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::analytics::zone::{Anchor, margin, notice};
use crate::event::{Direction, Severity};
use crate::geometry::{Point, Region, distance_to_segment};
use crate::id::Name;

/// The shortest line, in fractions of the frame.
const SHORTEST: f32 = 0.01;
/// How long a thing must have been across when it stays close to the line, in seconds.
const SETTLE_S: f32 = 1.0;

/// A line to watch. Crossing it from the left-hand to the right-hand side, looking from `from` to `to`, is
/// `in`: with `from` at the left and `to` at the right of the picture, what moves down the picture goes in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LineConfig {
    /// Its name in topics and events.
    pub id: Name,
    /// Where it begins, in fractions of the frame.
    pub from: Point,
    /// Where it ends, in fractions of the frame.
    pub to: Point,
    /// Which things count; all if empty.
    #[serde(default)]
    pub labels: Vec<String>,
    /// How much its events matter.
    #[serde(default = "notice")]
    pub severity: Severity,
    /// The point of a box whose way is followed.
    #[serde(default)]
    pub anchor: Anchor,
}

impl LineConfig {
    /// What is wrong with this line: the field, and what to do. Empty if nothing is.
    pub fn check(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        for (name, p) in [("from", self.from), ("to", self.to)] {
            if !p.is_in_frame() {
                wrong
                    .push((name.to_owned(), "lies outside the frame: coordinates go from 0 to 1".to_owned()));
            }
        }
        let length = (self.to.x - self.from.x).hypot(self.to.y - self.from.y);
        if wrong.is_empty() && length < SHORTEST {
            wrong.push((
                "to".into(),
                format!("is {length:.3} from `from`: a line must be {SHORTEST} long or more"),
            ));
        }
        wrong
    }

    /// Positive on the right-hand side, looking from `from` to `to`.
    fn side(&self, p: Point) -> f32 {
        let (a, b) = (self.from, self.to);
        (b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x)
    }

    /// How the step from `p` to `q` crosses the segment: +1 in, −1 out, 0 not at all. A point on the line
    /// belongs to its right-hand side, so that a way with a corner on the line crosses it once.
    fn crossed_by(&self, p: Point, q: Point) -> i32 {
        let (before, after) = (self.side(p), self.side(q));
        if (before >= 0.0) == (after >= 0.0) {
            return 0;
        }
        let t = before / (before - after);
        let hit = Point { x: p.x + t * (q.x - p.x), y: p.y + t * (q.y - p.y) };
        let (dx, dy) = (self.to.x - self.from.x, self.to.y - self.from.y);
        let along = ((hit.x - self.from.x) * dx + (hit.y - self.from.y) * dy) / (dx * dx + dy * dy);
        match (0.0..=1.0).contains(&along) {
            true if after >= 0.0 => 1,
            true => -1,
            false => 0,
        }
    }
}

/// The way of one thing with regard to one line.
#[derive(Debug, Clone, Copy, Default)]
pub struct CrossingState {
    last: Option<Point>,
    /// Crossings that are not settled yet, those in minus those out.
    pending: i32,
    pending_since: Duration,
}

impl CrossingState {
    /// Takes in a sighting; returns the crossing that is now settled, if any.
    /// With `may_settle` false it only remembers: for things that do not count yet.
    pub fn see(
        &mut self,
        line: &LineConfig,
        region: &Region,
        now: Duration,
        may_settle: bool,
    ) -> Option<Direction> {
        let p = line.anchor.of(region);
        let crossed = self.last.map_or(0, |last| line.crossed_by(last, p));
        self.last = Some(p);
        if crossed != 0 {
            self.pending += crossed;
            self.pending_since = now;
        }
        if !may_settle {
            return None;
        }
        let (away, clear) = (distance_to_segment(p, line.from, line.to), margin(region));
        let stayed = now.saturating_sub(self.pending_since).as_secs_f32() >= SETTLE_S;
        if away < clear && !(stayed && away >= clear / 4.0) {
            return None;
        }
        match std::mem::take(&mut self.pending).signum() {
            1 => Some(Direction::In),
            -1 => Some(Direction::Out),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn door() -> LineConfig {
        serde_json::from_str(r#"{"id": "door", "from": [0.2, 0.5], "to": [0.8, 0.5]}"#).unwrap()
    }

    fn feet(x: f32, y: f32) -> Region {
        Region { x: x - 0.02, y: y - 0.1, w: 0.04, h: 0.1 }
    }

    /// The settled crossings of a way, one sighting each tenth of a second.
    fn crossings(line: &LineConfig, way: impl IntoIterator<Item = (f32, f32)>) -> Vec<Direction> {
        let mut passage = CrossingState::default();
        let see = |(n, (x, y)): (usize, (f32, f32))| {
            passage.see(line, &feet(x, y), Duration::from_millis(n as u64 * 100), true)
        };
        way.into_iter().enumerate().filter_map(see).collect()
    }

    #[test]
    fn down_the_picture_is_in_for_a_line_from_left_to_right() {
        assert_eq!(crossings(&door(), [(0.5, 0.3), (0.5, 0.7)]), [Direction::In]);
        assert_eq!(crossings(&door(), [(0.5, 0.7), (0.5, 0.3)]), [Direction::Out]);
        let turned = LineConfig { from: door().to, to: door().from, ..door() };
        assert_eq!(crossings(&turned, [(0.5, 0.3), (0.5, 0.7)]), [Direction::Out]);
    }

    #[test]
    fn to_the_right_is_in_for_a_line_upwards() {
        let upwards = LineConfig { from: [0.5, 0.9].into(), to: [0.5, 0.1].into(), ..door() };
        assert_eq!(crossings(&upwards, [(0.3, 0.5), (0.7, 0.5)]), [Direction::In]);
    }

    #[test]
    fn who_walks_round_the_end_has_not_crossed() {
        let round = [(0.5, 0.4), (0.9, 0.4), (0.9, 0.6), (0.5, 0.6)];
        assert_eq!(crossings(&door(), round), []);
    }

    #[test]
    fn jitter_on_the_line_is_at_most_one_crossing() {
        let jitter = |n: i32| (0.5, if n % 2 == 0 { 0.498 } else { 0.502 });
        assert_eq!(crossings(&door(), (0..200).map(jitter)), []);
        let way = [(0.5, 0.4)].into_iter().chain((1..200).map(jitter)).chain([(0.5, 0.6)]);
        assert_eq!(crossings(&door(), way), [Direction::In]);
        let back = [(0.5, 0.4)].into_iter().chain((1..200).map(jitter)).chain([(0.5, 0.4)]);
        assert_eq!(crossings(&door(), back), []);
    }

    #[test]
    fn who_stops_just_behind_the_line_has_crossed_after_a_second() {
        let way = [(0.5, 0.4)].into_iter().chain((0..15).map(|_| (0.5, 0.503)));
        assert_eq!(crossings(&door(), way), [Direction::In]);
    }

    #[test]
    fn lines_without_length_and_points_outside_are_refused() {
        let dot = LineConfig { to: door().from, ..door() };
        assert!(dot.check()[0].1.contains("must be 0.01 long"), "{:?}", dot.check());
        let outside = LineConfig { from: [-0.1, f32::NAN].into(), ..door() };
        assert_eq!(outside.check()[0].0, "from");
        assert_eq!(door().check(), []);
        assert!(serde_json::from_str::<LineConfig>(r#"{"id":"a","from":[0,0],"to":[1,1],"x":1}"#).is_err());
    }

    proptest! {
        #[test]
        fn a_way_that_crosses_k_times_gives_k_crossings_whatever_the_frame_rate(
            turns in prop::collection::vec((0.25f32..0.75, 0.03f32..0.4), 1..12),
            samples in prop::collection::vec(1usize..40, 12),
            shift in 0.0f32..0.01
        ) {
            // Corners alternate between the sides; each leg is sampled as finely as a frame rate would.
            let corner = |n: usize| {
                let (x, depth) = turns[n];
                (x, if n.is_multiple_of(2) { 0.5 - depth } else { 0.5 + depth } + shift)
            };
            let mut way = vec![corner(0)];
            for (n, &steps) in samples.iter().enumerate().take(turns.len()).skip(1) {
                let ((x0, y0), (x1, y1)) = (corner(n - 1), corner(n));
                way.extend((1..=steps).map(|s| {
                    let t = s as f32 / steps as f32;
                    (x0 + t * (x1 - x0), y0 + t * (y1 - y0))
                }));
            }
            let expected: Vec<Direction> = (1..turns.len())
                .map(|n| if n % 2 == 1 { Direction::In } else { Direction::Out })
                .collect();
            prop_assert_eq!(crossings(&door(), way), expected);
        }
    }
}
