//! Which frames of a stream to keep so that at most so many a second are left.
//!
//! Owner: the pad it is attached to. It decides by time stamps on the decoder's pad, before scaling and
//! conversion. GStreamer's videorate is not used for it: in drop-only mode it holds every frame back until the
//! next one arrives (late by a frame, and never writable), it passes everything when a camera declares no frame
//! rate, and its maximum is a whole number.
//! Invariant: over any time T, fewer than `T * fps + 3` frames are kept, with the highest `fps` that held in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::video::options::SourceOptions;

/// The most frames a second that a source may deliver just now, whatever its options want. Shared: whoever holds a clone
/// slows a source down, or lets it go again, while it runs.
#[derive(Debug, Clone)]
pub struct Pace(Arc<AtomicU32>);

impl Default for Pace {
    /// No limit.
    fn default() -> Self {
        Pace(Arc::new(AtomicU32::new(f32::INFINITY.to_bits())))
    }
}

impl Pace {
    /// At most so many from now on; the next frame knows.
    pub fn set_most(&self, fps: f32) {
        self.0.store(fps.to_bits(), Ordering::Relaxed);
    }

    /// How many a source may deliver that wants `fps`; 0 is every frame.
    pub(crate) fn of(&self, fps: f32) -> f32 {
        let most = f32::from_bits(self.0.load(Ordering::Relaxed));
        match (fps > 0.0, most.is_finite() && most > 0.0) {
            (true, true) => fps.min(most),
            (false, true) => most,
            (_, false) => fps,
        }
    }
}

/// Keeps frames on a grid of time.
#[derive(Debug, Clone)]
pub(crate) struct RateLimit {
    wanted: f32,
    pace: Pace,
    /// What `interval` was made from.
    fps: f32,
    /// Nanoseconds between kept frames; 0 keeps all.
    interval: u64,
    tolerance: u64,
    /// Where on the grid the latest kept frame lies.
    due: Option<u64>,
    last: u64,
}

impl RateLimit {
    /// The limit that a source's options ask for, and what its pace allows of it.
    pub(crate) fn of(options: &SourceOptions) -> Self {
        Self::new(options.fps, options.pace.clone())
    }

    /// `fps` = 0 keeps every frame that `pace` allows.
    pub(crate) fn new(fps: f32, pace: Pace) -> Self {
        let mut limit =
            RateLimit { wanted: fps, pace, fps: -1.0, interval: 0, tolerance: 0, due: None, last: 0 };
        limit.follow_pace();
        limit
    }

    fn follow_pace(&mut self) {
        let fps = self.pace.of(self.wanted);
        if fps.to_bits() != self.fps.to_bits() {
            self.fps = fps;
            self.interval = if fps > 0.0 { (1e9 / f64::from(fps)) as u64 } else { 0 };
            self.tolerance = (self.interval / 8).min(10_000_000);
        }
    }

    /// Whether the frame of this time, in nanoseconds, is kept.
    pub(crate) fn keeps(&mut self, time: u64) -> bool {
        self.follow_pace();
        if self.interval == 0 {
            return true;
        }
        let went_back = time < self.last;
        self.last = time;
        // A little tolerance: a jittery camera at exactly the limit keeps all its frames.
        let due = match self.due.map(|due| due.saturating_add(self.interval)) {
            Some(next) if !went_back && time.saturating_add(self.tolerance) < next => return false,
            // After a gap the grid begins anew, so that what was missed is not made up for by a burst.
            Some(next) if !went_back && time <= next.saturating_add(self.interval) => next,
            _ => time,
        };
        self.due = Some(due);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn kept(limit: f32, times: impl Iterator<Item = u64>) -> usize {
        let mut rate = RateLimit::new(limit, Pace::default());
        times.filter(|&t| rate.keeps(t)).count()
    }

    fn camera(fps: u64, seconds: u64) -> impl Iterator<Item = u64> {
        (0..fps * seconds).map(move |n| n * SECOND / fps)
    }

    #[test]
    fn a_faster_camera_is_cut_to_the_limit_also_by_odd_factors() {
        assert_eq!(kept(5.0, camera(25, 10)), 50);
        assert_eq!(kept(7.0, camera(25, 10)), 70);
        assert_eq!(kept(0.5, camera(25, 10)), 5);
    }

    #[test]
    fn a_slower_or_equal_camera_loses_nothing() {
        assert_eq!(kept(10.0, camera(10, 10)), 100);
        assert_eq!(kept(25.0, camera(10, 10)), 100);
        assert_eq!(kept(0.0, camera(25, 10)), 250);
    }

    #[test]
    fn a_pace_slows_down_and_lets_go_while_frames_come_and_never_speeds_up() {
        let pace = Pace::default();
        let mut rate = RateLimit::new(5.0, pace.clone());
        let mut kept = |from: u64, most: f32| {
            pace.set_most(most);
            camera(25, 10).filter(|t| rate.keeps(from * SECOND + t)).count()
        };
        assert_eq!(kept(0, f32::INFINITY), 50);
        assert!((10..=11).contains(&kept(10, 1.0)));
        assert_eq!(kept(20, 2.5), 25);
        assert_eq!(kept(30, 1000.0), 50);
        let mut all = RateLimit::new(0.0, pace.clone());
        pace.set_most(5.0);
        assert_eq!(camera(25, 10).filter(|&t| all.keeps(t)).count(), 50);
    }

    #[test]
    fn time_that_jumps_back_starts_the_grid_anew() {
        assert_eq!(kept(5.0, camera(25, 2).chain(camera(25, 2))), 20);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn never_more_than_the_limit_over_any_time(
            fps in 0.1f32..60.0, steps in prop::collection::vec(0u64..2 * SECOND, 1..200)
        ) {
            let mut rate = RateLimit::new(fps, Pace::default());
            let mut now = 0;
            let times: Vec<u64> = steps.iter().map(|s| { now += s; now }).filter(|&t| rate.keeps(t)).collect();
            for (n, &begin) in times.iter().enumerate() {
                for (m, &end) in times.iter().enumerate().skip(n) {
                    let span = (end - begin) as f64 / 1e9;
                    prop_assert!(((m - n + 1) as f64) < span * f64::from(fps) * 1.0001 + 3.0);
                }
            }
        }

        #[test]
        fn no_time_makes_it_panic(fps in 0f32..1000.0, times in prop::collection::vec(any::<u64>(), 0..50)) {
            kept(fps, times.into_iter());
        }
    }
}
