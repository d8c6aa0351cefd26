//! Repeatable randomness: every seed is printed, `AIMASS_SEED` sets it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;

/// SplitMix64.
#[derive(Debug)]
pub struct SeededRandom(u64);

impl SeededRandom {
    /// With a fresh seed, or that of `AIMASS_SEED`; printed on stderr, past the test runner's capture.
    ///
    /// # Panics
    /// `AIMASS_SEED` is no number.
    pub fn new(what: &str) -> SeededRandom {
        let seed = match std::env::var("AIMASS_SEED") {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("AIMASS_SEED={text} is no number")),
            Err(_) => RandomState::new().build_hasher().finish() >> 32,
        };
        writeln!(std::io::stderr(), "{what}: seed {seed} (AIMASS_SEED={seed} repeats it)").ok();
        SeededRandom(seed)
    }

    /// The next number from `low` up to, without, `high`.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (z ^ (z >> 31)) % high.saturating_sub(low).max(1)
    }
}
