//! The link's task: one connection after the other, with a growing wait between them, until the stop.
//!
//! Owner of everything that outlives a connection. Invariant: an outbox event is sent by at most one connection
//! at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aimass_core::backoff::Backoff;
use aimass_core::clock::SharedClock;
use aimass_core::ports::Outbox;
use aimass_core::worker::Pulse;
use rumqttc::v5::MqttOptions;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::acks::{AckWriter, Acks, acks};
use crate::board::StateBoard;
use crate::config::{BrokerAddress, BrokerConfig};
use crate::document::{self, NodeIdentity, Presence};
use crate::error::{LinkError, LinkErrorKind};
use crate::options::{self, Will};
use crate::refusals::Refusals;
use crate::session::{self, End, MAX_IN_FLIGHT, Undeliverable};
use crate::status::{LinkState, LinkStatus};
use crate::stop::StopSignal;

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The undelivered are counted at most up to here: a stop must not read a whole disk.
const COUNT_UP_TO: usize = 10_000;

/// How much longer than its grace a stop may take: the goodbye, the last acks, the count.
const PATIENCE: Duration = Duration::from_secs(2);

/// The wire to the centre.
#[derive(Debug)]
pub struct Link;

/// What remained when the link stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Events still in the outbox, counted up to 10 000. They are replayed in the program's next life.
    pub undelivered: u64,
    /// False if the outbox did not answer in time; `undelivered` is 0 then and means nothing.
    pub counted: bool,
}

/// The owner's side of a running link. Dropping it ends the link without a goodbye: the broker then publishes the
/// last will.
#[derive(Debug)]
pub struct LinkHandle {
    life: Pulse,
    board: Arc<StateBoard>,
    status: watch::Receiver<LinkStatus>,
    config_version: Arc<AtomicU64>,
    stop: watch::Sender<Option<Instant>>,
    task: JoinHandle<u64>,
}

impl Link {
    /// Starts the link's task on the current tokio runtime. A broker that is away is no error: the link tries
    /// until it is there. `board` holds the states to tell; it may outlive the link. `on_undeliverable` is called in the task, must return at once, and is for events that
    /// the broker can never take.
    ///
    /// # Errors
    /// The configuration is wrong ([`LinkErrorKind::Config`]).
    pub fn spawn<O: Outbox>(
        config: BrokerConfig,
        identity: NodeIdentity,
        outbox: O,
        board: Arc<StateBoard>,
        clock: SharedClock,
        on_undeliverable: impl Fn(Undeliverable) + Send + Sync + 'static,
    ) -> Result<LinkHandle, LinkError> {
        let at = config.validate()?;
        let config_version = Arc::new(AtomicU64::new(identity.config_version));
        let (status, status_rx) = watch::channel(LinkStatus::new(clock.wall()));
        let (stop, stop_rx) = watch::channel(None);
        let (acks, ack_writer) = acks();
        let life = Pulse::new("link", clock.clone());
        let core = Core {
            root: identity.root(),
            seed: (identity.boot.0 as u64) ^ clock.wall().as_nanosecond() as u64,
            board: board.clone(),
            config_version: config_version.clone(),
            stop: StopSignal::new(stop_rx),
            on_undeliverable: Box::new(on_undeliverable),
            learned_max_packet: u32::MAX,
            refusals: Refusals::new(identity.boot.0 as u64),
            retry_at: None,
            last_refusal: None,
            careful: 0,
            strikes: (0, 0),
            connections: 0,
            config,
            at,
            identity,
            status,
            clock,
            acks,
        };
        let task = tokio::spawn(life.clone().around(run(core, outbox, ack_writer)));
        Ok(LinkHandle { life, board, status: status_rx, config_version, stop, task })
    }
}

impl LinkHandle {
    /// Where states are told.
    pub fn board(&self) -> &Arc<StateBoard> {
        &self.board
    }

    /// Whether the link's task still takes its turns.
    pub fn life(&self) -> &Pulse {
        &self.life
    }

    /// How the link is doing. Woken on changes of state and error; counters are current whenever looked at.
    pub fn status(&self) -> watch::Receiver<LinkStatus> {
        self.status.clone()
    }

    /// Another configuration is in force: `status` is published anew.
    pub fn set_config_version(&self, version: u64) {
        self.config_version.store(version, Ordering::Relaxed);
        self.board.poke();
    }

    /// Publishes `status` stopping, delivers what is in the outbox, says goodbye; all within `grace` (and two
    /// seconds for the goodbye). `stopping` stays as the retained word: this node left in order. Without a
    /// connection and with nothing to deliver it returns at once.
    pub async fn stop(mut self, grace: Duration) -> Stopped {
        self.stop.send_replace(Some(Instant::now() + grace));
        match tokio::time::timeout(grace + PATIENCE, &mut self.task).await {
            Ok(Ok(undelivered)) => {
                return Stopped { undelivered, counted: true };
            }
            Ok(Err(error)) => tracing::error!(%error, "The link's task broke down."),
            Err(_) => tracing::error!("The link did not stop in time: the outbox does not answer."),
        }
        Stopped { undelivered: 0, counted: false }
    }
}

impl Drop for LinkHandle {
    fn drop(&mut self) {
        // After a stop the task is over, and this does nothing.
        self.task.abort();
    }
}

async fn run<O: Outbox>(mut core: Core, outbox: O, ack_writer: AckWriter) -> u64 {
    let work = async {
        connect_for_ever(&mut core, &outbox).await;
        core.acks.flush().await;
        let undelivered = count_pending(&outbox).await;
        core.state(LinkState::Stopped);
        tracing::info!(undelivered, "The link to the broker is closed.");
        undelivered
    };
    tokio::select! {
        undelivered = work => undelivered,
        // Ends only when all senders are gone, and `core` holds one.
        () = ack_writer.run(&outbox) => 0,
    }
}

async fn connect_for_ever(core: &mut Core, outbox: &impl Outbox) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT, core.seed);
    let mut warned: Option<LinkErrorKind> = None;
    loop {
        let connections = core.connections;
        let error = match session::run(core, outbox).await {
            End::Stopped => return,
            End::Rescan => continue,
            End::Lost(error) => error,
        };
        if core.connections > connections {
            // It was up: what stands in its way now is news.
            warned = None;
            backoff.reset();
        }
        let wait = backoff.next_wait();
        if warned == Some(error.kind()) {
            tracing::debug!(%error, ?wait, "No connection to the broker yet.");
        } else {
            tracing::warn!(%error, ?wait, "No connection to the broker; events wait in the outbox.");
            warned = Some(error.kind());
        }
        core.lost(error, wait);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = core.stop.in_vain(outbox) => return,
        }
    }
}

async fn count_pending(outbox: &impl Outbox) -> u64 {
    let (mut count, mut after) = (0, 0);
    while count < COUNT_UP_TO {
        match outbox.pending(after, 256).await {
            Ok(batch) if !batch.is_empty() => {
                count += batch.len();
                after = batch.last().map_or(after, |e| e.seq);
            }
            _ => break,
        }
    }
    count as u64
}

/// What outlives a connection.
pub(crate) struct Core {
    pub(crate) config: BrokerConfig,
    pub(crate) at: BrokerAddress,
    pub(crate) identity: NodeIdentity,
    pub(crate) root: String,
    pub(crate) board: Arc<StateBoard>,
    pub(crate) clock: SharedClock,
    pub(crate) acks: Acks,
    pub(crate) stop: StopSignal,
    pub(crate) seed: u64,
    /// The largest packet that the broker is known to take although it named no limit.
    pub(crate) learned_max_packet: u32,
    pub(crate) refusals: Refusals,
    /// When the refused topics are tried again.
    pub(crate) retry_at: Option<Instant>,
    last_refusal: Option<LinkError>,
    /// How many more messages go one by one.
    pub(crate) careful: u8,
    /// An event over which the broker broke, and how often in a row.
    strikes: (u64, u8),
    connections: u64,
    config_version: Arc<AtomicU64>,
    status: watch::Sender<LinkStatus>,
    on_undeliverable: Box<dyn Fn(Undeliverable) + Send + Sync>,
}

impl Core {
    pub(crate) fn config_version(&self) -> u64 {
        self.config_version.load(Ordering::Relaxed)
    }

    pub(crate) fn ack_timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.config.ack_timeout_s))
    }

    /// The options for one connection, with passwords and certificates as they are now.
    pub(crate) async fn options(&self) -> Result<MqttOptions, LinkError> {
        let payload =
            document::status(&self.identity, self.config_version(), Presence::Offline, self.clock.wall());
        let will = Will { topic: format!("{}status", self.root), payload };
        let (config, at, client_id) = (self.config.clone(), self.at.clone(), self.identity.client_id());
        let build = move || options::build(&config, &at, client_id, will, MAX_IN_FLIGHT);
        match tokio::task::spawn_blocking(build).await {
            Ok(options) => options,
            Err(error) => Err(LinkError::connection(
                LinkErrorKind::Config,
                &self.at,
                format!("options cannot be built: {error}"),
            )),
        }
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

    fn state(&self, state: LinkState) {
        let since = self.clock.wall();
        self.status.send_modify(|s| (s.state, s.since, s.retry_in) = (state, since, None));
    }

    fn lost(&self, error: LinkError, wait: Duration) {
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

    pub(crate) fn undeliverable(&self, what: Undeliverable) {
        self.count(|s| s.undeliverable_total += 1);
        (self.on_undeliverable)(what);
    }

    pub(crate) fn published(&self) {
        self.count(|s| s.published_total += 1);
    }

    pub(crate) fn answered(&self, in_flight: usize) {
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
