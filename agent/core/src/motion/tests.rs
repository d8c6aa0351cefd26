//! The gate before synthetic scenes with noise, changing light and movers.

use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::frame::{CaptureTime, Colour, Picture, PixelFormat, TimeSource};

const SIZE: (usize, usize) = (320, 240);

/// A camera that looks at a textured wall, with a noisy sensor.
struct Camera {
    gate: MotionGate,
    ms: u64,
    random: u64,
    noise: i32,
}

impl Camera {
    fn new(noise: i32) -> Self {
        Camera { gate: MotionGate::new(MotionConfig::default()), ms: 0, random: 7, noise }
    }

    fn sample(&mut self) -> i32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        // The sum of three is nearly normal; its standard deviation is about `noise`.
        let part = |shift: u32| (self.random >> shift & 0xff) as i32 - 128;
        (part(8) + part(24) + part(40)) * self.noise / 128
    }

    /// A frame 100 ms later: light as `gain` and `offset`, and a dark thing of 12×30 pixels at `thing`.
    fn frame(&mut self, (gain, offset): (f32, f32), thing: Option<(usize, usize)>) -> Verdict {
        let (w, h) = SIZE;
        let mut plane = Vec::with_capacity(w * h);
        for y in 0..h {
            for x in 0..w {
                let wall = 60.0 + (x / 40 * 17 % 90) as f32 + (y / 30 * 11 % 40) as f32;
                let inside =
                    thing.is_some_and(|(tx, ty)| (tx..tx + 12).contains(&x) && (ty..ty + 30).contains(&y));
                let level = if inside { 20.0 } else { wall } * gain + offset;
                plane.push((level as i32 + self.sample()).clamp(0, 255) as u8);
            }
        }
        self.ms += 100;
        self.gate.gate(&frame(self.ms, w as u32, h as u32, plane))
    }
}

fn frame(ms: u64, width: u32, height: u32, plane: Vec<u8>) -> Frame {
    let strides = [width as usize, 0, 0];
    let picture =
        Picture::new((width, height), PixelFormat::Gray8, Colour::SD, strides, Arc::new(plane)).unwrap();
    let elapsed = Duration::from_millis(ms);
    let capture_time = CaptureTime { wall: Timestamp::UNIX_EPOCH, wall_source: TimeSource::Clock, elapsed };
    Frame { source: "cam".parse().unwrap(), seq: ms, capture_time, picture }
}

const SAME: (f32, f32) = (1.0, 0.0);

/// A camera whose scene is no longer new: 3 s of 10 frames each have passed.
fn settled(noise: i32) -> Camera {
    let mut camera = Camera::new(noise);
    for _ in 0..31 {
        camera.frame(SAME, None);
    }
    camera
}

#[test]
fn what_stands_still_in_a_new_scene_is_analysed_often_enough_to_count() {
    let mut camera = Camera::new(3);
    assert_eq!(camera.frame(SAME, None).reason, Reason::New);
    let verdicts: Vec<_> = (0..40).map(|_| camera.frame(SAME, None)).collect();
    let analysed = verdicts.iter().take_while(|v| v.reason == Reason::Linger).count();
    assert_eq!(analysed, 29, "3 s at 10 frames a second, the first one apart");
    assert!(verdicts.iter().all(|v| !v.motion) && verdicts[analysed..].iter().all(|v| !v.analyse));
}

#[test]
fn a_still_scene_is_looked_at_once_in_ten_seconds_however_noisy_the_sensor() {
    for noise in [0, 3, 8] {
        let mut camera = settled(noise);
        let verdicts: Vec<_> = (0..300).map(|_| camera.frame(SAME, None)).collect();
        let looks = verdicts.iter().filter(|v| v.analyse).count();
        assert_eq!(looks, 3, "noise {noise}");
        assert!(verdicts.iter().all(|v| !v.motion && matches!(v.reason, Reason::Still | Reason::Look)));
    }
}

#[test]
fn a_light_that_is_switched_or_dimmed_is_no_motion() {
    let mut camera = settled(3);
    for n in 0..100 {
        let light = match n {
            0..30 => SAME,
            30..50 => (1.3, 10.0),
            50..70 => (0.7, 0.0),
            _ => (1.0 + (n - 70) as f32 * 0.01, 0.0),
        };
        let verdict = camera.frame(light, None);
        assert!(
            !verdict.motion && matches!(verdict.reason, Reason::Still | Reason::Look),
            "frame {n}: {verdict:?}"
        );
    }
}

#[test]
fn a_small_walker_is_noticed_at_once_and_analysed_a_while_longer() {
    let mut camera = Camera::new(3);
    for _ in 0..20 {
        camera.frame(SAME, None);
    }
    let seen: Vec<_> = (0..20).map(|n| camera.frame(SAME, Some((40 + n * 4, 100)))).collect();
    assert!(seen.iter().all(|v| v.analyse), "{seen:?}");
    assert!(seen[0].reason == Reason::Motion && !seen[0].motion && seen[1].motion);
    let after: Vec<_> = (0..150).map(|_| camera.frame(SAME, None)).collect();
    let calm = after.iter().position(|v| !v.analyse).unwrap();
    assert!((29..120).contains(&calm), "calm after {calm} frames");
    assert!(!after[calm].motion && after[..calm.saturating_sub(1)].iter().all(|v| v.motion));
}

#[test]
fn what_comes_to_rest_becomes_background() {
    let mut camera = Camera::new(3);
    for n in 0..200 {
        camera.frame(SAME, (n > 10).then_some((100, 100)));
    }
    assert_eq!(camera.frame(SAME, Some((100, 100))).reason, Reason::Still);
}

#[test]
fn another_size_or_another_scene_begins_anew() {
    let mut camera = settled(0);
    assert_eq!(camera.frame(SAME, None).reason, Reason::Still);
    assert_eq!(camera.gate.gate(&frame(30_000, 64, 64, vec![0; 64 * 64])).reason, Reason::New);
    let other = (0..64 * 64).map(|n| ((n % 64 / 8 * 97 + n / 512 * 61) % 256) as u8).collect();
    assert_eq!(camera.gate.gate(&frame(30_100, 64, 64, other)).reason, Reason::New);
}

#[test]
fn a_gate_that_is_switched_off_lets_all_through_and_still_tells_motion() {
    let mut camera = Camera::new(0);
    camera.gate = MotionGate::new(MotionConfig { enabled: false, ..MotionConfig::default() });
    for n in 0..5 {
        let verdict = camera.frame(SAME, Some((40 + n * 8, 100)));
        assert!(verdict.analyse && verdict.reason == Reason::Disabled && verdict.motion == (n >= 2));
    }
}

#[test]
fn settings_out_of_range_and_unknown_ones_are_refused() {
    assert_eq!(MotionConfig::default().check(), []);
    let bad = MotionConfig { threshold: f32::NAN, look_every_s: 0.0, ..MotionConfig::default() };
    assert_eq!(bad.check().iter().map(|w| w.0.as_str()).collect::<Vec<_>>(), ["threshold", "look_every_s"]);
    assert!(serde_json::from_str::<MotionConfig>(r#"{"treshold": 5}"#).is_err());
}

proptest! {
    #[test]
    fn no_picture_of_any_size_breaks_it(
        frames in prop::collection::vec((1u32..70, 1u32..70, any::<u8>(), 0u64..20_000), 1..12)
    ) {
        let mut gate = MotionGate::new(MotionConfig::default());
        let mut now = 0;
        for (w, h, seed, ms) in frames {
            now += ms;
            let plane = (0..w * h).map(|n| (n as u8).wrapping_mul(seed)).collect();
            let verdict = gate.gate(&frame(now, w, h, plane));
            prop_assert!((0.0..=1.0).contains(&verdict.moving_fraction));
        }
    }
}
