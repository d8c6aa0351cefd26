//! The link's task: one connection after the other, with a growing wait between them, until the stop.
//!
//! Owner of everything that outlives a connection. Invariant: an outbox event is sent by at most one connection
//! at a time.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aimass_core::runtime::backoff::Backoff;
use aimass_core::runtime::clock::SharedClock;
use aimass_core::runtime::worker::Heartbeat;
use aimass_core::traits::Outbox;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::acks::{AckWriter, acks};
use crate::config::BrokerConfig;
use crate::context::Core;
use crate::document::NodeIdentity;
use crate::error::{LinkError, LinkErrorKind};
use crate::incoming::{self, Command, Notice, Outlets};
use crate::rejected_events::Refusals;
use crate::rejected_states::HeldStates;
use crate::replies::{Replies, replies};
use crate::retained_states::RetainedStates;
use crate::session::{self, End, Undeliverable};
use crate::status::{LinkState, LinkStatus};
use crate::stop::StopSignal;
use crate::subscriptions::Subscriptions;

/// A new connection that is wanted at once is made so long after the one before at the earliest.
const SHORTEST: Duration = Duration::from_secs(1);
/// A connection that lasted so long was a good one, whatever ended it.
const STEADY: Duration = Duration::from_secs(60);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often the files of a connection are looked at.
const FILES_EVERY: Duration = Duration::from_secs(10);
/// The undelivered are counted at most up to here: a stop must not read a whole disk.
const COUNT_UP_TO: usize = 10_000;

/// How much longer than its grace a stop may take: the goodbye, the last acks, the count.
const PATIENCE: Duration = Duration::from_secs(2);

/// The wire to the centre.
#[derive(Debug)]
pub struct Link;

/// What a link may be told beyond its configuration.
pub struct Extras {
    /// Whole topics to hear of beside our own, without wildcards. See [`LinkHandle::take_notices`].
    pub notices_of: Vec<String>,
    /// Whether the wall clock is known to be right: for messages about certificates.
    pub clock_ok: Box<dyn Fn() -> bool + Send + Sync>,
    /// How often password, certificates and keys are looked at; after a change the link connects anew with them.
    pub files_every: Duration,
}

impl Default for Extras {
    /// No further topics; the clock counts as right.
    fn default() -> Self {
        Extras { notices_of: Vec::new(), clock_ok: Box::new(|| true), files_every: FILES_EVERY }
    }
}

impl fmt::Debug for Extras {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extras").field("notices_of", &self.notices_of).finish_non_exhaustive()
    }
}

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
    life: Heartbeat,
    board: Arc<RetainedStates>,
    status: watch::Receiver<LinkStatus>,
    config_version: Arc<AtomicU64>,
    outlets: Outlets,
    replies: Replies,
    stop: watch::Sender<Option<Instant>>,
    task: JoinHandle<u64>,
}

impl Link {
    /// Starts the link's task on the current tokio runtime. A broker that is away is no error: the link tries
    /// until it is there. `board` holds the states to tell; it may outlive the link. `on_undeliverable` is called in
    /// the task, must return at once, and is told of events that the broker can never take; the outbox gives them
    /// up by itself.
    ///
    /// # Errors
    /// The configuration is wrong ([`LinkErrorKind::Config`]).
    pub fn spawn<O: Outbox>(
        config: BrokerConfig,
        identity: NodeIdentity,
        outbox: O,
        board: Arc<RetainedStates>,
        clock: SharedClock,
        on_undeliverable: impl Fn(Undeliverable) + Send + Sync + 'static,
    ) -> Result<LinkHandle, LinkError> {
        Self::spawn_with(config, identity, outbox, board, clock, Extras::default(), on_undeliverable)
    }

    /// [`Link::spawn`] with more to tell it.
    ///
    /// # Errors
    /// As `spawn`.
    pub fn spawn_with<O: Outbox>(
        config: BrokerConfig,
        identity: NodeIdentity,
        outbox: O,
        board: Arc<RetainedStates>,
        clock: SharedClock,
        extras: Extras,
        on_undeliverable: impl Fn(Undeliverable) + Send + Sync + 'static,
    ) -> Result<LinkHandle, LinkError> {
        let addresses = config.validate()?;
        let Some(at) = addresses.first().cloned() else {
            return Err(LinkError::Config { field: "url", problem: "names no broker".into() });
        };
        let config_version = Arc::new(AtomicU64::new(identity.config_version));
        let (status, status_rx) = watch::channel(LinkStatus::new(clock.wall(), at.to_string()));
        let (stop, stop_rx) = watch::channel(None);
        let (acks, ack_writer) = acks();
        let (inbox, outlets) = incoming::inbox(identity.root(), extras.notices_of);
        let (replies, waiting_replies) = replies();
        let seed = (identity.boot.0 as u64) ^ clock.wall().as_nanosecond() as u64;
        let life = Heartbeat::new("link", clock.clone());
        let core = Core {
            root: identity.root(),
            seed,
            board: board.clone(),
            config_version: config_version.clone(),
            stop: StopSignal::new(stop_rx),
            on_undeliverable: Box::new(on_undeliverable),
            learned_max_packet: u32::MAX,
            refusals: Refusals::new(identity.boot.0 as u64),
            held: HeldStates::default(),
            subscriptions: Subscriptions::new(inbox.filters(), seed),
            inbox,
            waiting_replies,
            replies_again: VecDeque::new(),
            clock_ok: extras.clock_ok,
            files_every: extras.files_every,
            files_refused: None,
            own_certificate: None,
            retry_at: None,
            last_refusal: None,
            careful: 0,
            strikes: (0, 0),
            connections: 0,
            useful: false,
            config,
            addresses,
            at,
            identity,
            status,
            clock,
            acks,
        };
        let task = tokio::spawn(life.clone().wrap(run(core, outbox, ack_writer)));
        Ok(LinkHandle { life, board, status: status_rx, config_version, outlets, replies, stop, task })
    }
}

impl LinkHandle {
    /// Where states are told.
    pub fn board(&self) -> &Arc<RetainedStates> {
        &self.board
    }

    /// Whether the link's task still takes its turns.
    pub fn life(&self) -> &Heartbeat {
        &self.life
    }

    /// How the link is doing. Woken on changes of state and error; counters are current whenever looked at.
    pub fn status(&self) -> watch::Receiver<LinkStatus> {
        self.status.clone()
    }

    /// The document on `config/desired`: the latest; `None` while there is none. Told anew on every connect,
    /// although it may be the same.
    pub fn desired(&self) -> watch::Receiver<Option<Bytes>> {
        self.outlets.desired.clone()
    }

    /// The commands as they come; `None` from the second call on. At most 16 wait; the link itself answers `busy`
    /// to those beyond.
    pub fn take_commands(&self) -> Option<mpsc::Receiver<Command>> {
        incoming::take_once(&self.outlets.commands)
    }

    /// What comes on the topics of [`Extras::notices_of`]; `None` from the second call on. At most 16 wait; those
    /// beyond are thrown away.
    pub fn take_notices(&self) -> Option<mpsc::Receiver<Notice>> {
        incoming::take_once(&self.outlets.notices)
    }

    /// Where answers to commands are handed in.
    pub fn replies(&self) -> Replies {
        self.replies.clone()
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

/// Tries the brokers in turn. A connection that was of use and broke is tried again from the first broker on, after
/// a wait; one that cannot be had makes way for the next at once; after the last one there is a wait.
async fn connect_for_ever(core: &mut Core, outbox: &impl Outbox) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT, core.seed);
    let mut warned: Vec<Option<LinkErrorKind>> = vec![None; core.addresses.len()];
    let mut turn = 0;
    loop {
        let connections = core.connections;
        core.choose(turn);
        let began = Instant::now();
        let error = match session::run(core, outbox).await {
            End::Stopped => return,
            End::Again => {
                // Never in a tight loop, whatever the broker does.
                tokio::select! {
                    () = tokio::time::sleep_until(began + SHORTEST) => {}
                    () = core.stop.in_vain(outbox) => return,
                }
                continue;
            }
            End::Lost(error) => error,
        };
        if core.connections > connections {
            // It was up: what stands in its way now is news.
            warned.fill(None);
            // A broker that lets us in and then does not answer must not be called every second for ever.
            if began.elapsed() >= STEADY || error.kind() == LinkErrorKind::Lost {
                backoff.reset();
            }
        }
        let was_good =
            core.connections > connections && core.useful && error.kind() != LinkErrorKind::AckTimeout;
        let failed = turn;
        turn = if was_good { 0 } else { (turn + 1) % warned.len() };
        let wait = if turn == 0 { backoff.next_wait() } else { Duration::ZERO };
        if warned[failed] == Some(error.kind()) {
            tracing::debug!(%error, ?wait, "No connection to the broker yet.");
        } else {
            tracing::warn!(%error, ?wait, "No connection to the broker; events wait in the outbox.");
            warned[failed] = Some(error.kind());
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
