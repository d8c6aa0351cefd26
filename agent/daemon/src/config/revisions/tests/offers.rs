//! What becomes of pushes, of the node's own file and of requests to roll back.

use super::*;

pub(super) fn told(keeper: &ConfigManager) -> (ReportState, Option<u64>, u64) {
    let report = keeper.report();
    (report.state, report.desired_version, report.running_version)
}

#[test]
fn the_first_start_runs_the_node_s_own_file() {
    let rig = Rig::new(7);
    let (keeper, start) = rig.open();
    assert!(!start.trial);
    assert_eq!((mark(&start.choice), start.choice.version, start.choice.origin), (7, 0, Origin::Local));
    assert_eq!(told(&keeper), (ReportState::Applied, Some(0), 0));
    drop(keeper);
    let (_, again) = rig.open();
    assert_eq!((again.trial, again.choice), (false, start.choice));
}

#[test]
fn a_first_start_with_a_broken_file_says_what_is_wrong() {
    let rig = Rig::new(7);
    rig.write_text("[node]\nsite = \"S!\"\n");
    let error = rig.try_open(TiredDisk::new(0)).err().unwrap();
    assert_eq!(error.code(), 65);
    assert!(error.to_string().contains("node.site"), "{error}");
}

#[test]
fn a_push_that_proves_good_runs_now_and_after_a_restart() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    let choice = candidate(keeper.offer_push(&rig.push(8, 20)));
    assert_eq!((mark(&choice), choice.version, choice.origin), (20, 8, Origin::Push));
    assert_eq!(told(&keeper), (ReportState::Probation, Some(8), 0));
    assert_eq!(mark(keeper.running()), 7);
    keeper.begun().unwrap();
    assert_eq!(told(&keeper), (ReportState::Probation, Some(8), 8));
    assert_eq!(mark(keeper.running()), 20);
    keeper.commit(&[]).unwrap();
    assert_eq!(told(&keeper), (ReportState::Applied, Some(8), 8));
    assert!(keeper.commit(&[]).is_err(), "nothing is being tried any more");
    drop(keeper);
    let (keeper, start) = rig.open();
    assert_eq!((start.trial, mark(&start.choice), start.choice.version), (false, 20, 8));
    assert_eq!(told(&keeper), (ReportState::Applied, Some(8), 8));
    // The node's own tables are part of what runs.
    assert_eq!(start.choice.config.store.path, rig.folder.path().join("agent.db"));
    assert_eq!(start.choice.config.trust.key.len(), 1);
}

#[test]
fn a_push_that_fails_is_taken_back_and_its_version_is_spent() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    take(&mut keeper, &rig.push(3, 20));
    let message = rig.push(4, 30);
    candidate(keeper.offer_push(&message));
    keeper.begun().unwrap();
    let back = keeper.roll_back(because("delivers no pictures any more"));
    assert_eq!((mark(&back), back.version), (20, 3));
    assert_eq!(told(&keeper), (ReportState::RolledBack, Some(4), 3));
    assert_eq!(keeper.report().errors, because("delivers no pictures any more"));
    assert_eq!(keeper.offer_push(&message), Decision::Same);
    assert_eq!(keeper.offer_push(&rig.push(4, 40)), Decision::Rejected);
    assert!(keeper.report().errors[0].message.contains("--version 5"));
    candidate(keeper.offer_push(&rig.push(5, 40)));
}

#[test]
fn every_refusal_is_answered_with_its_reason_and_changes_nothing() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    take(&mut keeper, &rig.push(3, 20));
    let other = SecretKey::generate().unwrap();
    let good = rig.statement(9, body(50));
    let forged = good.sign(&other, "ops".parse().unwrap()).unwrap().to_json().into_bytes();
    let stranger = good.sign(&other, "eve".parse().unwrap()).unwrap().to_json().into_bytes();
    let elsewhere = rig.sign(&ConfigStatement { node: "m".parse().unwrap(), ..good.clone() });
    let late =
        rig.sign(&ConfigStatement { not_after: Some("2026-11-24T09:00:00Z".parse().unwrap()), ..good });
    let fps =
        json!({ "camera": [{ "id": "x", "source": "test:", "fps": 999 }], "trust": {"probation_s": 9} });
    let wrong = rig.sign(&rig.statement(9, fps));
    for (message, says, version) in [
        (b"{}".to_vec(), "not a signed envelope", None),
        (vec![b'x'; 500_000], "500000 bytes", None),
        (forged, "signature", None),
        (stranger, "\"eve\"", None),
        (elsewhere, "meant for s/m", None),
        (late, "was valid until", None),
        (rig.push(3, 60), "--version 4", Some(3)),
        (rig.push(1, 60), "not above 3", Some(1)),
        (wrong, "camera[0].fps", Some(9)),
    ] {
        assert_eq!(keeper.offer_push(&message), Decision::Rejected, "{says}");
        let report = keeper.report();
        let errors: Vec<String> = report.errors.iter().map(ToString::to_string).collect();
        assert!(errors.join("\n").contains(says), "{says}: {errors:?}");
        assert_eq!((report.state, report.desired_version), (ReportState::Rejected, version), "{says}");
        assert_eq!((report.running_version, keeper.highest_version()), (3, 3), "{says}");
        assert_eq!(keeper.offer_push(&message), Decision::Same, "{says}, again");
    }
    take(&mut keeper, &rig.push(4, 70));
}

#[test]
fn a_retained_message_is_judged_once_also_over_restarts() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    let (good, bad) = (rig.push(1, 20), rig.sign(&rig.statement(2, json!({ "camra": [] }))));
    take(&mut keeper, &good);
    assert_eq!(keeper.offer_push(&good), Decision::Same);
    assert_eq!(keeper.offer_push(&bad), Decision::Rejected);
    let said = keeper.report();
    for _ in 0..3 {
        drop(keeper);
        keeper = rig.open().0;
        assert_eq!(keeper.offer_push(&bad), Decision::Same);
        assert_eq!(keeper.report(), said);
    }
    assert_eq!(keeper.offer_push(b""), Decision::Same, "the retained message was removed");
}

#[test]
fn a_refused_message_is_judged_anew_once_the_file_trusts_its_key() {
    let rig = Rig::new(7);
    rig.write(7, "");
    let (mut keeper, _) = rig.open();
    let message = rig.push(1, 20);
    assert_eq!(keeper.offer_push(&message), Decision::Rejected);
    assert!(keeper.report().errors[0].message.contains("no key is trusted here"));
    rig.write(7, &rig.trust());
    candidate(keeper.offer_reload());
    keeper.begun().unwrap();
    keeper.commit(&[]).unwrap();
    take(&mut keeper, &message);
}

#[test]
fn a_changed_file_is_tried_and_a_bad_one_taken_back() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    take(&mut keeper, &rig.push(3, 20));
    assert_eq!(keeper.offer_local(), Decision::Same);
    rig.write(9, &rig.trust());
    let choice = candidate(keeper.offer_reload());
    assert_eq!((mark(&choice), choice.version, choice.origin), (9, 0, Origin::Local));
    keeper.begun().unwrap();
    assert_eq!(told(&keeper), (ReportState::Probation, Some(0), 0));
    assert_eq!(mark(&keeper.roll_back(because("no"))), 20);
    drop(keeper);
    // Judged once: the next start does not try it again, but somebody who asks for it does.
    let (mut keeper, start) = rig.open();
    assert_eq!((start.trial, mark(&start.choice)), (false, 20));
    assert_eq!(keeper.report().state, ReportState::RolledBack);
    candidate(keeper.offer_reload());
    keeper.begun().unwrap();
    keeper.commit(&[]).unwrap();
    assert_eq!((mark(keeper.running()), keeper.highest_version()), (9, 3));
    assert_eq!(keeper.offer_push(&rig.push(3, 30)), Decision::Rejected);
    take(&mut keeper, &rig.push(4, 30));
}

#[test]
fn a_file_that_changed_while_the_node_was_off_is_tried_with_the_former_one_behind_it() {
    let rig = Rig::new(7);
    drop(rig.open());
    rig.write(9, &rig.trust());
    let (mut keeper, start) = rig.open();
    assert_eq!((start.trial, mark(&start.choice)), (true, 9));
    keeper.begun().unwrap();
    drop(keeper);
    let (keeper, start) = rig.open();
    assert_eq!((start.trial, mark(&start.choice)), (false, 7));
    assert_eq!(keeper.report().state, ReportState::RolledBack);
}

#[test]
fn a_broken_file_stops_nothing_and_is_told() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    take(&mut keeper, &rig.push(3, 20));
    let store = rig.folder.path().join("agent.db");
    let broken =
        format!("{}[store]\npath = \"{}\"\n[node]\nsite = \"s\"\nid = 3\n", rig.trust(), store.display());
    for text in [broken.clone(), format!("{broken}\n[[[")] {
        rig.write_text(&text);
        assert_eq!(keeper.offer_reload(), Decision::Rejected);
        drop(keeper);
        let (next, start) = rig.open();
        assert_eq!((start.trial, mark(&start.choice)), (false, 20));
        let report = next.report();
        assert_eq!((report.state, report.running_version), (ReportState::Rejected, 3));
        assert!(!report.errors.is_empty());
        keeper = next;
    }
    // The key of the file that could last be read still counts.
    take(&mut keeper, &rig.push(4, 30));
}

#[test]
fn a_key_that_was_taken_out_does_not_come_back() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    take(&mut keeper, &rig.push(3, 20));
    rig.write(9, "");
    candidate(keeper.offer_local());
    keeper.begun().unwrap();
    let back = keeper.roll_back(because("no"));
    assert_eq!(mark(&back), 20);
    assert_eq!(keeper.offer_push(&rig.push(4, 30)), Decision::Rejected);
    assert!(keeper.report().errors[0].message.contains("no key is trusted"), "{:?}", keeper.report().errors);
    drop(keeper);
    let (mut keeper, start) = rig.open();
    assert_eq!((mark(&start.choice), start.choice.config.trust.key.len()), (20, 0));
    assert_eq!(keeper.offer_push(&rig.push(5, 30)), Decision::Rejected);
    // Nor by a roll back to a time when it was trusted.
    candidate(keeper.offer_rollback(None));
    keeper.begun().unwrap();
    keeper.commit(&[]).unwrap();
    assert_eq!(mark(keeper.running()), 7);
    assert_eq!(keeper.running().config.trust.key.len(), 0);
}

#[test]
fn a_file_that_changes_only_in_what_is_its_own_keeps_what_was_pushed() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    take(&mut keeper, &rig.push(3, 20));
    rig.write(7, &format!("{}[http]\nlisten = \"127.0.0.1:9999\"\n", rig.trust()));
    let choice = candidate(keeper.offer_local());
    assert_eq!((mark(&choice), choice.version, choice.origin), (20, 3, Origin::Push));
    assert_eq!(choice.config.http.listen.port(), 9999);
    keeper.begun().unwrap();
    keeper.commit(&[]).unwrap();
    drop(keeper);
    let (_, start) = rig.open();
    assert_eq!((start.trial, mark(&start.choice), start.choice.config.http.listen.port()), (false, 20, 9999));
}

#[test]
fn a_roll_back_brings_a_committed_one_back_and_the_retained_push_does_not_undo_it() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    assert_eq!(keeper.offer_rollback(None), Decision::Rejected, "there is nothing yet");
    let first = take(&mut keeper, &rig.push(3, 20)).revision;
    let newest = rig.push(4, 30);
    take(&mut keeper, &newest);
    let choice = candidate(keeper.offer_rollback(None));
    assert_eq!((mark(&choice), choice.version, choice.origin), (20, 3, Origin::Push));
    keeper.begun().unwrap();
    keeper.commit(&[]).unwrap();
    assert_eq!(told(&keeper), (ReportState::Applied, Some(3), 3));
    assert_eq!(keeper.offer_push(&newest), Decision::Same);
    assert_eq!(keeper.highest_version(), 4);
    drop(keeper);
    let (mut keeper, start) = rig.open();
    assert_eq!((start.trial, mark(&start.choice)), (false, 20));
    assert_eq!(keeper.offer_rollback(Some(9999)), Decision::Rejected);
    assert!(keeper.report().errors[0].message.contains(&first.to_string()), "{:?}", keeper.report().errors);
    assert_eq!(mark(&candidate(keeper.offer_rollback(Some(first)))), 20);
}

#[test]
fn a_roll_back_while_one_is_tried_brings_back_the_last_known_good() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    take(&mut keeper, &rig.push(3, 20));
    candidate(keeper.offer_push(&rig.push(4, 30)));
    keeper.begun().unwrap();
    let choice = candidate(keeper.offer_rollback(None));
    assert_eq!((mark(&choice), choice.version), (20, 3), "and not the one before that");
    keeper.begun().unwrap();
    keeper.commit(&[]).unwrap();
    assert_eq!(told(&keeper).1, Some(3));
}

#[test]
fn a_request_to_roll_back_waits_for_the_next_start_and_counts_once() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    take(&mut keeper, &rig.push(3, 20));
    drop(keeper);
    super::super::files::leave_request(&rig.keeper_folder(), None).unwrap();
    let (mut keeper, start) = rig.open();
    assert_eq!((start.trial, mark(&start.choice)), (true, 7));
    keeper.begun().unwrap();
    keeper.commit(&[]).unwrap();
    drop(keeper);
    let (mut keeper, start) = rig.open();
    assert_eq!((start.trial, mark(&start.choice)), (false, 7));
    write_atomically(&rig.keeper_folder().join("rollback.request"), b"what?").unwrap();
    assert_eq!(keeper.offer_reload(), Decision::Rejected);
    assert_eq!(keeper.offer_reload(), Decision::Same, "the request is gone");
}

#[test]
fn a_newer_push_takes_the_place_of_one_that_is_being_tried() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    let first = candidate(keeper.offer_push(&rig.push(1, 20))).revision;
    keeper.begun().unwrap();
    candidate(keeper.offer_push(&rig.push(2, 30)));
    assert_eq!(
        keeper.state.history.iter().find(|p| p.revision == first).unwrap().outcome,
        Outcome::Superseded
    );
    keeper.begun().unwrap();
    assert_eq!(mark(&keeper.roll_back(because("no"))), 7);
}

#[test]
fn a_push_while_a_changed_file_is_tried_is_laid_over_that_file() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    rig.write(7, &format!("{}[http]\nlisten = \"127.0.0.1:9999\"\n", rig.trust()));
    candidate(keeper.offer_local());
    keeper.begun().unwrap();
    let choice = take(&mut keeper, &rig.push(2, 30));
    assert_eq!((mark(&choice), choice.config.http.listen.port()), (30, 9999));
}
