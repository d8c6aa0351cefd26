//! The keeper against everything that can come, and every moment at which the power can go.

mod damage;
mod flood;
mod laws;
mod missed;
mod offers;
mod power;
mod remembered;
mod superseded;
mod told;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aimass_core::runtime::clock::SimulatedClock;
use aimass_core::runtime::files::write_atomically;
use aimass_signing::{ConfigStatement, Domain, SecretKey};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::files::{Disk, RealDisk};
use super::*;

/// A disk that works so many times and then never again; counts what it was asked for.
#[derive(Clone)]
pub(super) struct TiredDisk {
    left: Arc<AtomicI64>,
    asked: Arc<AtomicI64>,
}

impl TiredDisk {
    fn new(works: i64) -> Self {
        TiredDisk { left: Arc::new(AtomicI64::new(works)), asked: Arc::default() }
    }

    fn works(&self) -> io::Result<()> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.left.fetch_sub(1, Ordering::Relaxed) > 0 {
            Ok(())
        } else {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
}

impl Disk for TiredDisk {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.works()?;
        RealDisk.write(path, bytes)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.works()?;
        RealDisk.remove(path)
    }
}

/// A node's files and its operator's key.
pub(super) struct Rig {
    folder: TempDir,
    secret: SecretKey,
    clock: SimulatedClock,
}

impl Rig {
    /// A node whose own file says `stall_after_s = mark` and trusts the key.
    pub(super) fn new(mark: u16) -> Rig {
        let clock = SimulatedClock::at("2026-11-24T10:00:00Z".parse().unwrap());
        let rig = Rig { folder: tempfile::tempdir().unwrap(), secret: SecretKey::generate().unwrap(), clock };
        rig.write(mark, &rig.trust());
        rig
    }

    fn trust(&self) -> String {
        format!("[[trust.key]]\nid = \"ops\"\npublic_key = \"{}\"\n", self.secret.public())
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("agent.toml")
    }

    fn keeper_folder(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// Replaces the node's own file.
    fn write(&self, mark: u16, trust: &str) {
        self.write_text(&format!(
            "[node]\nsite = \"s\"\nid = \"n\"\n[store]\npath = \"{}\"\n\
             [[camera]]\nid = \"own\"\nsource = \"test:\"\nstall_after_s = {mark}\n{trust}",
            self.folder.path().join("agent.db").display()
        ));
    }

    fn write_text(&self, text: &str) {
        write_atomically(&self.file(), text.as_bytes()).unwrap();
    }

    pub(super) fn open(&self) -> (ConfigManager, Start) {
        self.open_with(TiredDisk::new(i64::MAX))
    }

    fn open_with(&self, disk: TiredDisk) -> (ConfigManager, Start) {
        self.try_open(disk).unwrap()
    }

    fn try_open(&self, disk: TiredDisk) -> Result<(ConfigManager, Start), Failure> {
        ConfigManager::open_in(
            folder(&self.file()),
            &self.file(),
            Arc::new(self.clock.clone()),
            Arc::new(|_| true),
            Box::new(disk),
        )
    }

    fn statement(&self, version: u64, body: Value) -> ConfigStatement {
        ConfigStatement {
            domain: Domain::Config,
            site: "s".parse().unwrap(),
            node: "n".parse().unwrap(),
            version,
            not_after: None,
            body,
        }
    }

    fn sign(&self, statement: &ConfigStatement) -> Vec<u8> {
        statement.sign(&self.secret, "ops".parse().unwrap()).unwrap().to_json().into_bytes()
    }

    /// A signed push of a good body.
    pub(super) fn push(&self, version: u64, mark: u16) -> Vec<u8> {
        self.sign(&self.statement(version, body(mark)))
    }
}

fn body(mark: u16) -> Value {
    json!({ "camera": [{ "id": "pushed", "source": "test:", "stall_after_s": mark }] })
}

/// What tells one configuration from another in these tests.
pub(super) fn mark(choice: &Candidate) -> u16 {
    choice.config.camera[0].stall_after_s as u16
}

fn candidate(verdict: Decision) -> Candidate {
    match verdict {
        Decision::Candidate(choice) => *choice,
        other => panic!("{other:?} instead of a candidate"),
    }
}

/// A push that proves good.
fn take(keeper: &mut ConfigManager, message: &[u8]) -> Candidate {
    let choice = candidate(keeper.offer_push(message));
    keeper.begun().unwrap();
    keeper.commit(&[]).unwrap();
    choice
}

fn because(text: &str) -> Vec<Problem> {
    vec![Problem::new("camera[0]", text)]
}
