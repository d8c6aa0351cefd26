//! The options behind an address, `?a=1&b=2`: read and written alike for cameras and microphones.
//!
//! Owner: none, pure.

use std::fmt;

use super::{BadUri, bad};
use crate::redact::redacted;

/// Options follow the last '?', so that a path may hold one when a '?' is put behind it.
pub(crate) fn split_options(rest: &str) -> (&str, impl Iterator<Item = (&str, &str)>) {
    let (path, options) = rest.rsplit_once('?').unwrap_or((rest, ""));
    let options = options.split('&').filter(|o| !o.is_empty());
    (path, options.map(|option| option.split_once('=').unwrap_or((option, "true"))))
}

pub(crate) fn unknown_option<T>(kind: &str, option: &str, known: &str) -> Result<T, BadUri> {
    bad(format!("{kind} has no option \"{}\"; known are {known}", redacted(option)))
}

pub(crate) fn number(key: &str, value: &str, least: u32, most: u32) -> Result<u32, BadUri> {
    match value.parse() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => bad(format!("{key}={value}: give a whole number from {least} to {most}")),
    }
}

pub(crate) fn yes_or_no(key: &str, value: &str) -> Result<bool, BadUri> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => bad(format!("{key}={value}: give true or false")),
    }
}

/// Writes `?a=1&b=2`; the char is what comes before the next option.
pub(crate) struct Options<'a, 'b>(pub(crate) &'a mut fmt::Formatter<'b>, pub(crate) char);

impl Options<'_, '_> {
    pub(crate) fn text(&mut self, key: &str, value: Option<&str>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        write!(self.0, "{}{key}={value}", self.1)?;
        self.1 = '&';
        Ok(())
    }

    pub(crate) fn number(&mut self, key: &str, value: Option<u32>) -> fmt::Result {
        self.text(key, value.map(|n| n.to_string()).as_deref())
    }
}
