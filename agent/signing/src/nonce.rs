//! Which commands were obeyed before: each nonce counts once, over restarts too.
//!
//! The book is small and bounded. When it is full of commands that are still valid, the next is refused, never an
//! old one forgotten. Invariant: a command that [`NonceStore::admit`] let through is on the disk before it is obeyed,
//! unless it names the present boot, which no later life accepts anyway.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aimass_core::id::Name;
use aimass_core::runtime::files::write_atomically;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::error::TrustError;
use crate::statement::{CommandStatement, MAX_COMMAND_LIFE_S};

/// Commands that are remembered at once.
const MOST: usize = 512;

/// The present life of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Its id.
    pub boot: Ulid,
    /// The time, where the clock can be relied on.
    pub now: Option<Timestamp>,
}

/// What was obeyed before.
#[derive(Debug)]
pub struct NonceStore {
    path: Option<PathBuf>,
    /// On disk.
    kept: Page,
    /// Those that named this life: no later one accepts them.
    passing: Page,
    /// The book of former lives is damaged: only commands for this very life are safe.
    boot_only: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    /// What ended at this time or before may have been forgotten, so it is refused whatever the clock says: clocks
    /// can be set back.
    forgotten: Option<Timestamp>,
    /// `<key>/<nonce>` and until when it is valid.
    seen: BTreeMap<String, Timestamp>,
}

impl NonceStore {
    /// A book that forgets everything when the program ends.
    pub fn in_memory() -> Self {
        NonceStore { path: None, kept: Page::default(), passing: Page::default(), boot_only: false }
    }

    /// The book in a file. A file that cannot be read is no reason to stop: until the next start only commands that
    /// name this life are obeyed.
    pub fn open(path: PathBuf) -> Self {
        let (kept, boot_only) = match std::fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(kept) => (kept, false),
                Err(error) => {
                    tracing::error!(file = %path.display(), %error, "The book of obeyed commands is damaged: only commands that name this boot are obeyed.");
                    (Page::default(), true)
                }
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (Page::default(), false),
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "The book of obeyed commands cannot be read: only commands that name this boot are obeyed.");
                (Page::default(), true)
            }
        };
        NonceStore { path: Some(path), kept, passing: Page::default(), boot_only }
    }

    /// Lets a command through once. On `Ok` it is noted, and may be obeyed.
    ///
    /// # Errors
    /// Expired, valid for too long, for another life, obeyed before, or impossible to remember.
    pub fn admit(&mut self, command: &CommandStatement, key: &Name, life: Life) -> Result<(), TrustError> {
        let not_after = command.not_after;
        let here = match command.boot {
            Some(boot) if boot != life.boot => {
                let text = format!("the command is for boot {boot}, but this is boot {}", life.boot);
                return Err(TrustError::OtherBoot(text));
            }
            named => named.is_some(),
        };
        if let Some(now) = life.now {
            if now > not_after {
                return Err(TrustError::Expired { not_after, now });
            }
            let most_s = MAX_COMMAND_LIFE_S;
            if not_after.duration_since(now) > SignedDuration::from_secs(most_s) {
                return Err(TrustError::TooLong { not_after, now, most_s });
            }
        }
        if !here && (life.now.is_none() || self.boot_only) {
            let why =
                if self.boot_only { "its book of commands was damaged" } else { "its clock is not set" };
            let text = format!(
                "this board cannot tell whether the command is an old one, because {why}: sign it with --boot {}",
                life.boot
            );
            return Err(TrustError::OtherBoot(text));
        }
        let name = format!("{key}/{}", command.nonce);
        if self.kept.knows(&name) || self.passing.knows(&name) {
            return Err(TrustError::Replayed);
        }
        let page = if here { &self.passing } else { &self.kept };
        if page.forgotten.is_some_and(|forgotten| not_after <= forgotten) {
            return Err(TrustError::Replayed);
        }
        let mut page = page.clone();
        if let Some(now) = life.now {
            page.forget_before(now);
        }
        if page.seen.len() >= MOST {
            let text =
                format!("{MOST} commands are still valid: wait until they expire, or restart the node");
            return Err(TrustError::NotRemembered(text));
        }
        page.seen.insert(name, not_after);
        if here {
            self.passing = page;
        } else {
            self.write(&page).map_err(TrustError::NotRemembered)?;
            self.kept = page;
        }
        Ok(())
    }

    fn write(&self, page: &Page) -> Result<(), String> {
        let Some(path) = &self.path else { return Ok(()) };
        let bytes = serde_json::to_vec(page).map_err(|e| e.to_string())?;
        write_atomically(path, &bytes).map_err(|e| format!("{}: {e}; check the disk", path.display()))
    }
}

impl Page {
    fn knows(&self, name: &str) -> bool {
        self.seen.contains_key(name)
    }

    fn forget_before(&mut self, now: Timestamp) {
        let over: Vec<Timestamp> = self.seen.values().copied().filter(|end| *end < now).collect();
        if let Some(last) = over.into_iter().max() {
            self.forgotten = self.forgotten.max(Some(last));
            self.seen.retain(|_, end| *end >= now);
        }
    }
}

#[cfg(test)]
#[path = "nonce_tests.rs"]
mod tests;
