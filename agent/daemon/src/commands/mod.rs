//! Signed commands from the broker: authenticated, parsed, executed and answered, each by name.

mod authenticate;
mod dispatch;
mod probe;
mod request;
mod snapshot;
#[cfg(test)]
mod tests;

pub use aimass_protocol::command::{CommandError, NAMES};
pub use authenticate::prover;
pub use dispatch::{Answer, CommandPorts, CommandRequest, Doing, Prove, run};
pub use request::Request;
