//! How much a board that is too hot, throttled, underpowered or late leaves undone, camera by camera.
//!
//! Pure: what the board and the cameras show goes in at every look, with the time; what each camera is given comes out.
//! A step down takes one rung from all cameras of the lowest priority that have one left: frames first, down to each
//! one's floor, of all cameras; then the smaller models. A step up goes the same way back. A camera whose chain alone is
//! too slow for its frames steps down alone, as slowing others would not help it.
//!
//! Invariants: nobody is given less than its floor or more than it wants; two steps lie at least
//! `step_down_after_s` apart; under conditions that stay the same there are, in the long run, at most two
//! steps, up and down again, in `longest_wait_s`, once shorter waits have failed.

mod camera;
mod config;
mod levels;
mod readings;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub use aimass_protocol::health::{DegradedReason as Reason, ThermalZone};

use crate::id::Name;

pub use camera::CameraLoad;
use camera::{BUSY_AT_MOST, Camera};
pub use config::GovernorConfig;
pub use levels::{Allocation, CameraLimits};
pub use readings::{BoardReadings, Zone};

/// A board that cools down by so much between two steps is on its way already.
const FALLING_C: f32 = 0.5;
/// A frequency that is capped counts while the board is so near to its limit.
const WARM_C: f32 = 10.0;

/// Steps up that did not last are forgotten after so many of the longest waits with everything watched. Sooner, a board
/// that takes an hour to get warm would swing.
const FORGETS: u32 = 4;

/// Decides what each camera is given.
#[derive(Debug)]
pub struct Governor {
    config: GovernorConfig,
    cameras: BTreeMap<Name, Camera>,
    looked: Option<Duration>,
    /// Since when there is trouble, without a break.
    trouble_since: Option<Duration>,
    /// Since when all is well, without a break.
    well_since: Option<Duration>,
    last_step: Option<Duration>,
    /// The latest step up that has not failed yet.
    last_up: Option<Duration>,
    wait: Duration,
    /// How far beyond the limit the board was when the present wait for a step down began.
    over_before: f32,
    reason: Option<Reason>,
    /// Lateness had a part in it: steps up are foretold from what frames cost.
    was_late: bool,
}

impl Governor {
    /// All cameras have what they want.
    pub fn new(config: GovernorConfig) -> Self {
        let wait = seconds(config.step_up_after_s);
        Governor {
            config,
            cameras: BTreeMap::new(),
            looked: None,
            trouble_since: None,
            well_since: None,
            last_step: None,
            last_up: None,
            wait,
            over_before: f32::INFINITY,
            reason: None,
            was_late: false,
        }
    }

    /// Other settings from now on; what is given now stays until the next look.
    pub fn set_config(&mut self, config: GovernorConfig) {
        self.wait = seconds(config.step_up_after_s);
        self.config = config;
    }

    /// The settings.
    pub fn config(&self) -> &GovernorConfig {
        &self.config
    }

    /// What a camera is given; `None` for one that was not there at the last look.
    pub fn given(&self, camera: &Name) -> Option<Allocation> {
        self.cameras.get(camera).map(Camera::given)
    }

    /// How many rungs all cameras together are down, and how many there are.
    pub fn level(&self) -> (u32, u32) {
        let sum = |rungs: fn(&Camera) -> u32| self.cameras.values().map(rungs).sum();
        (sum(|c| c.rung), sum(|c| c.terms.rungs()))
    }

    /// Why less is given than is wanted; `None` while everybody has what they want.
    pub fn reason(&self) -> Option<Reason> {
        self.reason.filter(|_| self.level().0 > 0)
    }

    /// Looks at the board and at all cameras there are; `parallel` chains run at once. Returns whether anybody is given
    /// something else than before, or for another reason.
    pub fn look(
        &mut self,
        now: Duration,
        signs: &BoardReadings,
        cameras: &BTreeMap<Name, CameraLoad>,
        parallel: usize,
    ) -> bool {
        let before = (self.rungs(), self.reason());
        let passed = now.saturating_sub(self.looked.replace(now).unwrap_or(now));
        self.cameras.retain(|id, _| cameras.contains_key(id));
        for (id, doing) in cameras {
            let camera = self.cameras.entry(id.clone()).or_insert_with(|| Camera::new(doing.terms));
            camera.take(doing, passed, &self.config);
        }
        let over = self.config.hottest(signs).map(|hottest| hottest.over_c());
        let trouble = self.trouble(signs, over);
        let cool = over.is_none_or(|over| over <= -self.config.hysteresis_c);
        match trouble {
            Some(reason) => {
                self.well_since = None;
                if self.trouble_since.is_none() {
                    self.trouble_since = Some(now);
                    self.over_before = over.unwrap_or(f32::INFINITY);
                }
                self.maybe_down(now, reason, over);
            }
            None => {
                self.trouble_since = None;
                let since = if cool { Some(*self.well_since.get_or_insert(now)) } else { None };
                self.well_since = since;
                self.maybe_up(now, parallel);
            }
        }
        if self.level().0 == 0 {
            (self.reason, self.was_late) = (None, false);
            let forgets = FORGETS * seconds(self.config.longest_wait_s);
            if self.last_step.is_none_or(|step| now.saturating_sub(step) >= forgets) {
                self.wait = seconds(self.config.step_up_after_s);
            }
        }
        before != (self.rungs(), self.reason())
    }

    /// Who is down by how many rungs.
    fn rungs(&self) -> Vec<(Name, u32)> {
        let down = self.cameras.iter().filter(|(_, camera)| camera.rung > 0);
        down.map(|(id, camera)| (id.clone(), camera.rung)).collect()
    }

    fn trouble(&self, signs: &BoardReadings, over: Option<f32>) -> Option<Reason> {
        let warm = over.is_some_and(|over| over >= -WARM_C);
        if signs.under_voltage {
            Some(Reason::UnderVoltage)
        } else if signs.throttled || (signs.capped && warm) {
            Some(Reason::Throttled)
        } else if over.is_some_and(|over| over >= 0.0) {
            Some(Reason::Overheating)
        } else {
            self.cameras.values().any(|c| c.is_late).then_some(Reason::Overloaded)
        }
    }

    fn maybe_down(&mut self, now: Duration, reason: Reason, over: Option<f32>) {
        let dwell = seconds(self.config.step_down_after_s);
        let waited = |since: Option<Duration>| since.is_none_or(|since| now.saturating_sub(since) >= dwell);
        if !waited(self.trouble_since) || !waited(self.last_step) {
            return;
        }
        let over = over.unwrap_or(f32::INFINITY);
        let falling = over <= self.over_before - FALLING_C && over < self.config.margin_c;
        self.over_before = over;
        if reason == Reason::Overheating && falling {
            // What was taken away works already: it gets its time.
            self.trouble_since = Some(now);
            return;
        }
        let stepped = if reason == Reason::Overloaded { self.down_late() } else { self.down() };
        if !stepped {
            return;
        }
        self.reason = Some(reason);
        self.was_late |= reason == Reason::Overloaded;
        self.last_step = Some(now);
        let longest = seconds(self.config.longest_wait_s);
        if let Some(up) = self.last_up.take()
            && now.saturating_sub(up) <= 2 * longest
        {
            self.wait = (2 * self.wait).min(longest);
        }
    }

    /// Cameras that are late by their own slowness give up a rung each; if there are none, the least important do.
    fn down_late(&mut self) -> bool {
        let mut stepped = false;
        for camera in self.cameras.values_mut().filter(|c| c.is_late && c.overloads_itself()) {
            if camera.rung < camera.terms.rungs() {
                camera.rung += 1;
                stepped = true;
            }
        }
        stepped || self.down()
    }

    fn down(&mut self) -> bool {
        let has_frames = |c: &Camera| c.at_work && c.rung < c.terms.fps_rungs();
        let has_models = |c: &Camera| c.at_work && c.rung < c.terms.rungs();
        self.step_down(has_frames) || self.step_down(has_models)
    }

    fn step_down(&mut self, can: impl Fn(&Camera) -> bool) -> bool {
        let able = self.cameras.values().filter(|c| can(c));
        let Some(least) = able.map(|c| c.terms.priority).min() else { return false };
        for camera in self.cameras.values_mut().filter(|c| c.terms.priority == least && can(c)) {
            camera.rung += 1;
        }
        true
    }

    fn maybe_up(&mut self, now: Duration, parallel: usize) {
        let waited = |since: Option<Duration>| since.is_some_and(|s| now.saturating_sub(s) >= self.wait);
        if self.level().0 == 0 || !waited(self.well_since) || !waited(self.last_step) {
            return;
        }
        if self.up(parallel) {
            (self.last_step, self.last_up) = (Some(now), Some(now));
        }
    }

    /// The usual models come back first, then frames; the most important camera's before the others'.
    fn up(&mut self, parallel: usize) -> bool {
        let has_smaller = |c: &Camera| c.rung > c.terms.fps_rungs();
        let mut groups: Vec<(bool, u8)> = self
            .cameras
            .values()
            .filter(|c| c.rung > 0)
            .map(|c| (has_smaller(c), c.terms.priority))
            .collect();
        groups.sort_unstable();
        groups.dedup();
        while let Some((smaller, priority)) = groups.pop() {
            let mut stepped = false;
            let mut load: f64 = self.cameras.values().map(|c| c.load).sum();
            for camera in self.cameras.values_mut() {
                let belongs = camera.rung > 0
                    && camera.terms.priority == priority
                    && (camera.rung > camera.terms.fps_rungs()) == smaller;
                if !belongs {
                    continue;
                }
                if self.was_late {
                    let Some(then) = camera.load_one_up() else { continue };
                    let sum = load - camera.load + then;
                    if sum > BUSY_AT_MOST * parallel as f64 {
                        continue;
                    }
                    load = sum;
                }
                camera.rung -= 1;
                stepped = true;
            }
            if stepped {
                return true;
            }
        }
        false
    }
}

fn seconds(seconds: f32) -> Duration {
    Duration::try_from_secs_f32(seconds).unwrap_or_default()
}
