//! Tests of levels, of the meter and of what a microphone has lost.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::frame::TimeSource;

/// Windows of half a second.
const WINDOW: usize = RATE_HZ as usize / 2;

fn sine(amplitude: f32, offset: f32) -> Vec<f32> {
    let wave =
        |n: usize| offset + amplitude * (n as f32 * 440.0 * std::f32::consts::TAU / RATE_HZ as f32).sin();
    (0..WINDOW).map(wave).collect()
}

/// The window after so many others.
fn window(n: u64, samples: &[f32]) -> AudioChunk {
    let elapsed = duration_of(n * WINDOW as u64);
    let capture_time = CaptureTime { wall: Timestamp::UNIX_EPOCH, wall_source: TimeSource::File, elapsed };
    AudioChunk { source: "door".parse().unwrap(), seq: n, capture_time, samples: samples.into() }
}

#[test]
fn levels_are_those_of_the_field() {
    for (samples, rms, peak) in [
        (sine(1.0, 0.0), -3.0, 0.0),
        (sine(0.1, 0.0), -23.0, -20.0),
        (sine(0.001, 0.5), -63.0, -6.0),
        ([0.5, -0.5].repeat(100), -6.0, -6.0),
        (vec![0.0; 100], FLOOR_DBFS, FLOOR_DBFS),
        (vec![-0.25; 1000], FLOOR_DBFS, -12.0),
        (vec![], FLOOR_DBFS, FLOOR_DBFS),
    ] {
        let level = Level::of(&samples);
        assert!((level.rms_dbfs - rms).abs() < 0.15, "{level:?} for {rms}, {peak}");
        assert!((level.peak_dbfs - peak).abs() < 0.15, "{level:?} for {rms}, {peak}");
    }
}

#[test]
fn the_meter_tells_a_change_at_most_so_often_and_what_stays_the_same_now_and_then() {
    let config = LevelConfig { every_s: 2.0, change_db: 3.0, repeat_after_s: 10.0 };
    let mut meter = Meter::new(config);
    let (quiet, loud, louder) = (sine(0.01, 0.0), sine(0.1, 0.0), sine(0.12, 0.0));
    let mut told = Vec::new();
    for n in 0..60 {
        let samples = match n {
            0..12 => &quiet,
            12..20 => &loud,
            _ => &louder, // 1.6 dB more: no news
        };
        told.extend(meter.hear(&window(n, samples)).map(|level| (n, level.rms_dbfs)));
    }
    // The first at 2 s; the change at 8 s; then, unchanged, each 10 s.
    let expected = [(3, -43.0), (15, -23.0), (35, -21.4), (55, -21.4)];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for ((n, level), (at, rms)) in told.iter().zip(expected) {
        assert!(*n == at && (level - rms).abs() < 0.15, "{told:?}");
    }
}

#[test]
fn a_bang_between_two_levels_is_in_the_peak_of_the_next() {
    let mut meter = Meter::new(LevelConfig { every_s: 5.0, ..LevelConfig::default() });
    let mut told = Vec::new();
    for n in 0..20 {
        let mut samples = sine(0.01, 0.0);
        if n == 13 {
            samples[17] = -0.9;
        }
        told.extend(meter.hear(&window(n, &samples)).map(|level| (n, level.peak_dbfs)));
    }
    assert_eq!(told, [(9, -40.0), (19, -0.9)]);
}

/// The verdicts, by the number of the window that led to them.
fn verdicts(
    config: AudioHealthConfig,
    heard: impl IntoIterator<Item = Vec<f32>>,
) -> Vec<(usize, Option<AudioFault>)> {
    let mut hearing = AudioHealthMonitor::new(config);
    let listen =
        |(n, samples): (usize, Vec<f32>)| Some((n, hearing.hear(&window(n as u64, &samples)).1?.loss));
    heard.into_iter().enumerate().filter_map(listen).collect()
}

fn sequence(parts: &[(usize, Vec<f32>)]) -> Vec<Vec<f32>> {
    parts.iter().flat_map(|(count, samples)| vec![samples.clone(); *count]).collect()
}

#[test]
fn an_input_whose_samples_are_all_the_same_is_dead_until_sound_comes() {
    let config = AudioHealthConfig { dead_after_s: 5.0, recover_s: 1.0, ..AudioHealthConfig::default() };
    for still in [vec![0.0; WINDOW], vec![0.125; WINDOW]] {
        let heard = sequence(&[(4, sine(0.1, 0.0)), (30, still), (6, sine(0.1, 0.0))]);
        // Ten windows are five seconds; two of sound are one.
        assert_eq!(verdicts(config.clone(), heard), [(13, Some(AudioFault::Dead)), (35, None)]);
    }
    let short = sequence(&[(9, vec![0.0; WINDOW]), (2, sine(0.1, 0.0)), (9, vec![0.0; WINDOW])]);
    assert_eq!(verdicts(config, short), [], "it must last");
}

#[test]
fn what_is_below_the_floor_for_long_is_silent_and_a_quiet_room_is_not() {
    let config = AudioHealthConfig { silent_after_s: 10.0, ..AudioHealthConfig::default() };
    // Plus and minus one step of 16 bits are about -90 dBFS; a gain at zero leaves less.
    let noise = |amplitude: f32| [amplitude, -amplitude, 0.0, 0.0].repeat(WINDOW / 4);
    let faint = noise(0.9 / 32_768.0);
    let heard = sequence(&[(25, faint), (4, sine(0.1, 0.0))]);
    assert_eq!(verdicts(config.clone(), heard), [(19, Some(AudioFault::Silent)), (26, None)]);
    let quiet_room = noise(10.0 / 32_768.0);
    assert_eq!(verdicts(config.clone(), vec![quiet_room; 100]), []);
    let off = AudioHealthConfig { silent_after_s: 0.0, dead_after_s: 0.0, ..config };
    assert_eq!(verdicts(off, vec![vec![0.0; WINDOW]; 400]), [], "not looked for");
}

#[test]
fn dead_is_worse_than_silent_and_one_loss_follows_the_other() {
    let config = AudioHealthConfig {
        dead_after_s: 2.0,
        silent_after_s: 4.0,
        recover_s: 1.0,
        ..AudioHealthConfig::default()
    };
    let faint = [1e-5, -1e-5].repeat(WINDOW / 2);
    let heard = sequence(&[(10, faint.clone()), (10, vec![0.0; WINDOW]), (10, faint)]);
    let expected =
        [(7, Some(AudioFault::Silent)), (13, Some(AudioFault::Dead)), (21, Some(AudioFault::Silent))];
    assert_eq!(verdicts(config, heard), expected);
}

#[test]
fn what_was_lost_before_a_new_opening_is_judged_anew() {
    let mut hearing =
        AudioHealthMonitor::new(AudioHealthConfig { dead_after_s: 1.0, ..AudioHealthConfig::default() });
    let still = vec![0.0; WINDOW];
    assert!(hearing.hear(&window(0, &still)).1.is_none());
    assert!(hearing.hear(&window(1, &still)).1.is_some());
    hearing.reopened();
    assert!(hearing.hear(&window(2, &still)).1.is_none());
    assert!(hearing.hear(&window(3, &still)).1.is_some(), "and told again");
}

#[test]
fn settings_that_cannot_be_are_named() {
    let wrong =
        AudioHealthConfig { silent_below_dbfs: 3.0, recover_s: f32::NAN, ..AudioHealthConfig::default() };
    let fields: Vec<String> = wrong.check().into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["silent_below_dbfs", "recover_s"]);
    assert_eq!(LevelConfig { every_s: 0.5, ..LevelConfig::default() }.check()[0].0, "every_s");
    assert!(LevelConfig::default().check().is_empty() && AudioHealthConfig::default().check().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_level_lies_between_the_floor_and_its_peak(samples in prop::collection::vec(-1.0f32..1.0, 1..2000)) {
        let level = Level::of(&samples);
        prop_assert!((FLOOR_DBFS..=0.0).contains(&level.peak_dbfs), "{level:?}");
        // A tenth for rounding.
        prop_assert!(level.rms_dbfs >= FLOOR_DBFS && level.rms_dbfs <= level.peak_dbfs + 0.11, "{level:?}");
    }

    #[test]
    fn a_meter_never_tells_more_often_than_it_may(
        every in 1.0f32..8.0, change in 0.0f32..6.0, amplitudes in prop::collection::vec(0.0f32..1.0, 1..80)
    ) {
        let config = LevelConfig { every_s: every, change_db: change, repeat_after_s: 10.0 };
        let mut meter = Meter::new(config);
        let wave = sine(1.0, 0.0);
        let told = amplitudes.iter().enumerate().filter(|(n, amplitude)| {
            let samples: Vec<f32> = wave.iter().map(|s| s * **amplitude).collect();
            meter.hear(&window(*n as u64, &samples)).is_some()
        }).count();
        let seconds = amplitudes.len() as f32 / 2.0;
        prop_assert!(told as f32 <= seconds / (every - 0.125) + 1.0, "{told} in {seconds} s");
    }
}
