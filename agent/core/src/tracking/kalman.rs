//! A constant-velocity Kalman filter for a box, with real time steps.
//!
//! Centre x, centre y, width and height are filtered apart from each other: their noises are independent, so
//! four small filters say the same as one 8×8 matrix and cost a hundredth of it. The centre has a velocity;
//! the size is a random walk, because a box that grows for half a second must not go on growing while it is
//! hidden. All noises are fractions of the box: a far person jitters by fewer pixels than a near one.

use crate::geometry::Region;

/// How exact a detector's box is: standard deviation as a fraction of the box's side.
const MEASURED: f32 = 0.06;
/// How much a position wanders by itself in a second, as a fraction of the box's side.
const WANDER: f32 = 0.15;
/// How much a velocity changes in a second, in box sides per second.
const SWERVE: f32 = 1.0;
/// How much a size changes in a second, as a fraction of the side.
const GROWTH: f32 = 0.25;
/// What is known of the velocity at first, in box sides per second.
const FIRST_SPEED: f32 = 1.5;

/// Position and velocity along one axis, with their covariance.
#[derive(Debug, Clone, Copy)]
struct Axis {
    at: f32,
    speed: f32,
    var_at: f32,
    cov: f32,
    var_speed: f32,
}

impl Axis {
    fn new(at: f32, side: f32) -> Self {
        let var = |part: f32| (part * side) * (part * side);
        Axis { at, speed: 0.0, var_at: var(MEASURED), cov: 0.0, var_speed: var(FIRST_SPEED) }
    }

    fn predict(&mut self, dt: f32, side: f32) {
        let swerve = (SWERVE * side) * (SWERVE * side);
        let wander = (WANDER * side) * (WANDER * side);
        self.at += self.speed * dt;
        self.var_at +=
            dt * (2.0 * self.cov + dt * self.var_speed) + swerve * dt * dt * dt / 3.0 + wander * dt;
        self.cov += dt * self.var_speed + swerve * dt * dt / 2.0;
        self.var_speed += swerve * dt;
    }

    fn correct(&mut self, measured: f32, noise: f32) {
        let total = self.var_at + noise * noise;
        if total <= 0.0 {
            return;
        }
        let (gain, gain_speed) = (self.var_at / total, self.cov / total);
        let surprise = measured - self.at;
        self.at += gain * surprise;
        self.speed += gain_speed * surprise;
        self.var_speed = (self.var_speed - gain_speed * self.cov).max(0.0);
        self.cov *= 1.0 - gain;
        self.var_at *= 1.0 - gain;
    }
}

/// One side of the box.
#[derive(Debug, Clone, Copy)]
struct Side {
    length: f32,
    var: f32,
}

impl Side {
    fn correct(&mut self, measured: f32, noise: f32) {
        let total = self.var + noise * noise;
        if total > 0.0 {
            let gain = self.var / total;
            self.length += gain * (measured - self.length);
            self.var *= 1.0 - gain;
        }
    }
}

/// Where a box is believed to be, and how it moves.
#[derive(Debug, Clone, Copy)]
pub(super) struct BoxFilter {
    x: Axis,
    y: Axis,
    w: Side,
    h: Side,
}

impl BoxFilter {
    /// A filter that has seen the box once.
    pub(super) fn new(seen: &Region) -> Self {
        let centre = seen.centre();
        let side = |length: f32| Side { length, var: (MEASURED * length) * (MEASURED * length) };
        BoxFilter {
            x: Axis::new(centre.x, seen.w),
            y: Axis::new(centre.y, seen.h),
            w: side(seen.w),
            h: side(seen.h),
        }
    }

    /// Lets `dt` seconds pass.
    pub(super) fn predict(&mut self, dt: f32) {
        let (w, h) = (self.w.length, self.h.length);
        self.x.predict(dt, w);
        self.y.predict(dt, h);
        self.w.var += (GROWTH * w) * (GROWTH * w) * dt;
        self.h.var += (GROWTH * h) * (GROWTH * h) * dt;
    }

    /// Forgets the motion: after a pause nobody knows which way the thing went, if it moved at all.
    pub(super) fn halt(&mut self) {
        for (axis, side) in [(&mut self.x, self.w.length), (&mut self.y, self.h.length)] {
            axis.speed = 0.0;
            axis.cov = 0.0;
            axis.var_speed = (FIRST_SPEED * side) * (FIRST_SPEED * side);
        }
    }

    /// Takes in a box that was seen; a low score is trusted less.
    pub(super) fn correct(&mut self, seen: &Region, score: f32) {
        let doubt = MEASURED * (2.0 - score.clamp(0.0, 1.0));
        let centre = seen.centre();
        self.x.correct(centre.x, doubt * self.w.length);
        self.y.correct(centre.y, doubt * self.h.length);
        self.w.correct(seen.w, doubt * self.w.length);
        self.h.correct(seen.h, doubt * self.h.length);
    }

    /// The box that is believed in. Always finite, with an area.
    pub(super) fn region(&self) -> Region {
        let (w, h) = (self.w.length.max(1e-4), self.h.length.max(1e-4));
        Region { x: self.x.at - w / 2.0, y: self.y.at - h / 2.0, w, h }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walker(t: f32) -> Region {
        Region { x: 0.1 + 0.2 * t, y: 0.4, w: 0.05, h: 0.2 }
    }

    #[test]
    fn a_steady_walk_is_predicted_through_a_second_unseen_at_any_frame_rate() {
        for fps in [2.0f32, 5.0, 12.5, 30.0] {
            let mut filter = BoxFilter::new(&walker(0.0));
            let mut t = 0.0;
            while t < 2.0 {
                t += 1.0 / fps;
                filter.predict(1.0 / fps);
                filter.correct(&walker(t), 0.9);
            }
            filter.predict(1.0);
            let error = (filter.region().centre().x - walker(t + 1.0).centre().x).abs();
            assert!(error < 0.03, "{fps} fps: off by {error}");
        }
    }

    #[test]
    fn jitter_of_a_still_box_is_smoothed() {
        let at = |n: u32| Region { x: 0.5 + if n.is_multiple_of(2) { 0.005 } else { -0.005 }, ..walker(0.0) };
        let mut filter = BoxFilter::new(&at(0));
        let mut worst = 0.0f32;
        for n in 1..200 {
            filter.predict(0.1);
            filter.correct(&at(n), 0.6);
            if n > 20 {
                worst = worst.max((filter.region().x - 0.5).abs());
            }
        }
        assert!(worst < 0.004, "still wobbles by {worst}");
    }

    #[test]
    fn after_a_halt_it_stays_where_it_is() {
        let mut filter = BoxFilter::new(&walker(0.0));
        for n in 1..10 {
            filter.predict(0.1);
            filter.correct(&walker(n as f32 * 0.1), 0.9);
        }
        let before = filter.region();
        filter.halt();
        filter.predict(1.0);
        assert_eq!(filter.region(), before);
    }
}
