//! Whether the files of a connection (password, certificates, keys) are still those that it was made with.
//!
//! Looked at by metadata, every so often: a file that was renewed has another inode, size or time.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What the files looked like at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen(Vec<Option<(u64, u64, i64, i64)>>);

impl Seen {
    /// Blocks for as long as the file system takes.
    pub(crate) fn now<'a>(files: impl Iterator<Item = &'a Path>) -> Seen {
        let look = |path| fs::metadata(path).ok().map(|m| (m.ino(), m.len(), m.mtime(), m.mtime_nsec()));
        Seen(files.map(look).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aimass_core::runtime::files::write_atomically;

    #[test]
    fn a_file_that_is_written_anew_or_gone_looks_different() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let look = || Seen::now([&*path].into_iter());
        let none = look();
        write_atomically(&path, b"one").unwrap();
        let first = look();
        assert_eq!(first, look());
        write_atomically(&path, b"two").unwrap();
        assert_ne!(first, look());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(none, look());
    }
}
