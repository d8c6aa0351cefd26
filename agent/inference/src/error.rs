//! What can go wrong between a model's folder and its findings; each error ends with what to do where there is
//! something to do.

use std::path::PathBuf;
use std::sync::Arc;

/// What kind of thing went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// No model of that name in the library.
    UnknownModel,
    /// A file that the library names is not there.
    MissingFile,
    /// A file's size or hash is not what the manifest says.
    WrongHash,
    /// A manifest, a label list or a golden file is not valid.
    BadManifest,
    /// The model file is no model that can be run here.
    BadModel,
    /// The model's outputs do not fit its decoder.
    WrongOutputs,
    /// A setting that cannot be.
    Config,
    /// A picture could not be prepared, or the model failed on it.
    Failed,
    /// The disk refuses.
    Io,
}

/// An error of this crate.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum InferenceError {
    /// No model of that name.
    #[error("no model is named \"{name}\"{hint}; known: {known}")]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// `: did you mean …`, or nothing.
        hint: String,
        /// The names that are known, separated by commas.
        known: String,
    },
    /// A file of a model is not there.
    #[error("model {model}: {path} is missing: run `make models` to fetch and build it")]
    MissingFile {
        /// The model's name.
        model: String,
        /// The file.
        path: PathBuf,
    },
    /// A model file of another size.
    #[error(
        "model {model}: {path} has {found} bytes where {expected} are expected: restore it, or run `make models`"
    )]
    WrongSize {
        /// The model's name.
        model: String,
        /// The file.
        path: PathBuf,
        /// As the manifest says.
        expected: u64,
        /// As it is.
        found: u64,
    },
    /// A model file with another content.
    #[error(
        "model {model}: the sha256 of {path} is {found}, expected {expected}: restore it, or run `make models`"
    )]
    WrongHash {
        /// The model's name.
        model: String,
        /// The file.
        path: PathBuf,
        /// As the manifest says.
        expected: String,
        /// As it is.
        found: String,
    },
    /// A manifest, label list or golden file that is not valid.
    #[error("{path}: {problem}")]
    BadManifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A model file that cannot be run.
    #[error("model {model}: {problem}")]
    BadModel {
        /// The model's name.
        model: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The graph's outputs do not fit the decoder.
    #[error("model {model}, decoder {decoder}: {problem}")]
    WrongOutputs {
        /// The model's name.
        model: String,
        /// The decoder's kind.
        decoder: &'static str,
        /// Which output, and what the graph has instead.
        problem: String,
    },
    /// A setting that cannot be.
    #[error("{what}: {problem}")]
    Config {
        /// Which setting.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A picture could not be prepared, or the model failed on it.
    #[error("model {model}: {problem}")]
    Failed {
        /// The model's name.
        model: String,
        /// What happened.
        problem: String,
    },
    /// The disk refuses.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
}

impl InferenceError {
    /// For programs.
    pub fn kind(&self) -> ErrorKind {
        match self {
            InferenceError::UnknownModel { .. } => ErrorKind::UnknownModel,
            InferenceError::MissingFile { .. } => ErrorKind::MissingFile,
            InferenceError::WrongSize { .. } | InferenceError::WrongHash { .. } => ErrorKind::WrongHash,
            InferenceError::BadManifest { .. } => ErrorKind::BadManifest,
            InferenceError::BadModel { .. } => ErrorKind::BadModel,
            InferenceError::WrongOutputs { .. } => ErrorKind::WrongOutputs,
            InferenceError::Config { .. } => ErrorKind::Config,
            InferenceError::Failed { .. } => ErrorKind::Failed,
            InferenceError::Io { .. } => ErrorKind::Io,
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        InferenceError::Io { path: path.into(), source: Arc::new(source) }
    }
}
