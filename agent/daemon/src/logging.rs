//! Logs to stderr: stdout belongs to results.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::exit::Failure;

/// Starts logging.
///
/// # Errors
/// `Usage` for a filter that makes no sense.
pub fn start(filter: &str, json: bool) -> Result<(), Failure> {
    // The demo's broker calls every client that leaves an error, and does so at length.
    let quiet = if filter.contains("rumqttd") { filter.to_owned() } else { format!("{filter},rumqttd=off") };
    let filter = EnvFilter::try_new(&quiet).map_err(|e| {
        Failure::Usage(format!(
            "--log {filter}: {e}; give error, warn, info or debug, or by module as in info,aimass_link=debug"
        ))
    })?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // A second start, as in tests, changes nothing.
    if json {
        logs.json().try_init().ok()
    } else {
        logs.try_init().ok()
    };
    Ok(())
}
