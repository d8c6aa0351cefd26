//! What becomes of something that is offered: a push, the node's own file, a roll back.

use aimass_signing::{ConfigStatement, Domain, Envelope, TrustError, sha256_hex};

use super::base_config::Local;
use super::open::past;
use super::rejection::Refusal;
use super::state::{
    Answered, Entry, Judged, LocalAnswer, Origin, Outcome, ReportState, RevisionBody, Stage, Trial,
};
use super::{ConfigManager, Decision};
use crate::config::overlay::{LOCAL_ONLY, pushable};
use crate::config::{Config, ConfigErrors, Problem};
use crate::identity::VERSION;

impl ConfigManager {
    /// A message of `config/desired`, as it came. An empty one (the retained one was removed) asks for nothing.
    pub fn offer_push(&mut self, message: &[u8]) -> Decision {
        let digest = sha256_hex(message);
        if message.is_empty() || self.is_known(&digest) {
            return Decision::Same;
        }
        let mut refusal = Refusal {
            origin: Origin::Push,
            version: None,
            key: None,
            from_outside: true,
            message: Some(digest.clone()),
            digest: digest.clone(),
            ours: false,
            errors: Vec::new(),
        };
        let statement = match self.read_push(message, &mut refusal) {
            Ok(statement) => statement,
            Err(error) => {
                refusal.errors = vec![Problem::new("", error.to_string())];
                return self.refuse(refusal);
            }
        };
        let (base, base_digest) = self.base_for_push();
        let content = RevisionBody { version: statement.version, base, body: Some(statement.body) };
        let config = match self.config_of(&content, &self.state.trust) {
            Ok(config) => config,
            Err(errors) => {
                refusal.errors = errors.0;
                return self.refuse(refusal);
            }
        };
        let entry = Entry {
            revision: 0,
            origin: Origin::Push,
            version: statement.version,
            key: refusal.key.clone(),
            digest: String::new(),
            base_digest,
            rollback_of: None,
            set_aside: None,
        };
        let judged = Judged { digest, context: None };
        self.stage(entry, content, config, Some(judged), refusal)
    }

    /// What SIGHUP asks for: a roll back if one was requested, else the node's own file.
    pub fn offer_reload(&mut self) -> Decision {
        let (verdict, file_digest) = match self.judge_request() {
            Some(verdict) => (verdict, String::new()),
            None => {
                let own = Local::read(&self.local);
                let digest = own.digest.clone();
                (self.judge_local(own), digest)
            }
        };
        let answered = match (&verdict, &self.state.trial) {
            (Decision::Rejected, _) => Answered::Refused(self.state.answer.errors.clone()),
            (Decision::Candidate(choice), _) => Answered::Trial(choice.revision),
            // Somebody asked for it before.
            (Decision::Same, Some(trial)) => Answered::Trial(trial.entry.revision),
            (Decision::Same, None) => Answered::Same,
        };
        let answer = LocalAnswer { nonce: ulid::Ulid::new().to_string(), file_digest, answered };
        if let Err(error) = self.files.leave_answer(&answer) {
            tracing::warn!(%error, "Whoever waits for the answer to a reload cannot be told.");
        }
        verdict
    }

    /// The node's own file, as it is now. One that was rolled back before is tried again: somebody asks for it.
    pub fn offer_local(&mut self) -> Decision {
        let own = Local::read(&self.local);
        self.judge_local(own)
    }

    /// A configuration that was committed before: that revision, or the last one before the present. While one is tried,
    /// that is the last known good.
    pub fn offer_rollback(&mut self, to: Option<u64>) -> Decision {
        let present = self.good.1.revision;
        let mut kept = self.state.kept();
        kept.retain(|revision| self.state.trial.is_some() || *revision != present);
        let target = match to {
            None => kept.first().copied(),
            Some(wanted) => Some(wanted).filter(|w| kept.contains(w)),
        };
        let mut refusal = self.own_refusal(String::new());
        let Some(target) = target.and_then(|t| self.state.history.iter().find(|p| p.revision == t)).cloned()
        else {
            let known: Vec<String> = kept.iter().map(u64::to_string).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let text = match to {
                Some(wanted) => format!(
                    "revision {wanted} cannot be rolled back to; kept besides the present one: {known}"
                ),
                None => "there is nothing to roll back to: no other configuration was committed yet".into(),
            };
            refusal.errors = vec![Problem::new("", text)];
            return self.refuse(refusal);
        };
        (refusal.origin, refusal.version, refusal.key) = (target.origin, target.version, target.key.clone());
        let base = &self.good.0.base;
        let old = self.files.get(target.revision).filter(|(_, digest)| *digest == target.digest);
        let lost = || {
            ConfigErrors(vec![Problem::new(
                "",
                format!("the content of revision {} is lost or damaged", target.revision),
            )])
        };
        let made = old.ok_or_else(lost).and_then(|(old, _)| {
            let content = match old.body {
                Some(body) => RevisionBody { version: old.version, base: base.clone(), body: Some(body) },
                None => {
                    RevisionBody { version: old.version, base: with_tables_of(&old.base, base), body: None }
                }
            };
            self.config_of(&content, &self.state.trust).map(|config| (content, config))
        });
        match made {
            Ok((content, config)) => {
                let entry = Entry {
                    revision: 0,
                    origin: target.origin,
                    version: target.version.unwrap_or(0),
                    key: target.key,
                    digest: String::new(),
                    // An older file of the node is not the one that is there now: that can be tried again.
                    base_digest: if content.base == *base { self.good_base_digest() } else { String::new() },
                    rollback_of: Some(target.revision),
                    set_aside: Some(self.state.local_digest.clone()),
                };
                self.stage(entry, content, config, None, refusal)
            }
            Err(errors) => {
                refusal.errors = errors.0;
                self.refuse(refusal)
            }
        }
    }

    /// A request that `config rollback` left.
    pub(super) fn judge_request(&mut self) -> Option<Decision> {
        match self.files.take_request()? {
            Ok(to) => Some(self.offer_rollback(to)),
            Err(problem) => {
                let mut refusal = self.own_refusal(String::new());
                refusal.errors =
                    vec![Problem::new("", format!("the request to roll back cannot be obeyed: {problem}"))];
                Some(self.refuse(refusal))
            }
        }
    }

    pub(super) fn judge_local(&mut self, own: Local) -> Decision {
        let mut refusal = self.own_refusal(own.digest.clone());
        let mut next = self.state.clone();
        next.local_digest.clone_from(&own.digest);
        if let Some(trust) = own.trust {
            next.trust = trust;
        }
        let base = match own.outcome {
            Ok((base, _)) => base,
            Err(errors) => {
                // The new [trust] counts even so, if that part is right.
                self.state = next;
                refusal.errors = errors.0;
                return self.refuse(refusal);
            }
        };
        let trying = self.state.trial.as_ref().filter(|t| t.entry.base_digest == own.digest);
        let same = own.digest == self.good_base_digest() && self.state.trial.is_none() || trying.is_some();
        if same {
            if next != self.state {
                self.save_or_warn(next);
                self.renew_good();
            }
            return Decision::Same;
        }
        // A file that changed only in what is its own keeps what was pushed: what is being tried, else what is good.
        let pushed = pushable(&base);
        let mut pushes: Vec<(Entry, RevisionBody)> = self.tried().into_iter().collect();
        pushes.extend(self.state.committed.clone().map(|entry| (entry, self.good.0.clone())));
        let keeps = pushes.into_iter().find(|(entry, content)| {
            entry.origin == Origin::Push && content.body.is_some() && pushable(&content.base) == pushed
        });
        let (origin, version, key, body) = match keeps {
            Some((entry, content)) => (Origin::Push, entry.version, entry.key, content.body),
            None => (Origin::Local, 0, None, None),
        };
        let content = RevisionBody { version: self.state.highest_version, base, body };
        self.state = next;
        let config = match self.config_of(&content, &self.state.trust) {
            Ok(config) => config,
            Err(errors) => {
                refusal.errors = errors.0;
                return self.refuse(refusal);
            }
        };
        let entry = Entry {
            revision: 0,
            origin,
            version,
            key,
            digest: String::new(),
            base_digest: own.digest,
            rollback_of: None,
            set_aside: None,
        };
        self.stage(entry, content, config, None, refusal)
    }

    /// The last known good under a `[trust]` that changed.
    fn renew_good(&mut self) {
        if let Ok(config) = self.config_of(&self.good.0, &self.state.trust) {
            self.good.1.config = config;
        }
    }

    fn read_push(&self, message: &[u8], refusal: &mut Refusal) -> Result<ConfigStatement, TrustError> {
        let verified = Envelope::open(message, &self.state.trust, Domain::Config)?;
        refusal.key = Some(verified.key.clone());
        // An envelope can be written in many ways; what was signed is one thing.
        refusal.digest = sha256_hex(&verified.payload);
        refusal.ours = true;
        let statement = ConfigStatement::read(&verified)?;
        statement.check(&self.recipient(), self.now())?;
        refusal.version = Some(statement.version);
        let (version, highest) = (statement.version, self.state.highest_version);
        if version <= highest {
            return Err(TrustError::OldVersion { version, highest });
        }
        Ok(statement)
    }

    /// Whether this very message was judged, and nothing changed since that its refusal depended on.
    fn is_known(&self, digest: &str) -> bool {
        self.state.judged.as_ref().is_some_and(|judged| {
            judged.digest == digest
                && judged.context.as_ref().is_none_or(|context| *context == self.context())
        })
    }

    pub(super) fn context(&self) -> String {
        let trust = serde_json::to_string(&self.state.trust).unwrap_or_default();
        sha256_hex(format!("{VERSION}\n{}\n{trust}", self.good_base_digest()).as_bytes())
    }

    fn good_base_digest(&self) -> String {
        self.state.committed.as_ref().map(|c| c.base_digest.clone()).unwrap_or_default()
    }

    /// What a push is laid over: the node's own file that is known to be good, or the one that is being tried.
    fn base_for_push(&self) -> (serde_json::Value, String) {
        let tried = self.tried().map(|(entry, content)| (content.base, entry.base_digest));
        tried.unwrap_or_else(|| (self.good.0.base.clone(), self.good_base_digest()))
    }

    /// What is being tried. Its file may be gone; after a start it may not be read yet.
    fn tried(&self) -> Option<(Entry, RevisionBody)> {
        let entry = self.state.trial.as_ref()?.entry.clone();
        let kept = || self.files.get(entry.revision).filter(|(_, digest)| *digest == entry.digest);
        let content = self.trial.as_ref().map(|(content, _)| content.clone());
        let content = content.or_else(|| kept().map(|(content, _)| content))?;
        Some((entry, content))
    }

    fn own_refusal(&self, digest: String) -> Refusal {
        Refusal {
            origin: Origin::Local,
            version: Some(0),
            key: None,
            from_outside: false,
            message: None,
            digest,
            ours: true,
            errors: Vec::new(),
        }
    }

    /// Puts a candidate on disk, content first. A disk that does not take it is a refusal that is not remembered:
    /// the message is judged again when it comes again.
    fn stage(
        &mut self,
        mut entry: Entry,
        content: RevisionBody,
        config: Config,
        judged: Option<Judged>,
        mut refusal: Refusal,
    ) -> Decision {
        let mut next = self.state.clone();
        entry.revision = next.number();
        let folder = self.files.folder().to_owned();
        let kept = self.files.put(entry.revision, &content);
        let kept = kept.map_err(|e| format!("{}: the configuration cannot be kept: {e}", folder.display()));
        let saved = kept.and_then(|digest| {
            entry.digest = digest;
            let now = self.clock.wall();
            let mut superseded = Vec::new();
            if let Some(former) = next.trial.take() {
                superseded = former.unanswered(&entry);
                next.ended(former.entry.revision, Outcome::Superseded, &superseded);
            }
            next.highest_version = next.highest_version.max(entry.version);
            if judged.is_some() {
                next.judged = judged;
            }
            next.note(past(&entry, now));
            next.answer.state = ReportState::Probation;
            next.answer.desired_version = Some(entry.version);
            next.answer.errors.clone_from(&superseded);
            next.answer.time = now;
            next.trial = Some(Trial { entry: entry.clone(), stage: Stage::Staged, superseded });
            self.save(next).map_err(|e| e.to_string())
        });
        match saved {
            Ok(()) => {
                let choice = Self::choice(config, &entry);
                self.trial = Some((content, choice.clone()));
                tracing::info!(
                    revision = entry.revision,
                    version = entry.version,
                    "A new configuration is going to be tried."
                );
                Decision::Candidate(Box::new(choice))
            }
            Err(problem) => {
                refusal.message = None;
                refusal.errors = vec![Problem::new("", problem)];
                self.refuse(refusal)
            }
        }
    }
}

/// An old file of the node with the tables that only the present one may say.
fn with_tables_of(old: &serde_json::Value, present: &serde_json::Value) -> serde_json::Value {
    let mut tree = old.as_object().cloned().unwrap_or_default();
    for section in LOCAL_ONLY {
        tree.remove(section);
        if let Some(own) = present.get(section) {
            tree.insert(section.to_owned(), own.clone());
        }
    }
    serde_json::Value::Object(tree)
}
