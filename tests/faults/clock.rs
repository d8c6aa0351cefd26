//! Cell: the wall clock jumps by a year, both ways, under the running agent and between two runs.

use harness::agent::Agent;
use harness::api::{address_of, source_health};
use harness::wall_clock::WallClock;
use harness::{TIMEOUT, eventually};
use serde_json::Value;

use crate::rig::Rig;

/// The year in which the agent says that it connected.
async fn year_of_birth(rig: &mut Rig, agent: &Agent) -> i64 {
    let births = |rig: &Rig| -> Vec<Value> {
        let all = rig.subscriber.all();
        let status = all.iter().filter(|m| m.topic.ends_with("/status")).map(|m| m.json());
        status.filter(|s| s["state"] == "online").collect()
    };
    let before = births(rig).len();
    rig.way.cut();
    let born = eventually("another online", TIMEOUT, async || births(rig).get(before).cloned()).await;
    assert!(agent.pid() > 0);
    let since: jiff::Timestamp = born["since"].as_str().unwrap().parse().unwrap();
    i64::from(since.strftime("%Y").to_string().parse::<i16>().unwrap())
}

#[tokio::test]
async fn a_clock_that_jumps_by_a_year_loses_nothing_and_stops_no_camera() {
    let Some(clock) = WallClock::new() else { return };
    let mut rig = Rig::new().await;
    let accepted = rig.fill(300).await;
    rig.more = "[[camera]]\nid = \"a\"\nsource = \"test:\"\nchain = []\n".to_owned();
    // Half of the events wait: the connection is refused in between.
    let agent = Agent::run_with(&rig.config(), &clock.environment());
    let address = address_of(&agent).await;
    rig.arrived(1).await;
    let year = year_of_birth(&mut rig, &agent).await;
    for (jump, wanted) in [("+365d", year + 1), ("-365d", year - 1), ("+0d", year)] {
        clock.jump(jump);
        let told = year_of_birth(&mut rig, &agent).await;
        assert!(
            (told - wanted).abs() <= 1 && (jump == "+0d" || told != year),
            "{jump}: {told}, not {wanted}"
        );
        let seen = async || source_health(&address, "a").await["frames_received_total"].as_u64().unwrap();
        let before = seen().await;
        eventually("frames after the jump", TIMEOUT, async || (seen().await > before + 5).then_some(()))
            .await;
        assert_eq!(source_health(&address, "a").await["reconnects_total"], 0, "{jump}");
    }
    rig.settle(agent, &accepted).await;
    assert!(rig.delivery.receipts().is_empty(), "no event is too old because a clock jumped");
}

#[tokio::test]
async fn a_backlog_survives_a_start_a_year_later_and_one_a_year_earlier() {
    let Some(clock) = WallClock::new() else { return };
    let mut rig = Rig::new().await;
    let accepted = rig.fill(300).await;
    rig.way.set(|b| b.refuse = true).await;
    for jump in ["+365d", "-365d", "+365d"] {
        clock.jump(jump);
        let mut agent = Agent::run_with(&rig.config(), &clock.environment());
        Rig::says(&agent, "No connection to the broker").await;
        agent.terminate();
        assert!(agent.wait(TIMEOUT).await.success(), "{jump}: {}", agent.stderr().tail());
    }
    rig.way.set(|b| b.refuse = false).await;
    let agent = rig.agent();
    rig.settle(agent, &accepted).await;
    assert!(rig.delivery.receipts().is_empty());
}
