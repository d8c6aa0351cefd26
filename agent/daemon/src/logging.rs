//! Logs to stderr: stdout belongs to results. How much is logged can be changed while the program runs.

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;
use std::sync::OnceLock;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer, format};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, reload};

use crate::exit::Failure;

/// The logs of this process, once they were started.
static LOGS: OnceLock<Logs> = OnceLock::new();

/// Puts another filter in force; what is wrong, if it cannot be.
type Reload = Box<dyn Fn(Targets) -> Result<(), String> + Send + Sync>;

/// How much is logged.
pub struct Logs {
    /// As it was at the start.
    filter: String,
    reload: Reload,
}

impl Logs {
    pub(crate) fn new(
        filter: &str,
        reload: impl Fn(Targets) -> Result<(), String> + Send + Sync + 'static,
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
        (self.reload)(parse(filter)?)
    }
}

/// The logs, if they were started.
pub fn logs() -> Option<&'static Logs> {
    LOGS.get()
}

/// Prints the failure, if any, and gives the exit code.
#[expect(clippy::print_stderr, reason = "the last word of the program")]
pub fn report(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let priority = if is_journal() { "<3>" } else { "" };
            for line in failure.to_string().lines() {
                eprintln!("{priority}error: {line}");
            }
            ExitCode::from(failure.code())
        }
    }
}

/// Starts logging.
///
/// # Errors
/// `Usage` for a filter that makes no sense.
pub fn start(filter: &str, json: bool) -> Result<(), Failure> {
    // A variable that is set to nothing, as one does to unset it.
    let filter = if filter.trim().is_empty() { "info" } else { filter };
    // The demo's broker calls every client that leaves an error, and does so at length.
    let quiet = if filter.contains("rumqttd") { filter.to_owned() } else { format!("{filter},rumqttd=off") };
    let parsed = parse(&quiet).map_err(|e| {
        Failure::Usage(format!(
            "--log {filter}: {e}; give error, warn, info or debug, or by module as in info,aimass_mqtt=debug"
        ))
    })?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let lines = if json {
        lines.json().boxed()
    } else if is_journal() {
        lines.event_format(Prioritised(format().with_target(false).without_time())).boxed()
    } else {
        lines.boxed()
    };
    let (filter, handle) = reload::Layer::new(parsed);
    // A second start, as in tests, changes nothing.
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        LOGS.set(Logs::new(&quiet, move |filter| handle.reload(filter).map_err(|e| e.to_string()))).ok();
    }
    Ok(())
}

/// Starts logging for a node in service, which a wrong filter must not keep from its work: it logs at `info` and says why.
///
/// # Errors
/// None that a filter causes.
pub fn start_in_service(filter: &str, json: bool) -> Result<(), Failure> {
    let Err(failure) = start(filter, json) else { return Ok(()) };
    start("info", json)?;
    tracing::error!(%failure, "The log filter makes no sense: logging at info.");
    Ok(())
}

/// A level, levels by the beginning of a module's path, or both, with commas between; a module alone is logged whole.
///
/// # Errors
/// What is wrong. A plain word that is no level is an error, though it could be a crate: it is mostly a level misspelt,
/// which would log nothing.
fn parse(filter: &str) -> Result<Targets, String> {
    if filter.split(',').all(|part| part.trim().is_empty()) {
        return Err("it is empty".to_owned());
    }
    let mut levels = Targets::new();
    for part in filter.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (module, level) = match part.split_once('=') {
            Some((module, level)) => (module.trim(), level.trim()),
            None if part.contains(['_', ':']) => (part, "trace"),
            None => ("", part),
        };
        if level.is_empty() {
            return Err(format!("{part} has no level"));
        }
        let level: LevelFilter = level.parse().map_err(|_| format!("{level} is no level"))?;
        // What no module is named would match nothing, and so log nothing.
        let foreign = |c: char| c.is_whitespace() || "[]{};:".contains(c);
        if module.replace("::", "").contains(foreign) || (module.is_empty() && part.contains('=')) {
            return Err(format!("{part} names no module"));
        }
        levels =
            if module.is_empty() { levels.with_default(level) } else { levels.with_target(module, level) };
    }
    Ok(levels)
}

/// Whether stderr goes to systemd's journal: `JOURNAL_STREAM` has its device and inode (systemd.exec(5)).
pub(crate) fn is_journal() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = std::io::stderr().as_fd().try_clone_to_owned().map(File::from);
    stderr
        .and_then(|file| file.metadata())
        .is_ok_and(|about| told == format!("{}:{}", about.dev(), about.ino()))
}

/// Lines for the journal: with a priority before them (sd-daemon(3)), and without a time, which the journal has.
struct Prioritised<F>(F);

impl<S, N, F> FormatEvent<S, N> for Prioritised<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        writer.write_str(priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_filter_has_a_level_or_levels_by_module_and_its_later_parts_go_before_its_earlier_ones() {
        let filter = parse("warn, aimass_mqtt=debug,,aimass=info,aimass=error").unwrap();
        assert!(filter.would_enable("hyper::client", &Level::WARN));
        assert!(!filter.would_enable("hyper::client", &Level::INFO));
        assert!(filter.would_enable("aimass_mqtt::mqtt", &Level::DEBUG), "the longest name counts");
        assert!(!filter.would_enable("aimass_core::gate", &Level::WARN), "the last of one name counts");
        assert!(!parse("info,rumqttd=off").unwrap().would_enable("rumqttd::link", &Level::ERROR));
    }

    #[test]
    fn a_module_may_stand_alone_have_any_name_and_spaces_around_it() {
        let filter = parse("warn,aimass_mqtt, my-mod.c/x = debug ").unwrap();
        assert!(filter.would_enable("aimass_mqtt::mqtt", &Level::TRACE));
        assert!(filter.would_enable("my-mod.c/x", &Level::DEBUG));
        assert!(!filter.would_enable("other", &Level::INFO));
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_an_error_that_names_the_word() {
        assert_eq!(parse("inof").unwrap_err(), "inof is no level");
        assert_eq!(parse("aimass_mqtt=loud").unwrap_err(), "loud is no level");
        assert_eq!(parse("aimass_mqtt=").unwrap_err(), "aimass_mqtt= has no level");
        assert_eq!(parse("=debug").unwrap_err(), "=debug names no module");
        for part in
            ["[span]=debug", "info aimass_mqtt=debug", "aimass_mqtt:debug", "info:", "info;aimass_mqtt"]
        {
            assert_eq!(parse(part).unwrap_err(), format!("{part} names no module"));
        }
        assert_eq!(parse(" , ").unwrap_err(), "it is empty");
    }

    #[test]
    fn a_node_in_service_starts_with_a_filter_that_makes_no_sense() {
        assert!(start("inof", false).is_err());
        assert!(start_in_service("inof", false).is_ok());
    }

    #[test]
    fn lines_for_the_journal_begin_with_their_priority_and_have_no_time() {
        let lines = Lines::default();
        let to = lines.clone();
        let logs = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || to.clone())
            .event_format(Prioritised(format().with_target(false).without_time()))
            .finish();
        tracing::subscriber::with_default(logs, || {
            tracing::warn!(camera = "dock", "It is dark.");
            tracing::error!("It is gone.");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "<4> WARN It is dark. camera=\"dock\"\n<3>ERROR It is gone.\n");
    }
}
