//! How fast what waited may go out: a bounded rate for the replay, and a share of the window that follows the way.
//! Pure; the session hands in the time.
//!
//! A message that is handed in joins a queue that we do not see (socket buffers, routers, the broker). How long that
//! queue is, the acks tell: what an ack takes longer than the quickest one lately was spent waiting. The share grows
//! by one message a round while that is little and is halved when it is much, as TCP does with its window.
//! Invariant: at least one message may always be out, so no way is so slow that nothing goes.

use std::time::Duration;

use tokio::time::Instant;

/// How long a message may wait behind others before the share shrinks.
const PATIENCE: Duration = Duration::from_millis(250);
/// The share of a new connection.
const FIRST: f64 = 2.0;
/// For how long the quickest ack is remembered: the way may have become longer for good.
const MEMORY: Duration = Duration::from_secs(60);
/// The bucket holds what this time brings.
const BURST: Duration = Duration::from_millis(100);

/// How many messages may be on their way when one of the backlog is added.
#[derive(Debug)]
pub(crate) struct Share {
    now: f64,
    most: f64,
    /// The quickest ack of this stretch of time and of the one before.
    quickest: [Option<Duration>; 2],
    stretch_began: Instant,
    /// Messages from before the last cut say nothing about the share since.
    cut: Instant,
}

impl Share {
    pub(crate) fn new(window: u16, now: Instant) -> Self {
        // The rest of the window is for what cannot wait.
        let most = f64::from((window * 3 / 4).max(1));
        Share { now: FIRST.min(most), most, quickest: [None; 2], stretch_began: now, cut: now }
    }

    /// An event that was handed in at `since` is acknowledged now.
    pub(crate) fn acked(&mut self, since: Instant, now: Instant) {
        let took = now.saturating_duration_since(since);
        if now.saturating_duration_since(self.stretch_began) >= MEMORY {
            self.quickest = [None, self.quickest[0]];
            self.stretch_began = now;
        }
        self.quickest[0] = Some(self.quickest[0].map_or(took, |known| known.min(took)));
        let quickest = self.quickest.into_iter().flatten().min().unwrap_or(took);
        if took.saturating_sub(quickest) <= PATIENCE {
            self.now = (self.now + 1.0 / self.now).min(self.most);
        } else if since >= self.cut {
            self.now = (self.now / 2.0).max(1.0);
            self.cut = now;
        }
    }

    /// Whether one more of the backlog may go while so many messages are out.
    pub(crate) fn lets_replay(&self, out: usize) -> bool {
        out < self.now as usize
    }

    /// The same for what happens now, which goes before the backlog but must not queue up before an alarm.
    pub(crate) fn lets_live(&self, out: usize) -> bool {
        out < (self.now * 4.0 / 3.0) as usize + 1
    }
}

/// A token bucket: so many messages a second, with short bursts.
#[derive(Debug, Clone)]
pub(crate) struct Rate {
    per_s: f64,
    tokens: f64,
    filled: Instant,
}

impl Rate {
    /// 0 a second means without a limit.
    pub(crate) fn new(per_s: u32, now: Instant) -> Self {
        let per_s = f64::from(per_s);
        Rate { per_s, tokens: (per_s * BURST.as_secs_f64()).max(1.0), filled: now }
    }

    /// Whether one may go now.
    pub(crate) fn lets(&mut self, now: Instant) -> bool {
        if self.per_s == 0.0 {
            return true;
        }
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = self.filled.max(now);
        self.tokens = (self.tokens + passed * self.per_s).min((self.per_s * BURST.as_secs_f64()).max(1.0));
        self.tokens >= 1.0
    }

    /// One went.
    pub(crate) fn take(&mut self) {
        if self.per_s > 0.0 {
            self.tokens -= 1.0;
        }
    }

    /// When the next one may go.
    pub(crate) fn next(&self) -> Instant {
        if self.per_s == 0.0 || self.tokens >= 1.0 {
            return self.filled;
        }
        // A hair later, so that rounding never wakes us in vain.
        self.filled + Duration::from_secs_f64((1.0 - self.tokens) / self.per_s) + Duration::from_micros(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    /// Sends through a way that carries a message in `each` and adds `far` to every ack; returns how many messages
    /// were out, at the end.
    fn settle(each: Duration, far: Duration) -> usize {
        let mut now = Instant::now();
        let mut share = Share::new(16, now);
        let mut out = std::collections::VecDeque::new();
        let mut free_at = now;
        for _ in 0..2000 {
            while share.lets_replay(out.len()) {
                free_at = free_at.max(now) + each;
                out.push_back((now, free_at + far));
            }
            let Some((since, acked)) = out.pop_front() else { break };
            now = acked;
            share.acked(since, now);
        }
        out.len() + 1
    }

    #[test]
    fn a_fast_way_gets_most_of_the_window_and_a_long_one_too() {
        assert_eq!(settle(MS, MS), 12);
        assert_eq!(settle(MS, 600 * MS), 12);
    }

    #[test]
    fn on_a_way_that_carries_one_message_in_half_a_second_one_is_out_at_a_time() {
        assert!(settle(500 * MS, 20 * MS) <= 2);
    }

    #[test]
    fn what_waits_is_bounded_on_a_way_in_between() {
        let out = settle(50 * MS, 10 * MS);
        assert!((2..=7).contains(&out), "{out} messages of 50 ms are more than 250 ms and one round");
    }

    #[test]
    fn what_happens_now_may_go_while_the_backlog_may_not_and_leaves_room_for_alarms() {
        let mut share = Share::new(16, Instant::now());
        share.now = 1.0;
        assert!(share.lets_live(1) && !share.lets_replay(1) && !share.lets_live(2));
        share.now = 12.0;
        assert!(share.lets_replay(11) && !share.lets_replay(12) && share.lets_live(15));
    }

    proptest! {
        #[test]
        fn no_more_go_than_the_rate_allows(per_s in 1u32..2000, steps in prop::collection::vec(0u32..50, 1..200)) {
            let begin = Instant::now();
            let mut rate = Rate::new(per_s, begin);
            let (mut now, mut went) = (begin, 0.0);
            for step in steps {
                now += MS * step;
                while rate.lets(now) {
                    rate.take();
                    went += 1.0;
                }
                prop_assert!(rate.next() > now, "a token that is not there yet");
                prop_assert!(rate.clone().lets(rate.next()));
                let most = (now - begin).as_secs_f64() * f64::from(per_s) + (f64::from(per_s) / 10.0).max(1.0) + 1.0;
                prop_assert!(went <= most, "{went} went, {most} were allowed");
            }
        }
    }
}
