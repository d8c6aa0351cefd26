//! States: values, not a queue. Set from anywhere, sent by the link's task.
//!
//! Invariants: one value per topic, the latest; at most [`MAX_STATES`] topics; on every connect all of them are
//! sent again, in between only what changed; a removed retained state is emptied at the broker, not forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// The most topics that a board holds.
pub const MAX_STATES: usize = 1024;
/// The largest value, in bytes.
pub const MAX_STATE_BYTES: usize = 1 << 20;

/// Marks a topic that is not below the root. No state's topic begins so.
const ABSOLUTE: char = '/';

/// Why a state was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BoardError {
    /// Not a topic that a state may have.
    #[error(
        "state topic \"{0}\": use 1 to 200 bytes without +, #, NUL and without a slash at either end; status is the link's own, and nothing outside of the root stands below aimass/ or the broker's $"
    )]
    BadTopic(String),
    /// Too many topics.
    #[error("state topic \"{0}\": the board holds {MAX_STATES} topics already: remove some first")]
    Full(String),
    /// Too large a value.
    #[error("state topic \"{0}\": {1} bytes are above the limit of {MAX_STATE_BYTES}")]
    TooLarge(String, usize),
}

#[derive(Debug)]
struct Entry {
    payload: Bytes,
    retain: bool,
    version: u64,
    queued: bool,
    removed: bool,
}

#[derive(Debug, Default)]
struct Board {
    entries: BTreeMap<Arc<str>, Entry>,
    due: VecDeque<Arc<str>>,
    last_version: u64,
}

/// The states of a node: shared by everybody who has one to tell.
#[derive(Debug, Default)]
pub struct RetainedStates {
    board: Mutex<Board>,
    changed: Notify,
}

/// A value to send now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) topic: Arc<str>,
    pub(crate) payload: Bytes,
    pub(crate) retain: bool,
    pub(crate) version: u64,
}

impl RetainedStates {
    /// Sets the value of a topic below the node's root, for example `state/dock/motion`. A retained value is kept
    /// by the broker and sent again on every connect; setting what it is already does nothing. One that is not
    /// retained (`health`) is sent once; the latest waits when there is no connection. Never blocks.
    ///
    /// # Errors
    /// See [`BoardError`]; the board is as before.
    pub fn set(&self, topic: &str, payload: impl Into<Bytes>, retain: bool) -> Result<(), BoardError> {
        if !is_state_topic(topic) {
            return Err(bad_topic(topic));
        }
        self.put(topic, payload.into(), retain)
    }

    /// Sets a retained document outside of the node's root, by its whole topic, for example
    /// `homeassistant/device/…/config`. Otherwise as [`RetainedStates::set`].
    ///
    /// # Errors
    /// See [`BoardError`]; the board is as before.
    pub fn set_absolute(&self, topic: &str, payload: impl Into<Bytes>) -> Result<(), BoardError> {
        if !is_absolute_topic(topic) {
            return Err(bad_topic(topic));
        }
        self.put(&format!("{ABSOLUTE}{topic}"), payload.into(), true)
    }

    /// Takes a document outside of the root off the board; it is emptied at the broker.
    pub fn remove_absolute(&self, topic: &str) {
        self.remove(&format!("{ABSOLUTE}{topic}"));
    }

    fn put(&self, topic: &str, payload: Bytes, retain: bool) -> Result<(), BoardError> {
        if payload.len() > MAX_STATE_BYTES {
            return Err(BoardError::TooLarge(topic.to_owned(), payload.len()));
        }
        let mut board = self.lock();
        let board = &mut *board;
        let version = board.last_version + 1;
        let topic: Arc<str> = match board.entries.get_key_value(topic) {
            Some((_, entry)) if retain && entry.retain && !entry.removed && entry.payload == payload => {
                return Ok(());
            }
            Some((key, _)) => key.clone(),
            None if board.entries.len() >= MAX_STATES => return Err(BoardError::Full(topic.to_owned())),
            None => topic.into(),
        };
        board.last_version = version;
        let queued = board.entries.get(&topic).is_some_and(|e| e.queued);
        board.entries.insert(topic.clone(), Entry { payload, retain, version, queued: true, removed: false });
        if !queued {
            board.due.push_back(topic);
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Takes a topic off the board; a retained one is emptied at the broker.
    pub fn remove(&self, topic: &str) {
        let mut board = self.lock();
        let board = &mut *board;
        let Some((key, _)) = board.entries.get_key_value(topic) else {
            return;
        };
        let key = key.clone();
        let Some(entry) = board.entries.get_mut(topic) else {
            return;
        };
        board.last_version += 1;
        entry.version = board.last_version;
        entry.payload = Bytes::new();
        entry.removed = true;
        if !std::mem::replace(&mut entry.queued, true) {
            board.due.push_back(key);
        }
        self.changed.notify_one();
    }

    /// The retained topics and their values, as they are now. Those outside of the root begin with a slash.
    pub fn retained(&self) -> Vec<(Arc<str>, Bytes)> {
        let board = self.lock();
        let kept = board.entries.iter().filter(|(_, e)| e.retain && !e.removed);
        kept.map(|(topic, e)| (topic.clone(), e.payload.clone())).collect()
    }

    /// A new connection: everything is due. Returns how many.
    pub(crate) fn all_due(&self) -> usize {
        let mut board = self.lock();
        let board = &mut *board;
        board.due = board.entries.keys().cloned().collect();
        board.entries.values_mut().for_each(|e| e.queued = true);
        board.due.len()
    }

    /// The next value to send, the one that waited longest first.
    pub(crate) fn next_due(&self) -> Option<Due> {
        let mut board = self.lock();
        let board = &mut *board;
        let topic = board.due.pop_front()?;
        let entry = board.entries.get_mut(&topic)?;
        entry.queued = false;
        Some(Due { topic, payload: entry.payload.clone(), retain: entry.retain, version: entry.version })
    }

    /// A value that was taken off the queue unsent has its turn again.
    pub(crate) fn due_again(&self, topic: &str) {
        let mut board = self.lock();
        let board = &mut *board;
        if let Some((key, _)) = board.entries.get_key_value(topic) {
            let key = key.clone();
            if let Some(entry) = board.entries.get_mut(topic)
                && !std::mem::replace(&mut entry.queued, true)
            {
                board.due.push_back(key);
            }
        }
    }

    /// The broker has this value (or will never take it): what need not be told again is forgotten.
    pub(crate) fn settled(&self, topic: &str, version: u64) {
        let mut board = self.lock();
        if board.entries.get(topic).is_some_and(|e| e.version == version && (e.removed || !e.retain)) {
            board.entries.remove(topic);
        }
    }

    /// Returns once something may be due.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Wakes the link's task although no state changed.
    pub(crate) fn poke(&self) {
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_state_topic(topic: &str) -> bool {
    let ends_well = !topic.starts_with('/') && !topic.ends_with('/');
    (1..=200).contains(&topic.len()) && ends_well && topic != "status" && !topic.contains(['+', '#', '\0'])
}

fn is_absolute_topic(topic: &str) -> bool {
    is_state_topic(topic) && !topic.starts_with("aimass/") && !topic.starts_with('$')
}

fn bad_topic(topic: &str) -> BoardError {
    BoardError::BadTopic(topic.chars().take(200).flat_map(char::escape_default).collect())
}

impl Due {
    /// The whole topic of this value.
    pub(crate) fn whole_topic(&self, root: &str) -> String {
        self.topic.strip_prefix(ABSOLUTE).map_or_else(|| format!("{root}{}", self.topic), str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(board: &RetainedStates) -> Vec<(String, Vec<u8>)> {
        std::iter::from_fn(|| board.next_due()).map(|d| (d.topic.to_string(), d.payload.to_vec())).collect()
    }

    #[test]
    fn only_the_latest_value_of_a_topic_is_sent_and_an_equal_one_is_not() {
        let board = RetainedStates::default();
        board.set("state/a/motion", "1", true).unwrap();
        board.set("state/b/motion", "1", true).unwrap();
        board.set("state/a/motion", "2", true).unwrap();
        assert_eq!(
            drain(&board),
            [("state/a/motion".into(), b"2".to_vec()), ("state/b/motion".into(), b"1".to_vec())]
        );
        board.set("state/a/motion", "2", true).unwrap();
        assert_eq!(drain(&board), []);
    }

    #[test]
    fn on_a_new_connection_everything_is_due_again_but_not_what_is_told_once() {
        let board = RetainedStates::default();
        board.set("state/a", "1", true).unwrap();
        board.set("health", "{}", false).unwrap();
        while let Some(due) = board.next_due() {
            board.settled(&due.topic, due.version);
        }
        assert_eq!(board.all_due(), 1);
        assert_eq!(drain(&board), [("state/a".into(), b"1".to_vec())]);
    }

    #[test]
    fn a_removed_state_is_emptied_at_the_broker_until_the_broker_has_it() {
        let board = RetainedStates::default();
        board.set("state/a", "1", true).unwrap();
        drain(&board);
        board.remove("state/a");
        assert_eq!(board.all_due(), 1);
        let due = board.next_due().unwrap();
        assert!(due.payload.is_empty() && due.retain);
        board.settled(&due.topic, due.version);
        assert_eq!(board.all_due(), 0);
    }

    #[test]
    fn a_document_outside_of_the_root_keeps_its_topic_and_is_sent_on_every_connect() {
        let board = RetainedStates::default();
        board.set_absolute("homeassistant/device/x/config", "{}").unwrap();
        board.set("homeassistant/device/x/config", "1", true).unwrap();
        let due: Vec<_> = std::iter::from_fn(|| board.next_due()).map(|d| d.whole_topic("r/")).collect();
        assert_eq!(due, ["homeassistant/device/x/config", "r/homeassistant/device/x/config"]);
        assert_eq!(board.all_due(), 2);
        drain(&board);
        board.remove_absolute("homeassistant/device/x/config");
        let emptied = board.next_due().unwrap();
        assert!(emptied.payload.is_empty() && emptied.retain);
        for bad in ["aimass/v1/other/node/status", "$SYS/x", "a/#", "/a", ""] {
            assert!(matches!(board.set_absolute(bad, "1"), Err(BoardError::BadTopic(_))), "{bad:?}");
        }
    }

    #[test]
    fn topics_that_are_not_ours_and_values_beyond_the_bounds_are_refused() {
        let board = RetainedStates::default();
        for bad in ["", "/a", "a/", "a/#", "+", "status", "a\0"] {
            assert!(matches!(board.set(bad, "1", true), Err(BoardError::BadTopic(_))), "{bad:?}");
        }
        assert!(matches!(board.set("a", vec![0; MAX_STATE_BYTES + 1], true), Err(BoardError::TooLarge(..))));
        for n in 0..MAX_STATES {
            board.set(&format!("state/{n}"), "1", true).unwrap();
        }
        assert!(matches!(board.set("one/more", "1", true), Err(BoardError::Full(_))));
        assert!(board.set("state/7", "2", true).is_ok());
    }
}
