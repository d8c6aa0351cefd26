//! A condition that must last before it counts, and must be over for a while before it no longer does.

use std::time::Duration;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Debounce {
    active_since: Option<Duration>,
    /// Since when what is seen has contradicted that.
    pending_since: Option<Duration>,
}

impl Debounce {
    pub(crate) fn is_active(&self) -> bool {
        self.active_since.is_some()
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.pending_since.is_some()
    }

    /// Takes in what is seen; `None`: it cannot be told, and all stays as it is.
    pub(crate) fn step(&mut self, seen: Option<bool>, now: Duration, hold_s: f32, recover_s: f32) {
        if seen.is_none_or(|seen| seen == self.is_active()) {
            self.pending_since = None;
            return;
        }
        let since = *self.pending_since.get_or_insert(now);
        let needed = if self.is_active() { recover_s } else { hold_s };
        if now.saturating_sub(since).as_secs_f32() >= needed {
            self.active_since = if self.is_active() { None } else { Some(now) };
            self.pending_since = None;
        }
    }

    /// Whether it has been active for so long; never for 0.
    pub(crate) fn lasts(&self, now: Duration, s: f32) -> bool {
        s > 0.0 && self.active_since.is_some_and(|since| now.saturating_sub(since).as_secs_f32() >= s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_counts_and_only_what_is_over_for_a_while_has_ended() {
        let mut hold = Debounce::default();
        let mut at = |second: u64, seen| {
            hold.step(seen, Duration::from_secs(second), 3.0, 2.0);
            hold.is_active()
        };
        assert!(!at(0, Some(true)) && !at(2, Some(true)) && !at(3, Some(false)), "interrupted");
        assert!(!at(4, Some(true)) && !at(6, None) && !at(7, Some(true)), "not known for a moment");
        assert!(at(10, Some(true)) && at(11, Some(false)) && at(12, Some(true)) && at(13, Some(false)));
        assert!(at(14, None) && at(15, Some(false)) && at(16, Some(false)) && !at(17, Some(false)));
    }
}
