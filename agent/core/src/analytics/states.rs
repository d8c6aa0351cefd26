//! The small current values of a source, and which of them changed since they were last told.
//!
//! Invariant: a value is told when it is first known and then only when it differs from what was told last.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::analytics::zone::ZoneConfig;
use crate::event::Direction;
use crate::finding::Label;
use crate::id::Name;

/// A current value; retained on the wire under `state/<source>/<name>`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateValue {
    /// `motion`, `count/<zone>/<label>`, `line/<line>/in`, `line/<line>/out`.
    pub name: String,
    /// The value; null when it is no longer kept and its topic is to be emptied.
    pub value: Value,
}

/// How often a line was crossed since counting began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineTotals {
    /// Which line.
    pub id: Name,
    /// Crossings inwards.
    pub in_total: u64,
    /// Crossings outwards.
    pub out_total: u64,
}

/// A label as a topic level: lower case, `-` for whatever is neither letter nor digit.
pub fn topic_level(label: &str) -> String {
    let level = |c: char| {
        if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }
    };
    label.chars().map(level).collect()
}

/// How many of one label are in a zone.
#[derive(Debug)]
struct Count {
    label: Label,
    now: u64,
    told: Option<u64>,
}

/// The occupancy of one zone, by label.
#[derive(Debug)]
pub(super) struct Occupancy {
    zone: Name,
    counts: Vec<Count>,
}

impl Occupancy {
    /// The labels that the zone names are told from the beginning, as 0.
    pub(super) fn new(zone: &ZoneConfig) -> Self {
        let count = |label: &String| Count { label: label.as_str().into(), now: 0, told: None };
        Occupancy { zone: zone.id.clone(), counts: zone.labels.iter().map(count).collect() }
    }

    pub(super) fn id(&self) -> &Name {
        &self.zone
    }

    pub(super) fn recount<'a>(&mut self, inside: impl Iterator<Item = &'a Label>) {
        self.counts.iter_mut().for_each(|c| c.now = 0);
        for label in inside {
            match self.counts.iter_mut().find(|c| c.label == *label) {
                Some(count) => count.now += 1,
                None => self.counts.push(Count { label: label.clone(), now: 1, told: None }),
            }
        }
    }

    pub(super) fn tell(&mut self, out: &mut Vec<StateValue>) {
        for count in &mut self.counts {
            if count.told.replace(count.now) != Some(count.now) {
                let name = format!("count/{}/{}", self.zone, topic_level(&count.label));
                out.push(StateValue { name, value: count.now.into() });
            }
        }
    }

    /// The zone is watched no more.
    pub(super) fn withdraw(&self, out: &mut Vec<StateValue>) {
        out.extend(self.counts.iter().filter(|c| c.told.is_some()).map(|count| StateValue {
            name: format!("count/{}/{}", self.zone, topic_level(&count.label)),
            value: Value::Null,
        }));
    }
}

/// The totals of one line.
#[derive(Debug)]
pub(super) struct LineCounter {
    pub(super) totals: LineTotals,
    told: [Option<u64>; 2],
}

impl LineCounter {
    pub(super) fn new(id: Name) -> Self {
        LineCounter { totals: LineTotals { id, in_total: 0, out_total: 0 }, told: [None; 2] }
    }

    pub(super) fn count(&mut self, direction: Direction) {
        match direction {
            Direction::In => self.totals.in_total += 1,
            Direction::Out => self.totals.out_total += 1,
        }
    }

    pub(super) fn tell(&mut self, out: &mut Vec<StateValue>) {
        let now = [("in", self.totals.in_total), ("out", self.totals.out_total)];
        for (told, (way, total)) in self.told.iter_mut().zip(now) {
            if told.replace(total) != Some(total) {
                out.push(StateValue { name: format!("line/{}/{way}", self.totals.id), value: total.into() });
            }
        }
    }

    /// The line is watched no more.
    pub(super) fn withdraw(&self, out: &mut Vec<StateValue>) {
        let name = |way: &str| format!("line/{}/{way}", self.totals.id);
        out.extend(["in", "out"].map(|way| StateValue { name: name(way), value: Value::Null }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_safe_topic_levels() {
        assert_eq!(topic_level("traffic light"), "traffic-light");
        assert_eq!(topic_level("a/b+#Ä"), "a-b---");
    }

    #[test]
    fn a_total_is_told_once_until_it_changes() {
        let (mut tally, mut out) = (LineCounter::new("door".parse().unwrap()), Vec::new());
        tally.tell(&mut out);
        assert_eq!(out.len(), 2);
        tally.tell(&mut out);
        assert_eq!(out.len(), 2);
        tally.count(Direction::Out);
        tally.tell(&mut out);
        assert_eq!(out[2], StateValue { name: "line/door/out".into(), value: 1.into() });
    }
}
