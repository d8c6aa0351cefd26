//! Answers to commands, on their way to whoever asked.
//!
//! Shared by everybody who carries out commands; sent by the link's task. Invariants: handing in never waits; an
//! answer that a connection took with it is sent once more on the next one and then given up, so that one that cannot
//! get through does not break every connection; none outlives the program: who asked asks again.

use aimass_protocol::command::{CommandError, Reply as CommandReply};
use bytes::Bytes;
use tokio::sync::mpsc;

/// Answers that may wait. When full, the next one is refused.
const WAITING: usize = 16;
const MAX_TOPIC_BYTES: usize = 512;
const MAX_CORRELATION_BYTES: usize = 1024;
/// How often an answer is sent anew.
const MOST_REPEATS: u8 = 1;
/// Below our own root, answers may stand here only.
const REPLY: &str = "reply/";

/// Why an answer does not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Not a topic for answers.
    #[error(
        "the response topic is none that an answer may go to: use 1 to {MAX_TOPIC_BYTES} bytes without +, # and NUL, not of the broker's own, not among this node's states and events"
    )]
    BadTopic,
    /// Too much to give back.
    #[error("the correlation data are above {MAX_CORRELATION_BYTES} bytes: use less")]
    CorrelationTooLarge,
    /// Too many wait.
    #[error("{WAITING} answers wait for the broker already: this one is thrown away")]
    Full,
}

/// Where an answer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyTo {
    topic: String,
    correlation: Option<Bytes>,
}

impl ReplyTo {
    /// Checks what a requester wants. `root` is the node's own, with the slash.
    ///
    /// # Errors
    /// `BadTopic`, `CorrelationTooLarge`.
    pub fn new(topic: &str, correlation: Option<Bytes>, root: &str) -> Result<Self, ReplyError> {
        let own = topic.strip_prefix(root).or_else(|| (topic == root.trim_end_matches('/')).then_some(""));
        let good = (1..=MAX_TOPIC_BYTES).contains(&topic.len())
            && !topic.contains(['+', '#', '\0'])
            && !topic.starts_with('$')
            && own.is_none_or(|own| own.starts_with(REPLY));
        if !good {
            return Err(ReplyError::BadTopic);
        }
        if correlation.as_ref().is_some_and(|c| c.len() > MAX_CORRELATION_BYTES) {
            return Err(ReplyError::CorrelationTooLarge);
        }
        Ok(ReplyTo { topic: topic.to_owned(), correlation })
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What the requester knows its question by.
    pub fn correlation(&self) -> Option<&Bytes> {
        self.correlation.as_ref()
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) to: ReplyTo,
    pub(crate) payload: Bytes,
    /// How many connections took it with them without an acknowledgement.
    pub(crate) lost: u8,
}

impl Reply {
    pub(crate) fn new(to: ReplyTo, payload: Bytes) -> Reply {
        Reply { to, payload, lost: 0 }
    }

    /// The connection that it was sent on is over. `None` if that has happened too often.
    pub(crate) fn once_more(&self) -> Option<Reply> {
        (self.lost < MOST_REPEATS).then(|| Reply { lost: self.lost + 1, ..self.clone() })
    }
}

/// Takes answers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Replies(mpsc::Sender<Reply>);

impl Replies {
    /// Hands in an answer; returns at once. It is sent when there is a connection.
    ///
    /// # Errors
    /// `Full`.
    pub fn reply(&self, to: &ReplyTo, payload: impl Into<Bytes>) -> Result<(), ReplyError> {
        let reply = Reply::new(to.clone(), payload.into());
        self.0.try_send(reply).map_err(|_| ReplyError::Full)
    }
}

pub(crate) fn replies() -> (Replies, mpsc::Receiver<Reply>) {
    let (tx, rx) = mpsc::channel(WAITING);
    (Replies(tx), rx)
}

/// The reply to a command that could not be handed over or answered.
pub(crate) fn error(kind: &'static str, message: &str) -> Bytes {
    let reply = CommandReply::<()>::from(Err(CommandError::new(kind, message)));
    serde_json::to_vec(&reply).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_may_go_to_anybody_s_topic_but_not_into_our_own_words() {
        let to = |topic: &str| ReplyTo::new(topic, None, "aimass/v1/s/n/");
        for good in ["answers/1", "aimass/v1/s/n/reply/probe", "aimass/v1/s/n2/x", "ä"] {
            assert!(to(good).is_ok(), "{good}");
        }
        for bad in
            ["", "a/+", "#", "a\0", "$SYS/a", "aimass/v1/s/n/status", "aimass/v1/s/n", &"x".repeat(513)]
        {
            assert_eq!(to(bad), Err(ReplyError::BadTopic), "{bad:?}");
        }
        let long = ReplyTo::new("a", Some(vec![0; 1025].into()), "r/");
        assert_eq!(long, Err(ReplyError::CorrelationTooLarge));
    }

    #[test]
    fn an_answer_that_a_connection_took_along_is_sent_once_more_and_no_oftener() {
        let reply = Reply::new(ReplyTo::new("a", None, "r/").unwrap(), "x".into());
        let again = reply.once_more().unwrap();
        assert_eq!(again.payload, reply.payload);
        assert_eq!(again.once_more(), None);
    }

    #[test]
    fn when_too_many_wait_the_next_one_is_refused_at_once() {
        let (replies, mut waiting) = replies();
        let to = ReplyTo::new("a", None, "r/").unwrap();
        for _ in 0..WAITING {
            replies.reply(&to, "x").unwrap();
        }
        assert_eq!(replies.reply(&to, "x"), Err(ReplyError::Full));
        waiting.try_recv().unwrap();
        assert!(replies.reply(&to, "y").is_ok());
    }
}
