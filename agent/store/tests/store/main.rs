//! The store on real files: one binary, a module for each theme.

#![expect(clippy::unwrap_used, reason = "a test ends there")]

mod broken;
mod crash;
mod full;
mod migration;
mod model;
mod never;
mod retention;
mod shared;
mod support;
mod wide;
