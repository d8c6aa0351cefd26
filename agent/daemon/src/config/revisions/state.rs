//! What the keeper remembers: types only, and the laws of the history.

use aimass_core::id::Name;
pub use aimass_protocol::config::{Origin, ReportState};
use aimass_signing::TrustConfig;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Problem;

/// Entries of the history.
const MOST_PAST: usize = 20;
/// Refusals among them: whoever can send old messages again shall not push everything else out.
const MOST_REFUSED: usize = 10;
/// Committed configurations whose bodies are kept, for `config rollback`.
pub(super) const BODIES: usize = 5;
/// Errors that the history keeps of one entry.
const MOST_ERRORS: usize = 5;

/// What became of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is being tried.
    Trial,
    /// It proved good.
    Committed,
    /// It was refused before it ran.
    Rejected,
    /// It ran and did not prove good.
    RolledBack,
    /// A newer one came before it had proved good.
    Superseded,
}

/// One configuration that was accepted for a trial, or more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) revision: u64,
    pub(super) origin: Origin,
    /// 0 for the node's own file.
    pub(super) version: u64,
    pub(super) key: Option<Name>,
    /// Of the content file.
    pub(super) digest: String,
    /// Of the node's own file that it was laid over; empty for an older one that was brought back.
    pub(super) base_digest: String,
    pub(super) rollback_of: Option<u64>,
    /// Of the node's own file when this was brought back on request: that one is not missed, a later one is.
    #[serde(default)]
    pub(super) set_aside: Option<String>,
}

impl Entry {
    /// Whether the node's own file, as it is now, is not in this, though nobody asked for that.
    pub(super) fn misses(&self, own_digest: &str) -> bool {
        let aside = match (self.rollback_of, &self.set_aside) {
            (None, _) => false,
            (Some(_), Some(aside)) => aside == own_digest,
            // A record of an older version, which does not say.
            (Some(_), None) => true,
        };
        self.base_digest != own_digest && !aside
    }
}

/// What an entry consists of; a file of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RevisionBody {
    /// For a state that was lost: no push up to here is new.
    pub(super) version: u64,
    /// The node's own file, as a tree.
    pub(super) base: Value,
    /// The body of the push.
    pub(super) body: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// On disk; nothing runs with it yet.
    Staged,
    /// It runs and is watched.
    Probation,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trial {
    pub(super) entry: Entry,
    pub(super) stage: Stage,
    /// Pushes whose place it took though it is none: whoever pushed them is told, however it ends.
    #[serde(default)]
    pub(super) superseded: Vec<Problem>,
}

impl Trial {
    /// What is to be said of pushes that end because this other entry takes their place. A push answers for all
    /// before it.
    pub(super) fn unanswered(&self, successor: &Entry) -> Vec<Problem> {
        if successor.version > 0 && successor.version >= self.entry.version {
            return Vec::new();
        }
        let mut all = self.superseded.clone();
        if self.entry.origin == Origin::Push && self.entry.rollback_of.is_none() {
            let by = match successor.rollback_of {
                Some(revision) => format!("a roll back to revision {revision}"),
                None => "the node's own file, which changed".to_owned(),
            };
            let version = self.entry.version;
            let text = format!(
                "version {version} was superseded by {by} before it had proved good: push it with a higher version"
            );
            all.push(Problem::new("", text));
        }
        all.truncate(MOST_ERRORS);
        all
    }
}

/// The last push that was looked at, so that a retained message is not judged on every connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Judged {
    /// Of the message.
    pub(super) digest: String,
    /// Of what a refusal depends on; `None` if it was accepted, which nothing changes.
    pub(super) context: Option<String>,
}

/// The answer to whatever was offered last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) state: ReportState,
    pub(super) desired_version: Option<u64>,
    pub(super) errors: Vec<Problem>,
    pub(super) time: Timestamp,
}

/// What the node said to the latest request on this machine (SIGHUP).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LocalAnswer {
    /// Of this answer, and no other.
    pub(super) nonce: String,
    /// Of the node's own file as it was read; empty for a roll back.
    pub(super) file_digest: String,
    pub(super) answered: Answered,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answered {
    /// It has that already.
    Same,
    /// It is refused.
    Refused(Vec<Problem>),
    /// It is being tried as this revision.
    Trial(u64),
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Counts up with everything that was offered.
    pub revision: u64,
    /// Where it came from.
    pub origin: Origin,
    /// Its version; 0 for the node's own file, `None` if it could not be known.
    pub version: Option<u64>,
    /// Who signed it.
    pub key: Option<Name>,
    /// When it was offered.
    #[serde(with = "aimass_core::event::rfc3339_ms")]
    pub time: Timestamp,
    /// SHA-256 of its content, or of what was signed or written and refused.
    pub digest: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The revision that it brings back.
    pub rollback_of: Option<u64>,
    /// Why it is not in force; or what of it did not work when it was committed, and had not before. The first few.
    pub errors: Vec<Problem>,
}

/// Everything that survives a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Counts writes: the copy with the higher one is the newer.
    pub(super) generation: u64,
    /// The highest version that was ever accepted. Never falls.
    pub(super) highest_version: u64,
    pub(super) next_revision: u64,
    /// The last known good.
    pub(super) committed: Option<Entry>,
    pub(super) trial: Option<Trial>,
    pub(super) judged: Option<Judged>,
    /// Of the node's own file when it was last looked at.
    pub(super) local_digest: String,
    /// `[trust]` of the node's own file when it could last be read.
    pub(super) trust: TrustConfig,
    pub(super) answer: Answer,
    pub(super) history: Vec<HistoryEntry>,
}

impl State {
    pub(super) fn new(now: Timestamp) -> Self {
        let answer =
            Answer { state: ReportState::Applied, desired_version: None, errors: Vec::new(), time: now };
        State {
            generation: 0,
            highest_version: 0,
            next_revision: 1,
            committed: None,
            trial: None,
            judged: None,
            local_digest: String::new(),
            trust: TrustConfig::default(),
            answer,
            history: Vec::new(),
        }
    }

    /// The next revision's number.
    pub(super) fn number(&mut self) -> u64 {
        let number = self.next_revision;
        self.next_revision += 1;
        number
    }

    /// Adds a line; the oldest of what matters least goes.
    pub(super) fn note(&mut self, mut past: HistoryEntry) {
        past.errors.truncate(MOST_ERRORS);
        self.history.push(past);
        let refused = self.history.iter().filter(|p| p.outcome == Outcome::Rejected).count();
        let good = self.committed.as_ref().map(|c| c.revision);
        let victim = if refused > MOST_REFUSED {
            self.history.iter().position(|p| p.outcome == Outcome::Rejected)
        } else if self.history.len() > MOST_PAST {
            self.history.iter().position(|p| Some(p.revision) != good)
        } else {
            None
        };
        if let Some(victim) = victim {
            self.history.remove(victim);
        }
    }

    /// Notes how the trial of a revision ended.
    pub(super) fn ended(&mut self, revision: u64, outcome: Outcome, errors: &[Problem]) {
        if let Some(past) = self.history.iter_mut().find(|p| p.revision == revision) {
            past.outcome = outcome;
            past.errors = errors.iter().take(MOST_ERRORS).cloned().collect();
        }
    }

    /// Revisions that were committed and whose bodies are kept, newest first.
    pub(super) fn kept(&self) -> Vec<u64> {
        let mut kept: Vec<u64> =
            self.history.iter().filter(|p| p.outcome == Outcome::Committed).map(|p| p.revision).collect();
        kept.extend(self.committed.as_ref().map(|c| c.revision));
        kept.sort_unstable_by(|a, b| b.cmp(a));
        kept.dedup();
        kept.truncate(BODIES);
        kept
    }
}
