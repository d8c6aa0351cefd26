//! The store on real files: one binary, a module for each theme.

mod broken;
mod crash;
mod full;
mod model;
mod retention;
mod shared;
mod support;
