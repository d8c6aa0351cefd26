//! The program `aimass-agent`: configuration, wiring, HTTP and the command line.

pub mod analyze;
pub mod bench;
pub mod camera;
pub mod chain;
pub mod cli;
pub mod commands;
pub mod config;
pub mod demo;
pub mod demo_broker;
pub mod events;
pub mod exit;
pub mod former;
pub mod health;
pub mod http;
pub mod jpeg;
pub mod logging;
pub mod metrics;
pub mod models_command;
pub mod monitor;
pub mod node;
pub mod probe;
pub mod process;
pub mod progress;
pub mod run;
pub mod supervisor;
pub mod views;
