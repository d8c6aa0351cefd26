//! Who this node is, and how a happening becomes an event of it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aimass_core::event::{EVENT_SCHEMA, Event, EventData};
use aimass_core::id::Name;
use aimass_core::runtime::clock::SharedClock;
use jiff::Timestamp;
use ulid::{Generator, Ulid};

/// The program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// No clock that shows an earlier time than this release can be right.
const RELEASED: i64 = 1_793_491_200;

/// The node, for everyone who makes events.
#[derive(Clone)]
pub struct Node {
    /// The site.
    pub site: Name,
    /// The node within the site.
    pub id: Name,
    /// This life of the program.
    pub boot: Ulid,
    /// The program's clock.
    pub clock: SharedClock,
    config_version: Arc<AtomicU64>,
    ids: Arc<Mutex<Generator>>,
}

impl Node {
    /// A new life of the node.
    pub fn new(site: Name, id: Name, clock: SharedClock) -> Self {
        let ids = Arc::new(Mutex::new(Generator::new()));
        let boot = make_id(&ids, clock.wall().as_millisecond().max(0) as u64);
        Node { site, id, boot, clock, config_version: Arc::default(), ids }
    }

    /// The version of the configuration in force; 0 for a local file.
    pub fn config_version(&self) -> u64 {
        self.config_version.load(Ordering::Relaxed)
    }

    /// Another configuration is in force, for all who hold this node.
    pub fn set_config_version(&self, version: u64) {
        self.config_version.store(version, Ordering::Relaxed);
    }

    /// A fresh id whose time part is `unix_ms`.
    pub fn make_id(&self, unix_ms: u64) -> Ulid {
        make_id(&self.ids, unix_ms)
    }

    /// The event of a happening, still without its `seq`.
    pub fn event(&self, what: EventData) -> Event {
        Event {
            schema: EVENT_SCHEMA,
            id: self.make_id(what.time.as_millisecond().max(0) as u64),
            boot: self.boot,
            seq: 0,
            replay: false,
            clock_synchronized: clock_ok(self.clock.wall()),
            site: self.site.clone(),
            node: self.id.clone(),
            config_version: self.config_version(),
            what,
        }
    }
}

fn make_id(ids: &Mutex<Generator>, unix_ms: u64) -> Ulid {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(unix_ms);
    let mut ids = ids.lock().unwrap_or_else(PoisonError::into_inner);
    // The generator counts up within a millisecond and can run out of numbers only there.
    ids.generate_from_datetime(at).unwrap_or_else(|_| Ulid::from_datetime(at))
}

/// Whether the wall clock is known to be right: systemd-timesyncd says so where it runs; elsewhere a time before
/// this release shows a clock that nobody has set.
pub fn clock_ok(now: Timestamp) -> bool {
    let timesyncd = Path::new("/run/systemd/timesync");
    now.as_second() >= RELEASED && (!timesyncd.exists() || timesyncd.join("synchronized").exists())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aimass_core::runtime::clock::SimulatedClock;

    use super::*;

    #[test]
    fn ids_are_unique_and_rise_within_a_millisecond() {
        let clock = SimulatedClock::at(Timestamp::from_second(1_800_000_000).unwrap());
        let node = Node::new("s".parse().unwrap(), "n".parse().unwrap(), Arc::new(clock));
        let ids: Vec<Ulid> = (0..1000).map(|_| node.make_id(1_800_000_000_000)).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_board_that_thinks_it_is_1970_has_no_good_clock() {
        assert!(!clock_ok(Timestamp::from_second(1000).unwrap()));
    }
}
