//! What the link listens to, and which of it the broker allows. Outlives a connection.
//!
//! Invariant: a subscription that the broker refuses, or over which it hangs up, is tried again later and later,
//! never in a loop, and holds nothing else up.

use std::time::Duration;

use aimass_core::runtime::backoff::Backoff;
use tokio::time::Instant;

const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Wanted,
    /// A SUBSCRIBE with it is on its way.
    Asked,
    Granted,
    Refused(&'static str),
}

#[derive(Debug)]
pub(crate) struct Subscriptions {
    filters: Vec<(String, State)>,
    /// After a connection that broke over the question: nothing before this moment.
    hold_until: Option<Instant>,
    /// When what was refused is asked for again.
    again_at: Option<Instant>,
    backoff: Backoff,
}

impl Subscriptions {
    pub(crate) fn new(filters: Vec<String>, seed: u64) -> Self {
        let filters = filters.into_iter().map(|f| (f, State::Wanted)).collect();
        let backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT, seed);
        Subscriptions { filters, hold_until: None, again_at: None, backoff }
    }

    /// A new connection knows of none.
    pub(crate) fn begin_connection(&mut self) {
        for (_, state) in &mut self.filters {
            if !matches!(state, State::Refused(_)) {
                *state = State::Wanted;
            }
        }
    }

    /// The connection is over. True if it broke before the broker answered us: over that, perhaps.
    pub(crate) fn end_connection(&mut self, now: Instant) -> bool {
        let unanswered = self.filters.iter().any(|(_, s)| *s == State::Asked);
        if unanswered {
            self.hold_until = Some(now + self.backoff.next_wait());
        }
        unanswered
    }

    /// The filters to ask for now; from then on they count as asked.
    pub(crate) fn ask(&mut self, now: Instant) -> Vec<String> {
        if self.hold_until.is_some_and(|at| at > now) || self.filters.iter().any(|(_, s)| *s == State::Asked)
        {
            return Vec::new();
        }
        self.hold_until = None;
        let again = self.again_at.is_some_and(|at| at <= now);
        if again {
            self.again_at = None;
        }
        let mut asked = Vec::new();
        for (filter, state) in &mut self.filters {
            if *state == State::Wanted || again && matches!(state, State::Refused(_)) {
                *state = State::Asked;
                asked.push(filter.clone());
            }
        }
        asked
    }

    /// The broker's answers, in the order of the filters that were asked for.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        answers: impl IntoIterator<Item = Result<(), &'static str>>,
    ) {
        let mut answers = answers.into_iter();
        for (filter, state) in &mut self.filters {
            if *state == State::Asked {
                *state = match answers.next() {
                    Some(Ok(())) => State::Granted,
                    Some(Err(reason)) => State::Refused(reason),
                    None => State::Refused("no answer"),
                };
                if let State::Refused(reason) = state {
                    tracing::warn!(
                        filter,
                        reason,
                        "The broker refuses a subscription; it is asked for again later."
                    );
                }
            }
        }
        if self.filters.iter().any(|(_, s)| matches!(s, State::Refused(_))) {
            self.again_at.get_or_insert_with(|| now + self.backoff.next_wait());
        } else {
            self.backoff.reset();
        }
    }

    /// When something is to be asked for again.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.filters.iter().any(|(_, s)| *s == State::Asked) {
            return None;
        }
        // `ask` does nothing before the former, whatever the latter says.
        self.hold_until.or(self.again_at)
    }

    /// What the broker refuses, for people.
    pub(crate) fn error(&self) -> Option<String> {
        let refused: Vec<String> = self
            .filters
            .iter()
            .filter_map(|(filter, state)| match state {
                State::Refused(reason) => Some(format!("{filter} ({reason})")),
                _ => None,
            })
            .collect();
        (!refused.is_empty()).then(|| {
            format!(
                "the broker refuses subscriptions: {}: it is asked again; check its access list",
                refused.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_named_and_asked_for_again_later_and_alone() {
        let mut now = Instant::now();
        let mut all = Subscriptions::new(vec!["a".into(), "b/+".into()], 1);
        all.begin_connection();
        assert_eq!(all.ask(now), ["a", "b/+"]);
        assert!(all.ask(now).is_empty(), "one question at a time");
        all.answered(now, [Ok(()), Err("not authorised")]);
        assert!(all.error().unwrap().contains("b/+ (not authorised)"));
        assert!(all.ask(now).is_empty());
        now = all.due().unwrap();
        assert_eq!(all.ask(now), ["b/+"]);
        all.answered(now, [Ok(())]);
        assert_eq!((all.error(), all.due()), (None, None));
    }

    #[test]
    fn a_new_connection_does_not_wait_with_what_was_allowed() {
        let now = Instant::now();
        let mut all = Subscriptions::new(vec!["a".into(), "b".into()], 1);
        all.ask(now);
        all.answered(now, [Ok(()), Err("not authorised")]);
        assert!(!all.end_connection(now));
        all.begin_connection();
        assert_eq!(all.ask(now), ["a"]);
    }

    #[test]
    fn after_a_connection_that_broke_over_the_question_the_next_one_asks_later() {
        let now = Instant::now();
        let mut all = Subscriptions::new(vec!["a".into()], 1);
        all.begin_connection();
        assert_eq!(all.ask(now).len(), 1);
        assert!(all.end_connection(now));
        all.begin_connection();
        assert!(all.ask(now).is_empty());
        let later = all.due().unwrap();
        assert_eq!(all.ask(later), ["a"]);
        all.answered(later, [Ok(())]);
        assert!(!all.end_connection(later));
        all.begin_connection();
        assert_eq!(all.ask(later), ["a"], "each connection subscribes anew");
    }

    #[test]
    fn nothing_is_due_before_it_may_be_asked_for() {
        let now = Instant::now();
        let mut all = Subscriptions::new(vec!["a".into(), "b".into()], 1);
        all.ask(now);
        all.answered(now, [Ok(()), Err("not authorised")]);
        all.begin_connection();
        assert_eq!(all.ask(now), ["a"]);
        assert!(all.end_connection(now), "it broke over the question");
        all.begin_connection();
        assert_eq!(all.due(), all.hold_until);
        let due = all.due().unwrap();
        assert!(all.ask(due - Duration::from_millis(1)).is_empty());
        assert_eq!(all.ask(due).first().map(String::as_str), Some("a"));
    }
}
