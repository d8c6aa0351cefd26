//! Cells: the disk is full, read-only, or fails under the running agent. A clip makes the events.

use harness::disk::Disk;
use harness::media::fixture;
use harness::{TIMEOUT, by_depth};

use crate::rig::Rig;

/// A street clip at full speed, in a loop.
fn street() -> String {
    format!(
        "[[camera]]\nid = \"street\"\nsource = \"file:{}?realtime=false&loop=true\"\nfps = 5\n\
         [[camera.zone]]\nid = \"road\"\npolygon = [[0.0,0.3],[0.999,0.3],[0.999,0.999],[0.0,0.999]]\n",
        fixture("bikes.mp4").display()
    )
}

#[tokio::test]
async fn a_full_disk_holds_events_back_until_there_is_room_again() {
    let Some(disk) = Disk::small(2048) else { return };
    let mut rig = Rig::new().await;
    rig.store = Some(disk.path().join("agent.db"));
    rig.more = street();
    let mut agent = rig.agent();
    rig.arrived(2).await;
    let ballast = disk.fill();
    Rig::says(&agent, "Events cannot be stored; trying until they can").await;
    let before = rig.delivery.arrived();
    std::fs::remove_file(ballast).unwrap();
    rig.arrived(before + by_depth(4, 30)).await;
    // Stopping the program ends all open occurrences: these events must arrive too.
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success(), "{}", agent.stderr().tail());
    let all = harness::delivery::Accepted::in_store(&rig.store()).and_perhaps_more();
    rig.delivery.settle(&rig.subscriber, &all, TIMEOUT).await;
}

#[tokio::test]
async fn a_disk_that_is_read_only_at_start_is_reported_and_its_events_are_delivered_later() {
    let Some(disk) = Disk::small(8192) else { return };
    let mut rig = Rig::new().await;
    rig.store = Some(disk.path().join("agent.db"));
    let accepted = rig.fill(200).await;
    disk.remount("ro");
    let mut agent = rig.agent();
    let ended = agent.wait(TIMEOUT).await;
    assert_eq!(ended.code(), Some(69), "{}", agent.stderr().tail());
    // The last line may still be on its way from the pipe.
    let names_it = |line: &str| line.to_lowercase().contains("read-only") && line.contains("agent.db");
    agent.stderr().expect("the store and what is wrong with its disk", TIMEOUT, names_it).await;
    disk.remount("rw");
    let agent = rig.agent();
    rig.settle(agent, &accepted).await;
}

#[tokio::test]
async fn a_card_that_fails_under_the_agent_is_reported_and_loses_no_accepted_event() {
    let Some(disk) = Disk::card(24) else { return };
    let mut rig = Rig::new().await;
    rig.store = Some(disk.path().join("agent.db"));
    rig.more = street();
    let mut agent = rig.agent();
    rig.arrived(by_depth(2, 20)).await;
    disk.break_down();
    let said = Rig::says(&agent, "Events cannot be stored; trying until they can").await;
    assert!(said.contains("read-only") || said.contains("I/O"), "{said}");
    // The board is switched off and on; its file system is checked.
    agent.kill().await;
    disk.repair();
    rig.more.clear();
    let agent = rig.agent();
    Rig::says(&agent, "Connected to the broker").await;
    let accepted = harness::delivery::Accepted::in_store(&rig.store());
    assert!(!accepted.is_empty());
    rig.settle(agent, &accepted).await;
}
