//! What to run when the program starts, whatever the last life left behind.

use std::path::{Path, PathBuf};

use aimass_core::runtime::clock::SharedClock;

use super::base_config::{self, Local};
use super::files::{Disk, Files, Found, RealDisk};
use super::state::{Answer, Entry, HistoryEntry, Origin, Outcome, ReportState, RevisionBody, Stage, State};
use super::{Candidate, ClockOk, ConfigManager, Decision, Start, config_of, failed, rolled_back};
use crate::config::{ConfigErrors, Problem};
use crate::exit::Failure;

impl ConfigManager {
    /// Opens the keeper of the node with this file and decides what to start with.
    ///
    /// # Errors
    /// `BadInput` if the file is wrong and nothing else is known to be good.
    pub fn open(
        local: &Path,
        clock: SharedClock,
        clock_ok: ClockOk,
    ) -> Result<(ConfigManager, Start), Failure> {
        Self::open_in(base_config::folder(local), local, clock, clock_ok, Box::new(RealDisk))
    }

    pub(super) fn open_in(
        folder: PathBuf,
        path: &Path,
        clock: SharedClock,
        clock_ok: ClockOk,
        disk: Box<dyn Disk>,
    ) -> Result<(ConfigManager, Start), Failure> {
        let files = Files::new(folder, disk);
        let own = Local::read(path);
        let (mut state, repair) = match files.load() {
            Found::State(state, uneven) => (*state, uneven),
            Found::Nothing => (State::new(clock.wall()), false),
            Found::Damaged => (after_damage(&files, &clock), true),
        };
        if let Some(trust) = &own.trust {
            state.trust = trust.clone();
        }
        let Some((entry, content, choice)) = known_good(&files, path, &state) else {
            all_lost(&mut state);
            let keeper = Self::begin_with_local(files, path, own, clock, clock_ok, state)?;
            let choice = keeper.good.1.clone();
            return Ok((keeper, Start { choice, trial: false }));
        };
        let mut keeper = ConfigManager {
            files,
            local: path.to_owned(),
            clock,
            clock_ok,
            state,
            good: (content, choice),
            trial: None,
            noted: None,
            unsaid: 0,
        };
        keeper.fall_back_to(entry);
        let changed = keeper.end_power_cut();
        if changed || repair {
            let next = keeper.state.clone();
            keeper.save_or_warn(next);
        }
        let start = keeper.decide_start(own);
        keeper.tidy();
        Ok((keeper, start))
    }

    /// The first start, or one after everything was lost: the node's own file runs, and is the last known good
    /// because there is no other.
    fn begin_with_local(
        files: Files,
        path: &Path,
        own: Local,
        clock: SharedClock,
        clock_ok: ClockOk,
        mut state: State,
    ) -> Result<ConfigManager, Failure> {
        let (base, config) =
            own.outcome.map_err(|e| Failure::BadInput(format!("{}:\n{e}", path.display())))?;
        let mut entry = Entry {
            revision: state.number(),
            origin: Origin::Local,
            version: 0,
            key: None,
            digest: String::new(),
            base_digest: own.digest.clone(),
            rollback_of: None,
            set_aside: None,
        };
        let content = RevisionBody { version: state.highest_version, base, body: None };
        let choice = Self::choice(*config, &entry);
        let good = (content.clone(), choice);
        let mut keeper = ConfigManager {
            files,
            local: path.to_owned(),
            clock,
            clock_ok,
            state,
            good,
            trial: None,
            noted: None,
            unsaid: 0,
        };
        match keeper.files.put(entry.revision, &content) {
            Ok(digest) => entry.digest = digest,
            Err(error) => {
                tracing::warn!(%error, "The configuration cannot be kept: no roll back will find it.")
            }
        }
        let mut next = keeper.state.clone();
        next.local_digest = own.digest;
        next.trial = None;
        let time = keeper.clock.wall();
        next.answer = Answer {
            state: ReportState::Applied,
            desired_version: Some(0),
            time,
            errors: next.answer.errors,
        };
        next.note(HistoryEntry { time, outcome: Outcome::Committed, ..past(&entry, time) });
        next.committed = Some(entry);
        keeper.save_or_warn(next);
        Ok(keeper)
    }

    /// The last known good could not be read, but an older one could: that runs, and the report says so.
    fn fall_back_to(&mut self, entry: Entry) {
        let Some(lost) = self.state.committed.clone().filter(|c| c.revision != entry.revision) else {
            return;
        };
        tracing::error!(
            lost = lost.revision,
            runs = entry.revision,
            "The kept configuration is damaged or no longer valid: an older one runs."
        );
        let text = format!(
            "revision {} is damaged or no longer valid: revision {} runs",
            lost.revision, entry.revision
        );
        rolled_back(&mut self.state, &lost, vec![Problem::new("", text)], self.clock.wall());
        self.state.committed = Some(entry);
    }

    /// A trial that the last life did not end; whether anything changed.
    fn end_power_cut(&mut self) -> bool {
        let Some(trial) = self.state.trial.clone() else { return false };
        if trial.stage == Stage::Staged {
            return false;
        }
        let reason =
            Problem::new("", "the node stopped or lost power before this configuration had proved good");
        tracing::warn!(
            revision = trial.entry.revision,
            version = trial.entry.version,
            "The last configuration had not proved good when the node stopped: it is rolled back."
        );
        self.state.trial = None;
        failed(&mut self.state, trial, vec![reason], self.clock.wall());
        true
    }

    /// Own file changed → staged trial → `config rollback` → last known good.
    fn decide_start(&mut self, own: Local) -> Start {
        let changed = own.digest != self.state.local_digest;
        let digest = own.digest.clone();
        if changed && let Decision::Candidate(choice) = self.judge_local(own) {
            return Start { choice: *choice, trial: true };
        }
        if let Some(choice) = self.staged_again() {
            if self.state.trial.as_ref().is_some_and(|trial| trial.entry.misses(&digest)) {
                tracing::warn!(
                    file = %self.local.display(),
                    tries = choice.revision,
                    "The node's own file is not in force: it is wrong. What was on trial when the node stopped is tried \
                     again."
                );
            }
            return Start { choice, trial: true };
        }
        if let Some(Decision::Candidate(choice)) = self.judge_request() {
            return Start { choice: *choice, trial: true };
        }
        if let Some(good) = &self.state.committed
            && good.misses(&digest)
        {
            tracing::warn!(
                file = %self.local.display(),
                runs = good.revision,
                "The node's own file is not in force: it is wrong, or failed when it was tried (`config history` tells \
                 why). An earlier configuration runs; mend the file, or try it again with `aimass-agent reload`."
            );
        } else if let Some(good) = &self.state.committed
            && good.rollback_of.is_some()
            && good.base_digest != digest
        {
            tracing::warn!(
                file = %self.local.display(),
                runs = good.revision,
                "The node's own file is not in force: `config rollback` brought an earlier configuration back. Edit the \
                 file, or try it again with `aimass-agent reload`."
            );
        }
        Start { choice: self.good.1.clone(), trial: false }
    }

    /// The trial that had been staged, if it still can be tried.
    fn staged_again(&mut self) -> Option<Candidate> {
        let trial = self.state.trial.clone()?;
        match load(&self.files, &self.local, &self.state, &trial.entry) {
            Ok((content, choice)) => {
                self.trial = Some((content, choice.clone()));
                Some(choice)
            }
            Err(errors) => {
                let mut next = self.state.clone();
                next.trial = None;
                failed(&mut next, trial, errors.0, self.clock.wall());
                self.save_or_warn(next);
                None
            }
        }
    }
}

/// Nothing that was kept can be used any more.
fn all_lost(state: &mut State) {
    if state.committed.is_some() {
        let text = "no kept configuration can be used any more: the node's own file runs";
        state.answer.errors = vec![Problem::new("", text)];
    }
    if let Some(trial) = state.trial.take() {
        state.ended(trial.entry.revision, Outcome::RolledBack, &[]);
    }
}

/// A line of the history for an entry that is being tried.
pub(super) fn past(entry: &Entry, time: jiff::Timestamp) -> HistoryEntry {
    HistoryEntry {
        revision: entry.revision,
        origin: entry.origin,
        version: Some(entry.version),
        key: entry.key.clone(),
        time,
        digest: entry.digest.clone(),
        outcome: Outcome::Trial,
        rollback_of: entry.rollback_of,
        errors: Vec::new(),
    }
}

/// Both copies of the record are lost: what the bodies still tell.
fn after_damage(files: &Files, clock: &SharedClock) -> State {
    let mut state = State::new(clock.wall());
    let revisions = files.revisions();
    state.next_revision = revisions.iter().max().map_or(1, |last| last + 1);
    let versions = revisions.iter().filter_map(|r| files.get(*r)).map(|(content, _)| content.version);
    state.highest_version = versions.max().unwrap_or(0);
    let highest = state.highest_version;
    tracing::error!(folder = %files.folder().display(), highest, "The record of configurations is damaged: the node's own file runs; pushes up to this version are refused.");
    let text = format!(
        "the record of configurations was damaged: the node's own file runs, and only versions above {highest} are \
         accepted"
    );
    state.answer.errors = vec![Problem::new("", text)];
    state
}

/// The last known good, or the newest before it that can still be read and run.
fn known_good(files: &Files, local: &Path, state: &State) -> Option<(Entry, RevisionBody, Candidate)> {
    let committed = state.committed.clone()?;
    match load(files, local, state, &committed) {
        Ok((content, choice)) => return Some((committed, content, choice)),
        Err(errors) => {
            tracing::error!(revision = committed.revision, %errors, "The last known good configuration cannot be used.");
        }
    }
    let older = state.history.iter().rev().filter(|p| p.outcome == Outcome::Committed);
    for past in older.filter(|p| p.revision != committed.revision) {
        let entry = Entry {
            revision: past.revision,
            origin: past.origin,
            version: past.version.unwrap_or(0),
            key: past.key.clone(),
            digest: past.digest.clone(),
            // Not known any more: the file that is there now was judged with the newer one.
            base_digest: state.local_digest.clone(),
            rollback_of: past.rollback_of,
            set_aside: Some(state.local_digest.clone()),
        };
        if let Ok((content, choice)) = load(files, local, state, &entry) {
            return Some((entry, content, choice));
        }
    }
    None
}

pub(super) fn load(
    files: &Files,
    local: &Path,
    state: &State,
    entry: &Entry,
) -> Result<(RevisionBody, Candidate), ConfigErrors> {
    let lost = || {
        ConfigErrors(vec![Problem::new(
            "",
            format!("the content of revision {} is lost or damaged", entry.revision),
        )])
    };
    let (content, digest) = files.get(entry.revision).ok_or_else(lost)?;
    if digest != entry.digest {
        return Err(lost());
    }
    let config = config_of(local, &content, &state.trust)?;
    Ok((content, ConfigManager::choice(config, entry)))
}
