//! Which configuration runs, which one may be tried, and which one is known to be good.
//!
//! A pure decision maker with a folder of its own, `config/` beside the store. It owns no thread and starts nothing:
//! the control task asks, acts, and tells how it went.
//!
//! ```text
//! offer_*() ──► Candidate (staged on disk) ──► begun() ──► … probation … ──► commit()
//!      │                                          └──────────────────────────► roll_back(reasons)
//!      └──► Rejected or Same: nothing changes
//! ```
//!
//! - [`ConfigManager::begun`] is called **before** the first change is applied: whoever loses power after that comes back
//!   with the last known good. Losing it before means that the trial is begun anew.
//! - The node's own file and pushes take the same way. A push's body is laid over the tables that only the file says
//!   ([`crate::config::overlay`]). A file that changes only in those keeps the pushed body; one that changes in others
//!   takes the place of the push, as version 0, until a higher version is pushed.
//! - `[trust]` always counts as the node's own file has it now, also after a roll back: a key that was taken out of
//!   it does not come back.
//! - A push counts as accepted when it is verified, valid and staged. Its version is then spent, even if it is
//!   rolled back later.
//! - The same message again is [`Decision::Same`]: retained messages come on every connect, and are judged again only
//!   when something changed that a refusal depended on.
//! - A refused push is logged and written to disk at most once a minute, because whoever has the broker's password
//!   can cause them.
//!
//! Invariants, held by the tests of this module: a loss of power between any two file operations ends in a
//! configuration that was known to be good; the highest accepted version never falls.
//!
//! If both copies of the record are damaged, the node's own file runs, everything up to the highest version that any
//! kept body carries is refused, and the report says so. Where no such body is left either, versions count from 0,
//! as on a new memory card: then an old signed configuration could be played back.

mod base_config;
mod command;
mod evaluate;
mod files;
mod history;
mod open;
mod rejection;
mod report;
mod state;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aimass_core::runtime::clock::SharedClock;
use aimass_signing::{NonceStore, Recipient, TrustConfig};
use jiff::Timestamp;
use serde_json::Value;

use crate::config::{self, Config, ConfigErrors, Problem};
use crate::exit::Failure;
pub use base_config::{folder, store_path};
pub use command::{Before, ask_for_rollback, await_outcome, reload};
use files::Files;
pub use history::{History, body_of, history};
pub use report::Report;
use state::{Entry, Outcome, RevisionBody, Stage, State, Trial};
pub use state::{HistoryEntry, Origin, ReportState};

/// Whether a wall-clock time can be relied on: [`crate::identity::clock_ok`] in the program.
pub type ClockOk = Arc<dyn Fn(Timestamp) -> bool + Send + Sync>;

/// A configuration to run, and which one it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// What to run.
    pub config: Config,
    /// The version, for `status` and events; 0 for the node's own file.
    pub version: u64,
    /// Where it came from.
    pub origin: Origin,
    /// Its number in the history.
    pub revision: u64,
}

/// What to run when the program starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// What to run.
    pub choice: Candidate,
    /// It is a candidate: call [`ConfigManager::begun`], run it, watch it, and commit or roll back.
    pub trial: bool,
}

/// What to do with something that was offered.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Known already. Publish the report again if asked; nothing else.
    Same,
    /// Refused; [`ConfigManager::report`] says why.
    Rejected,
    /// To be tried: [`ConfigManager::begun`], apply, watch, [`ConfigManager::commit`] or [`ConfigManager::roll_back`].
    Candidate(Box<Candidate>),
}

/// The keeper.
pub struct ConfigManager {
    files: Files,
    local: PathBuf,
    clock: SharedClock,
    clock_ok: ClockOk,
    state: State,
    /// The last known good, ready to run.
    good: (RevisionBody, Candidate),
    /// The candidate, ready to run.
    trial: Option<(RevisionBody, Candidate)>,
    /// When a refused push was last written to disk.
    noted: Option<Duration>,
    /// Refused pushes that the log does not tell, since then.
    unsaid: u64,
}

impl ConfigManager {
    /// `[trust]` as it counts now.
    pub fn trust(&self) -> &TrustConfig {
        &self.state.trust
    }

    /// Who statements must be for.
    pub fn recipient(&self) -> Recipient {
        let node = &self.running().config.node;
        Recipient { site: node.site.clone(), node: node.id.clone() }
    }

    /// The wall clock, if it can be relied on.
    pub fn now(&self) -> Option<Timestamp> {
        let now = self.clock.wall();
        (self.clock_ok)(now).then_some(now)
    }

    /// How long a candidate is watched.
    pub fn probation(&self) -> Duration {
        Duration::from_secs(u64::from(self.state.trust.probation_s))
    }

    /// The book of obeyed commands, which lies in the keeper's folder.
    pub fn nonce_store(&self) -> NonceStore {
        NonceStore::open(self.files.folder().join("commands.json"))
    }

    /// What runs now, as far as the keeper was told: the candidate from [`ConfigManager::begun`] on.
    pub fn running(&self) -> &Candidate {
        match (&self.trial, &self.state.trial) {
            (Some((_, choice)), Some(trial)) if trial.stage == Stage::Probation => choice,
            _ => &self.good.1,
        }
    }

    /// The last known good: what a roll back brings back.
    pub fn last_known_good(&self) -> &Candidate {
        &self.good.1
    }

    /// Whether a candidate is staged or watched.
    pub fn is_trying(&self) -> bool {
        self.state.trial.is_some()
    }

    /// Remembers how the node works with the last known good, for a trial that begins with the program. A disk that
    /// does not take it costs only the comparison.
    pub fn remember(&mut self, baseline: &Value) {
        if self.is_trying() || self.files.baseline().as_ref() == Some(baseline) {
            return;
        }
        if let Err(error) = self.files.put_baseline(baseline) {
            tracing::warn!(%error, "What works now cannot be remembered: a configuration that begins with the program cannot be compared with it.");
        }
    }

    /// How the node last worked with the last known good.
    pub fn remembered(&self) -> Option<Value> {
        self.files.baseline()
    }

    /// The highest version that was ever accepted.
    pub fn highest_version(&self) -> u64 {
        self.state.highest_version
    }

    /// The candidate is about to be applied.
    ///
    /// # Errors
    /// There is none, or the disk does not take it: then roll back, it must not be applied.
    pub fn begun(&mut self) -> Result<(), Failure> {
        let mut next = self.state.clone();
        let trial = next.trial.as_mut().ok_or_else(no_trial)?;
        trial.stage = Stage::Probation;
        self.save(next)
    }

    /// The program stops in order, which says nothing of what is on trial: the next start tries it again.
    pub fn stopping(&mut self) {
        let mut next = self.state.clone();
        if let Some(trial) = next.trial.as_mut().filter(|trial| trial.stage == Stage::Probation) {
            trial.stage = Stage::Staged;
            tracing::info!("The configuration has not proved itself yet: the next start tries it again.");
            self.save_or_warn(next);
        }
    }

    /// The candidate proved good.
    ///
    /// # Errors
    /// There is none, or the disk does not take it: then it runs on under probation; try again later.
    pub fn commit(&mut self, notes: &[Problem]) -> Result<(), Failure> {
        let (Some(mut trial), Some((content, choice))) = (self.state.trial.clone(), self.trial.clone())
        else {
            return Err(no_trial());
        };
        let mut next = self.state.clone();
        next.trial = None;
        let revision = trial.entry.revision;
        if self.files.get(revision).is_none_or(|(_, digest)| digest != trial.entry.digest) {
            let put = self.files.put(revision, &content);
            trial.entry.digest = put.map_err(|e| {
                Failure::Unavailable(format!(
                    "the content of revision {revision} is gone and cannot be kept: {e}"
                ))
            })?;
            if let Some(past) = next.history.iter_mut().find(|p| p.revision == revision) {
                past.digest.clone_from(&trial.entry.digest);
            }
        }
        next.answer.state = ReportState::Applied;
        next.answer.desired_version = Some(trial.entry.version);
        next.answer.errors = trial.superseded;
        next.answer.time = self.clock.wall();
        next.ended(revision, Outcome::Committed, notes);
        next.committed = Some(trial.entry);
        self.save(next)?;
        self.good = (content, choice);
        self.trial = None;
        self.tidy();
        Ok(())
    }

    /// The candidate did not prove good. What is returned is to be run again. A disk that does not take it changes
    /// nothing: the next start rolls back too.
    pub fn roll_back(&mut self, reasons: Vec<Problem>) -> Candidate {
        self.take_back(reasons, false)
    }

    /// The candidate changes what a running node cannot change. As [`ConfigManager::roll_back`], but the next start tries
    /// the node's own file again.
    pub fn put_off(&mut self, reasons: Vec<Problem>) -> Candidate {
        self.take_back(reasons, true)
    }

    fn take_back(&mut self, reasons: Vec<Problem>, again: bool) -> Candidate {
        let mut next = self.state.clone();
        if let Some(trial) = next.trial.take() {
            // A file that was judged by itself, before or since, stays judged.
            if again && trial.entry.base_digest == next.local_digest {
                next.local_digest.clear();
            }
            failed(&mut next, trial, reasons, self.clock.wall());
            self.trial = None;
            self.save_or_warn(next);
            self.tidy();
        }
        self.good.1.clone()
    }

    /// A content as a configuration, under `[trust]` as it is now.
    fn config_of(&self, content: &RevisionBody, trust: &TrustConfig) -> Result<Config, ConfigErrors> {
        config_of(&self.local, content, trust)
    }

    fn save(&mut self, mut next: State) -> Result<(), Failure> {
        next.generation = self.state.generation + 1;
        let folder = self.files.folder().to_owned();
        self.files.save(&next).map_err(|e| {
            Failure::Unavailable(format!("{}: cannot keep the configuration's record: {e}", folder.display()))
        })?;
        self.state = next;
        Ok(())
    }

    /// For what holds even if the disk does not take it.
    fn save_or_warn(&mut self, next: State) {
        if let Err(error) = self.save(next.clone()) {
            tracing::warn!(%error, "The configuration's record is only in memory.");
            self.state = next;
        }
    }

    /// Removes contents that nothing needs any more.
    fn tidy(&mut self) {
        let mut kept = self.state.kept();
        kept.extend(self.state.trial.as_ref().map(|t| t.entry.revision));
        self.files.keep_only(&kept);
    }

    fn choice(config: Config, entry: &Entry) -> Candidate {
        Candidate { config, version: entry.version, origin: entry.origin, revision: entry.revision }
    }
}

/// Notes that a trial ended badly, for whoever pushed what it superseded too.
fn failed(state: &mut State, trial: Trial, mut reasons: Vec<Problem>, now: Timestamp) {
    reasons.extend(trial.superseded);
    rolled_back(state, &trial.entry, reasons, now);
}

/// Notes that an entry is not in force.
fn rolled_back(state: &mut State, entry: &Entry, reasons: Vec<Problem>, now: Timestamp) {
    state.ended(entry.revision, Outcome::RolledBack, &reasons);
    state.answer.state = ReportState::RolledBack;
    state.answer.desired_version = Some(entry.version);
    state.answer.errors = reasons;
    state.answer.time = now;
}

fn config_of(local: &Path, content: &RevisionBody, trust: &TrustConfig) -> Result<Config, ConfigErrors> {
    let base = with_trust(content.base.clone(), trust);
    match &content.body {
        None => config::from_document(base),
        Some(body) => {
            let folder = local.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            // A link to the folder is as good as the folder.
            let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
            config::effective(&base, body, &folder)
        }
    }
}

/// The tree with another `[trust]`.
fn with_trust(mut base: Value, trust: &TrustConfig) -> Value {
    if let (Some(tables), Ok(trust)) = (base.as_object_mut(), serde_json::to_value(trust)) {
        tables.insert("trust".into(), trust);
    }
    base
}

fn no_trial() -> Failure {
    Failure::Bug("no configuration is being tried".into())
}

#[cfg(test)]
mod tests;
