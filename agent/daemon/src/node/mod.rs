//! The running node: how it is built, and the only task that changes it.

pub mod baseline;
mod build;
pub mod config_worker;
pub mod controller;
pub mod running;
pub mod signals;
pub mod systemd;

pub(crate) use build::parallel;
