//! The program `aimass-agent`: configuration, wiring, HTTP and the command line.

pub mod health;
pub mod views;
