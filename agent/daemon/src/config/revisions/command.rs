//! Talking to the running node without a network: a signal, and a file for what a signal cannot say.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::base_config::{self, Local};
use super::files::{leave_request, local_answer};
use super::history::history;
use super::state::{Answered, LocalAnswer, Outcome};
use crate::config::{ConfigErrors, Problem};
use crate::exit::Failure;

/// How often the node's record is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// A node may be busy with what it was asked for before: cameras are closed and opened.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// Tells the running node to read its configuration file again (SIGHUP).
///
/// # Errors
/// No node runs with this file's store, or it is another user's.
pub fn reload(file: &Path) -> Result<(), Failure> {
    let store = base_config::store_path(file);
    let pid = owner_of(&store)?.ok_or_else(|| {
        Failure::Unavailable(format!(
            "no node runs with the store {}: start it, it reads the file then (restart it if the store was moved)",
            store.display()
        ))
    })?;
    signal(pid)
}

/// Leaves a request to roll back and wakes the running node, if there is one; whether there is.
///
/// # Errors
/// The request cannot be left.
pub fn ask_for_rollback(file: &Path, to: Option<u64>) -> Result<bool, Failure> {
    let folder = base_config::folder(file);
    leave_request(&folder, to).map_err(|e| {
        Failure::Unavailable(format!("{}: the request cannot be left there: {e}", folder.display()))
    })?;
    match owner_of(&base_config::store_path(file))? {
        Some(pid) => signal(pid).map(|()| true),
        None => Ok(false),
    }
}

/// What the node said last, before it is asked for something.
#[derive(Debug)]
pub struct Before {
    nonce: Option<String>,
    /// Of the own file that it is to read; `None` if it is asked for something else.
    file_digest: Option<String>,
}

impl Before {
    /// Before a reload.
    pub fn reload(file: &Path) -> Before {
        Before { file_digest: Some(Local::read(file).digest), ..Before::roll_back(file) }
    }

    /// Before a roll back.
    pub fn roll_back(file: &Path) -> Before {
        Before {
            nonce: local_answer(&base_config::folder(file)).map(|answer| answer.nonce),
            file_digest: None,
        }
    }

    fn is_answered_by(&self, answer: &LocalAnswer) -> bool {
        self.nonce.as_ref() != Some(&answer.nonce)
            && self.file_digest.as_ref().is_none_or(|digest| *digest == answer.file_digest)
    }
}

/// Waits for what becomes of what the running node was asked for; `on_trial` hears which revision is tried. The revision
/// that is in force now with what of it does not deliver, or `None` if there was nothing to try.
///
/// # Errors
/// `BadInput` with the reasons if it is refused or taken back; `Unavailable` if the node ends or does not answer.
pub fn await_outcome(
    file: &Path,
    before: &Before,
    on_trial: impl FnOnce(u64),
) -> Result<Option<(u64, Vec<Problem>)>, Failure> {
    let refused = |how: &str, errors: Vec<Problem>| {
        let why = if errors.is_empty() { String::new() } else { format!(": {}", ConfigErrors(errors)) };
        Failure::BadInput(format!("the configuration {how}{why}"))
    };
    let folder = base_config::folder(file);
    let answer = patiently(file, Some(ANSWERED_WITHIN), || {
        Ok(local_answer(&folder).filter(|answer| before.is_answered_by(answer)))
    })?;
    let revision = match answer.answered {
        Answered::Same => return Ok(None),
        Answered::Refused(errors) => return Err(refused("is refused", errors)),
        Answered::Trial(revision) => revision,
    };
    on_trial(revision);
    // However long its probation is.
    let past = patiently(file, None, || {
        let past = history(file)?.entries.into_iter().rev().find(|past| past.revision == revision);
        Ok(past.filter(|past| past.outcome != Outcome::Trial))
    })?;
    match past.outcome {
        Outcome::Committed => Ok(Some((revision, past.errors))),
        Outcome::Superseded => {
            Err(refused("was superseded by another before it had proved itself", past.errors))
        }
        Outcome::Rejected | Outcome::RolledBack | Outcome::Trial => {
            Err(refused("was taken back", past.errors))
        }
    }
}

/// Looks until there is something, while the node runs.
fn patiently<T>(
    file: &Path,
    within: Option<Duration>,
    mut look: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let store = base_config::store_path(file);
    let mut waited = Duration::ZERO;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if owner_of(&store)?.is_none() {
            let text = "the node has ended meanwhile: its journal says why, and `aimass-agent config history` what its next \
                        start makes of it";
            return Err(Failure::Unavailable(text.into()));
        }
        if within.is_some_and(|within| waited >= within) {
            let text = format!(
                "the node has not answered within {waited:?}: see its journal and `aimass-agent config history`"
            );
            return Err(Failure::Unavailable(text));
        }
        std::thread::sleep(LOOK);
        waited += LOOK;
    }
}

/// The process that holds the store, if one does.
fn owner_of(store: &Path) -> Result<Option<Pid>, Failure> {
    let mut name = store.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            return Err(Failure::Unavailable(format!(
                "{}: {e}; run this as root or as the node's user",
                path.display()
            )));
        }
    };
    match file.try_lock_shared() {
        // Nobody has it; ours ends with the file.
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => {
            let pid = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
            let pid = pid.and_then(Pid::from_raw).ok_or_else(|| {
                Failure::Unavailable(format!(
                    "{} does not name its process: send SIGHUP to it yourself",
                    path.display()
                ))
            })?;
            Ok(Some(pid))
        }
        Err(TryLockError::Error(e)) => Err(Failure::Unavailable(format!("{}: {e}", path.display()))),
    }
}

fn signal(pid: Pid) -> Result<(), Failure> {
    kill_process(pid, Signal::HUP).map_err(|e| {
        let pid = pid.as_raw_nonzero();
        Failure::Unavailable(format!(
            "process {pid} cannot be told: {e}; run this as root or as the node's user"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(folder: &Path) -> PathBuf {
        let file = folder.join("agent.toml");
        let text = format!("[store]\npath = \"{}\"\n[node\n", folder.join("agent.db").display());
        aimass_core::runtime::files::write_atomically(&file, text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn without_a_running_node_a_reload_says_so_and_a_request_waits() {
        let folder = tempfile::tempdir().unwrap();
        let file = node(folder.path());
        let store = folder.path().join("agent.db");
        assert_eq!(base_config::store_path(&file), store, "though the file is broken");
        assert!(reload(&file).unwrap_err().to_string().contains(store.to_str().unwrap()));
        // A lock file that nobody holds any more names a process that may be anybody by now.
        aimass_core::runtime::files::write_atomically(&folder.path().join("agent.db.lock"), b"1\n").unwrap();
        assert_eq!(reload(&file).unwrap_err().code(), 69);
        assert!(ask_for_rollback(&file, Some(3)).is_err(), "there is no folder yet");
        std::fs::create_dir(folder.path().join("config")).unwrap();
        assert!(!ask_for_rollback(&file, Some(3)).unwrap());
        assert_eq!(std::fs::read(folder.path().join("config/rollback.request")).unwrap(), b"3");
    }

    #[test]
    fn an_answer_to_an_earlier_question_or_about_another_file_is_not_taken_for_ours() {
        let folder = tempfile::tempdir().unwrap();
        let file = node(folder.path());
        std::fs::create_dir(folder.path().join("config")).unwrap();
        let digest = Local::read(&file).digest;
        let say = |nonce: &str, file_digest: &str| {
            let (nonce, file_digest) = (nonce.to_owned(), file_digest.to_owned());
            let answer = LocalAnswer { nonce, file_digest, answered: Answered::Same };
            let bytes = serde_json::to_vec(&answer).unwrap();
            aimass_core::runtime::files::write_atomically(
                &folder.path().join("config/reload.answer"),
                &bytes,
            )
            .unwrap();
            local_answer(&folder.path().join("config")).unwrap()
        };
        let old = say("1", &digest);
        let (reload, back) = (Before::reload(&file), Before::roll_back(&file));
        assert!(!reload.is_answered_by(&old) && !back.is_answered_by(&old));
        let other = say("2", "of what the file held before it was edited again");
        assert!(!reload.is_answered_by(&other) && back.is_answered_by(&other));
        assert!(reload.is_answered_by(&say("3", &digest)));
    }

    #[test]
    fn the_process_that_holds_the_lock_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("agent.db");
        let lock = folder.path().join("agent.db.lock");
        aimass_core::runtime::files::write_atomically(&lock, b"4711\n").unwrap();
        let held = File::open(&lock).unwrap();
        held.lock().unwrap();
        let pid = owner_of(&store).unwrap().unwrap();
        assert_eq!(pid.as_raw_nonzero().get(), 4711);
    }

    #[test]
    fn a_request_is_the_folder_owner_s_alone_and_follows_no_planted_link() {
        use std::os::unix::fs::{MetadataExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let file = node(folder.path());
        let (config, victim) = (folder.path().join("config"), folder.path().join("shadow"));
        std::fs::create_dir(&config).unwrap();
        aimass_core::runtime::files::write_atomically(&victim, b"precious").unwrap();
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            std::os::unix::fs::chown(&config, Some(65_534), Some(65_534)).unwrap();
        }
        let request = config.join("rollback.request");
        symlink(&victim, &request).unwrap();
        symlink(&victim, config.join(format!("rollback.request.{}.part", std::process::id()))).unwrap();
        assert!(!ask_for_rollback(&file, None).unwrap());
        let (found, owner) = (request.symlink_metadata().unwrap(), config.metadata().unwrap());
        assert_eq!((found.is_file(), found.mode() & 0o7777), (true, 0o600));
        assert_eq!((found.uid(), found.gid()), (owner.uid(), owner.gid()));
        assert_eq!(std::fs::read(&request).unwrap(), b"null");
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
        assert!(!is_root || victim.metadata().unwrap().uid() == 0, "nor is the victim given away");
    }
}
