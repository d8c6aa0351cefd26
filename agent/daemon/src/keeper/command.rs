//! Talking to the running node without a network: a signal, and a file for what a signal cannot say.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::files::leave_request;
use super::local;
use crate::exit::Failure;

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
