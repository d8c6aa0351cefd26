//! What takes the place of what is being tried, and what waits for a new start.

use super::offers::told;
use super::*;

#[test]
fn what_needs_a_new_start_is_put_off_until_then_and_tried_again() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    take(&mut keeper, &rig.push(3, 20));
    rig.write(9, &rig.trust());
    candidate(keeper.offer_reload());
    let back = keeper.put_off(because("needs a new start"));
    assert_eq!((mark(&back), keeper.is_trying()), (20, false));
    assert_eq!(told(&keeper), (ReportState::RolledBack, Some(0), 3));
    assert_eq!(keeper.report().errors, because("needs a new start"));
    drop(keeper);
    let (mut keeper, start) = rig.open();
    assert_eq!((start.trial, mark(&start.choice)), (true, 9));
    keeper.begun().unwrap();
    keeper.roll_back(because("dark"));
    drop(keeper);
    assert!(!rig.open().1.trial, "it had its new start");
}

#[test]
fn a_file_that_changes_in_what_is_its_own_keeps_the_push_that_is_being_tried() {
    for restart in [false, true] {
        let rig = Rig::new(7);
        let (mut keeper, _) = rig.open();
        take(&mut keeper, &rig.push(3, 20));
        candidate(keeper.offer_push(&rig.push(4, 30)));
        rig.write(7, &format!("{}[http]\nlisten = \"127.0.0.1:9999\"\n", rig.trust()));
        let choice = if restart {
            drop(keeper);
            let (next, start) = rig.open();
            keeper = next;
            start.choice
        } else {
            keeper.begun().unwrap();
            candidate(keeper.offer_local())
        };
        assert_eq!((mark(&choice), choice.version, choice.origin), (30, 4, Origin::Push), "{restart}");
        assert_eq!(choice.config.http.listen.port(), 9999);
        assert_eq!(told(&keeper), (ReportState::Probation, Some(4), 3));
        keeper.begun().unwrap();
        keeper.commit(&[]).unwrap();
        assert_eq!(told(&keeper), (ReportState::Applied, Some(4), 4));
        assert_eq!(keeper.report().errors, []);
    }
}

#[test]
fn a_push_that_the_file_takes_the_place_of_is_told_so_however_that_ends() {
    for good in [false, true] {
        let rig = Rig::new(7);
        let (mut keeper, _) = rig.open();
        candidate(keeper.offer_push(&rig.push(4, 30)));
        keeper.begun().unwrap();
        for mark in [9, 10] {
            rig.write(mark, &rig.trust());
            candidate(keeper.offer_local());
            keeper.begun().unwrap();
            let errors = keeper.report().errors;
            assert!(
                errors[0].message.contains("version 4 was superseded by the node's own file"),
                "{errors:?}"
            );
            assert_eq!(errors.len(), 1);
        }
        if good {
            keeper.commit(&[]).unwrap();
        } else {
            keeper.roll_back(because("dark"));
        }
        let report = keeper.report();
        assert!(report.errors.last().unwrap().message.contains("version 4"), "{:?}", report.errors);
        assert_eq!(report.desired_version, Some(0));
        // A newer push answers for the older one.
        take(&mut keeper, &rig.push(5, 40));
        assert_eq!(keeper.report().errors, []);
    }
}
