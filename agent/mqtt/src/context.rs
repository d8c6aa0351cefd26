//! What outlives a connection. Owner: the link's task, which lends it to one session after the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aimass_core::runtime::clock::SharedClock;
use rumqttc::v5::MqttOptions;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::acks::Acks;
use crate::address::BrokerAddress;
use crate::config::BrokerConfig;
use crate::credential_files::Seen;
use crate::document::{self, NodeIdentity, Presence};
use crate::error::tls::Facts;
use crate::error::{LinkError, LinkErrorKind};
use crate::incoming::Inbox;
use crate::options::{self, Built, Will};
use crate::rejected_events::Refusals;
use crate::rejected_states::HeldStates;
use crate::replies::Reply;
use crate::retained_states::RetainedStates;
use crate::session::{MAX_IN_FLIGHT, Undeliverable};
use crate::status::{LinkState, LinkStatus};
use crate::stop::StopSignal;
use crate::subscriptions::Subscriptions;

/// See the top of this file.
pub(crate) struct Core {
    pub(crate) config: BrokerConfig,
    pub(crate) addresses: Vec<BrokerAddress>,
    /// The one that is connected, or tried.
    pub(crate) at: BrokerAddress,
    pub(crate) identity: NodeIdentity,
    pub(crate) root: String,
    pub(crate) board: Arc<RetainedStates>,
    pub(crate) clock: SharedClock,
    pub(crate) clock_ok: Box<dyn Fn() -> bool + Send + Sync>,
    pub(crate) acks: Acks,
    pub(crate) stop: StopSignal,
    pub(crate) seed: u64,
    /// The largest packet that the broker is known to take although it named no limit.
    pub(crate) learned_max_packet: u32,
    pub(crate) refusals: Refusals,
    pub(crate) held: HeldStates,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) inbox: Inbox,
    pub(crate) waiting_replies: mpsc::Receiver<Reply>,
    /// Answers that a connection took with it when it broke.
    pub(crate) replies_again: VecDeque<Reply>,
    pub(crate) files_every: Duration,
    /// Changed files that cannot be used: told of once.
    pub(crate) files_refused: Option<Seen>,
    /// What is wrong with the time of our own certificate.
    pub(crate) own_certificate: Option<rustls::CertificateError>,
    /// When the refused topics are tried again.
    pub(crate) retry_at: Option<Instant>,
    pub(crate) last_refusal: Option<LinkError>,
    /// How many more events go one by one.
    pub(crate) careful: u8,
    /// An event over which the broker broke, and how often in a row.
    pub(crate) strikes: (u64, u8),
    pub(crate) connections: u64,
    /// Whether the broker acknowledged anything on this connection.
    pub(crate) useful: bool,
    pub(crate) config_version: Arc<AtomicU64>,
    pub(crate) status: watch::Sender<LinkStatus>,
    pub(crate) on_undeliverable: Box<dyn Fn(Undeliverable) + Send + Sync>,
}

impl Core {
    pub(crate) fn config_version(&self) -> u64 {
        self.config_version.load(Ordering::Relaxed)
    }

    pub(crate) fn ack_timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.config.ack_timeout_s))
    }

    /// The broker whose turn it is.
    pub(crate) fn choose(&mut self, turn: usize) {
        self.useful = false;
        if let Some(at) = self.addresses.get(turn).filter(|at| **at != self.at) {
            self.at = at.clone();
            // What one broker does not take, another may.
            self.learned_max_packet = u32::MAX;
            self.status.send_modify(|s| s.url = self.at.to_string());
        }
    }

    /// What the files of a connection look like now.
    pub(crate) async fn look_at_files(&self) -> Seen {
        let config = self.config.clone();
        tokio::task::spawn_blocking(move || Seen::now(config.files())).await.unwrap_or_default()
    }

    /// The options for one connection, with passwords and certificates as they are now.
    pub(crate) async fn options(&mut self) -> Result<MqttOptions, LinkError> {
        let built = self.build().await?;
        self.own_certificate = built.own_certificate;
        let mut options = built.options;
        // What comes in is acknowledged once it is taken over, see `incoming.rs`.
        options.set_manual_acks(true);
        Ok(options)
    }

    /// Tries whether options can be made of the files as they are now.
    pub(crate) async fn build(&self) -> Result<Built, LinkError> {
        let payload =
            document::status(&self.identity, self.config_version(), Presence::Offline, self.clock.wall());
        let will = Will { topic: format!("{}status", self.root), payload };
        let (config, at, clock) = (self.config.clone(), self.at.clone(), self.clock.clone());
        let client_id = self.config.client_id.clone().unwrap_or_else(|| self.identity.client_id());
        let build = move || options::build(&config, &at, client_id, Some(will), MAX_IN_FLIGHT, &clock);
        match tokio::task::spawn_blocking(build).await {
            Ok(built) => built,
            Err(error) => Err(LinkError::connection(
                LinkErrorKind::Config,
                &self.at,
                format!("options cannot be built: {error}"),
            )),
        }
    }

    /// What messages about certificates tell.
    pub(crate) fn facts(&self) -> Facts {
        let own_certificate = self.own_certificate.clone();
        Facts { now: self.clock.wall(), clock_ok: (self.clock_ok)(), own_certificate }
    }

    /// How often in a row the broker broke over this event, this time included.
    pub(crate) fn strike(&mut self, seq: u64) -> u8 {
        let count = if self.strikes.0 == seq { self.strikes.1.saturating_add(1) } else { 1 };
        self.strikes = (seq, count);
        count
    }

    pub(crate) fn connected(&mut self) {
        self.connections += 1;
        let (reconnects, since) = (self.connections - 1, self.clock.wall());
        tracing::info!(broker = %self.at, reconnects, "Connected to the broker.");
        let (last_error, refused) = (self.last_refusal.clone(), self.refusals.len() as u64);
        self.status.send_modify(|s| {
            s.state = LinkState::Online;
            s.since = since;
            s.reconnects = reconnects;
            s.last_error = last_error;
            s.retry_in = None;
            s.refused = refused;
        });
    }

    pub(crate) fn stopping(&self) {
        self.state(LinkState::Stopping);
    }

    pub(crate) fn state(&self, state: LinkState) {
        let since = self.clock.wall();
        self.status.send_modify(|s| (s.state, s.since, s.retry_in) = (state, since, None));
    }

    pub(crate) fn lost(&self, error: LinkError, wait: Duration) {
        let since = self.clock.wall();
        self.status.send_modify(|s| {
            if s.state != LinkState::Connecting {
                (s.state, s.since) = (LinkState::Connecting, since);
            }
            s.last_error = Some(error);
            s.retry_in = Some(wait);
        });
    }

    pub(crate) fn failed_topic(&mut self, error: LinkError) {
        self.last_refusal = Some(error.clone());
        self.status.send_if_modified(|s| {
            let news = s.last_error.as_ref() != Some(&error);
            s.last_error = Some(error);
            news
        });
    }

    pub(crate) fn topic_works(&mut self) {
        self.last_refusal = None;
        self.status.send_modify(|s| s.last_error = None);
    }

    pub(crate) fn tell_subscriptions(&self) {
        let error = self.subscriptions.error();
        self.status
            .send_if_modified(|s| std::mem::replace(&mut s.subscription_error, error.clone()) != error);
    }

    pub(crate) fn undeliverable(&self, what: Undeliverable) {
        self.count(|s| s.undeliverable_total += 1);
        (self.on_undeliverable)(what);
    }

    pub(crate) fn published(&self) {
        self.count(|s| s.published_total += 1);
    }

    pub(crate) fn answered(&mut self, in_flight: usize) {
        self.useful = true;
        self.count(|s| {
            s.acked_total += 1;
            s.in_flight = u16::try_from(in_flight).unwrap_or(u16::MAX);
        });
    }

    pub(crate) fn in_flight(&self, in_flight: usize) {
        self.count(|s| s.in_flight = u16::try_from(in_flight).unwrap_or(u16::MAX));
    }

    pub(crate) fn tell_refused(&self) {
        self.count(|s| s.refused = self.refusals.len() as u64);
    }

    /// Changes figures without waking anybody.
    fn count(&self, change: impl FnOnce(&mut LinkStatus)) {
        self.status.send_if_modified(|s| {
            change(s);
            false
        });
    }
}
