//! kill -9 at any moment: whatever was answered for is there, numbered without gaps, with the same id.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use aimass_core::event::Severity;
use aimass_core::traits::Outbox;
use aimass_store::Tuning;
use ulid::Ulid;

use crate::support::*;

const FOLDER: &str = "AIMASS_STORE_CRASH_FOLDER";
const KILLS: usize = 20;

/// Not a test of its own: what the killed process does. Accepts, acknowledges now and then, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_accepts_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let tuning = Tuning { cursor_along: std::time::Duration::ZERO, ..eager() };
    let (store, _) =
        open_tuned(Path::new(&folder), tuning, aimass_core::runtime::clock::SystemClock::shared());
    let sink = store.sink("mqtt").await.unwrap();
    for n in 0u64.. {
        let severity = if n.is_multiple_of(5) { Severity::Alarm } else { Severity::Info };
        let events: Vec<_> = (0..n % 4 + 1).map(|k| event(severity, n * 10 + k)).collect();
        let ids: Vec<_> = events.iter().map(|e| e.id).collect();
        for (seq, id) in store.accept(events).await.unwrap().into_iter().zip(ids) {
            println!("accepted {seq} {id}");
        }
        if n.is_multiple_of(3) {
            for event in sink.pending(0, 2).await.unwrap() {
                sink.acknowledge(event.seq).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn twenty_kills_lose_nothing_that_was_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let mut accepted: BTreeMap<u64, String> = BTreeMap::new();
    for kill in 0..KILLS {
        let before = accepted.len();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child_that_accepts_until_it_is_killed", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut left: u128 = 1 + Ulid::new().random() % 60;
        // The line at which it is killed is random; what it wrote until it died counts too.
        for line in lines.lines().map_while(Result::ok) {
            if let Some((seq, id)) = line.split_once("accepted ").and_then(|(_, rest)| rest.split_once(' ')) {
                let known = accepted.insert(seq.parse().unwrap(), id.to_owned());
                assert_eq!(known, None, "a number was given twice");
                left = left.saturating_sub(1);
                if left == 0 {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(accepted.len() > before, "the child accepted nothing in round {kill}");

        let (store, opened) =
            open_tuned(folder.path(), Tuning::default(), aimass_core::runtime::clock::SystemClock::shared());
        assert_eq!(opened.quarantined, None);
        let mut last = 0;
        let mut found = BTreeMap::new();
        loop {
            let query = aimass_store::EventQuery { after_seq: last, limit: 5000, ..Default::default() };
            let page = store.events(query).await.unwrap();
            let Some(end) = page.last() else { break };
            last = end.seq;
            found.extend(page.iter().map(|e| (e.seq, e.id.to_string())));
        }
        assert_eq!(found.len() as u64, opened.last_seq, "no gaps");
        for (seq, id) in &accepted {
            assert_eq!(found.get(seq), Some(id), "seq {seq}");
        }
        // The killed process may have stored a few more than it could say.
        accepted = found;
        close(store).await;
    }
}
