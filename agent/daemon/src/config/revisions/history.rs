//! Looking at a keeper's folder from outside, while the node runs or not. Changes nothing.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::files::{Files, Found};
use super::state::{HistoryEntry, State};
use super::{base_config, config_of};
use crate::exit::Failure;

/// What a node remembers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct History {
    /// The highest version that was ever accepted.
    pub highest_version: u64,
    /// The last known good.
    pub committed: Option<u64>,
    /// What is being tried.
    pub trial: Option<u64>,
    /// Those that `config rollback` can bring back, newest first.
    pub kept: Vec<u64>,
    /// What was offered, oldest first.
    pub entries: Vec<HistoryEntry>,
}

/// The history of the node with this file.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn history(file: &Path) -> Result<History, Failure> {
    let (_, state) = look(file)?;
    let committed = state.committed.as_ref().map(|c| c.revision);
    // While another is tried, the last known good can be brought back too.
    let kept = state.kept().into_iter().filter(|r| state.trial.is_some() || Some(*r) != committed).collect();
    Ok(History {
        highest_version: state.highest_version,
        committed,
        trial: state.trial.as_ref().map(|t| t.entry.revision),
        kept,
        entries: state.history,
    })
}

/// The whole configuration of a revision, without secrets; of the last known good one if none is named.
///
/// # Errors
/// It is not kept any more, or is no longer valid.
pub fn body_of(file: &Path, revision: Option<u64>) -> Result<Value, Failure> {
    let (files, state) = look(file)?;
    let revision = revision.or(state.committed.as_ref().map(|c| c.revision)).unwrap_or(0);
    let (content, _) = files.get(revision).ok_or_else(|| {
        let kept: Vec<String> = state.kept().iter().map(u64::to_string).collect();
        Failure::BadInput(format!(
            "the configuration of revision {revision} is not kept; kept are: {}",
            kept.join(", ")
        ))
    })?;
    let config = config_of(file, &content, &state.trust)
        .map_err(|e| Failure::BadInput(format!("revision {revision} is no longer valid:\n{e}")))?;
    Ok(crate::config::redacted(&config))
}

fn look(file: &Path) -> Result<(Files, State), Failure> {
    let folder = base_config::folder(file);
    let problem = |text: &str| Failure::Unavailable(format!("{}: {text}", folder.display()));
    if let Err(e) = std::fs::read_dir(&folder) {
        return Err(problem(&format!(
            "cannot be read: {e}; did the node ever run with this file, and may you read it?"
        )));
    }
    let files = Files::existing(folder.clone());
    match files.load() {
        Found::State(state, _) => Ok((files, *state)),
        Found::Nothing => Err(problem("holds no record: the node has not run with this file yet")),
        Found::Damaged => {
            Err(problem("the record cannot be read: it is damaged, or belongs to another user"))
        }
    }
}
