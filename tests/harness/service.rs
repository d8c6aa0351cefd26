//! The agent as a service of `Type=notify` with a watchdog; this plays the service manager.

use std::process::ExitStatus;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::TIMEOUT;
use crate::agent::Agent;

/// A supervised agent, the notifications it sent, and the socket of the service manager.
#[derive(Debug)]
pub struct Service {
    /// The running agent.
    pub agent: Agent,
    config: String,
    watchdog: Duration,
    messages: mpsc::Receiver<(Instant, String)>,
    folder: TempDir,
    told: Vec<String>,
    fed: Instant,
}

impl Service {
    /// Starts the agent with this configuration, a watchdog of that interval, and these variables.
    ///
    /// # Panics
    /// The socket cannot be made; see [`Agent::run`].
    pub fn start(config: &str, watchdog: Duration, environment: &[(&str, &str)]) -> Service {
        let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary folder: {e}"));
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let messages = collect(socket);
        let agent = start_agent(config, watchdog, &folder, environment);
        let (config, told, fed) = (config.to_owned(), Vec::new(), Instant::now());
        Service { agent, config, watchdog, messages, folder, told, fed }
    }

    /// Starts it again after its end, as the manager does; earlier notifications are dropped.
    pub fn start_again(&mut self, environment: &[(&str, &str)]) {
        self.told.clear();
        self.agent = start_agent(&self.config, self.watchdog, &self.folder, environment);
    }

    /// Its notifications since the start, in order: `READY=1`, `STATUS=…`, …
    pub fn notifications(&self) -> &[String] {
        &self.told
    }

    /// Waits for `READY=1`.
    ///
    /// # Panics
    /// It does not come.
    pub async fn until_ready(&mut self) {
        let deadline = Instant::now() + TIMEOUT;
        while !self.told.iter().any(|t| t == "READY=1") {
            assert!(self.listen(deadline).await, "not ready; it logged:\n{}", self.agent.stderr().tail());
        }
    }

    /// Runs the watchdog for this time, or until it expires: then the agent gets SIGABRT and its exit is returned.
    ///
    /// # Panics
    /// It does not end after the signal.
    pub async fn watch(&mut self, for_long: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + for_long;
        while Instant::now() < end {
            let bite = self.fed + self.watchdog;
            if !self.listen(bite.min(end)).await && Instant::now() >= bite {
                self.agent.abort();
                return Some(self.agent.wait(TIMEOUT).await);
            }
        }
        None
    }

    /// SIGTERM; collects every notification until its end.
    ///
    /// # Panics
    /// It does not end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.agent.terminate();
        let status = self.agent.wait(TIMEOUT).await;
        while let Ok((at, text)) = self.messages.try_recv() {
            self.hear(at, &text);
        }
        status
    }

    /// Hears one message, or nothing until the deadline.
    async fn listen(&mut self, until: Instant) -> bool {
        match tokio::time::timeout_at(until, self.messages.recv()).await {
            Ok(Some((at, text))) => {
                self.hear(at, &text);
                true
            }
            Ok(None) => panic!("the manager's socket is gone"),
            Err(_) => false,
        }
    }

    fn hear(&mut self, at: Instant, text: &str) {
        for line in text.lines() {
            // A service manager arms the watchdog when the service is ready.
            if line == "WATCHDOG=1" || line == "READY=1" {
                self.fed = at;
            }
            self.told.push(line.to_owned());
        }
    }
}

/// Reads the socket at once, as a manager does: a few messages that nobody reads, and who writes must wait.
fn collect(socket: UnixDatagram) -> mpsc::Receiver<(Instant, String)> {
    let (heard, messages) = mpsc::channel(4096);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer).await {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if heard.send((Instant::now(), text)).await.is_err() {
                return;
            }
        }
    });
    messages
}

fn start_agent(config: &str, watchdog: Duration, folder: &TempDir, environment: &[(&str, &str)]) -> Agent {
    let own = [
        ("NOTIFY_SOCKET", folder.path().join("notify").to_string_lossy().into_owned()),
        ("WATCHDOG_USEC", watchdog.as_micros().to_string()),
    ];
    let mut all: Vec<(String, String)> = own.map(|(name, value)| (name.to_owned(), value)).into();
    all.extend(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Agent::run_with(config, &all)
}
