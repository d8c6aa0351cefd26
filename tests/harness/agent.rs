//! The agent's binary as a child process.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use aimass_core::runtime::files::write_atomically;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::lines::OutputLines;
use crate::process::Footprint;

/// A running `aimass-agent`. Killed when dropped.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    pid: Pid,
    stdout: OutputLines,
    stderr: OutputLines,
    folder: Option<TempDir>,
}

impl Agent {
    /// `aimass-agent run --config <a file with this text>`.
    ///
    /// # Panics
    /// The binary is not there (the message says how to build it) or does not start.
    pub fn run(config: &str) -> Agent {
        Self::run_with(config, &[])
    }

    /// The same with these variables in its environment.
    ///
    /// # Panics
    /// See [`Agent::run`].
    pub fn run_with(config: &str, environment: &[(String, String)]) -> Agent {
        let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary folder: {e}"));
        let path = folder.path().join("agent.toml");
        write_atomically(&path, config.as_bytes()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut agent = Self::start(&["run", "--config", &path.to_string_lossy()], environment);
        agent.folder = Some(folder);
        agent
    }

    /// `aimass-agent` with any arguments.
    ///
    /// # Panics
    /// See [`Agent::run`].
    pub fn with_arguments(arguments: &[&str]) -> Agent {
        Self::start(arguments, &[])
    }

    fn start(arguments: &[&str], environment: &[(String, String)]) -> Agent {
        let program = binary();
        let mut child = Command::new(&program)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", program.display()));
        let pid = child.id().and_then(|id| Pid::from_raw(id as i32)).unwrap_or_else(|| panic!("no pid"));
        let stdout = child.stdout.take().map_or_else(|| panic!("no stdout"), OutputLines::collect);
        let stderr = child.stderr.take().map_or_else(|| panic!("no stderr"), OutputLines::collect);
        Agent { child, pid, stdout, stderr, folder: None }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get() as u32
    }

    /// Its resource usage now.
    pub fn footprint(&self) -> Footprint {
        Footprint::of(self.pid())
    }

    /// The file with its configuration.
    ///
    /// # Panics
    /// It was started by [`Agent::with_arguments`].
    pub fn config_path(&self) -> PathBuf {
        let folder = self.folder.as_ref().unwrap_or_else(|| panic!("this agent has no file of the test's"));
        folder.path().join("agent.toml")
    }

    /// What it prints.
    pub fn stdout(&self) -> &OutputLines {
        &self.stdout
    }

    /// What it logs.
    pub fn stderr(&self) -> &OutputLines {
        &self.stderr
    }

    /// SIGHUP: reload.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGABRT, as a service manager sends when the watchdog expires.
    pub fn abort(&self) {
        self.signal(Signal::ABORT);
    }

    /// SIGINT, as from a terminal.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// kill -9, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait(crate::TIMEOUT).await;
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end within the deadline; the message holds the last of what it logged.
    pub async fn wait(&mut self, within: Duration) -> ExitStatus {
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(Ok(status)) => status,
            Ok(Err(e)) => panic!("cannot wait for the agent: {e}"),
            Err(_) => panic!("the agent does not end within {within:?}; it logged:\n{}", self.stderr.tail()),
        }
    }

    fn signal(&self, signal: Signal) {
        // Only while the child is not waited for is the pid surely its own.
        if self.child.id().is_some() {
            kill_process(self.pid, signal).unwrap_or_else(|e| panic!("cannot signal the agent: {e}"));
        }
    }
}

/// The built binary: `$AIMASS_AGENT`, or beside the running test in the target folder.
///
/// # Panics
/// It is not there.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("AIMASS_AGENT") {
        let path = PathBuf::from(path);
        assert!(path.exists(), "AIMASS_AGENT={} does not exist", path.display());
        return path;
    }
    let test = std::env::current_exe().unwrap_or_else(|e| panic!("where am I? {e}"));
    // target/<profile>/deps/<test> → target/<profile>/aimass-agent
    let path =
        test.parent().and_then(Path::parent).map(|folder| folder.join("aimass-agent")).unwrap_or_default();
    assert!(
        path.exists(),
        "{} is not built: cargo build -p aimass-agent, or set AIMASS_AGENT",
        path.display()
    );
    path
}
