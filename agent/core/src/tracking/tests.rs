//! The tracker's rules, one by one, and what must hold whatever comes.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::finding::{Attributes, ModelRef};

fn finding(label: &str, region: [f32; 4], score: f32) -> Finding {
    let [x, y, w, h] = region;
    let model = ModelRef { name: "m".into(), version: "1".into(), sha256: String::new() };
    Finding {
        label: label.into(),
        score,
        region: Region { x, y, w, h },
        track: None,
        points: Vec::new(),
        attributes: Attributes::new(),
        model: Arc::new(model),
    }
}

fn at(t: f64) -> Duration {
    Duration::from_secs_f64(t)
}

fn tracker() -> Tracker {
    Tracker::new(TrackerConfig::default())
}

/// One finding at `t`; the track it got.
fn see(tracker: &mut Tracker, t: f64, finding: Finding) -> Option<u64> {
    let mut list = [finding];
    tracker.update(at(t), &mut list);
    list[0].track
}

fn car_at(x: f32) -> [f32; 4] {
    [x, 0.5, 0.2, 0.15]
}

#[test]
fn a_thing_counts_once_it_was_seen_in_three_frames() {
    let mut tracker = tracker();
    let tracks: Vec<_> = (0..4)
        .map(|n| see(&mut tracker, f64::from(n) * 0.1, finding("person", [0.4, 0.4, 0.1, 0.3], 0.8)))
        .collect();
    assert_eq!(tracks, [None, None, Some(1), Some(1)]);
}

#[test]
fn a_flicker_of_one_frame_never_becomes_a_track() {
    let mut tracker = tracker();
    see(&mut tracker, 0.0, finding("person", [0.4, 0.4, 0.1, 0.3], 0.8));
    assert!(tracker.update(at(0.1), &mut []).is_empty());
    let ended = tracker.update(at(0.2), &mut []);
    assert_eq!((ended.len(), ended[0].state(), tracker.tracks().len()), (1, TrackState::Tentative, 0));
}

#[test]
fn unsure_findings_keep_a_track_alive_but_begin_none() {
    let mut tracker = tracker();
    for n in 0..10 {
        assert_eq!(see(&mut tracker, f64::from(n) * 0.1, finding("person", [0.1, 0.4, 0.1, 0.3], 0.3)), None);
    }
    assert!(tracker.tracks().is_empty());
    for n in 10..40 {
        let score = if n < 14 { 0.8 } else { 0.3 };
        see(&mut tracker, f64::from(n) * 0.1, finding("person", [0.1, 0.4, 0.1, 0.3], score));
    }
    assert_eq!((tracker.tracks().len(), tracker.tracks()[0].state()), (1, TrackState::Confirmed));
}

#[test]
fn a_vehicle_whose_label_flips_stays_one_track_and_the_votes_name_it() {
    let mut tracker = tracker();
    for n in 0..30u32 {
        let label = if n % 3 == 0 { "car" } else { "truck" };
        let track = see(&mut tracker, f64::from(n) * 0.1, finding(label, car_at(0.1 + n as f32 * 0.01), 0.7));
        assert!(n < 2 || track == Some(1), "frame {n}: {track:?}");
    }
    assert_eq!(&**tracker.tracks()[0].label(), "truck");
}

#[test]
fn two_names_for_one_box_in_one_frame_are_one_track() {
    let mut tracker = tracker();
    for n in 0..5 {
        let mut list = [finding("car", car_at(0.3), 0.6), finding("truck", car_at(0.31), 0.8)];
        tracker.update(at(f64::from(n) * 0.1), &mut list);
        assert_eq!(list[0].track, list[1].track);
    }
    assert_eq!((tracker.tracks().len(), &**tracker.tracks()[0].label()), (1, "truck"));
}

#[test]
fn a_person_never_takes_over_the_track_of_a_car() {
    let mut tracker = tracker();
    for n in 0..5 {
        see(&mut tracker, f64::from(n) * 0.1, finding("car", car_at(0.3), 0.8));
    }
    for n in 5..10 {
        assert_ne!(see(&mut tracker, f64::from(n) * 0.1, finding("person", car_at(0.3), 0.8)), Some(1));
    }
}

#[test]
fn silence_never_ends_a_track_that_the_last_look_saw() {
    let mut tracker = tracker();
    for n in 0..5 {
        see(&mut tracker, f64::from(n) * 0.2, finding("car", car_at(0.3), 0.8));
    }
    for n in 1..100 {
        assert!(tracker.tick(at(1.0 + f64::from(n) * 60.0)).is_empty());
    }
    assert_eq!(see(&mut tracker, 6100.0, finding("car", car_at(0.3), 0.8)), Some(1));
}

#[test]
fn a_still_thing_survives_bad_looks_that_are_ten_seconds_apart() {
    let mut tracker = tracker();
    for look in 0..40u32 {
        let t = f64::from(look) * 10.0;
        if look > 3 && look % 3 != 0 {
            assert!(tracker.update(at(t), &mut []).is_empty());
            assert!(tracker.tick(at(t + 9.0)).is_empty());
        } else {
            let track = see(&mut tracker, t, finding("car", car_at(0.3), 0.8));
            assert!(look < 2 || track == Some(1), "look {look}");
        }
    }
}

#[test]
fn a_thing_that_left_ends_after_the_limit_and_not_before() {
    let mut tracker = tracker();
    for n in 0..10u32 {
        see(&mut tracker, f64::from(n) * 0.1, finding("person", [0.1 + n as f32 * 0.02, 0.4, 0.1, 0.3], 0.8));
    }
    let mut ended_at = None;
    for n in 10..60u32 {
        let t = f64::from(n) * 0.1;
        if let [track] = &tracker.update(at(t), &mut [])[..] {
            assert_eq!((track.id, track.state(), track.frames()), (1, TrackState::Lost, 10));
            ended_at.get_or_insert(t);
        }
    }
    assert!((ended_at.unwrap() - 3.0).abs() < 0.11, "{ended_at:?}");
}

#[test]
fn a_thing_that_left_unwatched_ends_by_time_alone() {
    let mut tracker = tracker();
    for n in 0..10u32 {
        see(&mut tracker, f64::from(n) * 0.1, finding("person", [0.1 + n as f32 * 0.02, 0.4, 0.1, 0.3], 0.8));
    }
    assert!(tracker.update(at(1.0), &mut []).is_empty());
    assert!(tracker.tick(at(20.0)).is_empty());
    assert_eq!(tracker.tick(at(33.1)).len(), 1);
}

#[test]
fn stillness_is_counted_and_ends_with_a_move() {
    let mut tracker = tracker();
    for n in 0..100u32 {
        let wobble = if n % 2 == 0 { 0.004 } else { -0.004 };
        see(&mut tracker, f64::from(n) * 0.1, finding("car", car_at(0.3 + wobble), 0.8));
    }
    assert!(tracker.tracks()[0].still_s() > 9.0);
    for n in 0..10u32 {
        see(&mut tracker, 10.0 + f64::from(n) * 0.1, finding("car", car_at(0.3 + n as f32 * 0.02), 0.8));
    }
    assert!(tracker.tracks()[0].still_s() < 1.0);
    assert_eq!(tracker.tracks()[0].path().len(), PATH_POINTS);
}

#[test]
fn two_walkers_who_meet_keep_their_ids_while_one_hides_the_other() {
    for fps in [3.0, 5.0, 10.0, 25.0] {
        let mut tracker = tracker();
        let (mut first, mut last) = ((None, None), (None, None));
        for n in 0..(6.0 * fps) as u32 {
            let t = f64::from(n) / fps;
            let (a, b) = (0.1 + 0.12 * t as f32, 0.8 - 0.12 * t as f32);
            let mut list = vec![finding("person", [a, 0.4, 0.08, 0.35], 0.9)];
            // The one behind is not found while the one in front covers half of it.
            if (a - b).abs() > 0.04 {
                list.push(finding("person", [b, 0.38, 0.08, 0.33], 0.8));
            }
            tracker.update(at(t), &mut list);
            let ids = (list[0].track, list.get(1).and_then(|f| f.track));
            if t < 2.0 {
                first = ids;
            }
            last = ids;
        }
        assert!(first.0.is_some() && first.1.is_some() && first.0 != first.1);
        assert_eq!(first, last, "at {fps} fps");
    }
}

fn any_f32() -> impl Strategy<Value = f32> {
    prop_oneof![4 => -0.5f32..1.5, 1 => prop::num::f32::ANY]
}

proptest! {
    #[test]
    fn nothing_that_a_model_may_say_breaks_the_tracker(
        frames in prop::collection::vec(
            (prop::collection::vec(([any_f32(), any_f32(), any_f32(), any_f32()], any_f32(), 0usize..4), 0..12), 0u64..3000),
            1..30)
    ) {
        let mut tracker = tracker();
        let mut now = Duration::ZERO;
        for (list, ms) in frames {
            now += Duration::from_millis(ms);
            let mut list: Vec<Finding> = list
                .into_iter()
                .map(|(region, score, label)| finding(["person", "car", "truck", "face"][label], region, score))
                .collect();
            tracker.update(now, &mut list);
            for f in &list {
                prop_assert!(f.track.is_none() || is_trackable(f));
            }
            for track in tracker.tracks() {
                prop_assert!(track.region().is_sound(), "{:?}", track.region());
            }
        }
    }

    #[test]
    fn ids_survive_when_a_walker_is_hidden_for_less_than_a_second(
        fps in 4.0f64..30.0, speed in 0.0f64..0.15, hidden_from in 1.5f64..2.5, hidden_for in 0.05f64..0.95,
        jitter in prop::collection::vec(-0.004f32..0.004, 128)
    ) {
        let mut tracker = tracker();
        let mut ids = Vec::new();
        for n in 0..(4.5 * fps) as usize {
            let t = n as f64 / fps;
            let x = 0.1 + (speed * t) as f32 + jitter[n % 128];
            if t >= hidden_from && t < hidden_from + hidden_for {
                tracker.update(at(t), &mut []);
            } else {
                ids.extend(see(&mut tracker, t, finding("person", [x, 0.3, 0.1, 0.4], 0.8)));
            }
        }
        prop_assert!(ids.iter().all(|&id| id == 1), "{ids:?}");
    }
}
