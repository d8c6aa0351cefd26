//! VideoHealthMonitor before synthetic views with noise, changing light, passers-by and everything that can befall a camera.

use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::frame::{CaptureTime, Colour, PixelFormat, TimeSource};

const SIZE: (usize, usize) = (320, 240);
const SAME_LIGHT: (f32, f32) = (1.0, 0.0);

/// What is in front of the camera at a place of the world: rectangles of several sizes, nowhere the same.
fn world(seed: u32, x: i32, y: i32) -> f32 {
    let mut level = 110.0;
    for (size, weight) in [(61, 60.0), (23, 45.0), (9, 25.0)] {
        let cell = (x.div_euclid(size) as u32).wrapping_mul(0x9e37_79b1)
            ^ (y.div_euclid(size) as u32).wrapping_mul(0x85eb_ca77)
            ^ seed.wrapping_mul(0xc2b2_ae3d)
            ^ size as u32;
        let hash = (cell ^ (cell >> 15)).wrapping_mul(0x2c1b_3c6d);
        let hash = (hash ^ (hash >> 12)).wrapping_mul(0x297a_2d39);
        level += ((hash >> 16) as f32 / 65_535.0 - 0.5) * weight;
    }
    level
}

fn view(seed: u32, (dx, dy): (i32, i32)) -> Vec<f32> {
    let (w, h) = SIZE;
    (0..w * h).map(|n| world(seed, (n % w) as i32 + dx, (n / w) as i32 + dy)).collect()
}

fn blurred(plane: &[f32], radius: i32) -> Vec<f32> {
    let (w, h) = (SIZE.0 as i32, SIZE.1 as i32);
    let pass = |from: &[f32], dx: i32, dy: i32| -> Vec<f32> {
        let at = |n: i32, d: i32| {
            let (x, y) = ((n % w + d * dx).clamp(0, w - 1), (n / w + d * dy).clamp(0, h - 1));
            from[(y * w + x) as usize]
        };
        let width = (2 * radius + 1) as f32;
        (0..w * h).map(|n| (-radius..=radius).map(|d| at(n, d)).sum::<f32>() / width).collect()
    };
    let once = pass(&pass(plane, 1, 0), 0, 1);
    pass(&pass(&once, 1, 0), 0, 1)
}

struct Camera {
    sight: VideoHealthMonitor,
    ms: u64,
    random: u64,
    noise: i32,
}

impl Camera {
    fn new(noise: i32) -> Self {
        Self::with(VideoHealthConfig::default(), noise)
    }

    fn with(config: VideoHealthConfig, noise: i32) -> Self {
        Camera { sight: VideoHealthMonitor::new(config, Vec::new()), ms: 0, random: 7, noise }
    }

    fn sample(&mut self) -> i32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let part = |shift: u32| (self.random >> shift & 0xff) as i32 - 128;
        (part(8) + part(24) + part(40)) * self.noise / 128
    }

    /// A frame `after_ms` later.
    fn frame(&mut self, after_ms: u64, plane: &[f32], (gain, offset): (f32, f32)) -> Option<Change> {
        let noisy = |v: &f32| ((v * gain + offset) as i32 + self.sample()).clamp(0, 255) as u8;
        let plane = plane.iter().map(noisy).collect();
        self.ms += after_ms;
        self.sight.look(&frame(self.ms, SIZE, plane))
    }

    /// A frame a second, for so many seconds: what was told when, counted from the beginning of these.
    fn watch(&mut self, seconds: u64, plane: &[f32], light: (f32, f32)) -> Vec<(u64, Option<VideoFault>)> {
        let told = |n| self.frame(1000, plane, light).map(|change| (n, change.loss));
        (0..seconds).filter_map(told).collect()
    }
}

fn frame(ms: u64, (w, h): (usize, usize), plane: Vec<u8>) -> Frame {
    let size = (w as u32, h as u32);
    let picture = Picture::new(size, PixelFormat::Gray8, Colour::SD, [w, 0, 0], Arc::new(plane)).unwrap();
    let elapsed = Duration::from_millis(ms);
    let capture_time = CaptureTime { wall: Timestamp::UNIX_EPOCH, wall_source: TimeSource::Clock, elapsed };
    Frame { source: "cam".parse().unwrap(), seq: ms, capture_time, picture }
}

/// A camera that has seen a view for twenty seconds, and the view.
fn settled(noise: i32) -> (Camera, Vec<f32>) {
    let (mut camera, plane) = (Camera::new(noise), view(1, (0, 0)));
    assert_eq!(camera.watch(20, &plane, SAME_LIGHT), []);
    (camera, plane)
}

#[test]
fn a_lens_cap_is_black_after_its_time_and_ends_when_it_is_taken_off() {
    let (mut camera, plane) = settled(3);
    let black = vec![0.0; plane.len()];
    camera.noise = 1;
    assert_eq!(camera.watch(12, &black, SAME_LIGHT), [(10, Some(VideoFault::Black))]);
    camera.noise = 3;
    assert_eq!(camera.watch(10, &plane, SAME_LIGHT), [(3, None)]);
    assert_eq!(camera.watch(9, &black, SAME_LIGHT), [], "a moment is none");
    assert_eq!(camera.watch(9, &plane, SAME_LIGHT), []);
}

#[test]
fn a_night_with_noise_or_with_lights_is_no_loss() {
    for lit in [false, true] {
        let (mut camera, plane) = settled(3);
        let mut night: Vec<f32> = plane.iter().map(|v| v * 0.04).collect();
        if lit {
            (0..6).for_each(|n| {
                (0..9).for_each(|k| night[(60 + k / 3) * SIZE.0 + 30 + n * 40 + k % 3] = 220.0)
            });
        } else {
            camera.noise = 8;
        }
        assert_eq!(camera.watch(60, &night, SAME_LIGHT), [], "lights: {lit}");
        camera.noise = 3;
        assert_eq!(camera.watch(60, &plane, SAME_LIGHT), [], "the next morning, lights: {lit}");
    }
}

#[test]
fn a_cloth_before_the_lens_is_covered_and_not_moved_or_out_of_focus() {
    let (mut camera, plane) = settled(3);
    let cloth: Vec<f32> = (0..plane.len()).map(|n| 70.0 + (n % SIZE.0) as f32 * 0.1).collect();
    assert_eq!(camera.watch(40, &cloth, SAME_LIGHT), [(10, Some(VideoFault::Covered))]);
    assert!(camera.sight.measures.gone > 0.9, "{:?}", camera.sight.measures);
    assert_eq!(camera.watch(60, &plane, SAME_LIGHT), [(3, None)]);
}

#[test]
fn a_truck_before_half_of_the_view_is_no_loss() {
    let (mut camera, plane) = settled(3);
    let mut truck = plane.clone();
    for (n, v) in truck.iter_mut().enumerate() {
        if n % SIZE.0 > SIZE.0 / 2 {
            *v = 190.0;
        }
    }
    assert_eq!(camera.watch(120, &truck, SAME_LIGHT), []);
    assert_eq!(camera.watch(120, &plane, SAME_LIGHT), []);
}

#[test]
fn a_lens_that_lost_its_focus_is_told_after_its_time() {
    let (mut camera, plane) = settled(2);
    let soft = blurred(&plane, 2);
    assert_eq!(camera.watch(29, &soft, SAME_LIGHT), []);
    assert_eq!(camera.watch(30, &soft, SAME_LIGHT), [(1, Some(VideoFault::OutOfFocus))]);
    assert!(camera.sight.measures.focus.unwrap() < 0.2, "{:?}", camera.sight.measures);
    assert_eq!(camera.watch(30, &plane, SAME_LIGHT), [(3, None)]);
}

#[test]
fn a_camera_that_was_turned_to_another_scene_has_moved_until_that_is_the_usual_one() {
    let config = VideoHealthConfig { relearn_after_s: 60.0, ..VideoHealthConfig::default() };
    let (mut camera, plane) = (Camera::with(config, 3), view(1, (0, 0)));
    assert_eq!(camera.watch(20, &plane, SAME_LIGHT), []);
    let other = view(2, (0, 0));
    assert_eq!(camera.watch(90, &other, SAME_LIGHT), [(11, Some(VideoFault::Moved)), (71, None)]);
    assert_eq!(camera.sight.measures.shift, None, "it was not found anywhere");
    // Both views are known from now on: a camera that turns to and fro is learnt once.
    assert_eq!(camera.watch(60, &plane, SAME_LIGHT), []);
    assert_eq!(camera.watch(60, &other, SAME_LIGHT), []);
}

#[test]
fn one_who_was_turned_while_it_was_away_is_noticed() {
    let (mut camera, _) = settled(3);
    camera.sight.reopened();
    assert_eq!(camera.watch(20, &view(1, (60, 0)), SAME_LIGHT), [(11, Some(VideoFault::Moved))]);
    let shift = camera.sight.measures.shift.unwrap();
    assert!((shift[0] + 60.0 / 320.0).abs() < 0.04 && shift[1].abs() < 0.03, "{shift:?}");
}

#[test]
fn a_clip_that_goes_from_view_to_view_has_not_moved_and_one_that_stays_has() {
    let (mut camera, _) = settled(3);
    for n in 2..30 {
        assert_eq!(camera.watch(4, &view(n, (0, 0)), SAME_LIGHT), [], "view {n}");
    }
    let told = camera.watch(20, &view(30, (0, 0)), SAME_LIGHT);
    assert!(matches!(told[..], [(10 | 11, Some(VideoFault::Moved))]), "{told:?}");
}

#[test]
fn a_masked_picture_and_a_plain_wall_are_not_judged() {
    let whole = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]].into_iter().map(Into::into).collect();
    let mut camera = Camera::new(0);
    camera.sight = VideoHealthMonitor::new(VideoHealthConfig::default(), vec![Polygon(whole)]);
    let masked = vec![32.0; SIZE.0 * SIZE.1];
    assert_eq!(camera.watch(90, &masked, SAME_LIGHT), []);
    let mut wall = Camera::new(3);
    assert_eq!(wall.watch(30, &vec![120.0; SIZE.0 * SIZE.1], SAME_LIGHT), []);
    assert_eq!(wall.watch(30, &vec![60.0; SIZE.0 * SIZE.1], SAME_LIGHT), []);
    assert_eq!(wall.watch(30, &view(1, (0, 0)), SAME_LIGHT), []);
}

#[test]
fn what_is_not_looked_for_is_not_told() {
    let look_for = vec![VideoFault::Black];
    let mut camera = Camera::with(VideoHealthConfig { look_for, ..VideoHealthConfig::default() }, 0);
    assert_eq!(camera.watch(60, &view(1, (0, 0)), SAME_LIGHT), []);
    assert_eq!(camera.watch(60, &view(2, (0, 0)), SAME_LIGHT), []);
    assert_eq!(camera.watch(60, &vec![0.0; SIZE.0 * SIZE.1], SAME_LIGHT), [(10, Some(VideoFault::Black))]);
    camera.sight = VideoHealthMonitor::new(
        VideoHealthConfig { enabled: false, ..VideoHealthConfig::default() },
        Vec::new(),
    );
    assert_eq!(camera.watch(60, &vec![0.0; SIZE.0 * SIZE.1], SAME_LIGHT), []);
}

#[test]
fn a_frozen_picture_lives_again_with_the_second_change_not_with_one_picture_a_minute() {
    let (mut camera, plane) = settled(0);
    assert_eq!(camera.watch(60, &plane, SAME_LIGHT), [(10, Some(VideoFault::Frozen))]);
    for n in 1..4 {
        assert_eq!(camera.watch(60, &plane, (1.0, n as f32)), [], "slide {n}");
    }
    camera.noise = 3;
    assert_eq!(camera.watch(30, &plane, SAME_LIGHT), [(21, None)], "noise alone needs a while");
    camera.noise = 0;
    // The last noisy picture is waited for.
    let told = camera.watch(60, &plane, SAME_LIGHT);
    assert!(matches!(told[..], [(30..=41, Some(VideoFault::Frozen))]), "{told:?}");
    assert_eq!(camera.watch(1, &view(2, (0, 0)), SAME_LIGHT), []);
    assert_eq!(camera.watch(1, &plane, SAME_LIGHT), [(0, None)], "motion is life at once");
}

#[test]
fn a_frozen_picture_that_is_encoded_anew_is_frozen_and_a_smoothed_still_scene_is_not() {
    // Each fifth picture is a whole one; those between repeat it.
    for (is_frozen, noise) in [(true, 0), (false, 1)] {
        let (mut camera, plane) = settled(3);
        let mut told = Vec::new();
        let mut whole = plane.clone();
        for n in 0..80 {
            if n % 5 == 0 {
                camera.noise = noise;
                whole = plane.iter().map(|v| v + camera.sample() as f32).collect();
                camera.noise = 0;
            }
            let flicker = if n % 5 == 0 { 1.0 } else { 0.0 };
            told.extend(camera.frame(1000, &whole, (1.0, flicker)).map(|c| c.loss));
        }
        assert_eq!(told, if is_frozen { vec![Some(VideoFault::Frozen)] } else { vec![] });
    }
}

#[test]
fn a_frozen_picture_with_a_running_clock_on_its_edge_is_frozen() {
    let (mut camera, mut plane) = settled(0);
    let mut told = Vec::new();
    for n in 0..40 {
        plane[SIZE.0 * 4..SIZE.0 * 16].iter_mut().for_each(|v| *v = (n * 5) as f32);
        told.extend(camera.frame(1000, &plane, SAME_LIGHT).map(|c| c.loss));
    }
    assert_eq!(told, [Some(VideoFault::Frozen)]);
}

#[test]
fn settings_out_of_range_and_unknown_ones_are_refused() {
    assert_eq!(VideoHealthConfig::default().check(), []);
    let bad =
        VideoHealthConfig { covered_area: f32::NAN, frozen_after_s: 0.0, ..VideoHealthConfig::default() };
    assert_eq!(
        bad.check().iter().map(|w| w.0.as_str()).collect::<Vec<_>>(),
        ["frozen_after_s", "covered_area"]
    );
    assert!(serde_json::from_str::<VideoHealthConfig>(r#"{"frozen": 5}"#).is_err());
    assert!(serde_json::from_str::<VideoHealthConfig>(r#"{"look_for": ["blue"]}"#).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn identical_frames_are_frozen_after_exactly_the_time(fps in 1u64..31, after in 1u64..9) {
        let config = VideoHealthConfig { frozen_after_s: after as f32, ..VideoHealthConfig::default() };
        let (mut camera, plane) = (Camera::with(config, 0), view(1, (0, 0)));
        let interval = 1000 / fps;
        let mut at = None;
        for _ in 0..=after * 1000 / interval + 1 {
            if camera.frame(interval, &plane, SAME_LIGHT).is_some() {
                at.get_or_insert(camera.ms);
            }
        }
        // The first frame came at `interval`.
        prop_assert_eq!(at, Some(interval + (after * 1000).div_ceil(interval) * interval));
    }

    #[test]
    fn a_still_scene_with_a_sensors_noise_is_never_lost(noise in 1i32..9, gain in 0.2f32..1.4) {
        let (mut camera, plane) = (Camera::new(noise), view(3, (0, 0)));
        prop_assert_eq!(camera.watch(90, &plane, (gain, 0.0)), []);
    }

    #[test]
    fn light_that_changes_over_the_whole_view_is_no_loss(
        lights in prop::collection::vec((0.25f32..2.2, -50.0f32..60.0), 1..5)
    ) {
        let (mut camera, plane) = settled(2);
        for light in lights {
            let told = camera.watch(35, &plane, light);
            let wrong = [VideoFault::Moved, VideoFault::Covered, VideoFault::OutOfFocus];
            prop_assert!(!told.iter().any(|(_, l)| l.is_some_and(|l| wrong.contains(&l))), "{light:?}: {told:?}");
        }
    }

    #[test]
    fn a_view_that_shifts_by_more_than_the_limit_has_moved(
        x in prop_oneof![-70i32..-24, 24i32..70], y in -40i32..40
    ) {
        let (mut camera, plane) = settled(3);
        prop_assert_eq!(camera.watch(15, &view(1, (x, y)), SAME_LIGHT), [(11, Some(VideoFault::Moved))]);
        prop_assert_eq!(camera.watch(15, &plane, SAME_LIGHT), [(3, None)]);
    }

    #[test]
    fn a_mast_that_sways_a_little_has_not_moved(x in -5i32..6, y in -4i32..5) {
        let (mut camera, plane) = settled(3);
        prop_assert_eq!(camera.watch(40, &view(1, (x, y)), SAME_LIGHT), []);
        prop_assert_eq!(camera.watch(40, &plane, SAME_LIGHT), []);
    }

    #[test]
    fn a_crowd_that_walks_by_is_no_loss(speeds in prop::collection::vec(3usize..40, 4..12)) {
        let (mut camera, plane) = settled(3);
        for second in 0..60 {
            let mut now = plane.clone();
            for (n, speed) in speeds.iter().enumerate() {
                let (left, top) = (second * speed % 300, 30 + n * 12);
                for y in top..top + 60 {
                    now[y * SIZE.0 + left..y * SIZE.0 + left + 20].fill(20.0 + 15.0 * n as f32);
                }
            }
            prop_assert_eq!(camera.frame(1000, &now, SAME_LIGHT), None, "second {}", second);
        }
    }

    #[test]
    fn no_picture_of_any_size_breaks_it(
        frames in prop::collection::vec((1usize..70, 1usize..70, any::<u8>(), 0u64..20_000), 1..12)
    ) {
        let mut sight = VideoHealthMonitor::new(VideoHealthConfig::default(), Vec::new());
        let mut now = 0;
        for (w, h, seed, ms) in frames {
            now += ms;
            let plane = (0..w * h).map(|n| (n as u8).wrapping_mul(seed)).collect();
            sight.look(&frame(now, (w, h), plane));
            let m = sight.measures;
            prop_assert!((0.0..=255.0).contains(&m.brightness) && (0.0..=1.0).contains(&m.gone), "{m:?}");
        }
    }
}
