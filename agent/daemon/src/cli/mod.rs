//! The command line: one file a command.

pub mod analyze;
pub mod args;
pub mod bench;
pub mod capacity;
pub mod config;
pub mod demo;
pub mod demo_broker;
pub mod events;
pub mod keygen;
pub mod models;
pub mod probe;
pub mod progress;
pub mod publish;
pub mod reference;
pub mod reload;
pub mod run;
pub mod runtime;
pub mod sign;
pub mod validate;
pub mod verify;
