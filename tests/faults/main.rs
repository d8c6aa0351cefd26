//! The fault matrix: one test a cell; the table in `tests/README.md` says what each promises.
//!
//! Each cell ends with the same check ([`harness::delivery`]): every accepted event arrived once by `id`, or a loss
//! receipt of the node says why not. `AIMASS_FAULTS=all` runs the long form, see `make test-faults`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod backlog;
mod broker;
mod cameras;
mod clock;
mod credentials;
mod disk;
mod interoperability;
mod kill;
mod network;
mod resources;
mod rig;
mod store_file;

/// The camera of the media tests, which can freeze, die and come back.
#[path = "../../agent/media/tests/support/rtsp.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with agent/media")]
mod rtsp;
