//! The environment of the tests: a broker process, a network that fails on command, a subscriber, the agent's binary,
//! recorded media.
//!
//! Rules: every wait has a deadline and says on failure what was seen instead; every child process is ended by its
//! own pid when its owner is dropped; anything missing on the machine fails a test with the command that
//! installs it.

#![forbid(unsafe_code)]

pub mod agent;
pub mod api;
pub mod broker;
pub mod certificates;
pub mod clips;
pub mod delivery;
pub mod disk;
pub mod lines;
pub mod media;
pub mod paho;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod publish;
pub mod random;
pub mod requester;
pub mod service;
pub mod signer;
pub mod sound_server;
pub mod sounds;
pub mod subscriber;
pub mod wall_clock;

use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;

/// How long anything that should happen may take on a busy machine.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Polls until the answer is `Some`; `what` is for the failure message.
///
/// # Panics
/// Nothing came within the deadline.
pub async fn eventually<T>(what: &str, within: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether the long form of the fault tests is asked for (`AIMASS_FAULTS=all`, `make test-faults`).
pub fn is_thorough() -> bool {
    std::env::var("AIMASS_FAULTS").is_ok_and(|v| v == "all")
}

/// `quick`, or `thorough` if [`is_thorough`].
pub fn by_depth<T>(quick: T, thorough: T) -> T {
    if is_thorough() { thorough } else { quick }
}

/// Prints on the real stderr, past the test runner's capture, that a test or a part of one was not run.
pub fn skip(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    writeln!(std::io::stderr(), "skipped: {test}: {why}").ok();
}

/// For a cell of the long form only: returns true, and prints a skip message, in the quick form.
pub fn skip_unless_thorough() -> bool {
    if !is_thorough() {
        skip("takes long; `make test-faults` (AIMASS_FAULTS=all) runs it");
    }
    !is_thorough()
}
