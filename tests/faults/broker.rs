//! Cells: the broker is absent, killed, loses its sessions, gives our session to another client, revokes our access.

use harness::agent::Agent;
use harness::api::{address_of, get_json};
use harness::broker::BrokerSetup;
use harness::{TIMEOUT, by_depth, eventually};
use rumqttc::v5::{AsyncClient, MqttOptions};

use crate::rig::{CLIENT_ID, Rig};

#[tokio::test]
async fn a_broker_that_is_absent_at_start_gets_everything_in_order_later() {
    let mut rig = Rig::new().await;
    let accepted = rig.fill(by_depth(400, 5000)).await;
    rig.way.set(|b| b.refuse = true).await;
    let agent = rig.agent();
    Rig::says(&agent, "No connection to the broker").await;
    assert_eq!(rig.subscriber.count(), 0, "nothing passes a closed door");
    rig.way.set(|b| b.refuse = false).await;
    rig.settle(agent, &accepted).await;
    rig.delivery.check_order();
    assert!(rig.delivery.events().all(|event| event["replay"] == true), "all of them waited");
    assert_eq!(rig.delivery.doubles(), 0);
}

/// How many messages were acknowledged to the agent.
async fn acknowledged(agent: &Agent) -> u64 {
    let health = get_json(&address_of(agent).await, "/healthz").await;
    health["broker"]["delivered_total"].as_u64().unwrap_or_else(|| panic!("{health}"))
}

/// Killed in the middle of a replay, three times.
async fn outlives_a_broker_that_is_killed(setup: BrokerSetup) {
    let mut rig = Rig::on(setup).await;
    let accepted = rig.fill(by_depth(1200, 6000)).await;
    let agent = rig.agent();
    for round in 1..=3u64 {
        rig.arrived(accepted.len() * round as usize / 5).await;
        // A broker may acknowledge a message right before it is killed without forwarding it: that loss is not ours. So
        // it is killed while nothing is in transit through it. What is in flight to it is lost.
        rig.way.set(|b| b.black_hole = true).await;
        let mut before = None;
        eventually("what the broker acknowledged", TIMEOUT, async || {
            let came = rig.subscriber.all().iter().filter(|m| !m.retained).count() as u64;
            let now = acknowledged(&agent).await;
            let is_settled = before.replace(now) == Some(now);
            (is_settled && came >= now).then_some(())
        })
        .await;
        rig.way.set(|b| b.refuse = true).await;
        rig.way.cut();
        rig.broker.kill().await;
        rig.broker.start().await;
        rig.subscriber.wait_subscribed(round + 1).await;
        rig.way.set(|b| (b.refuse, b.black_hole) = (false, false)).await;
    }
    rig.settle(agent, &accepted).await;
    rig.delivery.check_order();
}

#[tokio::test]
async fn a_broker_that_is_killed_and_comes_back_with_its_sessions_costs_no_event() {
    outlives_a_broker_that_is_killed(BrokerSetup::new().persistent()).await;
}

#[tokio::test]
async fn a_broker_that_is_killed_and_comes_back_without_its_sessions_costs_no_event() {
    outlives_a_broker_that_is_killed(BrokerSetup::new()).await;
}

#[tokio::test]
async fn a_second_client_with_our_id_loses_no_event_and_causes_no_reconnect_loop() {
    let mut rig = Rig::new().await;
    let accepted = rig.fill(by_depth(600, 3000)).await;
    let agent = rig.agent();
    for round in 1..=by_depth(3u64, 20) {
        rig.arrived(accepted.len() * round as usize / 30).await;
        let mut options = MqttOptions::new(CLIENT_ID, "127.0.0.1", rig.broker.port());
        options.set_clean_start(true);
        let (_client, mut eventloop) = AsyncClient::new(options, 4);
        // It is accepted, and disconnected when the agent reconnects.
        let taken = tokio::time::timeout(TIMEOUT, async { while eventloop.poll().await.is_ok() {} });
        taken.await.expect("the agent takes its session back");
    }
    // The reason must come from the broker. Mosquitto 2.0.11 only closes the connection.
    Rig::says(&agent, "No connection to the broker").await;
    let connections = rig.way.connections();
    rig.settle(agent, &accepted).await;
    assert!(connections <= 1 + 2 * by_depth(3, 20), "{connections} connections: no fight without a wait");
}

/// The subscriber may read all; the agent may say who it is and what `allowed` adds.
fn acl(allowed: &str) -> String {
    format!(
        "topic read #\ntopic write aimass/v1/test/board/status\ntopic write aimass/v1/test/board/health\n{allowed}"
    )
}

#[tokio::test]
async fn an_authorization_lost_during_replay_holds_events_back_until_it_returns() {
    let mut rig = Rig::on(BrokerSetup::new().acl(&acl("topic write aimass/#\n"))).await;
    let accepted = rig.fill(by_depth(1500, 6000)).await;
    // Slow, so that there is a middle.
    rig.way.set(|b| b.delay = std::time::Duration::from_millis(5)).await;
    let agent = rig.agent();
    rig.arrived(100).await;
    rig.broker.change_acl(&acl("topic write aimass/v1/test/board/event/dock/#\n")).await;
    // The camera that is still allowed is not held up.
    let dock = accepted.seqs().filter(|seq| (seq - 1) % 3 == 0).count();
    let Rig { delivery, subscriber, .. } = &mut rig;
    eventually("everything of the camera that is allowed", TIMEOUT, async || {
        delivery.read(subscriber);
        (delivery.events().filter(|e| e["source"] == "dock").count() == dock).then_some(())
    })
    .await;
    Rig::says(&agent, "not authorised").await;
    assert!(rig.delivery.arrived() < accepted.len(), "the other camera's events are held back");
    rig.broker.change_acl(&acl("topic write aimass/#\n")).await;
    rig.way.set(|b| b.delay = std::time::Duration::ZERO).await;
    rig.settle(agent, &accepted).await;
}
