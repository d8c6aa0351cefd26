//! One connection, from CONNECT to its end. Owner: the link's task.
//!
//! Order on every connect: all retained states, then `status` online, then events. While connected: states that
//! changed, then events that the broker refused before, then live events, then replayed ones, which never take the
//! whole window. After a connection that broke with events in flight the next ones go one by one for a while: a
//! broker that hangs up over a message (Mosquitto 2.0.11 does so when it denies one of several in a row) is then
//! caught with that message alone. Invariants: at most [`MAX_IN_FLIGHT`] messages without an ack; an event goes to the outbox's
//! `acknowledge` only after the broker's PUBACK with a success reason, or when the broker can never take it.

use std::sync::Arc;
use std::time::Duration;

use aimass_core::ports::Outbox;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet};
use rumqttc::v5::{AsyncClient, ConnectionError, Event as MqttEvent, EventLoop};
use tokio::time::{Instant, sleep_until, timeout};
use ulid::Ulid;

use crate::error::{self, LinkError, LinkErrorKind};
use crate::feed::{Lanes, feed};
use crate::link::Core;
use crate::probe;
use crate::window::Window;

mod receive;
mod send;

/// The most messages that are sent and not acknowledged. A broker may ask for less.
pub const MAX_IN_FLIGHT: u16 = 16;

/// How many messages go one by one after a connection that broke with events in flight.
const CAREFUL_ANSWERS: u8 = 32;
/// How long a broker may take to close the connection after our DISCONNECT.
const GOODBYE: Duration = Duration::from_secs(1);

/// An event that the broker will never take. The link has logged it, counted it and taken it out of the outbox so
/// that it does not block what follows; whoever is told should publish a loss receipt.
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
    /// Refused events were forgotten for want of room: a new connection finds them.
    Rescan,
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
    Event { seq: u64, id: Ulid, topic: String, replay: bool },
    State { topic: Arc<str>, version: u64 },
    Status,
}

struct Session<'a> {
    core: &'a mut Core,
    client: AsyncClient,
    window: Window<Ticket>,
    lanes: Lanes,
    max_packet: u32,
    replay_room: usize,
    replay_in_flight: usize,
    /// States still to send before `status`.
    states_first: usize,
    /// The configuration version that `status` was last sent with; `None`: it must be sent.
    announced: Option<u64>,
    since: jiff::Timestamp,
    /// The broker has no room for events: wait for the next retry.
    paused: bool,
    asked_again: bool,
    /// An event that the broker refused before is on its way, alone.
    probing: bool,
    stopping: bool,
    /// When a stopping link looks next whether all is delivered.
    look_at: Option<Instant>,
}

/// One connection. `core` outlives it.
pub(crate) async fn run(core: &mut Core, outbox: &impl Outbox) -> End {
    let mut eventloop;
    let client;
    let connack = match core.options().await {
        Err(error) => return End::Lost(error),
        Ok(options) => {
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
    let (feed, lanes) = feed(outbox.newest());
    let window = Window::new(limits.in_flight);
    let mut session = Session {
        max_packet: limits.max_packet,
        replay_room: (usize::from(limits.in_flight) * 3 / 4).max(1),
        replay_in_flight: 0,
        states_first: core.board.all_due(),
        announced: None,
        since: core.clock.wall(),
        paused: false,
        asked_again: false,
        probing: false,
        stopping: core.stop.deadline().is_some(),
        look_at: None,
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
    if session.window.unanswered().any(|t| matches!(t.what, Message::Event { .. })) {
        session.core.careful = CAREFUL_ANSWERS;
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
    let mut named = error::name(&error, &core.at, &core.config);
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
                    self.fill().await;
                    let room = self.has_room();
                    let open = room && self.announced.is_some() && !self.paused;
                    let (again, events) = (open && self.asked_again, open && !self.asked_again);
                    let replay = events && self.replay_in_flight < self.replay_room;
                    let deadline = self.deadline();
                    tokio::select! {
                        biased;
                        polled = &mut poll => break Woken::Polled(Box::new(polled)),
                        () = self.core.stop.wanted(), if !self.stopping => {
                            self.stopping = true;
                            self.announced = None;
                            self.core.stopping();
                        }
                        () = self.core.board.changed(), if room => {}
                        Some(event) = self.lanes.again.recv(), if again => self.take_again(event).await,
                        Some(event) = self.lanes.live.recv(), if events => self.take(event, false).await,
                        Some(event) = self.lanes.replay.recv(), if replay => self.take(event, true).await,
                        () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                            if let Some(end) = self.on_time(outbox).await {
                                break Woken::Over(end);
                            }
                        }
                    }
                }
            };
            match woken {
                Woken::Over(End::Stopped) => {
                    self.say_goodbye(eventloop).await;
                    return End::Stopped;
                }
                Woken::Over(end) => return end,
                Woken::Polled(polled) => {
                    if let Err(end) = self.handle(*polled, eventloop).await {
                        return end;
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
