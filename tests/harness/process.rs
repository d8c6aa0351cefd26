//! Memory, descriptors and threads of a process.

use std::fs;

/// Memory and file descriptors of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Anonymous resident memory in KiB: what the program itself took.
    pub memory_kib: u64,
    /// Open file descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: u64,
}

impl Footprint {
    /// Of a running process.
    ///
    /// # Panics
    /// There is no such process.
    pub fn of(pid: u32) -> Footprint {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .unwrap_or_else(|e| panic!("process {pid} cannot be looked at: {e}"));
        let figure = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let figure = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
            figure.unwrap_or_else(|| panic!("{name} is not in the status of process {pid}"))
        };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap_or_else(|e| panic!("descriptors of process {pid}: {e}"))
            .count();
        Footprint { memory_kib: figure("RssAnon:"), descriptors, threads: figure("Threads:") }
    }
}
