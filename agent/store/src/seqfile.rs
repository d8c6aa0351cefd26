//! The side file `<path>.seq`: which sequence numbers may be in use, so that a lost database does not make the
//! node count from 1 again.
//!
//! Written ahead in blocks, like a hi-lo allocator: one small atomic write for each [`BLOCK`] events. Its
//! invariant: at the time of writing everything below `from` was accepted, and nothing above `to` is accepted
//! before the file says so.

use std::path::{Path, PathBuf};

use aimass_core::runtime::files::write_atomically;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// Numbers reserved at a time.
pub(crate) const BLOCK: u64 = 1000;

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reserved {
    /// Everything below was in the database.
    pub(crate) from: u64,
    /// The highest number that may have been given.
    pub(crate) to: u64,
    /// All sinks had everything up to here.
    pub(crate) delivered: u64,
}

/// The side file.
pub(crate) struct SeqFile {
    path: PathBuf,
    to: u64,
}

impl SeqFile {
    /// What stands in the file; `None` if it is missing or unreadable.
    pub(crate) fn read(path: &Path) -> Option<Reserved> {
        let text = std::fs::read(path).ok()?;
        serde_json::from_slice::<Reserved>(&text).ok().filter(|r| r.to < u64::MAX / 2 && r.from <= r.to)
    }

    /// The file at `path`, whose numbers are reserved up to `to`.
    pub(crate) fn new(path: PathBuf, to: u64) -> Self {
        SeqFile { path, to }
    }

    /// Makes sure that `count` numbers after `last` are reserved.
    ///
    /// # Errors
    /// The file cannot be written, and the reserve is used up.
    pub(crate) fn reserve(&mut self, last: u64, count: u64, delivered: u64) -> Result<(), StoreError> {
        // Half a block early, so that a disk that is full for a while does not stop us at once.
        if last + count + BLOCK / 2 <= self.to {
            return Ok(());
        }
        let wanted = Reserved { from: last + 1, to: last + count + BLOCK, delivered };
        let document = format!(r#"{{"from":{},"to":{},"delivered":{delivered}}}"#, wanted.from, wanted.to);
        match write_atomically(&self.path, document.as_bytes()) {
            Ok(()) => self.to = wanted.to,
            Err(_) if last + count <= self.to => {}
            Err(error) => {
                return Err(StoreError::io(&self.path, "cannot reserve sequence numbers", &error));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_reserved_before_they_are_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.seq");
        let mut file = SeqFile::new(path.clone(), 0);
        let mut last = 0;
        for count in [1, 3, 998, 5000, 1] {
            file.reserve(last, count, 0).unwrap();
            let on_disk = SeqFile::read(&path).unwrap();
            assert!(on_disk.from <= last + 1 && on_disk.to >= last + count, "{on_disk:?}");
            last += count;
        }
    }

    #[test]
    fn a_write_that_fails_matters_only_when_the_reserve_is_used_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = SeqFile::new(folder.path().join("missing/x.seq"), 10);
        file.reserve(0, 10, 0).unwrap();
        assert!(file.reserve(10, 1, 0).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_in_the_file_are_survived(bytes: Vec<u8>) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.seq");
            write_atomically(&path, &bytes).unwrap();
            SeqFile::read(&path);
        }
    }
}
