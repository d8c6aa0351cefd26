//! How the link is doing, for the API, the metrics and the supervisor. Written by the link's task alone.

use std::time::Duration;

use jiff::Timestamp;

use crate::error::LinkError;

/// Where the link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// No connection; trying to get one.
    Connecting,
    /// The broker let us in.
    Online,
    /// The stop was asked for; what is left is being delivered.
    Stopping,
    /// Over.
    Stopped,
}

/// A snapshot. Waiters are woken when `state` or `last_error` changes, not by the counters.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkStatus {
    /// Where the link stands.
    pub state: LinkState,
    /// The broker that is connected, or that was tried last.
    pub url: String,
    /// Since when (wall clock, UTC).
    pub since: Timestamp,
    /// Connections after the first one.
    pub reconnects: u64,
    /// What went wrong last. Forgotten when a connection, or a refused topic, works again.
    pub last_error: Option<LinkError>,
    /// Subscriptions that the broker refuses; they are tried again. Publishing goes on.
    pub subscription_error: Option<String>,
    /// The wait before the next attempt; `None` unless waiting.
    pub retry_in: Option<Duration>,
    /// Messages that are sent and not acknowledged, at most [`crate::MAX_IN_FLIGHT`].
    pub in_flight: u16,
    /// Messages given to the broker, events sent again counted again.
    pub published_total: u64,
    /// Messages that the broker acknowledged.
    pub acked_total: u64,
    /// Events that the broker will never take (see [`crate::Undeliverable`]).
    pub undeliverable_total: u64,
    /// Events that the broker refuses for now; they are tried again.
    pub refused: u64,
}

impl LinkStatus {
    pub(crate) fn new(since: Timestamp, url: String) -> Self {
        LinkStatus {
            state: LinkState::Connecting,
            url,
            subscription_error: None,
            since,
            reconnects: 0,
            last_error: None,
            retry_in: None,
            in_flight: 0,
            published_total: 0,
            acked_total: 0,
            undeliverable_total: 0,
            refused: 0,
        }
    }
}
