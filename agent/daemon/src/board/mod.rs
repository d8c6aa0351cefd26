//! What the kernel tells of the board: `/proc` and `/sys`.

pub mod process;
pub mod sysfs;
