//! Signed commands from the broker: authenticated, parsed, executed and answered, each by name.

mod authenticate;
mod dispatch;
mod probe;
mod request;
mod snapshot;
#[cfg(test)]
mod tests;

pub use aimass_protocol::command::{CommandError, NAMES};
pub use authenticate::{Authenticate, Authenticator};
pub use dispatch::{CommandRequest, Deps, SecretFolders, SendReply, forward, start};
pub use request::Request;
