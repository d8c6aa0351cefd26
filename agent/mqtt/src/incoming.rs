//! What the broker sends to us: desired configuration, commands, and topics that others asked to hear of.
//!
//! Owner: the link's task puts in, whoever holds the receivers takes out. Invariants: nothing here waits; a command
//! that finds no room is answered at once; what nobody knows is thrown away without a copy.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::replies::{ReplyError, ReplyTo};

/// Commands that may wait for whoever carries them out. When full, the link answers `busy`.
const COMMANDS: usize = 16;
/// Messages of other topics that may wait. When full, the newest is thrown away, with a line in the log.
const NOTICES: usize = 16;
/// How often a stream of unwelcome messages is told of in the log.
const SELDOM: Duration = Duration::from_secs(60);

/// The topic of the wanted configuration, below the root.
const DESIRED: &str = "config/desired";
const COMMAND: &str = "command/";

/// Somebody wants something of this node. Who may want it, the payload must prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The last level of its topic.
    pub name: String,
    /// As it came.
    pub payload: Bytes,
    /// Where the answer goes; `None` if nobody waits for one.
    pub reply_to: Option<ReplyTo>,
}

/// A message on one of the further topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// Whether the broker had kept it from before.
    pub retained: bool,
}

/// A publish, as far as it matters here.
pub(crate) struct Message<'a> {
    pub(crate) topic: &'a [u8],
    pub(crate) payload: &'a Bytes,
    pub(crate) retained: bool,
    pub(crate) response_topic: Option<&'a str>,
    pub(crate) correlation: Option<&'a Bytes>,
}

/// What the session must do about a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing: it is taken over, or is nobody's.
    Done,
    /// Answer the requester that there is no room.
    Busy(ReplyTo),
}

/// The link's side.
pub(crate) struct Inbox {
    root: String,
    notices_of: Vec<String>,
    desired: watch::Sender<Option<Bytes>>,
    commands: mpsc::Sender<Command>,
    notices: mpsc::Sender<Notice>,
    quiet: Quiet,
}

/// The owner's side.
pub(crate) struct Outlets {
    pub(crate) desired: watch::Receiver<Option<Bytes>>,
    pub(crate) commands: Mutex<Option<mpsc::Receiver<Command>>>,
    pub(crate) notices: Mutex<Option<mpsc::Receiver<Notice>>>,
}

impl fmt::Debug for Outlets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlets").finish_non_exhaustive()
    }
}

/// Takes what can be taken once.
pub(crate) fn take_once<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

pub(crate) fn inbox(root: String, notices_of: Vec<String>) -> (Inbox, Outlets) {
    let (desired, desired_rx) = watch::channel(None);
    let (commands, commands_rx) = mpsc::channel(COMMANDS);
    let (notices, notices_rx) = mpsc::channel(NOTICES);
    let outlets = Outlets {
        desired: desired_rx,
        commands: Mutex::new(Some(commands_rx)),
        notices: Mutex::new(Some(notices_rx)),
    };
    (Inbox { root, notices_of, desired, commands, notices, quiet: Quiet::default() }, outlets)
}

impl Inbox {
    /// Everything to subscribe to.
    pub(crate) fn filters(&self) -> Vec<String> {
        let own = [format!("{}{DESIRED}", self.root), format!("{}{COMMAND}+", self.root)];
        own.into_iter().chain(self.notices_of.iter().cloned()).collect()
    }

    /// Takes a message over.
    pub(crate) fn take(&mut self, message: &Message<'_>, now: Instant) -> Outcome {
        let Ok(topic) = std::str::from_utf8(message.topic) else { return Outcome::Done };
        let own = topic.strip_prefix(&self.root);
        if own == Some(DESIRED) {
            // Sent although it is the same: a reconnect asks for the answer anew.
            self.desired.send_replace((!message.payload.is_empty()).then(|| message.payload.clone()));
            return Outcome::Done;
        }
        if let Some(name) = own.and_then(|own| own.strip_prefix(COMMAND)) {
            return self.command(name, message, now);
        }
        if self.notices_of.iter().any(|of| of == topic) {
            let notice = Notice {
                topic: topic.to_owned(),
                payload: message.payload.clone(),
                retained: message.retained,
            };
            if self.notices.try_send(notice).is_err() {
                self.quiet.tell(now, "A message for us finds no room and is thrown away.");
            }
        }
        Outcome::Done
    }

    fn command(&mut self, name: &str, message: &Message<'_>, now: Instant) -> Outcome {
        if message.retained {
            if !message.payload.is_empty() {
                self.quiet
                    .tell(now, "A retained command is ignored: a command is for now, not for whoever comes.");
            }
            return Outcome::Done;
        }
        if !is_command_name(name) {
            return Outcome::Done;
        }
        let reply_to = match message.response_topic {
            None => None,
            Some(topic) => match ReplyTo::new(topic, message.correlation.cloned(), &self.root) {
                Ok(reply_to) => Some(reply_to),
                Err(ReplyError::BadTopic) => {
                    self.quiet.tell(now, "A command is ignored: no answer may go where it asks for one.");
                    return Outcome::Done;
                }
                Err(_) => return Outcome::Done,
            },
        };
        let command = Command { name: name.to_owned(), payload: message.payload.clone(), reply_to };
        let Err(refused) = self.commands.try_send(command) else { return Outcome::Done };
        self.quiet.tell(now, "A command finds no room and is refused: too many wait already.");
        refused.into_inner().reply_to.map_or(Outcome::Done, Outcome::Busy)
    }
}

fn is_command_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

/// Tells of something at most once in a while: a flood must not fill the log.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    until: Option<Instant>,
    missed: u64,
}

impl Quiet {
    pub(crate) fn tell(&mut self, now: Instant, what: &str) {
        if self.until.is_some_and(|until| until > now) {
            self.missed += 1;
            return;
        }
        tracing::warn!(untold = self.missed, "{what}");
        *self = Quiet { until: Some(now + SELDOM), missed: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOT: &str = "aimass/v1/s/n/";

    fn message<'a>(topic: &'a str, payload: &'a Bytes) -> Message<'a> {
        let topic = topic.as_bytes();
        Message { topic, payload, retained: false, response_topic: None, correlation: None }
    }

    fn open() -> (Inbox, Outlets) {
        inbox(ROOT.into(), vec!["homeassistant/status".into()])
    }

    #[test]
    fn the_latest_desired_document_wins_and_an_emptied_one_is_none() {
        let (mut inbox, mut outlets) = open();
        for text in ["1", "2", ""] {
            let payload = Bytes::from_static(text.as_bytes());
            inbox.take(&message("aimass/v1/s/n/config/desired", &payload), Instant::now());
            assert!(outlets.desired.has_changed().unwrap());
            let seen = outlets.desired.borrow_and_update().clone();
            assert_eq!(seen, (!text.is_empty()).then_some(payload));
        }
    }

    #[test]
    fn commands_wait_up_to_the_bound_and_the_next_one_is_told_that_there_is_no_room() {
        let (mut inbox, outlets) = open();
        let mut commands = take_once(&outlets.commands).unwrap();
        assert!(take_once(&outlets.commands).is_none());
        let (payload, correlation) = (Bytes::from_static(b"{}"), Bytes::from_static(b"7"));
        let topic = "aimass/v1/s/n/command/probe";
        let ask = Message {
            response_topic: Some("answers/me"),
            correlation: Some(&correlation),
            ..message(topic, &payload)
        };
        for _ in 0..COMMANDS {
            assert_eq!(inbox.take(&ask, Instant::now()), Outcome::Done);
        }
        let Outcome::Busy(to) = inbox.take(&ask, Instant::now()) else { panic!("it found room") };
        assert_eq!((to.topic(), to.correlation()), ("answers/me", Some(&correlation)));
        let first = commands.try_recv().unwrap();
        assert_eq!((first.name.as_str(), &first.payload), ("probe", &payload));
        assert_eq!(inbox.take(&ask, Instant::now()), Outcome::Done);
    }

    #[test]
    fn retained_commands_and_those_with_senseless_names_or_answers_are_ignored() {
        let (mut inbox, outlets) = open();
        let mut commands = take_once(&outlets.commands).unwrap();
        let payload = Bytes::from_static(b"{}");
        let retained = Message { retained: true, ..message("aimass/v1/s/n/command/probe", &payload) };
        inbox.take(&retained, Instant::now());
        for name in ["", "A", "a/b", "ä", &"x".repeat(64)] {
            inbox.take(&message(&format!("aimass/v1/s/n/command/{name}"), &payload), Instant::now());
        }
        for bad in ["a/#", "", "$SYS/x", "aimass/v1/s/n/status"] {
            let topic = "aimass/v1/s/n/command/probe";
            inbox.take(&Message { response_topic: Some(bad), ..message(topic, &payload) }, Instant::now());
        }
        assert!(commands.try_recv().is_err());
    }

    #[test]
    fn further_topics_come_through_and_a_full_queue_keeps_the_oldest() {
        let (mut inbox, outlets) = open();
        let mut notices = take_once(&outlets.notices).unwrap();
        for n in 0..NOTICES + 5 {
            inbox.take(&message("homeassistant/status", &Bytes::from(n.to_string())), Instant::now());
        }
        let came: Vec<_> = std::iter::from_fn(|| notices.try_recv().ok()).collect();
        assert_eq!(came.len(), NOTICES);
        assert_eq!((came[0].topic.as_str(), &came[0].payload[..]), ("homeassistant/status", &b"0"[..]));
    }

    proptest! {
        #[test]
        fn any_topic_and_payload_is_survived(topic: Vec<u8>, tail in "(config|command)/.{0,80}", text: Vec<u8>, answer: Option<String>) {
            let (mut inbox, _outlets) = open();
            let payload = Bytes::from(text);
            let own = format!("{ROOT}{tail}");
            for topic in [&topic[..], own.as_bytes()] {
                let response_topic = answer.as_deref();
                let hostile = Message { topic, payload: &payload, retained: false, response_topic, correlation: None };
                inbox.take(&hostile, Instant::now());
            }
        }
    }
}
