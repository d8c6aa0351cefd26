//! The store's settings, and the figures behind them that only tests change.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// Where events are kept, and how many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// The database file. Its folder is made if it is missing; `.lock`, `.seq`, `-wal` and `-shm` lie beside it.
    pub path: PathBuf,
    /// The most space that events may take, in MiB, 1 to 1,048,576. Beyond it the oldest of the lowest severity
    /// go; those that were not delivered yet are told by a loss receipt.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub max_mib: u32,
    /// How long events are kept, in days, 1 to 3650, delivered or not.
    #[schemars(range(min = 1, max = 3650))]
    pub max_days: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig { path: "/var/lib/aimass/agent.db".into(), max_mib: 256, max_days: 7 }
    }
}

impl StoreConfig {
    /// Whether the values are within their limits.
    ///
    /// # Errors
    /// `Config`, naming the field.
    pub fn validate(&self) -> Result<(), StoreError> {
        if self.path.file_name().is_none() {
            return Err(StoreError::Config("store.path must name a file".into()));
        }
        if !(1..=1_048_576).contains(&self.max_mib) {
            return Err(StoreError::Config("store.max_mib must be from 1 to 1048576".into()));
        }
        if !(1..=3650).contains(&self.max_days) {
            return Err(StoreError::Config("store.max_days must be from 1 to 3650".into()));
        }
        Ok(())
    }
}

/// Figures that are right as they are; tests and benchmarks turn them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// How long an event that is no alarm may wait for company before its commit.
    pub commit_window: Duration,
    /// Cursors that moved are written along with an event's commit after this time …
    pub cursor_along: Duration,
    /// … and by themselves after this one. A crash repeats what was acknowledged within it.
    pub cursor_alone: Duration,
    /// How often ages are looked at, and how often a loss receipt of one reason is sent at most.
    pub housekeeping: Duration,
    /// The least time between two receipts of one reason; losses in between are gathered.
    pub receipt_every: Duration,
    /// Instead of `max_mib`.
    pub max_bytes: Option<u64>,
    /// Makes the database refuse to grow beyond so many pages: a disk that is full.
    pub page_limit: Option<u32>,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            commit_window: Duration::from_millis(150),
            cursor_along: Duration::from_secs(20),
            cursor_alone: Duration::from_secs(30),
            housekeeping: Duration::from_secs(60),
            receipt_every: Duration::from_secs(600),
            max_bytes: None,
            page_limit: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_senseless_limits_are_refused() {
        assert!(serde_json::from_str::<StoreConfig>(r#"{"path":"/x","max_mb":3}"#).is_err());
        let fine: StoreConfig = serde_json::from_str(r#"{"path":"/x/y.db"}"#).unwrap();
        assert_eq!((fine.max_mib, fine.max_days), (256, 7));
        fine.validate().unwrap();
        assert!(StoreConfig { max_mib: 0, ..fine.clone() }.validate().is_err());
        assert!(StoreConfig { max_days: 0, ..fine.clone() }.validate().is_err());
        assert!(StoreConfig { path: "/".into(), ..fine }.validate().is_err());
    }
}
