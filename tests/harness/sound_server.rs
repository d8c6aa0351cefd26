//! PulseAudio as a child process: a virtual sound card that plays a tone, which is heard at `tone.monitor`.

use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::TIMEOUT;
use crate::eventually;
use crate::lines::OutputLines;

/// A sound server of its own, beside any that the machine has. Killed when dropped.
#[derive(Debug)]
pub struct SoundServer {
    folder: TempDir,
    running: Option<Child>,
}

impl SoundServer {
    /// The source that hears the card: a sine of half of full scale, -9.0 dBFS.
    pub const SOURCE: &str = "tone.monitor";

    /// Starts one.
    ///
    /// # Panics
    /// PulseAudio is not installed (the message says how), or does not start.
    pub async fn start_new() -> SoundServer {
        let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary folder: {e}"));
        let mut server = SoundServer { folder, running: None };
        server.start().await;
        server
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("native")
    }

    /// Environment variables that select this server.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![("PULSE_SERVER".to_owned(), format!("unix:{}", self.socket().display()))]
    }

    /// Starts it (again) and waits until it takes connections.
    ///
    /// # Panics
    /// As [`Self::start_new`].
    pub async fn start(&mut self) {
        std::fs::remove_file(self.socket()).ok();
        let mut child = Command::new("pulseaudio")
            .args(["--daemonize=no", "-n", "--use-pid-file=no", "--exit-idle-time=-1", "--realtime=no"])
            .args(["--high-priority=no", "--log-level=warning"])
            .args(["-L", "module-null-sink sink_name=tone", "-L", "module-sine sink=tone frequency=440"])
            .arg("-L")
            .arg(format!("module-native-protocol-unix socket={} auth-anonymous=1", self.socket().display()))
            .env("HOME", self.folder.path())
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start pulseaudio ({e}): cross/packages.sh test"));
        let log = child.stderr.take().map_or_else(|| panic!("no stderr"), OutputLines::collect);
        let socket = self.socket();
        eventually("pulseaudio takes connections", TIMEOUT, async || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("pulseaudio ended ({status}):\n{}", log.tail());
            }
            tokio::net::UnixStream::connect(&socket).await.ok().map(drop)
        })
        .await;
        self.running = Some(child);
    }

    /// kill -9.
    ///
    /// # Panics
    /// It does not run.
    pub async fn kill(&mut self) {
        let Some(mut child) = self.running.take() else { panic!("the sound server does not run") };
        child.kill().await.unwrap_or_else(|e| panic!("pulseaudio cannot be killed: {e}"));
    }
}
