//! What threads and tasks are made of: workers with heartbeats, stop requests, queues, clocks, files.

pub mod backoff;
pub mod clock;
pub mod files;
pub mod latest_slot;
pub mod lossless_queue;
pub mod semaphore;
pub mod stop;
pub mod worker;
