//! Requests to the controller, and their replies.

use std::fmt;

use aimass_core::id::Name;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::config::Problem;

/// Where the outcome of a request goes.
pub type Reply<T> = oneshot::Sender<Result<T, RequestError>>;

/// A request to change the running node.
#[derive(Debug)]
pub enum Request {
    /// Close a source and open it again.
    RestartSource {
        /// Which.
        source: Name,
        /// The outcome.
        reply: Reply<()>,
    },
    /// Analyse a source, or only show it.
    SetAnalysed {
        /// Which.
        source: Name,
        /// Whether its frames are analysed.
        analysed: bool,
        /// The outcome.
        reply: Reply<()>,
    },
    /// Close all sources.
    CloseSources {
        /// The outcome.
        reply: Reply<()>,
    },
    /// Open all sources again.
    OpenSources {
        /// The outcome.
        reply: Reply<()>,
    },
    /// Read the configuration file again.
    Reload {
        /// The outcome.
        reply: Reply<ConfigOutcome>,
    },
    /// Evaluate a signed configuration.
    Apply {
        /// The envelope, as it came.
        envelope: Bytes,
        /// The outcome.
        reply: Reply<ConfigOutcome>,
    },
}

/// The outcome of a configuration that was submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigOutcome {
    /// It is in force already.
    Unchanged,
    /// It runs on probation, as this revision.
    OnProbation(u64),
    /// It is not in force.
    Rejected(Vec<Problem>),
}

/// Why a request was not executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// Too many requests wait.
    Busy,
    /// The node is stopping.
    Stopping,
    /// The node is drained, so its sources stay closed.
    Drained,
    /// There is no such source.
    UnknownSource {
        /// The name that was given.
        id: String,
        /// The names of all sources.
        known: Vec<String>,
    },
    /// This program cannot do it.
    Unavailable(&'static str),
    /// It was tried and failed.
    Failed(String),
}

impl RequestError {
    /// For programs: one word.
    pub fn kind(&self) -> &'static str {
        match self {
            RequestError::Busy => "busy",
            RequestError::Stopping | RequestError::Unavailable(_) => "unavailable",
            RequestError::UnknownSource { .. } => "unknown_source",
            RequestError::Drained | RequestError::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Busy => f.write_str("too many requests wait: try again later"),
            RequestError::Stopping => f.write_str("the node is stopping"),
            RequestError::Drained => f.write_str("the node is drained: resume it first"),
            RequestError::UnknownSource { id, known } => {
                let known = if known.is_empty() { "this node has none".to_owned() } else { known.join(", ") };
                write!(f, "no source is named \"{id}\"; known are: {known}")
            }
            RequestError::Unavailable(problem) => f.write_str(problem),
            RequestError::Failed(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for RequestError {}
