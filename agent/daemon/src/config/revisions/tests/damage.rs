//! Files that rot.

use super::*;

fn rot(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 0x10;
    write_atomically(path, &bytes).unwrap();
}

fn with_two_pushes() -> (Rig, u64) {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    take(&mut keeper, &rig.push(4, 20));
    let newest = take(&mut keeper, &rig.push(5, 30)).revision;
    drop(keeper);
    (rig, newest)
}

#[test]
fn one_damaged_copy_of_the_record_costs_nothing() {
    for copy in ["state-a", "state-b"] {
        let (rig, _) = with_two_pushes();
        rot(&rig.keeper_folder().join(copy));
        let (keeper, start) = rig.open();
        assert_eq!((start.trial, mark(&start.choice), keeper.highest_version()), (false, 30, 5), "{copy}");
        drop(keeper);
        // And it was mended: now the other one may go.
        rot(&rig.keeper_folder().join(if copy == "state-a" { "state-b" } else { "state-a" }));
        assert_eq!(mark(&rig.open().1.choice), 30, "{copy}");
    }
}

#[test]
fn a_lost_record_runs_the_file_says_so_and_still_refuses_old_versions() {
    let damage: [&dyn Fn(&Path); 3] = [
        &|folder| ["state-a", "state-b"].iter().for_each(|name| rot(&folder.join(name))),
        &|folder| {
            ["state-a", "state-b"].iter().for_each(|name| std::fs::remove_file(folder.join(name)).unwrap())
        },
        &|folder| {
            ["state-a", "state-b"].iter().for_each(|name| write_atomically(&folder.join(name), b"").unwrap())
        },
    ];
    for damage in damage {
        let (rig, _) = with_two_pushes();
        damage(&rig.keeper_folder());
        let (mut keeper, start) = rig.open();
        assert_eq!((start.trial, mark(&start.choice), start.choice.version), (false, 7, 0));
        assert!(keeper.report().errors[0].message.contains("above 5"), "{:?}", keeper.report().errors);
        assert_eq!(keeper.offer_push(&rig.push(5, 30)), Decision::Rejected);
        take(&mut keeper, &rig.push(6, 40));
    }
}

#[test]
fn a_damaged_body_brings_the_one_before_it_back_and_says_so() {
    let (rig, newest) = with_two_pushes();
    rot(&rig.keeper_folder().join(format!("revision-{newest}")));
    let (keeper, start) = rig.open();
    assert_eq!((start.trial, mark(&start.choice), start.choice.version), (false, 20, 4));
    let report = keeper.report();
    assert_eq!(
        (report.state, report.desired_version, report.running_version),
        (ReportState::RolledBack, Some(5), 4)
    );
    assert_eq!(keeper.highest_version(), 5);
    drop(keeper);
    assert_eq!(mark(&rig.open().1.choice), 20, "and again");
}

#[test]
fn without_any_body_the_file_runs_and_versions_are_not_forgotten() {
    let (rig, _) = with_two_pushes();
    for entry in std::fs::read_dir(rig.keeper_folder()).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("revision-") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let (mut keeper, start) = rig.open();
    assert_eq!((start.trial, mark(&start.choice)), (false, 7));
    assert!(
        keeper.report().errors[0].message.contains("no kept configuration"),
        "{:?}",
        keeper.report().errors
    );
    assert_eq!(keeper.offer_push(&rig.push(5, 31)), Decision::Rejected);
    take(&mut keeper, &rig.push(6, 30));
}

#[test]
fn a_staged_body_that_is_damaged_is_not_tried() {
    let (rig, _) = with_two_pushes();
    let (mut keeper, _) = rig.open();
    let staged = candidate(keeper.offer_push(&rig.push(6, 40))).revision;
    drop(keeper);
    rot(&rig.keeper_folder().join(format!("revision-{staged}")));
    let (keeper, start) = rig.open();
    assert_eq!((start.trial, mark(&start.choice)), (false, 30));
    assert_eq!(keeper.report().state, ReportState::RolledBack);
}

#[test]
fn any_bytes_in_the_folder_are_survived() {
    use proptest::prelude::*;
    proptest!(ProptestConfig::with_cases(32), |(a: Vec<u8>, b: Vec<u8>, revision: Vec<u8>, request: Vec<u8>)| {
        let rig = Rig::new(7);
        drop(rig.open());
        for (name, bytes) in [("state-a", a), ("state-b", b), ("revision-1", revision), ("rollback.request", request)] {
            write_atomically(&rig.keeper_folder().join(name), &bytes).unwrap();
        }
        let (_, start) = rig.open();
        prop_assert_eq!(mark(&start.choice), 7);
    });
}

#[test]
fn a_content_that_is_gone_or_damaged_while_it_is_tried_is_kept_again() {
    let damage: [&dyn Fn(&Path); 2] = [&|file| std::fs::remove_file(file).unwrap(), &rot];
    for damage in damage {
        let (rig, _) = with_two_pushes();
        let disk = TiredDisk::new(i64::MAX);
        let (mut keeper, _) = rig.open_with(disk.clone());
        let tried = candidate(keeper.offer_push(&rig.push(6, 40))).revision;
        keeper.begun().unwrap();
        damage(&rig.keeper_folder().join(format!("revision-{tried}")));
        disk.left.store(0, Ordering::Relaxed);
        assert!(keeper.commit(&[]).is_err() && keeper.is_trying());
        disk.left.store(i64::MAX, Ordering::Relaxed);
        keeper.commit(&[]).unwrap();
        drop(keeper);
        let (mut keeper, start) = rig.open();
        assert_eq!((start.trial, mark(&start.choice)), (false, 40));
        take(&mut keeper, &rig.push(7, 50));
        assert_eq!(mark(&candidate(keeper.offer_rollback(Some(tried)))), 40);
    }
}
