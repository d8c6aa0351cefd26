//! Reports of connections, frames and the clock, and the events that become of them.

use std::sync::Arc;
use std::time::Duration;

use aimass_core::runtime::clock::{SharedClock, SimulatedClock};
use aimass_core::source_health::VideoHealthConfig;
use aimass_core::traits::{Ended, SourceError, SourceErrorKind, StreamInfo};
use aimass_media::reconnect::SourceState;
use aimass_media::video::SourceOptions;

use super::*;

fn clock() -> SimulatedClock {
    SimulatedClock::at(Timestamp::from_second(1_800_000_000).unwrap())
}

fn book(clock: &SimulatedClock) -> FaultEpisodes {
    let node = Node::new("s".parse().unwrap(), "n".parse().unwrap(), Arc::new(clock.clone()));
    FaultEpisodes { node, open: BTreeMap::new() }
}

fn eyes(clock: &SimulatedClock) -> CameraHealth {
    let source = SourceOptions::new("dock".parse().unwrap(), "rtsp://10.0.0.7/a".parse().unwrap());
    CameraHealth::new(VideoHealthConfig::default(), &source, Arc::new(clock.clone()))
}

fn failed() -> SourceState {
    let error = SourceError::new(SourceErrorKind::Unavailable, "camera dock: refuses");
    SourceState::Failed { error, retry_in: Duration::from_secs(1) }
}

fn stalled() -> SourceState {
    SourceState::Stalled { message: "camera dock: silent".into(), retry_in: Duration::from_secs(1) }
}

/// "began black", with the reason of an end.
fn words(happenings: &[EventData]) -> Vec<String> {
    let word = |h: &EventData| match h.phase {
        Phase::Began => format!("began {}", h.label),
        _ => format!("ended {}: {}", h.label, h.attributes["end_reason"].as_str().unwrap()),
    };
    happenings.iter().map(word).collect()
}

#[test]
fn a_camera_that_restarts_is_no_loss_and_one_that_stays_away_is() {
    let clock = clock();
    let mut eyes = eyes(&clock);
    let first = eyes.state(&failed()).unwrap();
    assert_eq!((first.state, first.meaning), ("failed", Meaning::StateOnly));
    clock.advance(Duration::from_secs(10));
    let later = eyes.state(&failed()).unwrap();
    assert_eq!(later.meaning, Meaning::Lost(Severity::Notice));
    assert_eq!(later.facts["error"], "camera dock: refuses");
    // One that was silent for `stall_after_s` has had its time.
    assert_eq!(eyes.state(&stalled()).unwrap().meaning, Meaning::Lost(Severity::Notice));
    // What only another configuration can help is not waited for.
    let error = SourceError::new(SourceErrorKind::Config, "no such option");
    assert_eq!(eyes.failed(&error).meaning, Meaning::Lost(Severity::Notice));
}

#[test]
fn stalled_and_failed_are_one_loss_and_it_ends_with_the_first_frame() {
    let clock = clock();
    let (mut eyes, mut book, dock) = (eyes(&clock), book(&clock), "dock".parse().unwrap());
    let mut told = Vec::new();
    let delivering = SourceState::Delivering(StreamInfo::default());
    for state in [stalled(), failed(), stalled(), delivering.clone(), delivering] {
        clock.advance(Duration::from_secs(20));
        told.extend(eyes.state(&state).map(|report| book.take(&dock, &report)).unwrap_or_default());
    }
    assert_eq!(words(&told), ["began stalled", "ended stalled: recovered"]);
    assert_eq!(told[0].occurrence_id, told[1].occurrence_id);
    assert_eq!(told[1].attributes["duration_s"], 60.0);
}

#[test]
fn the_end_of_a_file_is_no_loss_and_ends_what_is_open() {
    let clock = clock();
    let (mut eyes, mut book, dock) = (eyes(&clock), book(&clock), "dock".parse().unwrap());
    let end = eyes.state(&SourceState::Ended(Ended::EndOfStream)).unwrap();
    assert_eq!(book.take(&dock, &end), []);
    book.take(&dock, &Report::new("frozen", Meaning::Lost(Severity::Notice)));
    assert_eq!(words(&book.take(&dock, &end)), ["ended frozen: source_ended"]);
    // A stop of the node is told when the node's tasks end.
    book.take(&dock, &Report::new("black", Meaning::Lost(Severity::Alarm)));
    let stop = eyes.state(&SourceState::Ended(Ended::Stopped)).unwrap();
    assert!(stop.is_blind() && book.take(&dock, &stop).is_empty());
    assert_eq!(words(&book.end_all("node_stopping")), ["ended black: node_stopping"]);
}

#[test]
fn a_worse_loss_replaces_another_and_every_began_has_one_ended() {
    let clock = clock();
    let (mut book, dock, yard) = (book(&clock), "dock".parse().unwrap(), "yard".parse().unwrap());
    let lost = |what| Report::new(what, Meaning::Lost(Severity::Alarm));
    let mut told = Vec::new();
    for (source, what) in [(&dock, "moved"), (&dock, "covered"), (&yard, "black"), (&dock, "covered")] {
        told.extend(book.take(source, &lost(what)));
    }
    told.extend(book.end(&dock, "source_removed"));
    told.extend(book.end_all("node_stopping"));
    let expected = [
        "began moved",
        "ended moved: replaced",
        "began covered",
        "began black",
        "ended covered: source_removed",
        "ended black: node_stopping",
    ];
    assert_eq!(words(&told), expected);
    let things = |phase| {
        let mut things: Vec<_> = told.iter().filter(|h| h.phase == phase).map(|h| h.occurrence_id).collect();
        things.sort();
        things
    };
    assert_eq!(things(Phase::Began), things(Phase::Ended));
}

#[test]
fn what_is_open_is_kept_as_a_value_that_the_next_life_reads() {
    let clock = clock();
    let mut book = book(&clock);
    let began = book.take(&"dock".parse().unwrap(), &Report::new("black", Meaning::Lost(Severity::Alarm)));
    let (_, value) = book.value();
    let mut next = FaultEpisodes { node: book.node.clone(), open: serde_json::from_value(value).unwrap() };
    clock.advance(Duration::from_secs(90));
    let ended = next.end_all("restarted");
    assert_eq!((ended[0].occurrence_id, ended[0].severity), (began[0].occurrence_id, Severity::Alarm));
    assert_eq!(ended[0].attributes["duration_s"], 90.0);
    assert_eq!(next.value().1, serde_json::json!({}));
}

#[test]
fn a_clock_that_stays_wrong_is_a_loss_and_one_that_is_set_in_time_is_none() {
    let simulated = clock();
    let clock: SharedClock = Arc::new(simulated.clone());
    let mut watch = ClockWatch::new(|now| now.as_second() > 1_799_000_000);
    let mut look = |pass_s| {
        simulated.advance(Duration::from_secs(pass_s));
        watch.look(&clock).map(|report| (report.state, report.meaning))
    };
    assert_eq!(look(0), Some(("ok", Meaning::Well("recovered"))));
    assert_eq!(look(10), None);
    simulated.set_wall(Timestamp::UNIX_EPOCH);
    assert_eq!(look(10), Some(("clock_not_synchronized", Meaning::StateOnly)));
    assert_eq!(look(50), None);
    assert_eq!(look(10), Some(("clock_not_synchronized", Meaning::Lost(Severity::Notice))));
    assert_eq!(look(10), None);
    simulated.set_wall(Timestamp::from_second(1_800_000_000).unwrap());
    assert_eq!(look(10), Some(("ok", Meaning::Well("recovered"))));
}

#[tokio::test]
async fn the_nodes_own_reports_go_through_the_sources_queue_and_keep_it_not_open() {
    let (inputs, mut queue) = tokio::sync::mpsc::channel(4);
    let teller = NodeHealthReporter::new(&inputs);
    teller.sight(Report::new("clock_not_synchronized", Meaning::StateOnly)).await;
    let got = queue.recv().await;
    assert!(
        matches!(got, Some(crate::pipeline::processor::Input::Sight { source, .. }) if source == node_source())
    );
    drop(inputs);
    assert!(queue.recv().await.is_none());
    teller.sight(Report::new("ok", Meaning::Well("recovered"))).await;
}
