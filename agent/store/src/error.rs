//! What can go wrong with the store, for programs and for people.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ffi;

/// What kind of thing went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The configuration asks for what cannot be.
    Config,
    /// Another process uses the store.
    InUse,
    /// The file is a database of another program or of a newer version.
    Foreign,
    /// There is no store.
    NotFound,
    /// The disk is full. The store tries again with the next command.
    DiskFull,
    /// The file or its file system cannot be written.
    ReadOnly,
    /// The file is damaged.
    Corrupt,
    /// An event or a value is too large, or cannot be stored.
    Refused,
    /// The device failed, or SQLite did.
    Io,
    /// The store was closed.
    Closed,
}

/// Why the store did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A setting is wrong.
    #[error("{0}")]
    Config(String),
    /// Another process has it.
    #[error("store {path} is in use by {by}: stop that first, or give this one another store.path", path = .path.display())]
    InUse {
        /// Which store.
        path: PathBuf,
        /// Who has it.
        by: String,
    },
    /// Not ours, or from the future.
    #[error("{path} {problem}: point store.path elsewhere, or move the file away", path = .path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What it is.
        problem: String,
    },
    /// SQLite or the file system said no.
    #[error("store {path}: {problem}", path = .path.display())]
    Database {
        /// For programs.
        kind: ErrorKind,
        /// Which store.
        path: PathBuf,
        /// What happened and what to do.
        problem: String,
    },
    /// An event or a value cannot be stored.
    #[error("{0}")]
    Refused(String),
    /// Nobody is there any more.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// For programs.
    pub fn kind(&self) -> ErrorKind {
        match self {
            StoreError::Config(_) => ErrorKind::Config,
            StoreError::InUse { .. } => ErrorKind::InUse,
            StoreError::Foreign { .. } => ErrorKind::Foreign,
            StoreError::Database { kind, .. } => *kind,
            StoreError::Refused(_) => ErrorKind::Refused,
            StoreError::Closed => ErrorKind::Closed,
        }
    }

    pub(crate) fn io(path: &Path, doing: &str, error: &io::Error) -> Self {
        let (kind, repair) = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                (ErrorKind::DiskFull, "free some space")
            }
            io::ErrorKind::ReadOnlyFilesystem => (ErrorKind::ReadOnly, "make its file system writable"),
            io::ErrorKind::PermissionDenied => {
                (ErrorKind::ReadOnly, "it belongs to the node: run this as root or as the node's user")
            }
            io::ErrorKind::NotFound => (ErrorKind::NotFound, "check the path"),
            _ => (ErrorKind::Io, "check the disk"),
        };
        StoreError::Database { kind, path: path.into(), problem: format!("{doing}: {error}; {repair}") }
    }

    /// For the first look at a file: there, an SQL error means that the header or the schema is damaged.
    pub(crate) fn opening(path: &Path, error: &rusqlite::Error) -> Self {
        let mut opening = Self::sqlite(path, "cannot open it", error);
        let generic = error.sqlite_error().is_some_and(|e| e.extended_code & 0xff == ffi::SQLITE_ERROR);
        if let StoreError::Database { kind, problem, .. } = &mut opening
            && generic
        {
            *kind = ErrorKind::Corrupt;
            *problem = format!("cannot open it: {error}; the file is damaged");
        }
        opening
    }

    pub(crate) fn sqlite(path: &Path, doing: &str, error: &rusqlite::Error) -> Self {
        let kind = kind_of(error);
        let repair = match kind {
            ErrorKind::DiskFull => "free some space",
            ErrorKind::ReadOnly => "make the file and its folder writable for this user",
            ErrorKind::NotFound => "check the path",
            ErrorKind::Corrupt => "the file is damaged",
            _ => "check the disk",
        };
        StoreError::Database { kind, path: path.into(), problem: format!("{doing}: {error}; {repair}") }
    }
}

fn kind_of(error: &rusqlite::Error) -> ErrorKind {
    let rusqlite::Error::SqliteFailure(code, message) = error else {
        // A column of another type than we ever write.
        return ErrorKind::Corrupt;
    };
    match (code.extended_code, code.extended_code & 0xff) {
        // The shared memory file could not grow, or a write came back short: no space.
        (ffi::SQLITE_IOERR_SHMSIZE, _) | (_, ffi::SQLITE_FULL) => ErrorKind::DiskFull,
        (_, ffi::SQLITE_READONLY | ffi::SQLITE_PERM) => ErrorKind::ReadOnly,
        (_, ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB) => ErrorKind::Corrupt,
        (_, ffi::SQLITE_CANTOPEN) => ErrorKind::NotFound,
        // A table or a column that is missing from our own schema.
        (_, ffi::SQLITE_ERROR) if message.as_ref().is_some_and(|m| m.starts_with("no such")) => {
            ErrorKind::Corrupt
        }
        _ => ErrorKind::Io,
    }
}
