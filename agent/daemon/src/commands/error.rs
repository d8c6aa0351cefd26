//! Why a command was not carried out, as the requester is told.

use std::fmt;

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    /// For programs: a word such as `bad_body` or `unknown_source`.
    pub kind: &'static str,
    /// For people: one line, no secrets.
    pub message: String,
    /// Which field of the body, where it is one.
    pub path: Option<String>,
}

impl CommandError {
    /// An error of a kind.
    pub fn new(kind: &'static str, message: impl Into<String>) -> Self {
        CommandError { kind, message: message.into(), path: None }
    }

    /// A field of the body that cannot be.
    pub fn field(path: impl Into<String>, message: impl Into<String>) -> Self {
        CommandError { kind: "bad_body", message: message.into(), path: Some(path.into()) }
    }

    /// No source of this name.
    pub fn unknown_source(id: &str, known: &[String]) -> Self {
        let names = if known.is_empty() { "this node has none".to_owned() } else { known.join(", ") };
        CommandError::new("unknown_source", format!("no source is named \"{id}\"; known are: {names}"))
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{path}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for CommandError {}
