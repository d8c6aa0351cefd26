//! What the keeper tells: the report for the centre, the history for whoever stands before the board.

use super::*;

#[test]
fn the_report_is_as_the_wire_has_it_and_holds_no_secret() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    let camera = json!({ "id": "x", "source": "rtsp://h/stream?token=topsecret", "stall_after_s": 20 });
    take(&mut keeper, &rig.sign(&rig.statement(8, json!({ "camera": [camera] }))));
    let report = serde_json::to_value(keeper.report()).unwrap();
    let text = report.to_string();
    assert!(!text.contains("topsecret"), "{text}");
    assert_eq!(
        (&report["state"], &report["desired_version"], &report["running_version"]),
        (&json!("applied"), &json!(8), &json!(8))
    );
    assert_eq!((&report["errors"], &report["origin"]), (&json!([]), &json!("push")));
    assert_eq!(report["effective"]["camera"][0]["id"], "x");
    assert_eq!(report["time"], "2026-11-24T10:00:00.000Z");
    assert_eq!(report["digest"], aimass_signing::sha256_hex(report["effective"].to_string().as_bytes()));
    let shown = body_of(&rig.file(), None).unwrap();
    assert_eq!(shown, report["effective"]);
}

#[test]
fn a_large_configuration_is_told_by_its_digest() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    let labels: Vec<String> = (0..9000).map(|n| format!("label-{n:09}")).collect();
    let camera = json!({ "id": "x", "source": "test:", "zone": [
        { "id": "z", "polygon": [[0, 0], [1, 0], [1, 1]], "labels": labels }] });
    take(&mut keeper, &rig.sign(&rig.statement(8, json!({ "camera": [camera] }))));
    let report = serde_json::to_value(keeper.report()).unwrap();
    assert_eq!((report.get("effective"), report["digest"].as_str().unwrap().len()), (None, 64));
}

#[test]
fn the_history_tells_it_all_from_outside() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    take(&mut keeper, &rig.push(3, 20));
    candidate(keeper.offer_push(&rig.push(4, 30)));
    keeper.begun().unwrap();
    keeper.roll_back(because("no pictures"));
    keeper.offer_push(&rig.push(2, 40));
    let history = history(&rig.file()).unwrap();
    let lines: Vec<_> = history.entries.iter().map(|p| (p.version, p.outcome)).collect();
    assert_eq!(
        lines,
        [
            (Some(0), Outcome::Committed),
            (Some(3), Outcome::Committed),
            (Some(4), Outcome::RolledBack),
            (Some(2), Outcome::Rejected)
        ]
    );
    assert_eq!(history.entries[2].errors, because("no pictures"));
    assert_eq!((history.highest_version, history.kept.len(), history.trial), (4, 1, None));
    assert_eq!(history.committed, Some(history.entries[1].revision));
}

#[test]
fn bodies_of_the_last_five_that_proved_good_are_kept_and_no_others() {
    let rig = Rig::new(7);
    let (mut keeper, _) = rig.open();
    for version in 1..=30 {
        take(&mut keeper, &rig.push(version, 100 + version as u16));
        candidate(keeper.offer_push(&rig.sign(&rig.statement(version + 100, body(99)))));
        keeper.state.highest_version = version; // or the next would be too old
        keeper.roll_back(because("no"));
    }
    assert_eq!(keeper.files.revisions().len(), 5);
    assert_eq!(keeper.state.kept().len(), 5);
    assert!(keeper.state.history.len() <= 20);
}
