//! The wire to the centre: one MQTT 5 session that carries events, states and status to a broker.
//!
//! One task owns the client and its event loop ([`Link::spawn`]). An event counts as delivered only when the
//! broker's PUBACK with a success reason came back; until then it stays in the outbox. States ([`RetainedStates`])
//! are values, not a queue: the latest one per topic is sent, and all of them again on every connect. In the other
//! direction come the wanted configuration and commands ([`Command`]), which are answered through [`Replies`].
//! This is the only crate that names the MQTT client library.

#![forbid(unsafe_code)]

mod acks;
mod address;
mod backlog_window;
pub mod client;
mod config;
mod context;
mod credential_files;
mod document;
mod error;
mod incoming;
mod link;
mod options;
mod outbox_reader;
mod probe;
mod rejected_events;
mod rejected_states;
mod replies;
mod retained_states;
mod session;
mod status;
mod stop;
mod subscriptions;
mod window;

pub use address::BrokerAddress;
pub use config::{BrokerConfig, Problem};
pub use document::NodeIdentity;
pub use error::{LinkError, LinkErrorKind};
pub use incoming::{Command, Notice};
pub use link::{Extras, Link, LinkHandle, Stopped};
pub use replies::{Replies, ReplyError, ReplyTo};
pub use retained_states::{BoardError, MAX_STATE_BYTES, MAX_STATES, RetainedStates};
pub use session::{MAX_IN_FLIGHT, Undeliverable};
pub use status::{LinkState, LinkStatus};
