//! The power goes after every single file operation.

use super::*;

/// What the node's life is made of; every step may find the disk gone.
fn live(rig: &Rig, disk: TiredDisk) -> Result<(), Failure> {
    let (mut keeper, start) = rig.try_open(disk)?;
    if start.trial {
        keeper.begun()?;
        keeper.commit(&[])?;
    }
    if let Decision::Candidate(_) = keeper.offer_push(&rig.push(5, 30)) {
        keeper.begun()?;
        keeper.commit(&[])?;
    }
    if let Decision::Candidate(_) = keeper.offer_push(&rig.push(6, 40)) {
        keeper.begun()?;
        keeper.roll_back(because("dark"));
    }
    if let Decision::Candidate(_) = keeper.offer_rollback(None) {
        keeper.begun()?;
        keeper.commit(&[])?;
    }
    Ok(())
}

#[test]
fn a_power_cut_after_any_file_operation_ends_in_a_configuration_that_was_known_to_be_good() {
    // How many operations that life has.
    let whole = TiredDisk::new(i64::MAX);
    let rig = Rig::new(7);
    take(&mut rig.open().0, &rig.push(4, 20));
    live(&rig, whole.clone()).unwrap();
    let all = whole.asked.load(Ordering::Relaxed);
    assert!(all > 20, "{all}");

    for works in 0..=all {
        let rig = Rig::new(7);
        take(&mut rig.open().0, &rig.push(4, 20));
        drop(live(&rig, TiredDisk::new(works)));
        // The power comes back.
        let (mut keeper, start) = rig.open();
        let good = mark(keeper.last_known_good());
        assert!([20, 30].contains(&good), "after {works}: {good} was never committed");
        let report = keeper.report();
        if start.trial {
            assert_eq!(report.state, ReportState::Probation, "after {works}");
            assert!([20, 30, 40].contains(&mark(&start.choice)), "after {works}");
            assert_eq!(mark(keeper.running()), good, "after {works}: it has not begun yet");
        } else {
            assert_eq!(mark(&start.choice), good, "after {works}");
            let expected = match report.desired_version {
                // What is in force, or what was taken back.
                Some(version) if version == report.running_version => ReportState::Applied,
                _ => ReportState::RolledBack,
            };
            assert!(
                report.state == expected || report.state == ReportState::RolledBack,
                "after {works}: {report:?}"
            );
            assert!(report.state == ReportState::Applied || !report.errors.is_empty(), "after {works}");
        }
        let highest = keeper.highest_version();
        assert!(highest >= start.choice.version && (4..=6).contains(&highest), "after {works}: {highest}");
        // No version is accepted twice, and life goes on.
        assert_eq!(keeper.offer_push(&rig.push(highest, 90)), Decision::Rejected, "after {works}");
        take(&mut keeper, &rig.push(highest + 1, 50));
        drop(keeper);
        let (_, start) = rig.open();
        assert_eq!((start.trial, mark(&start.choice)), (false, 50), "after {works}");
    }
}

#[test]
fn a_trial_that_had_not_begun_is_begun_anew_and_one_that_had_is_taken_back() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    candidate(keeper.offer_push(&rig.push(1, 20)));
    drop(keeper);
    let (mut keeper, start) = rig.open();
    assert_eq!((start.trial, mark(&start.choice), mark(keeper.running())), (true, 20, 7));
    keeper.begun().unwrap();
    drop(keeper);
    let (keeper, start) = rig.open();
    assert_eq!((start.trial, mark(&start.choice)), (false, 7));
    let report = keeper.report();
    assert_eq!(
        (report.state, report.desired_version, report.running_version),
        (ReportState::RolledBack, Some(1), 0)
    );
    assert!(report.errors[0].message.contains("lost power"), "{:?}", report.errors);
}

#[test]
fn a_stop_in_order_is_no_verdict_and_the_next_start_tries_again() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    rig.write(20, &rig.trust());
    candidate(keeper.offer_reload());
    for _ in 0..2 {
        keeper.begun().unwrap();
        assert_eq!(mark(keeper.running()), 20);
        keeper.stopping();
        drop(keeper);
        let start;
        (keeper, start) = rig.open();
        assert_eq!((start.trial, mark(&start.choice)), (true, 20));
    }
    keeper.begun().unwrap();
    keeper.commit(&[]).unwrap();
    keeper.stopping();
    drop(keeper);
    let (_, start) = rig.open();
    assert_eq!((start.trial, mark(&start.choice)), (false, 20));
}

#[test]
fn a_full_disk_refuses_what_it_cannot_keep_and_takes_it_once_there_is_room() {
    let rig = Rig::new(7);
    let disk = TiredDisk::new(i64::MAX);
    let (mut keeper, _) = rig.open_with(disk.clone());
    let message = rig.push(1, 20);
    disk.left.store(0, Ordering::Relaxed);
    assert_eq!(keeper.offer_push(&message), Decision::Rejected);
    assert!(keeper.report().errors[0].message.contains("cannot be kept"), "{:?}", keeper.report().errors);
    assert_eq!(keeper.highest_version(), 0);
    disk.left.store(i64::MAX, Ordering::Relaxed);
    candidate(keeper.offer_push(&message));
    keeper.begun().unwrap();
    disk.left.store(0, Ordering::Relaxed);
    assert!(keeper.commit(&[]).is_err());
    assert!(keeper.is_trying(), "it runs on under probation");
    assert_eq!(mark(keeper.running()), 20);
    disk.left.store(i64::MAX, Ordering::Relaxed);
    keeper.commit(&[]).unwrap();
    assert_eq!(mark(keeper.last_known_good()), 20);
}

#[test]
fn a_node_whose_disk_takes_nothing_still_runs_its_own_file() {
    let rig = Rig::new(7);
    let (keeper, start) = rig.open_with(TiredDisk::new(0));
    assert_eq!((start.trial, mark(&start.choice)), (false, 7));
    assert_eq!(keeper.report().state, ReportState::Applied);
}
