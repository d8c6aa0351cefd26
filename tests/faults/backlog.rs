//! A store that is filled before the agent starts: thousands of real events in a moment, without a camera.

use std::path::Path;
use std::time::Duration;

use aimass_core::event::{Event, EventData, Evidence, Kind, Phase, Severity};
use aimass_core::finding::{Attributes, ModelRef};
use aimass_core::frame::TimeSource;
use aimass_core::geometry::Region;
use aimass_core::runtime::clock::SystemClock;
use aimass_store::{Store, StoreConfig, Tuning};
use harness::delivery::Accepted;
use jiff::Timestamp;
use ulid::Ulid;

/// Events that are handed in together.
const TOGETHER: u64 = 250;

/// The store at a path with so many events, as a node without a broker would have left it.
pub(crate) async fn fill(path: &Path, count: u64) -> Accepted {
    let config = StoreConfig { path: path.to_owned(), ..StoreConfig::default() };
    let tuning = Tuning { commit_window: Duration::ZERO, ..Tuning::default() };
    let (store, opened) = Store::open_tuned(&config, tuning, SystemClock::shared(), stamp).unwrap();
    // The broker is known already, as on a board that has delivered before.
    drop(store.sink("mqtt").await.unwrap());
    let mut accepted = Vec::new();
    let mut n = opened.last_seq;
    let last = n + count;
    while n < last {
        let mut events: Vec<Event> = (n..last.min(n + TOGETHER)).map(event).collect();
        let seqs = store.accept(events.clone()).await.unwrap();
        for (event, seq) in events.iter_mut().zip(seqs) {
            event.seq = seq;
            // Through the text, so that numbers look as on the wire.
            let text = serde_json::to_string(&event).unwrap();
            accepted.push(serde_json::from_str(&text).unwrap());
        }
        n += TOGETHER;
    }
    store.close(Duration::from_secs(60)).await.unwrap();
    accepted.into_iter().collect()
}

/// Events of a street camera: mostly `info`, some alarms.
fn event(n: u64) -> Event {
    let score = 0.5 + (n % 997) as f32 / 2000.0;
    let severity = match n % 40 {
        0 => Severity::Alarm,
        1..=4 => Severity::Notice,
        _ => Severity::Info,
    };
    stamp(EventData {
        time: Timestamp::from_millisecond(1_795_000_000_000 + n as i64 * 40).unwrap(),
        time_source: TimeSource::Clock,
        source: if n.is_multiple_of(3) { "dock" } else { "street" }.parse().unwrap(),
        kind: if n.is_multiple_of(5) { Kind::Zone } else { Kind::Object },
        phase: if n.is_multiple_of(2) { Phase::Began } else { Phase::Ended },
        severity,
        label: "person".into(),
        score: Some(score),
        region: Some(Region { x: score / 3.0, y: score / 2.0, w: 0.0814 * score, h: 0.3371 * score }),
        track: Some(n),
        occurrence_id: Some(Ulid::new()),
        zone: n.is_multiple_of(5).then(|| "road".parse().unwrap()),
        line: None,
        attributes: Attributes::new(),
        model: Some(ModelRef { name: "coco-ssd-lite".into(), version: "1".into(), sha256: "7c".repeat(32) }),
        evidence: Some(Evidence { frames: 6, peak_score: score, stationary_s: 0.25 }),
    })
}

fn stamp(what: EventData) -> Event {
    Event {
        schema: 2,
        id: Ulid::new(),
        boot: Ulid::from_parts(1_790_000_000_000, 1),
        seq: 0,
        replay: false,
        clock_synchronized: true,
        site: "test".parse().unwrap(),
        node: "board".parse().unwrap(),
        config_version: 7,
        what,
    }
}
