//! The topics and documents that a node exchanges with brokers, hubs and API clients.
//!
//! Each document is one type here, used by the node, by the tests and by programs that talk to nodes. This crate does
//! no I/O and depends on no other crate of the workspace.

pub mod api;
pub mod command;
pub mod config;
pub mod event;
pub mod geometry;
pub mod health;
pub mod name;
mod schema;
pub mod state;
pub mod status;
pub mod topic;
