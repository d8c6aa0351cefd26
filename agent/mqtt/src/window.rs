//! Which message carries which packet id: the MQTT library gives none back, so one owner matches in order.
//!
//! Messages are handed to the library's queue (`hand_in`), it reports the packet ids in the same order (`sent`),
//! and the broker acknowledges by packet id (`acked`). Invariant: from the oldest message that is not
//! acknowledged on, at most `size` messages were handed in. The library gives ids 1..=size in a circle, so an id
//! is never used again while it is out, even if a broker acknowledges out of order.

use std::collections::VecDeque;

#[derive(Debug)]
struct Flying<T> {
    packet_id: u16,
    ticket: Option<T>,
}

/// The messages that are on their way, oldest first.
#[derive(Debug)]
pub(crate) struct Window<T> {
    size: usize,
    handed_in: VecDeque<T>,
    flying: VecDeque<Flying<T>>,
}

/// The library reported what cannot be; the connection is not to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfStep;

impl<T> Window<T> {
    pub(crate) fn new(size: u16) -> Self {
        let size = usize::from(size);
        Window { size, handed_in: VecDeque::with_capacity(size), flying: VecDeque::with_capacity(size) }
    }

    /// How many more may be handed in now.
    pub(crate) fn room(&self) -> usize {
        self.size.saturating_sub(self.handed_in.len() + self.flying.len())
    }

    /// The message goes into the library's queue now.
    pub(crate) fn hand_in(&mut self, ticket: T) {
        self.handed_in.push_back(ticket);
    }

    /// The library sent the next message under this id.
    pub(crate) fn sent(&mut self, packet_id: u16) -> Result<(), OutOfStep> {
        let ticket = self.handed_in.pop_front().ok_or(OutOfStep)?;
        if self.flying.iter().any(|f| f.packet_id == packet_id && f.ticket.is_some()) {
            return Err(OutOfStep);
        }
        self.flying.push_back(Flying { packet_id, ticket: Some(ticket) });
        Ok(())
    }

    /// The broker answered for this id.
    pub(crate) fn acked(&mut self, packet_id: u16) -> Result<T, OutOfStep> {
        let found = self.flying.iter_mut().find(|f| f.packet_id == packet_id && f.ticket.is_some());
        let ticket = found.and_then(|f| f.ticket.take()).ok_or(OutOfStep)?;
        while self.flying.front().is_some_and(|f| f.ticket.is_none()) {
            self.flying.pop_front();
        }
        Ok(ticket)
    }

    /// The oldest message without an answer, sent or about to be.
    pub(crate) fn oldest(&self) -> Option<&T> {
        self.unanswered().next()
    }

    /// All messages without an answer, oldest first.
    pub(crate) fn unanswered(&self) -> impl Iterator<Item = &T> {
        self.flying.iter().filter_map(|f| f.ticket.as_ref()).chain(&self.handed_in)
    }

    pub(crate) fn len(&self) -> usize {
        self.unanswered().count()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.oldest().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_ack_finds_the_message_that_was_sent_under_its_id() {
        let mut window = Window::new(4);
        window.hand_in("a");
        window.hand_in("b");
        window.sent(1).unwrap();
        window.sent(2).unwrap();
        assert_eq!(window.oldest(), Some(&"a"));
        assert_eq!(window.acked(2), Ok("b"));
        assert_eq!(window.acked(2), Err(OutOfStep), "an ack counts once");
        assert_eq!(window.acked(1), Ok("a"));
        assert!(window.is_empty());
        assert_eq!(window.sent(3), Err(OutOfStep), "nothing was handed in");
    }

    #[test]
    fn a_message_acked_out_of_turn_keeps_its_place_until_the_older_ones_are_acked() {
        let mut window = Window::new(2);
        window.hand_in(1);
        window.hand_in(2);
        window.sent(1).unwrap();
        window.sent(2).unwrap();
        window.acked(2).unwrap();
        assert_eq!((window.room(), window.len()), (0, 1), "the next id would be 1, which is still out");
        window.acked(1).unwrap();
        assert_eq!(window.room(), 2);
    }

    proptest! {
        /// Against a library that counts ids in a circle and a broker that acks in any order.
        #[test]
        fn whatever_the_order_every_message_is_acked_once_and_no_id_is_out_twice(
            size in 1u16..20, steps in prop::collection::vec((0u8..3, any::<prop::sample::Index>()), 1..400)
        ) {
            let mut window = Window::new(size);
            let (mut next, mut id, mut queued) = (0u32, 0u16, VecDeque::new());
            let mut out: Vec<(u16, u32)> = Vec::new();
            let mut acked = Vec::new();
            for (what, which) in steps {
                match what {
                    0 if window.room() > 0 => { window.hand_in(next); queued.push_back(next); next += 1; }
                    1 if !queued.is_empty() => {
                        id = id % size + 1;
                        prop_assert!(out.iter().all(|(other, _)| *other != id), "id {id} is out twice");
                        prop_assert_eq!(window.sent(id), Ok(()));
                        out.push((id, queued.pop_front().unwrap()));
                    }
                    2 if !out.is_empty() => {
                        let (id, message) = out.swap_remove(which.index(out.len()));
                        prop_assert_eq!(window.acked(id), Ok(message));
                        acked.push(message);
                    }
                    _ => {}
                }
                prop_assert_eq!(window.len(), out.len() + queued.len());
                prop_assert!(window.len() <= usize::from(size));
            }
            let before = acked.len();
            acked.sort_unstable();
            acked.dedup();
            prop_assert_eq!(acked.len(), before);
        }
    }
}
