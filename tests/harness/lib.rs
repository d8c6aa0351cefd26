//! What the tests need from the outside world, as real as it can be: a broker process, a network that fails on
//! command, a subscriber, the agent's own binary, recorded media.
//!
//! Rules: every wait has a deadline and says on failure what was seen instead; every child process is ended by its
//! own pid when its owner is dropped; whatever is missing on the machine fails a test with the command that
//! installs it.

#![forbid(unsafe_code)]

pub mod agent;
pub mod broker;
pub mod certificates;
pub mod lines;
pub mod media;
pub mod ports;
pub mod proxy;
pub mod service;
pub mod subscriber;

use std::time::Duration;

use tokio::time::Instant;

/// How long anything that should happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until the answer is `Some`; `what` is for the message.
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
