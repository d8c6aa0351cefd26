//! The program `aimass-agent`: configuration, wiring, HTTP and the command line.
//!
//! Import order: cli → node → {api, commands, integrations} → {governor, health} → pipeline → config → board.

pub mod api;
pub mod board;
pub mod cli;
pub mod commands;
pub mod config;
pub mod exit;
pub mod governor;
pub mod handle;
pub mod health;
pub mod identity;
pub mod integrations;
pub mod logging;
pub mod node;
pub mod pipeline;
