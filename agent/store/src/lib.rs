//! What must survive a power cut, in one SQLite file: outbox, event history and small values.
//!
//! One thread, named `store`, owns the connection that writes ([`Store`] is only a handle to it); who lists
//! history opens the file read-only ([`Reader`]).
//!
//! # Format (version 2)
//!
//! - `event(seq, level, tick, at, context, id, body)`: the history and the outbox in one table, so that an event
//!   is written once. `level` is the severity (0 info, 1 notice, 2 alarm, 3 loss receipt), `tick` the age clock's
//!   second of acceptance, `at` the event's own time in milliseconds, `body` JSON of what differs from event to
//!   event. Its index `event_alarm` knows those of level 2 and above (since version 2; a file of version 1 gets it
//!   when it is opened). What repeats itself (node, boot, source, kind, label, model …) stands once in `context`.
//! - `context(id, generation, document)`: a generation begins at a `seq`; it goes when no event of it is left.
//! - `value(name, document)`: small values of the program (`u/…`) and the store's own ledger (`s/ledger`):
//!   cursors of the sinks, counts, the age clock, losses that are still to be told, events that a sink's peer can
//!   never take.
//!
//! Pages are 512 bytes, because each commit writes whole pages to the WAL and a row has about 150 bytes.
//! `<path>.seq` holds the range of sequence numbers that may be in use, `<path>.lock` who uses the store.
//!
//! # Invariants
//!
//! 1. [`Store::accept`] answers after the commit is on the disk (`synchronous=FULL`).
//! 2. `seq` has no gaps and never goes backwards, not even when the file is lost; where it must jump, a loss
//!    receipt covers the jump.
//! 3. An event that some sink has not acknowledged is deleted only by retention, and a loss receipt says so. One
//!    that a sink's peer can never take stays in the history; that it is given up and the receipt that is owed for
//!    it reach the disk together.
//! 4. A sink's cursor is never above an event that exists and that the sink has not acknowledged. It is written
//!    lazily: after a crash events come twice, with the same `id`.

#![forbid(unsafe_code)]

mod age;
mod codec;
mod commit;
mod config;
mod database;
mod error;
mod ledger;
mod losses;
mod reader;
mod recovery;
mod repeated_error;
mod retention;
mod seqfile;
mod sinks;
mod store;
mod writer;

pub use config::{StoreConfig, Tuning};
pub use error::{ErrorKind, StoreError};
pub use losses::{EVENTS_LOST, Loss, LossReason};
pub use reader::{EventQuery, Reader};
pub use store::{Opened, SinkHandle, SinkStats, Stats, Store};
