//! Which frames of a stream to keep so that at most so many a second are left.
//!
//! Owner: the pad it is attached to. It decides by time stamps on the decoder's pad, before scaling and
//! conversion. GStreamer's videorate is not used for it: in drop-only mode it holds every frame back until the
//! next one arrives (late by a frame, and never writable), it passes everything when a camera declares no frame
//! rate, and its maximum is a whole number.
//! Invariant: over any time T, fewer than `T * fps + 3` frames are kept.

/// Keeps frames on a grid of time.
#[derive(Debug, Clone)]
pub(crate) struct RateLimit {
    /// Nanoseconds between kept frames; 0 keeps all.
    interval: u64,
    tolerance: u64,
    next: Option<u64>,
    last: u64,
}

impl RateLimit {
    /// `fps` = 0 keeps every frame.
    pub(crate) fn new(fps: f32) -> Self {
        let interval = if fps > 0.0 { (1e9 / f64::from(fps)) as u64 } else { 0 };
        RateLimit { interval, tolerance: (interval / 8).min(10_000_000), next: None, last: 0 }
    }

    /// Whether the frame of this time, in nanoseconds, is kept.
    pub(crate) fn keeps(&mut self, time: u64) -> bool {
        if self.interval == 0 {
            return true;
        }
        let went_back = time < self.last;
        self.last = time;
        // A little tolerance: a jittery camera at exactly the limit keeps all its frames.
        let due = match self.next {
            Some(next) if !went_back && time.saturating_add(self.tolerance) < next => return false,
            // After a gap the grid begins anew, so that what was missed is not made up for by a burst.
            Some(next) if !went_back && time <= next.saturating_add(self.interval) => next,
            _ => time,
        };
        self.next = Some(due.saturating_add(self.interval));
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn kept(limit: f32, times: impl Iterator<Item = u64>) -> usize {
        let mut rate = RateLimit::new(limit);
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
    fn time_that_jumps_back_starts_the_grid_anew() {
        assert_eq!(kept(5.0, camera(25, 2).chain(camera(25, 2))), 20);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn never_more_than_the_limit_over_any_time(
            fps in 0.1f32..60.0, steps in prop::collection::vec(0u64..2 * SECOND, 1..200)
        ) {
            let mut rate = RateLimit::new(fps);
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
