//! Time, injected: the program takes it from a [`Clock`], tests hold it still.
//!
//! This is the only module that asks the operating system for the time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Where the program gets its time from.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time in UTC. It may jump; never measure a duration with it.
    fn wall(&self) -> Timestamp;
    /// Time since some fixed moment of this process. It never jumps.
    fn monotonic(&self) -> Duration;
}

/// A clock that is shared by the program's parts.
pub type SharedClock = Arc<dyn Clock>;

/// The operating system's clocks.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn new() -> Self {
        SystemClock { start: Instant::now() }
    }

    /// The same, ready to be shared.
    pub fn shared() -> SharedClock {
        Arc::new(Self::new())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that moves only when told: for tests.
#[derive(Debug, Clone)]
pub struct SimulatedClock {
    now: Arc<Mutex<(Timestamp, Duration)>>,
}

impl SimulatedClock {
    /// A clock that stands at `wall`, its monotonic time at zero.
    pub fn at(wall: Timestamp) -> Self {
        SimulatedClock { now: Arc::new(Mutex::new((wall, Duration::ZERO))) }
    }

    /// Lets time pass, on both clocks.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.0 += by;
        now.1 += by;
    }

    /// Sets the wall clock, as NTP or a person would; monotonic time is untouched.
    pub fn set_wall(&self, wall: Timestamp) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).0 = wall;
    }
}

impl Clock for SimulatedClock {
    fn wall(&self) -> Timestamp {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn monotonic(&self) -> Duration {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

/// Measures how long a stage took, for figures only: nothing may be decided by it.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts to measure.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        Stopwatch(Instant::now())
    }

    /// The time since the start or the last lap; the next lap begins now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let lap = now.duration_since(self.0);
        self.0 = now;
        lap
    }
}
