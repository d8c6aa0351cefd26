//! Talking to the running node without a network: a signal, and a file for what a signal cannot say.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::files::{leave_request, take_answer};
use super::history::history;
use super::local;
use super::state::{Answered, Outcome};
use crate::config::{ConfigErrors, Problem};
use crate::exit::Failure;

/// How often the node's record is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// A node may be busy with what it was asked for before: cameras are closed and opened.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// The longest probation that makes sense, and three of them for what begins with the program.
const JUDGED_WITHIN: Duration = Duration::from_secs(3600);

/// Tells the running node to read its configuration file again (SIGHUP).
///
/// # Errors
/// No node runs with this file's store, or it is another user's.
pub fn reload(file: &Path) -> Result<(), Failure> {
    let store = local::store_path(file);
    let pid = owner_of(&store)?.ok_or_else(|| {
        Failure::Unavailable(format!(
            "no node runs with the store {}: start it, it reads the file then",
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
    let folder = local::folder(file);
    leave_request(&folder, to).map_err(|e| {
        Failure::Unavailable(format!("{}: the request cannot be left there: {e}", folder.display()))
    })?;
    match owner_of(&local::store_path(file))? {
        Some(pid) => signal(pid).map(|()| true),
        None => Ok(false),
    }
}

/// Takes away what the node said to an earlier request, so that the next answer is that to ours.
///
/// # Errors
/// The folder is another user's.
pub fn forget_answer(file: &Path) -> Result<(), Failure> {
    take_answer(&local::folder(file)).map(drop).map_err(|e| no_answer(file, &e))
}

/// Waits for what becomes of what the running node was asked for; `on_trial` hears which revision is tried. The revision
/// that is in force now, or `None` if there was nothing to try.
///
/// # Errors
/// `BadInput` with the reasons if it is refused or taken back; `Unavailable` if the node ends or is silent meanwhile.
pub fn await_verdict(file: &Path, on_trial: impl FnOnce(u64)) -> Result<Option<u64>, Failure> {
    let refused = |how: &str, errors: Vec<Problem>| {
        Failure::BadInput(format!("the configuration {how}: {}", ConfigErrors(errors)))
    };
    let answer = patiently(file, ANSWERED_WITHIN, || {
        take_answer(&local::folder(file)).map_err(|e| no_answer(file, &e))
    })?;
    let revision = match answer {
        Answered::Same => return Ok(None),
        Answered::Refused(errors) => return Err(refused("is refused", errors)),
        Answered::Trial(revision) => revision,
    };
    on_trial(revision);
    let past = patiently(file, JUDGED_WITHIN, || {
        let past = history(file)?.entries.into_iter().rev().find(|past| past.revision == revision);
        Ok(past.filter(|past| past.outcome != Outcome::Trial))
    })?;
    match past.outcome {
        Outcome::Committed => Ok(Some(revision)),
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
    within: Duration,
    mut look: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let store = local::store_path(file);
    for _ in 0..within.as_millis() / LOOK.as_millis() {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if owner_of(&store)?.is_none() {
            let text = "the node has ended meanwhile: its journal says why, and `aimass-agent config history` what its next \
                        start makes of it";
            return Err(Failure::Unavailable(text.into()));
        }
        std::thread::sleep(LOOK);
    }
    let text = format!(
        "the node has not told within {within:?} what becomes of it: see its journal and `aimass-agent config history`"
    );
    Err(Failure::Unavailable(text))
}

fn no_answer(file: &Path, error: &std::io::Error) -> Failure {
    let folder = local::folder(file);
    let text = format!("{}: the node's answers cannot be read there: {error}", folder.display());
    Failure::Unavailable(text)
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
        aimass_core::files::write_atomically(&file, text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn without_a_running_node_a_reload_says_so_and_a_request_waits() {
        let folder = tempfile::tempdir().unwrap();
        let file = node(folder.path());
        let store = folder.path().join("agent.db");
        assert_eq!(local::store_path(&file), store, "though the file is broken");
        assert!(reload(&file).unwrap_err().to_string().contains(store.to_str().unwrap()));
        // A lock file that nobody holds any more names a process that may be anybody by now.
        aimass_core::files::write_atomically(&folder.path().join("agent.db.lock"), b"1\n").unwrap();
        assert_eq!(reload(&file).unwrap_err().code(), 69);
        assert!(ask_for_rollback(&file, Some(3)).is_err(), "there is no folder yet");
        std::fs::create_dir(folder.path().join("config")).unwrap();
        assert!(!ask_for_rollback(&file, Some(3)).unwrap());
        assert_eq!(std::fs::read(folder.path().join("config/rollback.request")).unwrap(), b"3");
    }

    #[test]
    fn the_process_that_holds_the_lock_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("agent.db");
        let lock = folder.path().join("agent.db.lock");
        aimass_core::files::write_atomically(&lock, b"4711\n").unwrap();
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
        aimass_core::files::write_atomically(&victim, b"precious").unwrap();
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
