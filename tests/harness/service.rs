//! The agent as a service of `Type=notify` with a watchdog; this plays the service manager.

use std::process::ExitStatus;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::time::Instant;

use crate::PATIENCE;
use crate::agent::Agent;

/// A supervised agent, what it told its manager, and the manager's socket.
#[derive(Debug)]
pub struct Service {
    /// The running agent.
    pub agent: Agent,
    config: String,
    watchdog: Duration,
    socket: UnixDatagram,
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
        let agent = life(config, watchdog, &folder, environment);
        let (config, told, fed) = (config.to_owned(), Vec::new(), Instant::now());
        Service { agent, config, watchdog, socket, folder, told, fed }
    }

    /// Starts it again after its end, as the manager does; what it told before is forgotten.
    pub fn start_again(&mut self, environment: &[(&str, &str)]) {
        self.told.clear();
        self.agent = life(&self.config, self.watchdog, &self.folder, environment);
    }

    /// What it told in this life, in order: `READY=1`, `STATUS=…`, …
    pub fn told(&self) -> &[String] {
        &self.told
    }

    /// Waits for `READY=1`.
    ///
    /// # Panics
    /// It does not come.
    pub async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.told.iter().any(|t| t == "READY=1") {
            assert!(self.listen(deadline).await, "not ready; it logged:\n{}", self.agent.stderr().tail());
        }
    }

    /// Watches the watchdog for so long, or until it bites: then the agent gets SIGABRT and its end is returned.
    ///
    /// # Panics
    /// It does not end after the signal.
    pub async fn watch(&mut self, for_long: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + for_long;
        while Instant::now() < end {
            let bite = self.fed + self.watchdog;
            if !self.listen(bite.min(end)).await && Instant::now() >= bite {
                self.agent.abort();
                return Some(self.agent.wait(PATIENCE).await);
            }
        }
        None
    }

    /// SIGTERM; everything that it tells until its end is heard.
    ///
    /// # Panics
    /// It does not end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.agent.terminate();
        let status = self.agent.wait(PATIENCE).await;
        while let Some(text) = self.waiting() {
            self.hear(&text);
        }
        status
    }

    /// Hears one message, or nothing until the deadline.
    async fn listen(&mut self, until: Instant) -> bool {
        let mut buffer = [0; 4096];
        match tokio::time::timeout_at(until, self.socket.recv(&mut buffer)).await {
            Ok(Ok(length)) => {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                self.hear(&text);
                true
            }
            Ok(Err(e)) => panic!("the manager's socket: {e}"),
            Err(_) => false,
        }
    }

    fn waiting(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.try_recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn hear(&mut self, text: &str) {
        for line in text.lines() {
            // A service manager arms the watchdog when the service is ready.
            if line == "WATCHDOG=1" || line == "READY=1" {
                self.fed = Instant::now();
            }
            self.told.push(line.to_owned());
        }
    }
}

fn life(config: &str, watchdog: Duration, folder: &TempDir, environment: &[(&str, &str)]) -> Agent {
    let own = [
        ("NOTIFY_SOCKET", folder.path().join("notify").to_string_lossy().into_owned()),
        ("WATCHDOG_USEC", watchdog.as_micros().to_string()),
    ];
    let mut all: Vec<(String, String)> = own.map(|(name, value)| (name.to_owned(), value)).into();
    all.extend(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Agent::run_with(config, &all)
}
