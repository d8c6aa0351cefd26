//! Keeps the memory of loading a model from staying with the process: the one use of the C library's allocator
//! settings, and the only unsafe code of this crate.
//!
//! glibc keeps freed memory below what is still in use. Loading makes weights several times over, mixed with small
//! things that stay, so that a third of the peak would stay for ever. While a model loads, blocks of weights get
//! mappings of their own, which go back to the system at once; after it, blocks come from the heap again, because
//! a running model takes and gives back the same large blocks on every frame.
#![cfg_attr(all(target_os = "linux", target_env = "gnu"), allow(unsafe_code))]

/// While it lives, large blocks get mappings of their own.
#[derive(Debug)]
pub(crate) struct LargeBlocksApart;

impl LargeBlocksApart {
    pub(crate) fn begin() -> Self {
        set_mmap_threshold(64 * 1024);
        LargeBlocksApart
    }
}

impl Drop for LargeBlocksApart {
    fn drop(&mut self) {
        set_mmap_threshold(32 * 1024 * 1024);
        trim();
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::ffi::c_int;

    unsafe extern "C" {
        pub(super) fn mallopt(parameter: c_int, value: c_int) -> c_int;
        pub(super) fn malloc_trim(pad: usize) -> c_int;
    }
    /// `M_TRIM_THRESHOLD`: how much free memory at the heap's end goes back to the system.
    pub(super) const TRIM_THRESHOLD: c_int = -1;
    /// `M_MMAP_THRESHOLD`: from which size on a block gets its own mapping.
    pub(super) const MMAP_THRESHOLD: c_int = -3;
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn set_mmap_threshold(bytes: std::ffi::c_int) {
    // SAFETY: both parameters exist in every glibc, take any value of this size, and may be set at any time from
    // any thread; a refusal changes nothing.
    unsafe {
        glibc::mallopt(glibc::MMAP_THRESHOLD, bytes);
        glibc::mallopt(glibc::TRIM_THRESHOLD, 64 * 1024 * 1024);
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: gives free pages back to the system; no block in use is touched, and it locks what it needs.
    unsafe {
        glibc::malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn set_mmap_threshold(_: i32) {}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
