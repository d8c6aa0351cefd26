//! Zones: areas of the frame that things enter, stand in and leave.
//!
//! Pure; owned by the scene. Invariant: for each thing, enters and leaves alternate, beginning with an enter.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Severity;
use crate::geometry::{Point, Polygon, Region};
use crate::id::Name;

/// How long a thing must be on the other side of a border when it stays close to it, in seconds.
const SETTLE_S: f32 = 0.5;

/// The point of a box that is tested against zones and lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    /// The middle of the lower edge: where it stands on the ground.
    #[default]
    BottomCentre,
    /// The middle of the box.
    Centre,
}

impl Anchor {
    /// That point of a box, held within the frame: who stands on the frame's lower edge is still in it.
    pub fn of(self, region: &Region) -> Point {
        let p = match self {
            Anchor::BottomCentre => region.bottom_centre(),
            Anchor::Centre => region.centre(),
        };
        // Just inside, because a polygon's right and lower edges do not belong to it.
        Point { x: p.x.clamp(0.0, 0.9999), y: p.y.clamp(0.0, 0.9999) }
    }
}

/// How far from a border a box must be to count as clearly beyond it, in fractions of the frame: what jitters
/// is the box, so this grows with it.
pub(crate) fn margin(region: &Region) -> f32 {
    (0.04 * region.w.max(region.h)).clamp(0.004, 0.02)
}

/// Whether a list of labels wants this one; an empty list wants all.
pub(crate) fn wants(labels: &[String], label: &str) -> bool {
    labels.is_empty() || labels.iter().any(|l| l == label)
}

/// An area to watch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZoneConfig {
    /// Its name in topics and events.
    pub id: Name,
    /// Its corners, in fractions of the frame.
    pub polygon: Polygon,
    /// Which things count; all if empty.
    #[serde(default)]
    pub labels: Vec<String>,
    /// After how many seconds in the zone a thing is reported as dwelling. Never if left out.
    #[serde(default)]
    pub dwell_s: Option<f32>,
    /// How much its events matter.
    #[serde(default = "notice")]
    pub severity: Severity,
    /// The point of a box that must be inside.
    #[serde(default)]
    pub anchor: Anchor,
}

pub(crate) fn notice() -> Severity {
    Severity::Notice
}

impl ZoneConfig {
    /// What is wrong with this zone: the field, and what to do. Empty if nothing is.
    pub fn check(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        match self.polygon.check() {
            Err(problem) => wrong.push(("polygon".to_owned(), problem)),
            Ok(()) if area(&self.polygon) < 1e-5 => {
                wrong.push(("polygon".into(), "has no area: its corners lie on a line".into()));
            }
            Ok(()) => {}
        }
        if let Some(s) = self.dwell_s
            && !(s > 0.0 && s <= 86_400.0)
        {
            wrong.push(("dwell_s".into(), format!("{s} is not above 0 and at most 86400 seconds")));
        }
        wrong
    }
}

/// The area by the shoelace formula, in fractions of the frame.
fn area(polygon: &Polygon) -> f32 {
    let corners = &polygon.0;
    let next = corners.iter().cycle().skip(1);
    (corners.iter().zip(next).map(|(a, b)| a.x * b.y - b.x * a.y).sum::<f32>() / 2.0).abs()
}

/// What a sighting means for a thing and a zone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ZoneChange {
    /// It came in.
    Entered,
    /// It has been inside for `dwell_s`; said once a stay.
    Dwelled,
    /// It went out, after this many seconds.
    Left(f32),
}

/// One thing and one zone.
#[derive(Debug, Clone, Copy, Default)]
pub struct ZoneDwell {
    inside_since: Option<Duration>,
    /// Since when the sightings have contradicted `inside_since`.
    doubted_since: Option<Duration>,
    dwelled: bool,
}

impl ZoneDwell {
    /// Whether the thing is in the zone.
    pub fn is_inside(&self) -> bool {
        self.inside_since.is_some()
    }

    /// For how long it has been in the zone, in seconds.
    pub fn dwell_s(&self, now: Duration) -> f32 {
        self.inside_since.map_or(0.0, |since| now.saturating_sub(since).as_secs_f32())
    }

    /// Takes in a sighting. A border counts as crossed once the box is clearly beyond it, or has been beyond
    /// it at all for half a second.
    pub fn see(
        &mut self,
        zone: &ZoneConfig,
        label: &str,
        region: &Region,
        now: Duration,
    ) -> Option<ZoneChange> {
        if !wants(&zone.labels, label) {
            return self.leave(now);
        }
        let p = zone.anchor.of(region);
        if zone.polygon.contains(p) == self.is_inside() {
            self.doubted_since = None;
            return None;
        }
        let since = *self.doubted_since.get_or_insert(now);
        let clear = zone.polygon.distance_to_border(p) >= margin(region);
        if !clear && now.saturating_sub(since).as_secs_f32() < SETTLE_S {
            return None;
        }
        self.doubted_since = None;
        if self.is_inside() {
            return self.leave(now);
        }
        self.inside_since = Some(now);
        self.dwelled = false;
        Some(ZoneChange::Entered)
    }

    /// Whether the thing has now been inside long enough, for the first time in this stay.
    pub fn pass_time(&mut self, zone: &ZoneConfig, now: Duration) -> Option<ZoneChange> {
        let due = zone.dwell_s.is_some_and(|s| self.is_inside() && !self.dwelled && self.dwell_s(now) >= s);
        self.dwelled |= due;
        due.then_some(ZoneChange::Dwelled)
    }

    /// The thing or the zone is gone.
    pub fn leave(&mut self, now: Duration) -> Option<ZoneChange> {
        let dwell_s = self.dwell_s(now);
        let was_inside = self.is_inside();
        *self = ZoneDwell::default();
        was_inside.then_some(ZoneChange::Left(dwell_s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn left_half() -> ZoneConfig {
        serde_json::from_str(r#"{"id": "bay", "polygon": [[0,0],[0.5,0],[0.5,1],[0,1]], "dwell_s": 3}"#)
            .unwrap()
    }

    fn standing_at(x: f32) -> Region {
        Region { x: x - 0.05, y: 0.3, w: 0.1, h: 0.4 }
    }

    fn at(t: f32) -> Duration {
        Duration::from_secs_f32(t)
    }

    #[test]
    fn jitter_on_the_border_is_one_entry() {
        let (zone, mut stay, mut changes) = (left_half(), ZoneDwell::default(), Vec::new());
        changes.extend(stay.see(&zone, "person", &standing_at(0.4), at(0.0)));
        for n in 1..100u32 {
            let x = if n % 2 == 0 { 0.495 } else { 0.505 };
            changes.extend(stay.see(&zone, "person", &standing_at(x), at(n as f32 * 0.1)));
        }
        assert_eq!(changes, [ZoneChange::Entered]);
    }

    #[test]
    fn who_stays_just_beyond_the_border_has_left() {
        let (zone, mut stay) = (left_half(), ZoneDwell::default());
        stay.see(&zone, "person", &standing_at(0.4), at(0.0));
        assert_eq!(stay.see(&zone, "person", &standing_at(0.505), at(1.0)), None);
        assert_eq!(stay.see(&zone, "person", &standing_at(0.505), at(1.6)), Some(ZoneChange::Left(1.6)));
    }

    #[test]
    fn dwelling_is_said_once_a_stay() {
        let (zone, mut stay) = (left_half(), ZoneDwell::default());
        stay.see(&zone, "person", &standing_at(0.2), at(0.0));
        let said: Vec<_> = (0..100).filter_map(|n| stay.pass_time(&zone, at(n as f32 * 0.1))).collect();
        assert_eq!(said, [ZoneChange::Dwelled]);
        stay.leave(at(10.0));
        stay.see(&zone, "person", &standing_at(0.2), at(11.0));
        assert_eq!(stay.pass_time(&zone, at(12.0)), None);
        assert_eq!(stay.pass_time(&zone, at(14.0)), Some(ZoneChange::Dwelled));
    }

    #[test]
    fn a_zone_counts_only_its_labels() {
        let mut zone = left_half();
        zone.labels = vec!["truck".into()];
        let mut stay = ZoneDwell::default();
        assert_eq!(stay.see(&zone, "person", &standing_at(0.2), at(0.0)), None);
        assert_eq!(stay.see(&zone, "truck", &standing_at(0.2), at(0.1)), Some(ZoneChange::Entered));
    }

    #[test]
    fn feet_on_the_lower_edge_of_the_frame_are_inside_the_zone_there() {
        let (zone, mut stay) = (left_half(), ZoneDwell::default());
        let cut = Region { x: 0.2, y: 0.7, w: 0.1, h: 0.35 };
        stay.see(&zone, "person", &cut, at(0.0));
        assert_eq!(stay.see(&zone, "person", &cut, at(0.6)), Some(ZoneChange::Entered));
    }

    #[test]
    fn zones_without_area_and_unknown_keys_are_refused() {
        let flat = r#"{"id": "a", "polygon": [[0,0],[0.5,0.5],[1,1]], "dwell_s": -1}"#;
        let wrong = serde_json::from_str::<ZoneConfig>(flat).unwrap().check();
        assert_eq!(wrong.iter().map(|w| w.0.as_str()).collect::<Vec<_>>(), ["polygon", "dwell_s"]);
        assert!(serde_json::from_str::<ZoneConfig>(r#"{"id": "a", "polygon": [], "dwel": 1}"#).is_err());
        assert_eq!(left_half().check(), []);
        assert_eq!(left_half().severity, Severity::Notice);
    }

    proptest! {
        #[test]
        fn enters_and_leaves_alternate_on_any_path(
            path in prop::collection::vec((0.0f32..1.0, 0.0f32..1.0, 0.01f32..2.0), 1..80)
        ) {
            let (zone, mut stay, mut now, mut inside) = (left_half(), ZoneDwell::default(), 0.0, 0);
            for (x, y, dt) in path {
                now += dt;
                let region = Region { x: x - 0.05, y: y - 0.2, w: 0.1, h: 0.2 };
                match stay.see(&zone, "person", &region, at(now)) {
                    Some(ZoneChange::Entered) => inside += 1,
                    Some(ZoneChange::Left(s)) => { prop_assert!(s >= 0.0); inside -= 1 }
                    _ => {}
                }
                prop_assert_eq!(inside, i32::from(stay.is_inside()));
            }
            inside -= i32::from(stay.leave(at(now)).is_some());
            prop_assert_eq!(inside, 0);
        }
    }
}
