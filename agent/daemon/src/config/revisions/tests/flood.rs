//! Somebody who has the broker's password, and time.

use super::*;

#[test]
fn a_flood_of_refused_messages_writes_next_to_nothing() {
    let rig = Rig::new(7);
    let disk = TiredDisk::new(i64::MAX);
    let (mut keeper, _) = rig.open_with(disk.clone());
    let old: Vec<Vec<u8>> = (1..30).map(|v| rig.push(v, 20)).collect();
    take(&mut keeper, &rig.push(100, 20));
    for message in &old {
        keeper.offer_push(message);
    }
    let before = disk.asked.load(Ordering::Relaxed);
    for round in 0..200 {
        keeper.offer_push(format!("junk {round}").as_bytes());
    }
    assert!(disk.asked.load(Ordering::Relaxed) - before <= 2, "two copies of one record a minute");
    rig.clock.advance(Duration::from_secs(61));
    keeper.offer_push(b"more junk");
    assert_eq!(disk.asked.load(Ordering::Relaxed) - before, 2);
    // Nor does one signed envelope in ever other words, which is refused for what it says.
    rig.clock.advance(Duration::from_secs(61));
    let genuine = rig.sign(&rig.statement(200, json!({ "camra": [] })));
    keeper.offer_push(&genuine);
    let (before, unsaid) = (disk.asked.load(Ordering::Relaxed), keeper.unsaid);
    let old = String::from_utf8(rig.push(50, 20)).unwrap();
    for blanks in 1..200 {
        let message = old.replacen('{', &format!("{{{}", " ".repeat(blanks)), 1);
        assert_eq!(keeper.offer_push(message.as_bytes()), Decision::Rejected);
        assert!(keeper.report().errors[0].message.contains("not above 100"), "{:?}", keeper.report().errors);
    }
    assert_eq!(disk.asked.load(Ordering::Relaxed) - before, 0, "the minute is not over");
    assert_eq!(keeper.unsaid - unsaid, 199);
    let is = |version: u64| keeper.state.history.iter().filter(|p| p.version == Some(version)).count();
    assert_eq!((is(50), is(200)), (1, 1), "{:?}", keeper.state.history);
    rig.clock.advance(Duration::from_secs(61));
    keeper.offer_push(b"the last junk");
    assert_eq!((disk.asked.load(Ordering::Relaxed) - before, keeper.unsaid), (2, 0));
    let history = keeper.state.history.clone();
    assert!(history.len() <= 20, "{}", history.len());
    assert!(history.iter().any(|p| p.outcome == Outcome::Committed && p.version == Some(100)));
}
