//! Logs to stderr: stdout belongs to results. How much is logged can be changed while the program runs.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use crate::exit::Failure;

/// The logs of this process, once they were started.
static LOGS: OnceLock<Logs> = OnceLock::new();

/// Puts another filter in force; what is wrong, if it cannot be.
type Reload = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// How much is logged.
pub struct Logs {
    /// As it was at the start.
    filter: String,
    reload: Reload,
}

impl Logs {
    pub(crate) fn new(
        filter: &str,
        reload: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Logs { filter: filter.to_owned(), reload: Box::new(reload) }
    }

    /// Logs the program's own messages from this level on; those of its libraries stay as they are, as some of them
    /// tell at lower levels what should not stand in a log.
    ///
    /// # Errors
    /// The filter cannot be changed.
    pub fn set(&self, level: &str) -> Result<(), String> {
        // Every crate of ours begins with this word.
        self.put(&format!("{},aimass={level}", self.filter))
    }

    /// Logs as at the start.
    ///
    /// # Errors
    /// The filter cannot be changed.
    pub fn restore(&self) -> Result<(), String> {
        self.put(&self.filter)
    }

    fn put(&self, filter: &str) -> Result<(), String> {
        let filter = EnvFilter::try_new(filter).map_err(|e| format!("log filter {filter}: {e}"))?;
        (self.reload)(filter)
    }
}

/// The logs, if they were started.
pub fn logs() -> Option<&'static Logs> {
    LOGS.get()
}

/// Starts logging.
///
/// # Errors
/// `Usage` for a filter that makes no sense.
pub fn start(filter: &str, json: bool) -> Result<(), Failure> {
    // The demo's broker calls every client that leaves an error, and does so at length.
    let quiet = if filter.contains("rumqttd") { filter.to_owned() } else { format!("{filter},rumqttd=off") };
    let parsed = EnvFilter::try_new(&quiet).map_err(|e| {
        Failure::Usage(format!(
            "--log {filter}: {e}; give error, warn, info or debug, or by module as in info,aimass_link=debug"
        ))
    })?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // A second start, as in tests, changes nothing.
    let (started, logs) = if json {
        let logs = logs.json().with_filter_reloading();
        let handle = logs.reload_handle();
        let started = logs.try_init().is_ok();
        (started, Logs::new(&quiet, move |filter| handle.reload(filter).map_err(|e| e.to_string())))
    } else {
        let logs = logs.with_filter_reloading();
        let handle = logs.reload_handle();
        let started = logs.try_init().is_ok();
        (started, Logs::new(&quiet, move |filter| handle.reload(filter).map_err(|e| e.to_string())))
    };
    if started {
        LOGS.set(logs).ok();
    }
    Ok(())
}
