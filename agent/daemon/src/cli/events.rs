//! `aimass-agent events`: events of the local store, without the node.

#![expect(clippy::print_stdout, reason = "this command answers on stdout")]

use std::time::Duration;

use aimass_core::runtime::clock::{Clock, SystemClock};
use aimass_store::{EventQuery, Reader};
use jiff::Timestamp;

use crate::cli::args::EventsArgs;
use crate::config;
use crate::exit::Failure;

/// How often `--follow` reads the store for more.
const FOLLOW: Duration = Duration::from_millis(500);

/// Prints events of the local store, oldest first.
///
/// # Errors
/// `Usage` for a time that makes no sense, `Unavailable` for a store that cannot be read.
pub fn run(args: &EventsArgs) -> Result<(), Failure> {
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
