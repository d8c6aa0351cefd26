//! What a scene tells about simple stories.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::event::{Direction, Kind, Phase, Severity};
use crate::finding::{Attributes, ModelRef};

const CONFIG: &str = r#"{
    "zone": [{"id": "bay", "polygon": [[0,0],[0.5,0],[0.5,1],[0,1]], "labels": ["person"], "dwell_s": 3, "severity": "alarm"}],
    "line": [{"id": "door", "from": [0.5, 0.1], "to": [0.5, 1.0], "labels": ["person"]}]
}"#;

fn finding(label: &str, x: f32, score: f32) -> Finding {
    let model = ModelRef { name: "m".into(), version: "1".into(), sha256: "00".into() };
    Finding {
        label: label.into(),
        score,
        region: Region { x: x - 0.05, y: 0.4, w: 0.1, h: 0.4 },
        track: None,
        points: Vec::new(),
        attributes: Attributes::new(),
        model: Arc::new(model),
    }
}

/// A scene and the time in it.
struct Story {
    scene: CameraAnalytics,
    ms: u64,
    told: Vec<EventData>,
    states: BTreeMap<String, Value>,
}

impl Story {
    fn new() -> Self {
        let mut n = 0u128;
        let make_id = Box::new(move |ms| {
            n += 1;
            Ulid::from_parts(ms, n)
        });
        let scene =
            CameraAnalytics::new("dock".parse().unwrap(), serde_json::from_str(CONFIG).unwrap(), make_id);
        Story { scene, ms: 0, told: Vec::new(), states: BTreeMap::new() }
    }

    fn stamp(&self) -> CaptureTime {
        let wall = Timestamp::from_millisecond(1_700_000_000_000 + self.ms as i64).unwrap();
        CaptureTime { wall, wall_source: TimeSource::Rtp, elapsed: Duration::from_millis(self.ms) }
    }

    fn keep(&mut self, seen: Observation) -> Vec<Finding> {
        self.told.extend(seen.happenings);
        for state in seen.states {
            let before = self.states.insert(state.name.clone(), state.value.clone());
            assert_ne!(before, Some(state.value), "{} was told twice", state.name);
        }
        seen.findings
    }

    fn frame(&mut self, findings: Vec<Finding>) -> Vec<Finding> {
        let stamp = self.stamp();
        let seen = self.scene.observe(&stamp, findings);
        self.ms += 200;
        self.keep(seen)
    }

    fn frames(&mut self, count: u32, finding: impl Fn(u32) -> Finding) {
        for n in 0..count {
            self.frame(vec![finding(n)]);
        }
    }

    fn empty_frames(&mut self, count: u32) {
        for _ in 0..count {
            self.frame(vec![]);
        }
    }

    fn tick(&mut self, after_ms: u64) {
        self.ms += after_ms;
        let stamp = self.stamp();
        let seen = self.scene.tick(stamp.elapsed, stamp.wall);
        self.keep(seen);
    }

    fn phases(&self, kind: Kind) -> Vec<Phase> {
        self.told.iter().filter(|h| h.kind == kind).map(|h| h.phase).collect()
    }
}

#[test]
fn a_walk_through_the_bay_and_the_door_is_told_as_it_is() {
    let mut story = Story::new();
    story.frames(25, |n| finding("person", 0.1 + n as f32 * 0.03, 0.5 + n as f32 * 0.01));
    story.empty_frames(15);
    let told: Vec<_> = story.told.iter().map(|h| (h.kind, h.phase)).collect();
    assert_eq!(
        told,
        [
            (Kind::Object, Phase::Began),
            (Kind::Zone, Phase::Began),
            (Kind::Zone, Phase::Ended),
            (Kind::Line, Phase::Once),
            (Kind::Object, Phase::Ended),
        ]
    );
    let [began, entered, left, crossed, ended] = &story.told[..] else { panic!() };
    assert_eq!((began.occurrence_id, ended.occurrence_id), (ended.occurrence_id, crossed.occurrence_id));
    assert!(
        began.occurrence_id.is_some()
            && entered.occurrence_id == left.occurrence_id
            && entered.occurrence_id != began.occurrence_id
    );
    assert_eq!((began.track, began.severity, entered.severity), (Some(1), Severity::Info, Severity::Alarm));
    assert_eq!((began.time_source, &*began.label), (TimeSource::Rtp, "person"));
    assert_eq!(entered.zone.as_ref().unwrap().as_str(), "bay");
    // The line goes down the picture: its left-hand side is the right of the picture, so rightwards is out.
    let crossing = crossed.line.as_ref().unwrap();
    assert_eq!((crossing.direction, crossing.in_total, crossing.out_total), (Direction::Out, 0, 1));
    assert_eq!(ended.evidence.as_ref().unwrap().frames, 25);
    assert!((ended.evidence.as_ref().unwrap().peak_score - 0.74).abs() < 1e-3);
    assert_eq!(ended.attributes["duration_s"], 4.8);
    assert_eq!(ended.model.as_ref().unwrap().name, "m");
    assert_eq!(story.states["count/bay/person"], 0);
    assert_eq!((&story.states["line/door/in"], &story.states["line/door/out"]), (&0.into(), &1.into()));
}

#[test]
fn a_parked_car_is_told_once_however_long_it_stands_and_however_badly_it_is_seen() {
    let mut story = Story::new();
    story.frames(10, |_| finding("car", 0.3, 0.8));
    for look in 0..200 {
        story.tick(9_800);
        story.frame(if look % 3 == 0 { vec![finding("car", 0.3, 0.6)] } else { vec![] });
    }
    assert_eq!(story.phases(Kind::Object), [Phase::Began, Phase::Updated], "began, became still");
    assert_eq!(story.told[1].attributes["stationary"], true);
    story.frames(20, |n| finding("car", 0.3 + n as f32 * 0.02, 0.8));
    assert_eq!(story.phases(Kind::Object)[2..], [Phase::Updated]);
    let moved_on = &story.told[2];
    assert_eq!(moved_on.attributes["stationary"], false);
    assert!(moved_on.attributes["stationary_s"].as_f64().unwrap() > 1900.0, "{moved_on:?}");
}

#[test]
fn dwelling_is_told_while_the_gate_withholds_frames() {
    let mut story = Story::new();
    story.frames(5, |_| finding("person", 0.3, 0.8));
    assert_eq!(story.states["count/bay/person"], 1);
    story.tick(1_000);
    assert_eq!(story.phases(Kind::Zone), [Phase::Began]);
    for _ in 0..10 {
        story.tick(1_000);
    }
    assert_eq!(story.phases(Kind::Zone), [Phase::Began, Phase::Updated]);
    let dwelled = story.told.last().unwrap();
    assert!((3.0..4.1).contains(&dwelled.attributes["dwell_s"].as_f64().unwrap()), "{dwelled:?}");
}

#[test]
fn a_face_has_a_kind_of_its_own() {
    let mut story = Story::new();
    story.frames(5, |_| finding("face", 0.7, 0.8));
    assert_eq!(story.phases(Kind::Face), [Phase::Began]);
    assert_eq!(story.phases(Kind::Object), []);
}

#[test]
fn a_label_that_is_outvoted_is_told_once() {
    let mut story = Story::new();
    story.frames(60, |n| finding(if n < 5 { "car" } else { "truck" }, 0.3 + n as f32 * 0.005, 0.8));
    let changed: Vec<_> = story.told.iter().filter(|h| h.attributes.contains_key("previous_label")).collect();
    assert_eq!((changed.len(), &*changed[0].label), (1, "truck"));
    assert_eq!(changed[0].attributes["previous_label"], "car");
}

#[test]
fn zones_and_lines_can_be_exchanged_while_things_are_in_them() {
    let mut story = Story::new();
    story.frames(10, |n| finding("person", 0.2 + n as f32 * 0.005, 0.8));
    let config: AnalyticsConfig = serde_json::from_str(CONFIG).unwrap();
    let other = ZoneConfig { id: "yard".parse().unwrap(), ..config.zones[0].clone() };
    let stamp = story.stamp();
    let seen = story.scene.set_zones_lines(vec![other], config.lines.clone(), stamp.elapsed, stamp.wall);
    story.keep(seen);
    assert_eq!(story.phases(Kind::Zone), [Phase::Began, Phase::Ended]);
    assert_eq!(story.states["count/bay/person"], Value::Null);
    story.frames(5, |_| finding("person", 0.25, 0.8));
    assert_eq!(story.phases(Kind::Zone), [Phase::Began, Phase::Ended, Phase::Began]);
    assert_eq!(story.phases(Kind::Object), [Phase::Began]);
    assert_eq!(story.states["count/yard/person"], 1);
}

#[test]
fn totals_go_on_from_an_earlier_life() {
    let mut story = Story::new();
    let id = "door".parse().unwrap();
    story.scene.restore_totals(&[LineTotals { id, in_total: 12, out_total: 8 }]);
    story.frames(25, |n| finding("person", 0.1 + n as f32 * 0.03, 0.8));
    assert_eq!((story.scene.totals()[0].in_total, story.scene.totals()[0].out_total), (12, 9));
    assert_eq!(story.states["line/door/out"], 9);
}

#[test]
fn viewers_see_tracks_with_their_way_and_zones_and_findings_know_their_track() {
    let mut story = Story::new();
    story.frames(9, |n| finding("person", 0.1 + n as f32 * 0.03, 0.8));
    let list = story.frame(vec![finding("person", 0.37, 0.8), finding("person", f32::NAN, 0.9)]);
    assert_eq!(list.iter().map(|f| f.track).collect::<Vec<_>>(), [Some(1)]);
    let tracks = story.scene.tracks();
    assert_eq!((tracks.len(), tracks[0].id, tracks[0].path.len()), (1, 1, 10));
    assert_eq!(tracks[0].zones[0].as_str(), "bay");
}

proptest! {
    #[test]
    fn whatever_is_seen_every_beginning_has_one_end_after_it(
        frames in prop::collection::vec((prop::collection::vec((0usize..4, 0.0f32..1.0, 0.1f32..1.0), 0..5), 1u64..4000), 1..80)
    ) {
        let mut story = Story::new();
        for (list, pause) in frames {
            let of = |(label, x, score): (usize, f32, f32)| finding(["person", "car", "truck", "face"][label], x, score);
            story.frame(list.into_iter().map(of).collect());
            if pause > 2000 { story.tick(pause) } else { story.ms += pause }
        }
        let stamp = story.stamp();
        let seen = story.scene.end_all(stamp.elapsed, stamp.wall);
        story.keep(seen);
        let mut open = BTreeMap::new();
        for h in story.told.iter().filter(|h| h.phase != Phase::Once) {
            let thing = h.occurrence_id.unwrap();
            match h.phase {
                Phase::Began => prop_assert!(open.insert(thing, (h.track, true)).is_none(), "{h:?}"),
                _ => {
                    let state = open.get_mut(&thing);
                    prop_assert!(matches!(&state, Some((track, true)) if *track == h.track), "{h:?}");
                    state.unwrap().1 = h.phase != Phase::Ended;
                }
            }
        }
        prop_assert!(open.values().all(|(_, is_open)| !is_open));
        prop_assert_eq!(&story.states["count/bay/person"], &Value::from(0));
    }

    #[test]
    fn a_walker_to_and_fro_crosses_as_often_as_he_does_at_any_frame_rate(fps in 4.0f64..30.0, ways in 1u32..6) {
        let mut story = Story::new();
        // A quarter of the frame to each side of the line, at a quarter of the frame a second.
        for n in 0..=(f64::from(ways) * 2.0 * fps + fps) as u32 {
            let t = (f64::from(n) / fps - 1.0).clamp(0.0, f64::from(ways) * 2.0);
            let (way, part) = ((t / 2.0) as u32, t / 2.0 - (t / 2.0).floor());
            let x = if way % 2 == 0 { 0.25 + 0.5 * part } else { 0.75 - 0.5 * part };
            story.ms = (f64::from(n) / fps * 1000.0) as u64;
            story.frame(vec![finding("person", x as f32, 0.8)]);
        }
        for _ in 0..10 {
            let end = if ways % 2 == 0 { 0.25 } else { 0.75 };
            story.frame(vec![finding("person", end, 0.8)]);
        }
        prop_assert_eq!(story.phases(Kind::Line).len() as u32, ways);
    }
}
