//! What the centre sends to the node: desired configuration, commands and their answers, further topics.

use aimass_mqtt::{Extras, ReplyError};
use bytes::Bytes;
use harness::broker::{Broker, BrokerSetup};
use harness::requester::Requester;
use harness::subscriber::Subscriber;

use crate::memory_outbox::MemoryOutbox;
use crate::rejecting_broker::RefusingProxy;
use crate::rig::{Rig, SOON, config, seqs};

const ROOT: &str = "aimass/v1/site/node/";

fn topic(below: &str) -> String {
    format!("{ROOT}{below}")
}

/// Waits until the link has subscribed: until then a command would reach nobody.
async fn subscribed(broker: &Broker) {
    let log = broker.log().unwrap();
    log.expect("the link subscribes", SOON, |l| l.contains("Sending SUBACK to aimass-site-node")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_desired_configuration_is_there_after_a_connect_follows_changes_and_comes_again() {
    let broker = Broker::plain().await;
    let proxy = harness::proxy::Proxy::to(broker.port()).await;
    let centre = Requester::on(broker.port()).await;
    centre.publish(&topic("config/desired"), b"1", true).await;
    let rig = Rig::at(&proxy.url());
    let mut desired = rig.link.desired();
    let is = |text: &'static str| move |d: &Option<Bytes>| d.as_deref() == Some(text.as_bytes());
    tokio::time::timeout(SOON, desired.wait_for(is("1"))).await.unwrap().unwrap();
    centre.publish(&topic("config/desired"), b"2", true).await;
    tokio::time::timeout(SOON, desired.wait_for(is("2"))).await.unwrap().unwrap();
    desired.mark_unchanged();
    proxy.cut();
    tokio::time::timeout(SOON, desired.changed()).await.unwrap().unwrap();
    assert!(is("2")(&desired.borrow_and_update()), "told again after a reconnect");
    centre.publish(&topic("config/desired"), b"", true).await;
    tokio::time::timeout(SOON, desired.wait_for(Option::is_none)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_answered_where_it_asks_for_with_what_it_knows_it_by() {
    let broker = Broker::plain().await;
    let mut centre = Requester::on(broker.port()).await;
    let rig = Rig::at(&broker.url());
    let mut commands = rig.link.take_commands().unwrap();
    assert!(rig.link.take_commands().is_none());
    subscribed(&broker).await;
    centre.publish(&topic("command/probe"), b"old", true).await;
    centre.ask(&topic("command/probe"), b"{}", b"no. 7").await;
    let command = tokio::time::timeout(SOON, commands.recv()).await.unwrap().unwrap();
    assert_eq!((command.name.as_str(), &command.payload[..]), ("probe", &b"{}"[..]));
    rig.link.replies().reply(command.reply_to.as_ref().unwrap(), "done").unwrap();
    let answer = centre.answer(SOON).await;
    assert_eq!((answer.payload.as_slice(), answer.correlation.as_slice()), (&b"done"[..], &b"no. 7"[..]));
    assert!(commands.try_recv().is_err(), "the retained command is ignored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_too_many_commands_wait_the_next_ones_are_told_and_events_flow_on() {
    let broker = Broker::plain().await;
    let mut centre = Requester::on(broker.port()).await;
    let subscriber = Subscriber::on(broker.port(), "aimass/v1/site/node/event/#").await;
    let rig = Rig::at(&broker.url());
    subscribed(&broker).await;
    for n in 0..30 {
        centre.ask(&topic("command/probe"), b"{}", format!("{n}").as_bytes()).await;
    }
    rig.outbox.accept_many(500);
    for _ in 16..30 {
        let answer = centre.answer(SOON).await;
        let word: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(word["error"]["kind"], "busy");
        let number: u32 = std::str::from_utf8(&answer.correlation).unwrap().parse().unwrap();
        assert!(number >= 16, "the first sixteen wait for whoever carries them out");
    }
    subscriber.expect_all("the events", SOON, |all| seqs(all).len() == 500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_messages_does_not_hold_up_what_the_node_has_to_say() {
    let broker = Broker::plain().await;
    let centre = Requester::on(broker.port()).await;
    let subscriber = Subscriber::on(broker.port(), "aimass/v1/site/node/event/#").await;
    let rig = Rig::at(&broker.url());
    subscribed(&broker).await;
    let topic = topic("command/flood");
    let flood = centre.flood(&topic, 2_000);
    let speak = async {
        for n in 1..=200 {
            rig.outbox.accept("dock");
            subscriber.expect_all("each event", SOON, |all| seqs(all).len() >= n).await;
        }
    };
    tokio::select! {
        () = speak => {}
        () = flood => panic!("the flood ended"),
    }
    assert_eq!(rig.link.status().borrow().reconnects, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_refused_is_named_and_stops_nothing() {
    // Mosquitto 2.0 grants every subscription and then delivers nothing, so the refusal is written in its place.
    let broker = Broker::plain().await;
    let refusing = RefusingProxy::to(broker.port()).await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let rig = Rig::at(&refusing.url());
    let status = rig.status("the refusal is named", |s| s.subscription_error.is_some()).await;
    let said = status.subscription_error.unwrap();
    assert!(said.contains("command/+ (not authorised)") && !said.contains("config/desired"), "{said}");
    rig.outbox.accept_many(50);
    subscriber.expect_all("the events", SOON, |all| seqs(all).len() == 50).await;
    refusing.relent();
    let status = rig.status("the broker relents", |s| s.subscription_error.is_none()).await;
    assert_eq!(status.reconnects, 0, "asked again on the same connection");
    let centre = Requester::on(broker.port()).await;
    let mut commands = rig.link.take_commands().unwrap();
    centre.publish(&topic("command/probe"), b"{}", false).await;
    tokio::time::timeout(SOON, commands.recv()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn further_topics_are_heard_and_documents_outside_of_the_root_are_told() {
    let broker = Broker::plain().await;
    let centre = Requester::on(broker.port()).await;
    let subscriber = Subscriber::on(broker.port(), "homeassistant/#").await;
    let extras = Extras { notices_of: vec!["homeassistant/status".into()], ..Extras::default() };
    let rig = Rig::with_extras(config(&broker.url()), MemoryOutbox::new(), extras, |_| {});
    let mut notices = rig.link.take_notices().unwrap();
    subscribed(&broker).await;
    rig.link.board().set_absolute("homeassistant/device/x/config", "{}").unwrap();
    subscriber.expect(|m| m.topic == "homeassistant/device/x/config").within(SOON).await;
    centre.publish("homeassistant/status", b"online", false).await;
    let notice = tokio::time::timeout(SOON, notices.recv()).await.unwrap().unwrap();
    assert_eq!((notice.topic.as_str(), &notice.payload[..]), ("homeassistant/status", &b"online"[..]));
    rig.link.board().remove_absolute("homeassistant/device/x/config");
    subscriber.expect(|m| m.topic.ends_with("/config") && m.payload.is_empty()).within(SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_above_the_broker_s_limit_is_replaced_by_the_word_that_it_is() {
    let broker = BrokerSetup::new().line("max_packet_size 4000").start().await;
    let mut centre = Requester::on(broker.port()).await;
    let rig = Rig::at(&broker.url());
    let mut commands = rig.link.take_commands().unwrap();
    subscribed(&broker).await;
    centre.ask(&topic("command/snapshot"), b"{}", b"1").await;
    let command = tokio::time::timeout(SOON, commands.recv()).await.unwrap().unwrap();
    rig.link.replies().reply(&command.reply_to.unwrap(), vec![0; 10_000]).unwrap();
    let word: serde_json::Value = serde_json::from_slice(&centre.answer(SOON).await.payload).unwrap();
    assert_eq!(word["error"]["kind"], "too_large");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_session_that_lasts_commands_wait_at_the_broker_while_the_node_is_away() {
    let broker = Broker::plain().await;
    let proxy = harness::proxy::Proxy::to(broker.port()).await;
    let centre = Requester::on(broker.port()).await;
    let lasting = aimass_mqtt::BrokerConfig { session_expiry_s: 600, ..config(&proxy.url()) };
    let rig = Rig::with(lasting, MemoryOutbox::new());
    let mut commands = rig.link.take_commands().unwrap();
    subscribed(&broker).await;
    proxy.set(|b| b.refuse = true).await;
    proxy.cut();
    rig.status("the node is away", |s| s.last_error.is_some()).await;
    centre.publish(&topic("command/probe"), b"while away", false).await;
    proxy.set(|b| b.refuse = false).await;
    let command = tokio::time::timeout(SOON, commands.recv()).await.unwrap().unwrap();
    assert_eq!(&command.payload[..], b"while away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_without_a_broker_wait_up_to_their_bound_and_never_block() {
    let rig = Rig::at("mqtt://127.0.0.1:1");
    let to = aimass_mqtt::ReplyTo::new("answers", None, ROOT).unwrap();
    let handed_in = (0..40).take_while(|_| rig.link.replies().reply(&to, "x").is_ok()).count();
    assert_eq!(handed_in, 16);
    assert_eq!(rig.link.replies().reply(&to, "x"), Err(ReplyError::Full));
}
