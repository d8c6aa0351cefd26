//! Every path that this machine can run against the portable one, and the portable one against the definitions, over
//! random shapes, strides, padding, zero points and values.
//!
//! `AIMASS_KERNEL_CASES` sets how many cases each property takes (emulated machines take fewer);
//! `AIMASS_KERNEL_EXPECT` names the path that must be detected.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod case;
mod convolution;
mod definition;
mod guarded;
mod ops;
mod shape;
mod unary_fn;
