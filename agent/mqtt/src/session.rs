//! One connection, from CONNECT to its end. Owner: the link's task.
//!
//! Order on every connect: subscriptions, all retained states, then `status` online, then events. While connected:
//! states that changed, answers to commands, alarms, live events, events that the broker refused before, replayed
//! ones. What may wait leaves room in the window for what may not (`pace.rs`). After a connection that broke with
//! messages in flight the next ones go one by one until some events passed: a broker that hangs up over a message
//! (Mosquitto 2.0.11 does so when it denies one of several in a row) is then caught with that message alone.
//! Invariants: at most [`MAX_IN_FLIGHT`] messages without an ack; an event goes to the outbox's `acknowledge` only
//! after the broker's PUBACK with a success reason; what the broker sends is acknowledged only once it is taken over.

use std::sync::Arc;
use std::time::Duration;

use aimass_core::traits::Outbox;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet};
use rumqttc::v5::{AsyncClient, ConnectionError, Event as MqttEvent, EventLoop};
use tokio::time::{Instant, sleep_until, timeout};
use ulid::Ulid;

use crate::backlog_window::{Rate, Share};
use crate::context::Core;
use crate::credential_files::Seen;
use crate::error::{self, LinkError, LinkErrorKind};
use crate::outbox_reader::{Lanes, feed};
use crate::probe;
use crate::replies::Reply;
use crate::window::Window;

mod receive;
mod send;
mod subscribe;

/// The most messages that are sent and not acknowledged. A broker may ask for less.
pub const MAX_IN_FLIGHT: u16 = 16;

/// For how many events all messages go one by one after a connection that broke with messages in flight.
const CAREFUL_ANSWERS: u8 = 32;
/// How long a broker may take to close the connection after our DISCONNECT.
const GOODBYE: Duration = Duration::from_secs(1);

/// An event that the broker will never take. The link has logged it, counted it, and told the outbox to give it up
/// with a loss receipt, so that it does not block what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undeliverable {
    /// Its number.
    pub seq: u64,
    /// Its id.
    pub id: Ulid,
    /// Where it was to go.
    pub topic: String,
    /// Why the broker does not take it.
    pub reason: String,
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// As asked for; or nobody holds the handle any more.
    Stopped,
    /// It broke, or never came to be.
    Lost(LinkError),
    /// A new connection is wanted at once, and to the same broker: refused events were forgotten for want of room,
    /// or certificates or passwords were renewed.
    Again,
}

/// A message without an answer yet.
#[derive(Debug)]
struct Ticket {
    what: Message,
    bytes: u32,
    since: Instant,
}

#[derive(Debug)]
enum Message {
    Event { seq: u64, id: Ulid, topic: String },
    State { topic: Arc<str>, version: u64 },
    Status,
    Reply(Reply),
    Subscribe,
}

struct Session<'a> {
    core: &'a mut Core,
    client: AsyncClient,
    window: Window<Ticket>,
    lanes: Lanes,
    max_packet: u32,
    /// Events up to here were accepted before this connection.
    boundary: u64,
    share: Share,
    rate: Rate,
    /// States still to send before `status`.
    states_first: usize,
    /// The configuration version that `status` was last sent with; `None`: it must be sent.
    announced: Option<u64>,
    since: jiff::Timestamp,
    /// When the broker last answered one of our messages.
    last_ack: Instant,
    /// The broker has no room for events: wait for the next retry.
    paused: bool,
    asked_again: bool,
    /// An event that the broker refused before is on its way, alone.
    probing: bool,
    stopping: bool,
    /// What the files were when this connection was made, and when they are looked at next.
    files: Seen,
    look_at_files: Instant,
    /// The files were renewed, or the library's queue was full: what is out is waited for, then a new connection is made.
    renewing: bool,
    /// When the states that were refused were last looked at.
    looked_at_held: Instant,
    /// When a stopping link looks next whether all is delivered.
    look_at: Option<Instant>,
}

/// One connection. `core` outlives it.
pub(crate) async fn run(core: &mut Core, outbox: &impl Outbox) -> End {
    let mut eventloop;
    let client;
    let files = core.look_at_files().await;
    let connack = match core.options().await {
        Err(error) => return End::Lost(error),
        Ok(options) => {
            // Room for a window, for the acks that the broker may wait for, and for the goodbye.
            (client, eventloop) = AsyncClient::new(options, 2 * usize::from(MAX_IN_FLIGHT));
            match connect(core, &mut eventloop, outbox).await {
                Ok(connack) => connack,
                Err(end) => return end,
            }
        }
    };
    let limits = match Limits::of(&connack) {
        Ok(limits) => limits,
        Err(problem) => return End::Lost(LinkError::connection(LinkErrorKind::Broker, &core.at, problem)),
    };
    if limits.no_keep_alive {
        eventloop.options.set_keep_alive(Duration::from_secs(u64::from(core.config.keep_alive_s.max(5))));
    }
    // What the last connection delivered must not be read from the outbox again.
    core.acks.flush().await;
    core.refusals.begin_connection();
    core.subscriptions.begin_connection();
    let now = Instant::now();
    let boundary = outbox.newest();
    let (feed, lanes) = feed(boundary);
    let window = Window::new(limits.in_flight);
    let mut session = Session {
        max_packet: limits.max_packet,
        boundary,
        share: Share::new(limits.in_flight, now),
        rate: Rate::new(core.config.replay_per_s, now),
        states_first: core.board.all_due(),
        announced: None,
        since: core.clock.wall(),
        last_ack: now,
        paused: false,
        asked_again: false,
        probing: false,
        stopping: core.stop.deadline().is_some(),
        look_at: None,
        files,
        look_at_files: now + core.files_every,
        renewing: false,
        looked_at_held: now,
        core,
        client,
        window,
        lanes,
    };
    session.core.connected();
    let end = tokio::select! {
        end = session.drive(&mut eventloop, outbox) => end,
        () = async { feed.run(outbox).await; std::future::pending().await } => End::Stopped,
    };
    let broke = matches!(end, End::Lost(_));
    // Whatever was published: a broker may hang up over a state, or an answer, too.
    if session.window.unanswered().any(|t| t.bytes > 0) {
        session.core.careful = CAREFUL_ANSWERS;
    }
    session.hold_culprit(broke);
    session.keep_replies();
    if broke && session.core.subscriptions.end_connection(Instant::now()) {
        tracing::debug!(
            "The connection broke before the broker answered our subscriptions; they wait a while."
        );
    }
    session.core.in_flight(0);
    end
}

async fn connect(core: &Core, eventloop: &mut EventLoop, outbox: &impl Outbox) -> Result<ConnAck, End> {
    let polled = tokio::select! {
        biased;
        polled = eventloop.poll() => polled,
        () = core.stop.in_vain(outbox) => return Err(End::Stopped),
    };
    let error = match polled {
        Ok(MqttEvent::Incoming(Packet::ConnAck(connack))) => return Ok(connack),
        Ok(other) => {
            let problem = format!("the connection began with {other:?}");
            return Err(End::Lost(LinkError::connection(LinkErrorKind::Protocol, &core.at, problem)));
        }
        Err(error) => error,
    };
    let mut named = error::name(&error, &core.at, &core.config, &core.facts());
    if named.kind() == LinkErrorKind::Lost && probe::speaks_only_old_mqtt(&core.at).await {
        named = LinkError::connection(LinkErrorKind::ProtocolVersion, &core.at, error::ONLY_OLD_MQTT);
    }
    Err(End::Lost(named))
}

/// What the broker said about itself.
struct Limits {
    in_flight: u16,
    max_packet: u32,
    no_keep_alive: bool,
}

impl Limits {
    fn of(connack: &ConnAck) -> Result<Limits, &'static str> {
        let Some(said) = &connack.properties else {
            return Ok(Limits { in_flight: MAX_IN_FLIGHT, max_packet: u32::MAX, no_keep_alive: false });
        };
        if said.max_qos == Some(0) {
            return Err(
                "takes no messages with acknowledgement (QoS 1): events could be lost; allow QoS 1 there",
            );
        }
        if said.retain_available == Some(0) {
            return Err("keeps no retained messages: states would be lost; allow them there");
        }
        let receive_max = said.receive_max.unwrap_or(u16::MAX);
        if receive_max == 0 {
            return Err(
                "allows no message in flight (receive maximum 0): the broker breaks the rules of MQTT",
            );
        }
        Ok(Limits {
            in_flight: receive_max.min(MAX_IN_FLIGHT),
            max_packet: said.max_packet_size.unwrap_or(u32::MAX),
            no_keep_alive: said.server_keep_alive == Some(0),
        })
    }
}

/// What the loop below woke up for.
enum Woken {
    Polled(Box<Result<MqttEvent, ConnectionError>>),
    Over(End),
}

impl Session<'_> {
    async fn drive(&mut self, eventloop: &mut EventLoop, outbox: &impl Outbox) -> End {
        loop {
            // The library's poll must not be dropped half way, it may be writing a packet: it is kept while we
            // hand in messages beside it.
            let woken = {
                let poll = eventloop.poll();
                tokio::pin!(poll);
                loop {
                    if self.core.stop.deadline().is_some() && !self.stopping {
                        self.stopping = true;
                        self.announced = None;
                        self.core.stopping();
                    }
                    let now = Instant::now();
                    // Looked at here too: a broker that sends without a pause keeps `poll` ready for ever.
                    if self.deadline(now).is_some_and(|at| at <= now)
                        && let Some(end) = self.on_time(outbox).await
                    {
                        break Woken::Over(end);
                    }
                    self.fill().await;
                    let open = self.is_open();
                    let (again, events) = (open && self.asked_again, open && !self.asked_again);
                    let live = events && self.share.lets_live(self.window.len());
                    let replay = events && self.lets_replay(now);
                    let room = self.has_room();
                    let deadline = self.deadline(now);
                    tokio::select! {
                        biased;
                        polled = &mut poll => break Woken::Polled(Box::new(polled)),
                        () = self.core.stop.wanted(), if !self.stopping => {}
                        () = self.core.board.changed(), if room => {}
                        Some(reply) = self.core.waiting_replies.recv(), if room && self.lets_reply() => self.send_reply(reply),
                        Some(event) = self.lanes.alarms.recv(), if events => self.take(event).await,
                        Some(event) = self.lanes.again.recv(), if again => self.take_again(event).await,
                        Some(event) = self.lanes.live.recv(), if live => self.take(event).await,
                        Some(event) = self.lanes.replay.recv(), if replay => self.take_replay(event).await,
                        () = sleep_until(deadline.unwrap_or(now)), if deadline.is_some() => {}
                    }
                }
            };
            match woken {
                Woken::Over(end @ (End::Stopped | End::Again)) => {
                    self.say_goodbye(eventloop).await;
                    return end;
                }
                Woken::Over(end) => return end,
                Woken::Polled(polled) => {
                    if let Err(end) = self.handle(*polled, eventloop).await {
                        return end;
                    }
                    if (self.renewing || self.core.refusals.needs_rescan()) && self.window.is_empty() {
                        self.say_goodbye(eventloop).await;
                        return End::Again;
                    }
                }
            }
        }
    }

    /// DISCONNECT, so that the broker throws the will away; acks that still come count.
    async fn say_goodbye(&mut self, eventloop: &mut EventLoop) {
        if self.client.try_disconnect().is_err() {
            return;
        }
        let goodbye = async {
            loop {
                let polled = eventloop.poll().await;
                if self.handle(polled, eventloop).await.is_err() {
                    return;
                }
            }
        };
        if timeout(GOODBYE, goodbye).await.is_err() {
            tracing::debug!("The broker did not close the connection after our goodbye.");
        }
    }
}
