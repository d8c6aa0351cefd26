//! The small commands: `validate`, `reference`, `events`.

#![expect(clippy::print_stdout, reason = "these commands answer on stdout")]

use std::path::Path;
use std::time::Duration;

use aimass_core::runtime::clock::{Clock, SystemClock};
use aimass_store::{EventQuery, Reader};
use jiff::Timestamp;

use crate::cli::args::EventsArgs;
use crate::cli::capacity;
use crate::config::{self, reference as reference_text};
use crate::exit::Failure;

/// How often `events --follow` looks for more.
const FOLLOW: Duration = Duration::from_millis(500);

/// Tells everything that is wrong with a configuration.
///
/// # Errors
/// `BadInput` with one line for each error; with `on_this_board` also for what this machine cannot carry.
pub fn validate(path: &Path, on_this_board: bool, json: bool) -> Result<(), Failure> {
    let outcome = config::load(path);
    let missing = outcome.as_ref().map(config::missing).unwrap_or_default();
    if !json {
        missing.iter().for_each(warn);
    }
    if let (Ok(config), true) = (&outcome, on_this_board) {
        return judge(path, &capacity::measure(config)?, &missing, json);
    }
    if json {
        let errors = outcome.as_ref().err().map(|e| e.0.clone()).unwrap_or_default();
        println!(
            "{}",
            serde_json::json!({ "valid": outcome.is_ok(), "errors": errors, "warnings": missing })
        );
    }
    match outcome {
        Ok(config) => {
            if !json {
                let (cameras, microphones) = (config.camera.len(), config.microphone.len());
                let broker = if config.broker.is_some() { "a" } else { "no" };
                println!(
                    "{} is valid: {cameras} camera(s), {microphones} microphone(s), {broker} broker",
                    path.display()
                );
            }
            Ok(())
        }
        Err(errors) => Err(Failure::BadInput(errors.to_string())),
    }
}

/// Tells of what need not be wrong.
#[expect(clippy::print_stderr, reason = "an answer, which is not the result")]
fn warn(problem: &config::Problem) {
    eprintln!("warning: {problem}");
}

/// Tells whether a valid configuration fits on this machine, and what would if it does not.
fn judge(
    path: &Path,
    report: &capacity::Report,
    missing: &[config::Problem],
    json: bool,
) -> Result<(), Failure> {
    let fits = report.fits();
    if json {
        println!(
            "{}",
            serde_json::json!({ "valid": true, "fits": fits, "errors": [], "warnings": missing, "board": report })
        );
    } else {
        capacity::lines(report).iter().for_each(|line| println!("{line}"));
        if let Some(proposal) = &report.verdict.proposal {
            println!("\n# this would fit:\n{}", capacity::proposal(proposal));
        } else if fits {
            let but = if report.warnings.is_empty() { "" } else { ", as far as the warnings allow to tell" };
            println!("{} is valid, and fits on this board{but}", path.display());
        }
    }
    if fits {
        return Ok(());
    }
    let reasons: Vec<String> = report.problems.iter().chain(&report.verdict.reasons).cloned().collect();
    Err(Failure::BadInput(reasons.join("\n")))
}

/// Prints the reference or the schema.
///
/// # Errors
/// None; the signature is that of every command.
pub fn reference(schema: bool) -> Result<(), Failure> {
    print!("{}", if schema { reference_text::schema() } else { reference_text::markdown() });
    Ok(())
}

/// Prints events of the local store, oldest first.
///
/// # Errors
/// `Usage` for a time that makes no sense, `Unavailable` for a store that cannot be read.
pub fn events(args: &EventsArgs) -> Result<(), Failure> {
    let clock = SystemClock::new();
    let since = args.since.as_deref().map(|text| parse_since(text, clock.wall())).transpose()?;
    let path = match (&args.store, &args.config) {
        (Some(store), _) => store.clone(),
        (None, Some(file)) => config::load(file).map_err(|e| Failure::BadInput(e.to_string()))?.store.path,
        (None, None) => aimass_store::StoreConfig::default().path,
    };
    let unavailable = |e: aimass_store::StoreError| Failure::Unavailable(e.to_string());
    let mut reader = Reader::open(&path).map_err(unavailable)?;
    let mut query = EventQuery { after_seq: 0, since, kind: None, source: None, limit: args.limit };
    let mut found = reader.recent(&query).map_err(unavailable)?;
    found.reverse(); // the newest come first
    loop {
        for event in &found {
            let line = serde_json::to_string(event).map_err(|e| Failure::Bug(e.to_string()))?;
            println!("{line}");
            query.after_seq = event.seq;
        }
        if !args.follow {
            return Ok(());
        }
        std::thread::sleep(FOLLOW);
        query.limit = usize::from(u16::MAX);
        found = reader.events(&query).map_err(unavailable)?;
    }
}

/// A time, or an age such as `90s`, `15m`, `2h`, `7d`.
fn parse_since(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let wrong = || {
        Failure::Usage(format!(
            "--since {text}: give a time (2026-11-23T08:00:00Z) or an age (90s, 15m, 2h, 7d)"
        ))
    };
    let age = seconds(text).ok_or_else(wrong)?;
    Timestamp::from_second(now.as_second().saturating_sub(age)).map_err(|_| wrong())
}

/// A duration such as `90s`, `15m`, `2h`, `7d` in seconds.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    let unit: i64 = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let number: i64 = text[..text.len() - 1].parse().ok().filter(|n| *n >= 0)?;
    unit.checked_mul(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_times_and_ages_and_refuses_the_rest() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(parse_since("2h", now).unwrap().as_second(), 1_800_000_000 - 7200);
        assert_eq!(parse_since("2026-11-23T08:00:00Z", now).unwrap().to_string(), "2026-11-23T08:00:00Z");
        for bad in ["", "h", "2x", "-3h", "yesterday", "99999999999999999d", "9223372036854775807d"] {
            assert_eq!(parse_since(bad, now).unwrap_err().code(), 64, "{bad}");
        }
    }
}
