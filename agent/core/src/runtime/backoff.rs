//! How long to wait before the next attempt: exponential, with full jitter in the upper half.

use std::time::Duration;

/// Waits that double from `first` to `most`. Jitter keeps many nodes from calling back at one moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    attempt: u32,
    random: u64,
}

impl Backoff {
    /// `seed` sets the jitter: give every source its own.
    pub fn new(first: Duration, most: Duration, seed: u64) -> Self {
        Backoff { first, most, attempt: 0, random: seed | 1 }
    }

    /// The next wait: between half and the whole of `first * 2^attempt`, never above `most`.
    pub fn next_wait(&mut self) -> Duration {
        let whole = self.first.saturating_mul(1u32 << self.attempt.min(20)).min(self.most);
        self.attempt = self.attempt.saturating_add(1);
        // xorshift64: good enough for jitter, and needs no dependency.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let part = (self.random >> 11) as f64 / (1u64 << 53) as f64;
        whole.mul_f64(0.5 + 0.5 * part)
    }

    /// After a success: the next wait is a short one again.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_start_anew_after_a_success() {
        let mut b = Backoff::new(Duration::from_millis(500), Duration::from_secs(30), 42);
        let mut last = Duration::ZERO;
        for n in 0..40 {
            let wait = b.next_wait();
            let whole =
                Duration::from_millis(500).saturating_mul(1 << n.min(20)).min(Duration::from_secs(30));
            assert!(wait >= whole / 2 && wait <= whole, "{n}: {wait:?}");
            last = wait;
        }
        assert!(last >= Duration::from_secs(15));
        b.reset();
        assert!(b.next_wait() <= Duration::from_millis(500));
    }
}
