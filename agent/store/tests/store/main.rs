//! The store on real files: one binary, a module for each theme.

#![expect(clippy::unwrap_used, reason = "a test ends there")]

mod api;
mod beyond_32_bits;
mod corruption;
mod crash;
mod disk_full;
mod migration;
mod model;
mod retention;
mod support;
mod undeliverable;
