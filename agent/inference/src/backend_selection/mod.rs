//! What runs a model fastest on this machine: measured once, remembered in a small JSON file.
//!
//! Invariant: a record counts only for the same model file, the same processor and the same version of this crate. A
//! torn or foreign file is no error: it is measured again.

pub(crate) mod measure;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use aimass_core::runtime::files::write_atomically;
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::error::InferenceError;

const FILE: &str = "model-choices.json";
const MAX_BYTES: usize = 256 * 1024;

/// The winner of a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// What is used from now on.
    pub backend: Backend,
    /// Median of a run in milliseconds, by what was measured.
    pub ms: BTreeMap<Backend, f64>,
    /// How often measuring began and did not end: whatever was tried may have ended the program.
    #[serde(default)]
    pub unfinished: u32,
}

/// So many measurements that did not end, and tract is taken, which needs no measuring.
const MOST_UNFINISHED: u32 = 2;

/// The measured choices of this machine.
#[derive(Debug)]
pub struct Choices {
    file: Option<PathBuf>,
    machine: String,
    records: Mutex<BTreeMap<String, Choice>>,
    /// What is being measured now, and whether that is noted among the records. `records` is never locked while this is.
    begun: Mutex<BTreeMap<String, bool>>,
    /// The program ends in order: nothing is noted from then on. Changed while `records` is locked only.
    ended: AtomicBool,
}

impl Choices {
    /// Reads what was measured before. Without a folder nothing is kept beyond the program's end.
    pub fn new(folder: Option<PathBuf>) -> Self {
        let file = folder.map(|f| f.join(FILE));
        let text = file.as_ref().and_then(|f| crate::library::read_text(f, MAX_BYTES).ok());
        let records = text.and_then(|t| serde_json::from_str(&t).ok()).unwrap_or_default();
        Choices {
            file,
            machine: machine(),
            records: Mutex::new(records),
            begun: Mutex::default(),
            ended: AtomicBool::new(false),
        }
    }

    /// What won for the model file with this hash; `None` if it was not measured here, or is being measured.
    pub fn winner(&self, sha256: &str) -> Option<Backend> {
        // That it is unfinished says nothing yet: somebody is at it.
        if self.begun.lock().unwrap_or_else(PoisonError::into_inner).contains_key(sha256) {
            return None;
        }
        let choice = self.get(sha256)?;
        match choice.unfinished {
            0 => Some(choice.backend),
            MOST_UNFINISHED.. => Some(Backend::Tract),
            _ => None,
        }
    }

    /// Says so if tract is taken because measuring the model began often and never ended.
    pub(crate) fn warn_if_given_up(&self, model: &str, sha256: &str) {
        if self.get(sha256).is_some_and(|choice| choice.unfinished >= MOST_UNFINISHED) {
            tracing::warn!(
                model,
                "tract runs the model, slower: the program ended twice while it was measured what is fastest. \
                 `aimass-agent models bench {model}` measures it."
            );
        }
    }

    /// Says that the model is being measured, until what is returned is dropped.
    pub(crate) fn measuring<'a>(&'a self, sha256: &'a str) -> Measuring<'a> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(sha256.to_owned(), false);
        Measuring { choices: self, sha256 }
    }

    /// Notes that measuring begins, before anything is tried.
    ///
    /// # Errors
    /// As [`Self::remember`].
    pub fn begin(&self, sha256: &str) -> Result<(), InferenceError> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if self.ended.load(Ordering::Relaxed) {
            return Ok(());
        }
        let key = self.key(sha256);
        let unfinished = records.get(&key).map_or(0, |choice| choice.unfinished) + 1;
        records.insert(key, Choice { backend: Backend::Tract, ms: BTreeMap::new(), unfinished });
        if let Some(noted) = self.begun.lock().unwrap_or_else(PoisonError::into_inner).get_mut(sha256) {
            *noted = true;
        }
        self.keep(&records)
    }

    /// The whole record.
    pub fn get(&self, sha256: &str) -> Option<Choice> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).get(&self.key(sha256)).cloned()
    }

    /// Whether what is measured outlives the program.
    pub fn is_kept(&self) -> bool {
        self.file.is_some()
    }

    /// Remembers a measurement.
    ///
    /// # Errors
    /// The state folder cannot be written; the choice still counts until the program ends.
    pub fn remember(&self, sha256: &str, choice: Choice) -> Result<(), InferenceError> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.insert(self.key(sha256), choice);
        self.keep(&records)
    }

    /// Lets a record go, as if nothing had been tried.
    ///
    /// # Errors
    /// As [`Self::remember`].
    pub fn forget(&self, sha256: &str) -> Result<(), InferenceError> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.remove(&self.key(sha256));
        self.keep(&records)
    }

    /// Says that the program ends in order: what is being measured ends with it, and is not to blame.
    ///
    /// # Errors
    /// As [`Self::remember`].
    pub fn interrupted(&self) -> Result<(), InferenceError> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        self.ended.store(true, Ordering::Relaxed);
        let begun = std::mem::take(&mut *self.begun.lock().unwrap_or_else(PoisonError::into_inner));
        let noted: Vec<String> =
            begun.into_iter().filter(|(_, noted)| *noted).map(|(sha256, _)| self.key(&sha256)).collect();
        if noted.is_empty() {
            return Ok(());
        }
        for key in noted {
            if let Some(choice) = records.get_mut(&key) {
                choice.unfinished = choice.unfinished.saturating_sub(1);
                if choice.unfinished == 0 && choice.ms.is_empty() {
                    records.remove(&key);
                }
            }
        }
        self.keep(&records)
    }

    fn keep(&self, records: &BTreeMap<String, Choice>) -> Result<(), InferenceError> {
        let Some(file) = &self.file else { return Ok(()) };
        let text = serde_json::to_vec_pretty(records).map_err(|e| InferenceError::io(file, e.into()))?;
        // On a new machine there is no such folder yet.
        file.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| write_atomically(file, &text))
            .map_err(|e| InferenceError::io(file, e))
    }

    fn key(&self, sha256: &str) -> String {
        let path = aimass_kernels::Kernels::detect().path();
        format!("{sha256} on {} ({path}) by sources {}", self.machine, env!("AIMASS_INFERENCE_SOURCES"))
    }
}

/// A measurement that is under way.
pub(crate) struct Measuring<'a> {
    choices: &'a Choices,
    sha256: &'a str,
}

impl Drop for Measuring<'_> {
    fn drop(&mut self) {
        self.choices.begun.lock().unwrap_or_else(PoisonError::into_inner).remove(self.sha256);
    }
}

/// The processor's model, as the kernel names it.
fn machine() -> String {
    let text = crate::library::read_text("/proc/cpuinfo".as_ref(), 1024 * 1024).unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let arm = || Some(format!("{} {}", field("CPU implementer")?, field("CPU part")?));
    field("model name").or_else(arm).unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_measured_is_not_yet_decided_even_after_one_that_was_cut_off() {
        let choices = Choices::new(None);
        choices.begin("x").unwrap();
        {
            let _measuring = choices.measuring("x");
            choices.begin("x").unwrap();
            assert_eq!(choices.winner("x"), None, "whoever asks now waits for the end");
        }
        assert_eq!(choices.winner("x"), Some(Backend::Tract), "both were cut off");
    }

    #[test]
    fn a_measured_winner_is_remembered_over_restarts_and_only_for_its_file() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("not/there/yet");
        let choices = Choices::new(Some(folder.clone()));
        assert_eq!(choices.winner("aa"), None);
        let ms = BTreeMap::from([(Backend::Tract, 9.0), (Backend::EngineInt8, 5.0)]);
        let choice = Choice { backend: Backend::EngineInt8, ms, unfinished: 0 };
        choices.remember("aa", choice.clone()).unwrap();
        let again = Choices::new(Some(folder));
        assert_eq!(again.get("aa"), Some(choice));
        assert_eq!(again.winner("bb"), None);
    }

    #[test]
    fn a_torn_file_means_that_nothing_was_measured() {
        let folder = tempfile::tempdir().unwrap();
        write_atomically(&folder.path().join(FILE), b"{\"aa on").unwrap();
        assert_eq!(Choices::new(Some(folder.path().to_owned())).winner("aa"), None);
    }

    #[test]
    fn a_program_that_is_stopped_in_order_blames_no_model_that_it_was_measuring() {
        let late = Choices::new(None);
        late.interrupted().unwrap();
        late.begin("next").unwrap();
        assert_eq!(late.get("next"), None, "what begins while the program ends is not noted");
        let folder = tempfile::tempdir().unwrap();
        let choices = || Choices::new(Some(folder.path().to_owned()));
        for _ in 0..3 {
            let choices = choices();
            let _measuring = choices.measuring("aa");
            choices.begin("aa").unwrap();
            choices.interrupted().unwrap();
        }
        assert_eq!(choices().get("aa"), None);
        // What another program's end left is still counted.
        choices().begin("aa").unwrap();
        let stopped = choices();
        let _measuring = stopped.measuring("aa");
        stopped.begin("aa").unwrap();
        stopped.interrupted().unwrap();
        assert_eq!(choices().get("aa").unwrap().unfinished, 1);
    }

    #[test]
    fn what_ends_the_program_while_it_is_measured_is_not_tried_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        for wanted in [None, Some(Backend::Tract)] {
            Choices::new(Some(folder.path().to_owned())).begin("aa").unwrap();
            assert_eq!(Choices::new(Some(folder.path().to_owned())).winner("aa"), wanted);
        }
    }
}
