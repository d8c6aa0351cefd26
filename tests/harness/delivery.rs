//! The delivery check: what a node accepted, what a subscriber received, and whether the node explains every
//! difference.
//!
//! The rule: every accepted event arrives, once by `id`; doubles are identical (`replay` may differ: the first try
//! was live); one `seq` has one `id`; a `seq` that never arrives lies within a loss receipt that counts enough.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::agent::binary;
use crate::subscriber::Subscriber;

/// How many problems a message lists.
const SHOWN: usize = 12;
/// So many events `aimass-agent events` lists at most.
const LISTED: usize = 10_000;
/// No test has more events.
const MOST: u64 = 10_000_000;

/// The events that a node has accepted, by `seq`.
#[derive(Debug, Clone, Default)]
pub struct Accepted {
    events: BTreeMap<u64, Value>,
    /// Whether these are all that the node ever accepted.
    all: bool,
    /// Only the numbers count: the documents were damaged after they were accepted.
    by_number: bool,
}

impl Accepted {
    /// Everything in a store, as `aimass-agent events` prints it.
    ///
    /// # Panics
    /// The store cannot be read.
    pub fn in_store(path: &Path) -> Accepted {
        let store = path.to_string_lossy();
        let output = Command::new(binary())
            .args(["events", "--store", &store, "--limit", "1000000"])
            .output()
            .unwrap_or_else(|e| panic!("cannot ask the agent for its events: {e}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        let read = |line: &str| {
            serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("aimass-agent events: {e}: {line}"))
        };
        let mut accepted: Accepted = text.lines().map(read).collect();
        assert!(accepted.len() < LISTED, "the agent lists {LISTED} events at most: the test has too many");
        accepted.all = true;
        accepted
    }

    /// The same, but the node may have accepted more: history that was delivered makes room on a full disk.
    pub fn and_perhaps_more(mut self) -> Accepted {
        self.all = false;
        self
    }

    /// The same, compared by number only: the documents were damaged on disk on purpose.
    pub fn by_number(mut self) -> Accepted {
        self.by_number = true;
        self
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Their numbers.
    pub fn seqs(&self) -> impl Iterator<Item = u64> + '_ {
        self.events.keys().copied()
    }
}

impl FromIterator<Value> for Accepted {
    fn from_iter<I: IntoIterator<Item = Value>>(events: I) -> Self {
        let seq = |event: &Value| event["seq"].as_u64().unwrap_or_else(|| panic!("no seq: {event}"));
        Accepted {
            events: events.into_iter().map(|event| (seq(&event), event)).collect(),
            ..Accepted::default()
        }
    }
}

/// What a loss receipt says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossReceipt {
    /// The lowest `seq` that is gone.
    pub first_seq: u64,
    /// The highest `seq` that is gone.
    pub last_seq: u64,
    /// How many are gone, at most.
    pub count: u64,
    /// Why.
    pub reason: String,
}

/// What has arrived, and what is wrong with it.
#[derive(Debug, Default)]
pub struct DeliveryCheck {
    read: usize,
    events: BTreeMap<u64, Value>,
    seq_of: BTreeMap<String, u64>,
    receipts: Vec<LossReceipt>,
    /// The highest replayed `seq` of each topic and severity.
    replayed: BTreeMap<(String, String), u64>,
    out_of_order: Vec<String>,
    wrong: Vec<String>,
    doubles: u64,
}

impl DeliveryCheck {
    /// Nothing has arrived.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads what a subscriber got since it was last read. Always the same subscriber, which forgets nothing.
    pub fn read(&mut self, subscriber: &Subscriber) {
        for message in subscriber.since(self.read) {
            self.read += 1;
            if message.topic.contains("/event/") {
                self.take(&message.topic, message.json());
            }
        }
    }

    /// Books one event.
    pub fn take(&mut self, topic: &str, event: Value) {
        let (Some(seq), Some(id)) = (event["seq"].as_u64(), event["id"].as_str().map(str::to_owned)) else {
            self.wrong.push(format!("an event without seq or id: {event}"));
            return;
        };
        if let Some(before) = self.seq_of.insert(id.clone(), seq)
            && before != seq
        {
            self.wrong.push(format!("id {id} came as seq {before} and as seq {seq}"));
        }
        if let Some(before) = self.events.get(&seq) {
            self.doubles += 1;
            if !same(before, &event) {
                self.wrong.push(format!("seq {seq} came in two forms: {before} and {event}"));
            }
            return;
        }
        if event["replay"] == true {
            let lane = (topic.to_owned(), event["severity"].as_str().unwrap_or_default().to_owned());
            let highest = self.replayed.entry(lane).or_default();
            if *highest > seq {
                self.out_of_order.push(format!("{seq} was replayed after {highest} on {topic}"));
            }
            *highest = (*highest).max(seq);
        }
        if event["kind"] == "node" && event["label"] == "events_lost" {
            match loss_receipt(&event["attributes"]) {
                Some(receipt) => self.receipts.push(receipt),
                None => self.wrong.push(format!("a loss receipt that says too little: {event}")),
            }
        }
        self.events.insert(seq, event);
    }

    /// How many different events have arrived.
    pub fn arrived(&self) -> usize {
        self.events.len()
    }

    /// How many came again.
    pub fn doubles(&self) -> u64 {
        self.doubles
    }

    /// The events that have arrived, in order of `seq`.
    pub fn events(&self) -> impl Iterator<Item = &Value> {
        self.events.values()
    }

    /// The losses that the node reported.
    pub fn receipts(&self) -> &[LossReceipt] {
        &self.receipts
    }

    /// Waits until every accepted event has arrived or is explained, and checks the result.
    ///
    /// # Panics
    /// Not within the deadline, or something is wrong with what came; the message lists the problems.
    pub async fn settle(&mut self, subscriber: &Subscriber, accepted: &Accepted, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            self.read(subscriber);
            let problems = self.problems(accepted);
            if problems.is_empty() {
                return;
            }
            if !self.wrong.is_empty() || Instant::now() >= deadline {
                panic!("{}", self.report(accepted, &problems));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Checks what has arrived so far.
    ///
    /// # Panics
    /// The rule is violated; the message lists how.
    pub fn check(&self, accepted: &Accepted) {
        let problems = self.problems(accepted);
        assert!(problems.is_empty(), "{}", self.report(accepted, &problems));
    }

    /// Checks the order: of one topic and severity, the event that was stored first is replayed first.
    ///
    /// # Panics
    /// It was not.
    pub fn check_order(&self) {
        let shown: Vec<&str> = self.out_of_order.iter().take(SHOWN).map(String::as_str).collect();
        assert!(shown.is_empty(), "{} out of order:\n{}", self.out_of_order.len(), shown.join("\n"));
    }

    fn problems(&self, accepted: &Accepted) -> Vec<String> {
        let mut problems = self.wrong.clone();
        for (seq, event) in &accepted.events {
            match self.events.get(seq) {
                Some(got) if accepted.by_number || same(got, event) => {}
                Some(got) => problems.push(format!("seq {seq} was accepted as {event} and came as {got}")),
                None if self.explains(*seq) => {}
                None => {
                    problems.push(format!("seq {seq} was accepted and neither arrived nor was reported lost"))
                }
            }
        }
        if accepted.all {
            let unknown = self.events.keys().filter(|seq| !accepted.events.contains_key(seq));
            problems.extend(unknown.map(|seq| format!("seq {seq} arrived and the store does not know it")));
        }
        let highest = self.events.keys().chain(accepted.events.keys()).max().copied().unwrap_or(0);
        if highest > MOST {
            problems.push(format!("seq {highest} cannot be"));
            return problems;
        }
        let gaps: Vec<u64> = (1..=highest).filter(|seq| !self.events.contains_key(seq)).collect();
        let unexplained = gaps.iter().filter(|seq| !self.explains(**seq));
        let unexplained = unexplained.filter(|seq| !accepted.events.contains_key(seq));
        problems.extend(unexplained.map(|seq| format!("seq {seq} is a gap that no receipt explains")));
        let told: u64 = self.receipts.iter().map(|r| r.count).sum();
        let missing = gaps.iter().filter(|seq| self.explains(**seq)).count() as u64;
        if missing > told {
            problems.push(format!("{missing} are missing within the receipts, which count {told}"));
        }
        problems
    }

    fn explains(&self, seq: u64) -> bool {
        self.receipts.iter().any(|r| (r.first_seq..=r.last_seq).contains(&seq))
    }

    fn report(&self, accepted: &Accepted, problems: &[String]) -> String {
        let shown: Vec<String> =
            problems.iter().take(SHOWN).map(|p| p.chars().take(1200).collect()).collect();
        format!(
            "{} accepted, {} arrived, {} doubles, {} receipts; {} problems:\n{}",
            accepted.len(),
            self.arrived(),
            self.doubles,
            self.receipts.len(),
            problems.len(),
            shown.join("\n")
        )
    }
}

fn loss_receipt(attributes: &Value) -> Option<LossReceipt> {
    Some(LossReceipt {
        first_seq: attributes["first_seq"].as_u64()?,
        last_seq: attributes["last_seq"].as_u64()?,
        count: attributes["count"].as_u64()?,
        reason: attributes["reason"].as_str()?.to_owned(),
    })
}

/// Whether two documents are one event: only `replay` may differ.
fn same(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return false };
    a.len() == b.len() && a.iter().all(|(key, value)| key == "replay" || b.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(seq: u64) -> Value {
        json!({"seq": seq, "id": format!("id{seq}"), "replay": false, "severity": "info", "kind": "object", "label": "person"})
    }

    fn receipt(seq: u64, (first, last): (u64, u64), count: u64) -> Value {
        json!({"seq": seq, "id": format!("id{seq}"), "replay": false, "severity": "alarm", "kind": "node", "label": "events_lost",
            "attributes": {"first_seq": first, "last_seq": last, "count": count, "reason": "size"}})
    }

    fn judged(arrived: &[Value], accepted: &[Value]) -> Vec<String> {
        let mut delivery = DeliveryCheck::new();
        arrived.iter().for_each(|e| delivery.take("a/event/x/object", e.clone()));
        delivery.problems(&accepted.iter().cloned().collect())
    }

    #[test]
    fn what_arrives_whole_is_right_and_so_are_identical_doubles() {
        let mut late = event(2);
        late["replay"] = true.into();
        assert_eq!(judged(&[event(1), event(2), late], &[event(1), event(2)]), Vec::<String>::new());
    }

    #[test]
    fn what_is_missing_changed_or_named_twice_is_found() {
        assert_eq!(judged(&[event(1)], &[event(1), event(2)]).len(), 1);
        let mut other = event(1);
        other["label"] = "cat".into();
        assert_eq!(judged(&[other.clone()], &[event(1)]).len(), 1);
        assert!(!judged(&[event(1), other], &[]).is_empty());
        let mut twice = event(2);
        twice["id"] = "id1".into();
        assert!(!judged(&[event(1), twice], &[]).is_empty());
    }

    #[test]
    fn a_gap_needs_a_receipt_that_counts_enough() {
        assert_eq!(judged(&[event(1), event(4)], &[]).len(), 2);
        let told = [event(1), event(4), receipt(5, (2, 3), 2)];
        assert_eq!(judged(&told, &[event(2)]), Vec::<String>::new());
        assert_eq!(judged(&[event(1), event(4), receipt(5, (2, 3), 1)], &[]).len(), 1);
    }

    #[test]
    fn an_older_event_that_is_replayed_later_is_out_of_order() {
        let replayed = |seq| {
            let mut event = event(seq);
            event["replay"] = true.into();
            event
        };
        let mut delivery = DeliveryCheck::new();
        [1, 3, 2].into_iter().for_each(|seq| delivery.take("t", replayed(seq)));
        assert_eq!(delivery.out_of_order.len(), 1);
    }
}
