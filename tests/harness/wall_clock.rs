//! A wall clock for one process that jumps on command, by Debian's libfaketime. The monotonic clock stays true.

use std::path::PathBuf;

use aimass_core::runtime::files::write_atomically;
use tempfile::TempDir;

/// Such a clock. Its process must be started with [`WallClock::environment`].
#[derive(Debug)]
pub struct WallClock {
    folder: TempDir,
    library: PathBuf,
}

impl WallClock {
    /// Right, until it jumps; `None` (and a message) where libfaketime is not installed.
    pub fn new() -> Option<WallClock> {
        let Some(library) = library() else {
            crate::skip("libfaketime is not installed: apt install libfaketime");
            return None;
        };
        let clock = WallClock { folder: tempfile::tempdir().ok()?, library };
        clock.jump("+0d");
        Some(clock)
    }

    /// From now on it is off by so much: `+365d`, `-1y`.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn jump(&self, by: &str) {
        let file = self.folder.path().join("now");
        write_atomically(&file, format!("{by}\n").as_bytes())
            .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }

    /// Environment variables for the process.
    pub fn environment(&self) -> Vec<(String, String)> {
        let file = self.folder.path().join("now").to_string_lossy().into_owned();
        let library = self.library.to_string_lossy().into_owned();
        let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        vec![
            set("LD_PRELOAD", &library),
            set("FAKETIME_TIMESTAMP_FILE", &file),
            set("FAKETIME_NO_CACHE", "1"),
            set("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            set("DONT_FAKE_MONOTONIC", "1"),
        ]
    }
}

/// Debian's place for this machine's architecture.
fn library() -> Option<PathBuf> {
    let triplets = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let found = triplets.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    found.into_iter().find(|path| path.exists())
}
