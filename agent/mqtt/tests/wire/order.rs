//! What may not wait does not wait: counted in messages that came before it, never in time.

use aimass_core::event::Severity;
use aimass_mqtt::BrokerConfig;
use harness::broker::Broker;
use harness::subscriber::{Message, Subscriber};

use crate::memory_outbox::MemoryOutbox;
use crate::rig::{Rig, SOON, config, seqs};
use crate::slow::SlowUplink;

const ALL: &str = "aimass/#";

/// How many messages of the backlog came after place `from` and before the message that fits.
fn overtaken(all: &[Message], from: usize, fits: impl Fn(&Message) -> bool) -> usize {
    let place = all.iter().position(fits).unwrap();
    all[from.min(place)..place].iter().filter(|m| m.topic.contains("/event/dock/")).count()
}

fn event_of(source: &str) -> impl Fn(&Message) -> bool {
    let topic = format!("aimass/v1/site/node/event/{source}/object");
    move |m| m.topic == topic
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_slow_way_an_alarm_a_live_event_and_the_health_overtake_the_backlog() {
    let broker = Broker::plain().await;
    // About six events a second: the backlog alone would take ten minutes.
    let uplink = SlowUplink::to(broker.port(), 3_000).await;
    let subscriber = Subscriber::on(broker.port(), ALL).await;
    let outbox = MemoryOutbox::new();
    outbox.accept_many(4000);
    let rig = Rig::with(BrokerConfig { ack_timeout_s: 60, ..config(&uplink.url()) }, outbox);
    // Long enough for the link to find out how slow the way is.
    subscriber.expect_all("the replay runs", SOON, |all| seqs(all).len() >= 20).await;

    for (source, severity) in [("gate", Severity::Alarm), ("door", Severity::Info)] {
        let before = subscriber.count();
        rig.outbox.accept_as(source, 0, severity);
        subscriber.expect(event_of(source)).within(SOON).await;
        let waited = overtaken(&subscriber.all(), before, event_of(source));
        assert!(waited <= 3, "{source}: {waited} messages of the backlog came before it");
    }
    let before = subscriber.count();
    rig.link.board().set("health", "{}", false).unwrap();
    let health = |m: &Message| m.topic.ends_with("/health");
    subscriber.expect(health).within(SOON).await;
    let waited = overtaken(&subscriber.all(), before, health);
    assert!(waited <= 3, "{waited} messages of the backlog came before the health");
    assert!(rig.outbox.left() > 3500, "the way was not slow");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alarms_that_waited_go_first_in_their_order_and_the_others_follow_in_theirs() {
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), ALL).await;
    let outbox = MemoryOutbox::new();
    for n in 0..600 {
        let severity = if n % 100 == 99 { Severity::Alarm } else { Severity::Notice };
        outbox.accept_as("dock", 0, severity);
    }
    // The alarms are read side by side with the rest, so slow down the rest.
    let rig = Rig::with(BrokerConfig { replay_per_s: 200, ..config(&broker.url()) }, outbox);
    rig.outbox.drained_to(0, SOON).await;
    let all = subscriber.expect_all("all events", SOON, |all| seqs(all).len() >= 600).await;
    let (alarms, others): (Vec<u64>, Vec<u64>) = seqs(&all).into_iter().partition(|seq| seq % 100 == 0);
    assert_eq!(alarms, [100, 200, 300, 400, 500, 600]);
    assert!(others.is_sorted(), "oldest first");
    let last_alarm = seqs(&all).iter().position(|seq| *seq == 600).unwrap();
    // A burst of the rate's bucket may be out before the alarms are read.
    assert!(last_alarm <= 40, "the last alarm came as number {last_alarm}");
    for message in all.iter().filter(|m| m.topic.contains("/event/")) {
        assert_eq!(message.json()["replay"], true, "alarms from before are replayed, too");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replay_keeps_to_its_rate_and_what_happens_now_does_not_count() {
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), ALL).await;
    let outbox = MemoryOutbox::new();
    outbox.accept_many(1000);
    // So slow that not even a tenth of it can go while the others pass.
    let rig = Rig::with(BrokerConfig { replay_per_s: 1, ..config(&broker.url()) }, outbox);
    rig.online().await;
    for _ in 0..300 {
        rig.outbox.accept("gate");
    }
    subscriber
        .expect_all("what happens now", SOON, |all| all.iter().filter(|m| event_of("gate")(m)).count() == 300)
        .await;
    assert!(rig.outbox.left() > 900, "the replay did not keep to its rate: {} left", rig.outbox.left());
}
