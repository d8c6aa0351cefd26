//! The running node: what it is built of, and the only task that changes it.

pub mod baseline;
mod build;
pub mod command_ports;
pub mod controller;
pub mod running;
pub mod signals;
pub mod systemd;
