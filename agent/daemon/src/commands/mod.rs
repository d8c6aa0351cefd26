//! Signed commands from the broker: authenticated, parsed, executed and answered, each by name.

mod authenticate;
mod dispatch;
mod error;
mod probe;
mod request;
mod snapshot;
#[cfg(test)]
mod tests;

pub use authenticate::prover;
pub use dispatch::{Answer, CommandPorts, CommandRequest, Doing, Prove, run};
pub use error::CommandError;
pub use request::{NAMES, Request};
