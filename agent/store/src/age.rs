//! How old stored events are, by a clock that no jump of the wall clock can hurry.
//!
//! Ages are counted in *ticks*, seconds of the store's life. While the program runs a tick is a second of
//! monotonic time. The time between two runs is taken from the wall clock, but only forwards from the latest
//! wall time ever seen, and at most a quarter of the age limit for each start: a clock that is a year off costs
//! that quarter at worst, and never wipes the store. A board whose clock restarts in the past counts running
//! time only, so it keeps events longer rather than shorter.

use std::time::Duration;

use aimass_core::runtime::clock::SharedClock;

const DAY_S: u64 = 86_400;

/// The age clock. Never runs backwards.
pub(crate) struct AgeClock {
    clock: SharedClock,
    base: u64,
    began: Duration,
}

impl AgeClock {
    /// Goes on from tick `tick`, written when the latest wall time ever seen was `wall` (seconds since 1970), and
    /// from `newest`, the tick of the newest event.
    pub(crate) fn resume(clock: SharedClock, tick: u64, wall: i64, newest: u64, max_days: u32) -> Self {
        let away =
            if tick == 0 { 0 } else { clock.wall().as_second().saturating_sub(wall).max(0).unsigned_abs() };
        let credit = away.min(u64::from(max_days) * DAY_S / 4);
        // Tick 0 means "never written".
        let base = (tick + credit).max(newest).max(1);
        AgeClock { base, began: clock.monotonic(), clock }
    }

    /// The tick now.
    pub(crate) fn tick(&self) -> u64 {
        self.base + self.clock.monotonic().saturating_sub(self.began).as_secs()
    }

    /// The wall time now, in seconds since 1970.
    pub(crate) fn wall(&self) -> i64 {
        self.clock.wall().as_second()
    }

    /// Events of this tick or an older one are too old.
    pub(crate) fn expired(&self, max_days: u32) -> Option<u64> {
        self.tick().checked_sub(u64::from(max_days) * DAY_S)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aimass_core::runtime::clock::SimulatedClock;
    use jiff::Timestamp;

    use super::*;

    const YEAR: i64 = 365 * 86_400;

    #[test]
    fn running_time_counts_and_jumps_do_not() {
        let now = 1_790_000_000;
        let simulated = SimulatedClock::at(Timestamp::from_second(now).unwrap());
        let age = AgeClock::resume(Arc::new(simulated.clone()), 500, now, 510, 4);
        assert_eq!(age.tick(), 510);
        simulated.set_wall(Timestamp::from_second(now + YEAR).unwrap());
        assert_eq!(age.tick(), 510);
        simulated.set_wall(Timestamp::from_second(now - YEAR).unwrap());
        simulated.advance(Duration::from_secs(5));
        assert_eq!(age.tick(), 515);
    }

    #[test]
    fn time_between_runs_counts_up_to_a_quarter_of_the_limit() {
        let now = 1_790_000_000;
        let resume = |wall_before| {
            let clock = Arc::new(SimulatedClock::at(Timestamp::from_second(now).unwrap()));
            AgeClock::resume(clock, 1000, wall_before, 0, 4).tick()
        };
        assert_eq!(resume(now - 3600), 4600);
        assert_eq!(resume(now - YEAR), 1000 + DAY_S);
        assert_eq!(resume(now + YEAR), 1000);
    }
}
