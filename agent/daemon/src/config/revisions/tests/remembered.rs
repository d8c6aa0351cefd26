//! How the node worked, for a trial that begins with the next life.

use super::*;

fn broken(camera: &str) -> Value {
    json!({ "delivering": ["own"], "unanalysed": { camera: "no model" }, "gave_up": {}, "online": true })
}

#[test]
fn how_the_node_worked_with_the_last_known_good_is_there_in_the_next_life() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    assert_eq!(keeper.remembered(), None);
    keeper.remember(&broken("a"));
    let (mut keeper, _) = rig.open();
    assert_eq!(keeper.remembered(), Some(broken("a")));
    // What a candidate does says nothing of the last known good.
    candidate(keeper.offer_push(&rig.push(1, 8)));
    keeper.begun().unwrap();
    keeper.remember(&broken("b"));
    assert_eq!(keeper.remembered(), Some(broken("a")));
    keeper.commit(&[]).unwrap();
    keeper.remember(&broken("b"));
    assert_eq!(rig.open().0.remembered(), Some(broken("b")));
}

#[test]
fn the_same_is_not_written_again_and_what_is_damaged_counts_as_never_seen() {
    let rig = Rig::new(7);
    let disk = TiredDisk::new(i64::MAX);
    let (mut keeper, _) = rig.open_with(disk.clone());
    keeper.remember(&broken("a"));
    let asked = disk.asked.load(Ordering::Relaxed);
    keeper.remember(&broken("a"));
    assert_eq!(disk.asked.load(Ordering::Relaxed), asked);
    write_atomically(&rig.keeper_folder().join("vitals"), b"half a fi").unwrap();
    assert_eq!(rig.open().0.remembered(), None);
}
