//! Whether a start says that the node's own file is not in force.

use super::super::base_config::Local;
use super::*;

/// Whether the start with the file as it is now would say so.
fn is_missed(rig: &Rig) -> bool {
    let (keeper, start) = rig.open();
    assert!(!start.trial);
    keeper.state.committed.as_ref().unwrap().misses(&Local::read(&rig.file()).digest)
}

/// What is on trial proves good.
fn prove(keeper: &mut ConfigManager) {
    keeper.begun().unwrap();
    keeper.commit(&[]).unwrap();
}

fn bring_back(rig: &Rig) {
    let (mut keeper, _) = rig.open();
    candidate(keeper.offer_rollback(None));
    prove(&mut keeper);
}

#[test]
fn a_file_that_is_wrong_is_missed_and_one_that_runs_is_not() {
    let rig = Rig::new(7);
    assert!(!is_missed(&rig));
    rig.write(8, "[nonsense]\n");
    assert!(is_missed(&rig));
    rig.write(7, &rig.trust());
    assert!(!is_missed(&rig));
}

#[test]
fn a_file_that_was_set_aside_by_a_roll_back_is_not_missed_and_one_that_is_edited_later_is() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    take(&mut keeper, &rig.push(3, 20));
    drop(keeper);
    bring_back(&rig);
    assert!(!is_missed(&rig));
    rig.write(8, "[nonsense]\n");
    assert!(is_missed(&rig));
    assert!(is_missed(&rig), "at every start");
    // Somebody saw that and asked for an older one all the same.
    bring_back(&rig);
    assert!(!is_missed(&rig));
}

#[test]
fn a_file_that_a_roll_back_set_aside_can_be_tried_again_by_a_reload_and_not_by_a_start() {
    let rig = Rig::new(7);
    drop(rig.open());
    rig.write(8, &rig.trust());
    let (mut keeper, start) = rig.open();
    assert!(start.trial);
    prove(&mut keeper);
    drop(keeper);
    bring_back(&rig);
    let (mut keeper, start) = rig.open();
    assert_eq!((start.trial, mark(&start.choice)), (false, 7), "what was asked for holds");
    assert_eq!(mark(&candidate(keeper.offer_reload())), 8);
    prove(&mut keeper);
    assert_eq!(keeper.offer_reload(), Decision::Same);
    assert!(!is_missed(&rig));
}

#[test]
fn a_roll_back_from_a_push_to_the_file_that_is_there_leaves_nothing_to_reload() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    take(&mut keeper, &rig.push(3, 20));
    drop(keeper);
    bring_back(&rig);
    let (mut keeper, start) = rig.open();
    assert_eq!(mark(&start.choice), 7);
    assert_eq!(keeper.offer_reload(), Decision::Same);
}
