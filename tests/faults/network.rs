//! Cells: the network is slow, loses acknowledgements, or is cut at any byte.

use std::time::Duration;

use harness::random::SeededRandom;
use harness::{TIMEOUT, by_depth, eventually};

use crate::rig::Rig;

#[tokio::test]
async fn a_port_that_accepts_and_says_nothing_is_named_and_left() {
    let mut rig = Rig::new().await;
    let accepted = rig.fill(200).await;
    rig.way.set(|b| b.silent = true).await;
    let agent = rig.agent();
    Rig::says(&agent, "no answer within 2 s").await;
    let tries = rig.way.connections();
    eventually("another try", TIMEOUT, async || (rig.way.connections() > tries).then_some(())).await;
    rig.way.set(|b| b.silent = false).await;
    rig.settle(agent, &accepted).await;
}

#[tokio::test]
async fn lost_acknowledgements_cause_duplicates_and_no_loss() {
    let mut rig = Rig::new().await;
    let accepted = rig.fill(by_depth(150, 600)).await;
    rig.way.set(|b| b.drop_pubacks = true).await;
    let agent = rig.agent();
    let connections = by_depth(3, 8);
    eventually("new connections for want of acknowledgements", 2 * TIMEOUT, async || {
        (rig.way.connections() >= connections).then_some(())
    })
    .await;
    assert!(rig.way.dropped_pubacks() > 0);
    rig.way.set(|b| b.drop_pubacks = false).await;
    rig.settle(agent, &accepted).await;
    assert!(rig.delivery.doubles() > 0, "what is not acknowledged is sent again");
}

#[tokio::test]
async fn an_uplink_of_1_kb_a_second_delivers_everything_on_one_connection() {
    let mut rig = Rig::new().await;
    // Default settings: nothing is tuned for the slow uplink.
    rig.broker_lines.clear();
    let accepted = rig.fill(by_depth(16, 150)).await;
    rig.way.set(|b| b.bytes_per_second = Some(1000)).await;
    let mut agent = rig.agent();
    rig.settle_within(&mut agent, &accepted, Duration::from_secs(300)).await;
    assert_eq!(rig.way.connections(), 1, "slow is not broken");
    assert_eq!(rig.delivery.doubles(), 0);
}

#[tokio::test]
async fn a_slow_answer_to_everything_costs_time_only() {
    let mut rig = Rig::new().await;
    let accepted = rig.fill(by_depth(100, 500)).await;
    rig.way.set(|b| b.delay = Duration::from_millis(300)).await;
    let mut agent = rig.agent();
    rig.settle_within(&mut agent, &accepted, Duration::from_secs(300)).await;
    assert_eq!((rig.way.connections(), rig.delivery.doubles()), (1, 0));
}

#[tokio::test]
async fn a_half_open_connection_is_noticed_and_left() {
    let mut rig = Rig::new().await;
    let accepted = rig.fill(by_depth(800, 3000)).await;
    let agent = rig.agent();
    for round in 1..=by_depth(1, 5) {
        rig.arrived(round * 100).await;
        rig.way.half_open();
        let open = rig.way.connections();
        eventually("a new connection", TIMEOUT, async || (rig.way.connections() > open).then_some(())).await;
    }
    rig.settle(agent, &accepted).await;
}

#[tokio::test]
async fn a_half_open_connection_with_nothing_to_send_is_noticed_by_its_keep_alive() {
    if harness::skip_unless_thorough() {
        return;
    }
    let mut rig = Rig::new().await;
    let accepted = rig.fill(10).await;
    let agent = rig.agent();
    rig.delivery.settle(&rig.subscriber, &accepted, TIMEOUT).await;
    rig.way.half_open();
    let open = rig.way.connections();
    eventually("a new connection", TIMEOUT, async || (rig.way.connections() > open).then_some(())).await;
    rig.settle(agent, &accepted).await;
}

#[tokio::test]
async fn a_black_hole_is_noticed_and_left() {
    let mut rig = Rig::new().await;
    let accepted = rig.fill(800).await;
    let agent = rig.agent();
    rig.arrived(100).await;
    rig.way.set(|b| b.black_hole = true).await;
    Rig::says(&agent, "No connection to the broker").await;
    rig.way.set(|b| b.black_hole = false).await;
    rig.settle(agent, &accepted).await;
}

#[tokio::test]
async fn connections_that_are_cut_in_mid_packet_cost_no_event() {
    let mut rig = Rig::new().await;
    let mut random = SeededRandom::new("cuts in mid-packet");
    let accepted = rig.fill(by_depth(400, 2000)).await;
    let most = Some(random.range(3_000, 60_000));
    rig.way.set(|b| b.cut_after_bytes = most).await;
    let agent = rig.agent();
    for cut in 1..=by_depth(8, 40) {
        let Rig { way, .. } = &rig;
        eventually("a cut, or the end", TIMEOUT, async || {
            (way.cuts() >= cut || rig.subscriber.count() >= accepted.len()).then_some(())
        })
        .await;
        let most = Some(random.range(3_000, 60_000));
        rig.way.set(|b| b.cut_after_bytes = most).await;
    }
    assert!(rig.way.cuts() > 0, "nothing was cut");
    rig.way.set(|b| b.cut_after_bytes = None).await;
    rig.settle(agent, &accepted).await;
}
