//! The keeper's folder. Every file is replaced as a whole and carries its own SHA-256 in its first line; the state
//! is kept twice, and the newer copy that is whole counts.
//!
//! Invariant: the content of a revision is on disk before any state names it.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use aimass_core::runtime::files::{write_atomically, write_atomically_for};
use aimass_signing::sha256_hex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::state::{LocalAnswer, RevisionBody, State};

const COPIES: [&str; 2] = ["state-a", "state-b"];
const REQUEST: &str = "rollback.request";
/// The file name is that of the first release.
const BASELINE: &str = "vitals";
const ANSWER: &str = "reload.answer";

/// What changes files; tests let it fail.
pub(super) trait Disk: Send {
    /// Replaces a file as a whole.
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
}

/// The real one.
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        write_atomically(path, bytes)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// What was found of the state.
pub(super) enum Found {
    /// There never was one.
    Nothing,
    /// There was one, and no copy of it can be read.
    Damaged,
    /// The newest whole copy; whether the other one needs to be written anew.
    State(Box<State>, bool),
}

/// The folder.
pub(super) struct Files {
    folder: PathBuf,
    disk: Box<dyn Disk>,
}

impl Files {
    pub(super) fn new(folder: PathBuf, disk: Box<dyn Disk>) -> Self {
        if let Err(error) = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder) {
            tracing::warn!(folder = %folder.display(), %error, "The folder for configurations cannot be made: nothing will be remembered.");
        }
        Files { folder, disk }
    }

    /// For looking only.
    pub(super) fn existing(folder: PathBuf) -> Self {
        Files { folder, disk: Box::new(RealDisk) }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn content_path(&self, revision: u64) -> PathBuf {
        self.folder.join(format!("revision-{revision}"))
    }

    pub(super) fn load(&self) -> Found {
        let mut whole = Vec::new();
        let (mut absent, mut broken) = (0, 0);
        for name in COPIES {
            match read::<State>(&self.folder.join(name)) {
                Ok(Some((state, _))) => whole.push(state),
                Ok(None) => absent += 1,
                Err(problem) => {
                    tracing::warn!(file = name, folder = %self.folder.display(), problem, "A copy of the configuration's record cannot be read.");
                    broken += 1;
                }
            }
        }
        whole.sort_by_key(|state| state.generation);
        let uneven =
            whole.len() == 1 || whole.first().map(|s| s.generation) != whole.last().map(|s| s.generation);
        match whole.pop() {
            Some(state) => Found::State(Box::new(state), uneven),
            None if broken == 0 && absent == COPIES.len() && self.revisions().is_empty() => Found::Nothing,
            None => Found::Damaged,
        }
    }

    /// Writes both copies; the first one counts.
    pub(super) fn save(&mut self, state: &State) -> io::Result<()> {
        let (bytes, _) = sealed(state)?;
        self.disk.write(&self.folder.join(COPIES[0]), &bytes)?;
        if let Err(error) = self.disk.write(&self.folder.join(COPIES[1]), &bytes) {
            tracing::warn!(%error, "The second copy of the configuration's record cannot be written.");
        }
        Ok(())
    }

    /// Writes a revision's content; its digest.
    pub(super) fn put(&mut self, revision: u64, content: &RevisionBody) -> io::Result<String> {
        let (bytes, digest) = sealed(content)?;
        self.disk.write(&self.content_path(revision), &bytes)?;
        Ok(digest)
    }

    /// A revision's content, if it is whole, and its digest.
    pub(super) fn get(&self, revision: u64) -> Option<(RevisionBody, String)> {
        read(&self.content_path(revision)).ok().flatten()
    }

    /// What was remembered of how the node worked; nothing if it never was, or is damaged.
    pub(super) fn baseline(&self) -> Option<Value> {
        read(&self.folder.join(BASELINE)).ok().flatten().map(|(baseline, _)| baseline)
    }

    pub(super) fn put_baseline(&mut self, baseline: &Value) -> io::Result<()> {
        let (bytes, _) = sealed(baseline)?;
        self.disk.write(&self.folder.join(BASELINE), &bytes)
    }

    /// The numbers of all contents that lie here.
    pub(super) fn revisions(&self) -> Vec<u64> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().to_str()?.strip_prefix("revision-")?.parse().ok()).collect()
    }

    /// Removes all contents but these. What stays by mistake is removed the next time.
    pub(super) fn keep_only(&mut self, kept: &[u64]) {
        for revision in self.revisions() {
            if !kept.contains(&revision) {
                let path = self.content_path(revision);
                if let Err(error) = self.disk.remove(&path) {
                    tracing::debug!(file = %path.display(), %error, "An old configuration cannot be removed.");
                }
            }
        }
    }

    /// Takes the request of `config rollback` away: it counts once, whatever happens next.
    pub(super) fn take_request(&mut self) -> Option<Result<Option<u64>, String>> {
        let path = self.folder.join(REQUEST);
        let bytes = match fs::read(&path) {
            Ok(bytes) => Ok(bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => Err(format!("{}: {e}", path.display())),
        };
        if let Err(error) = self.disk.remove(&path) {
            return Some(Err(format!("{} cannot be removed ({error}), so it is not obeyed", path.display())));
        }
        Some(bytes.and_then(|b| {
            serde_json::from_slice::<Option<u64>>(&b).map_err(|e| format!("{}: {e}", path.display()))
        }))
    }

    /// Leaves the answer to a request on this machine, for whoever waits for it.
    pub(super) fn leave_answer(&mut self, answer: &LocalAnswer) -> io::Result<()> {
        self.disk.write(&self.folder.join(ANSWER), &serde_json::to_vec(answer)?)
    }
}

/// Leaves a request for the running node, or for its next start.
pub(super) fn leave_request(folder: &Path, to: Option<u64>) -> io::Result<()> {
    let (path, bytes) = (folder.join(REQUEST), serde_json::to_vec(&to)?);
    // Root asks, the node reads: the file belongs to whom the folder does.
    let owner = fs::metadata(folder)?;
    if rustix::process::geteuid().is_root() {
        return write_atomically_for(&path, &bytes, owner.uid(), owner.gid());
    }
    write_atomically(&path, &bytes)
}

/// The node's answer to the latest request on this machine; `None` if there is none that can be read.
pub(super) fn local_answer(folder: &Path) -> Option<LocalAnswer> {
    serde_json::from_slice(&fs::read(folder.join(ANSWER)).ok()?).ok()
}

/// A document behind its own SHA-256, and that.
fn sealed<T: Serialize>(document: &T) -> io::Result<(Vec<u8>, String)> {
    let json = serde_json::to_vec(document)?;
    let digest = sha256_hex(&json);
    let mut bytes = digest.clone().into_bytes();
    bytes.push(b'\n');
    bytes.extend(json);
    Ok((bytes, digest))
}

/// `None` if there is no such file; an error if it is there and not whole.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<(T, String)>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.to_string()),
    };
    let split = bytes.iter().position(|b| *b == b'\n').ok_or("it has no first line")?;
    let (digest, json) = (&bytes[..split], &bytes[split + 1..]);
    let found = sha256_hex(json);
    if found.as_bytes() != digest {
        return Err("its checksum is wrong".into());
    }
    let document = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    Ok(Some((document, found)))
}
