//! A command counts once, whatever the clock and whatever life.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::config::Domain;
use crate::error::TrustErrorKind as Kind;

const BOOT: u64 = 7;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn life(boot: u64, now: Option<i64>) -> Life {
    Life { boot: Ulid::from_parts(boot, 1), now: now.map(at) }
}

fn command(nonce: &str, until: i64, boot: Option<u64>) -> CommandStatement {
    CommandStatement {
        domain: Domain::Command,
        site: "s".parse().unwrap(),
        node: "n".parse().unwrap(),
        name: "drain".parse().unwrap(),
        nonce: format!("{nonce}-0123456789abcdef"),
        not_after: at(until),
        boot: boot.map(|b| Ulid::from_parts(b, 1)),
        body: Value::Null,
    }
}

fn admit(book: &mut NonceStore, command: &CommandStatement, life: Life) -> Result<(), Kind> {
    book.admit(command, &"ops".parse().unwrap(), life).map_err(|e| e.kind())
}

#[test]
fn a_command_counts_once_over_restarts_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("commands.json");
    let mut book = NonceStore::open(path.clone());
    admit(&mut book, &command("a", 60, None), life(BOOT, Some(0))).unwrap();
    assert_eq!(admit(&mut book, &command("a", 60, None), life(BOOT, Some(1))), Err(Kind::Replayed));
    let mut next = NonceStore::open(path);
    assert_eq!(admit(&mut next, &command("a", 60, None), life(BOOT + 1, Some(2))), Err(Kind::Replayed));
    admit(&mut next, &command("b", 60, None), life(BOOT + 1, Some(2))).unwrap();
}

#[test]
fn time_is_judged_where_there_is_a_clock() {
    let mut book = NonceStore::in_memory();
    assert_eq!(admit(&mut book, &command("a", 60, None), life(BOOT, Some(61))), Err(Kind::Expired));
    let day = MAX_COMMAND_LIFE_S;
    assert_eq!(admit(&mut book, &command("b", day + 1, None), life(BOOT, Some(0))), Err(Kind::TooLong));
    admit(&mut book, &command("c", day, None), life(BOOT, Some(0))).unwrap();
}

#[test]
fn without_a_clock_only_commands_for_this_very_life_count() {
    let mut book = NonceStore::in_memory();
    assert_eq!(admit(&mut book, &command("a", 60, None), life(BOOT, None)), Err(Kind::OtherBoot));
    assert_eq!(admit(&mut book, &command("a", 60, Some(BOOT - 1)), life(BOOT, None)), Err(Kind::OtherBoot));
    admit(&mut book, &command("a", 60, Some(BOOT)), life(BOOT, None)).unwrap();
    assert_eq!(admit(&mut book, &command("a", 60, Some(BOOT)), life(BOOT, None)), Err(Kind::Replayed));
    assert_eq!(admit(&mut book, &command("a", 60, Some(BOOT)), life(BOOT + 1, None)), Err(Kind::OtherBoot));
}

#[test]
fn a_clock_that_is_set_back_brings_no_old_command_to_life() {
    let mut book = NonceStore::in_memory();
    admit(&mut book, &command("a", 10, None), life(BOOT, Some(0))).unwrap();
    // Room is made when the next one comes …
    admit(&mut book, &command("b", 1000, None), life(BOOT, Some(500))).unwrap();
    assert_eq!(book.kept.seen.len(), 1);
    // … and then the clock goes back.
    assert_eq!(admit(&mut book, &command("a", 10, None), life(BOOT, Some(5))), Err(Kind::Replayed));
}

#[test]
fn a_full_book_refuses_the_next_and_forgets_none() {
    let mut book = NonceStore::in_memory();
    for n in 0..MOST {
        admit(&mut book, &command(&format!("n{n}"), 60, None), life(BOOT, Some(0))).unwrap();
    }
    assert_eq!(admit(&mut book, &command("more", 60, None), life(BOOT, Some(0))), Err(Kind::NotRemembered));
    assert_eq!(admit(&mut book, &command("n0", 60, None), life(BOOT, Some(0))), Err(Kind::Replayed));
    admit(&mut book, &command("later", 200, None), life(BOOT, Some(100))).unwrap();
}

#[test]
fn what_cannot_be_noted_is_not_obeyed_unless_it_names_this_life() {
    let folder = tempfile::tempdir().unwrap();
    let mut book = NonceStore::open(folder.path().join("missing/commands.json"));
    assert_eq!(admit(&mut book, &command("a", 60, None), life(BOOT, Some(0))), Err(Kind::NotRemembered));
    admit(&mut book, &command("a", 60, Some(BOOT)), life(BOOT, Some(0))).unwrap();
}

#[test]
fn a_damaged_book_lets_only_commands_for_this_life_through() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("commands.json");
    write_atomically(&path, b"{\"seen\":").unwrap();
    let mut book = NonceStore::open(path);
    assert_eq!(admit(&mut book, &command("a", 60, None), life(BOOT, Some(0))), Err(Kind::OtherBoot));
    admit(&mut book, &command("a", 60, Some(BOOT)), life(BOOT, Some(0))).unwrap();
}

proptest! {
    #[test]
    fn no_command_is_obeyed_twice(steps in proptest::collection::vec((0u8..4, 0i64..200, any::<bool>(), 0u8..3), 1..60)) {
        let mut book = NonceStore::in_memory();
        let mut obeyed = std::collections::HashSet::new();
        let mut boot = BOOT;
        for (nonce, now, clock_ok, what) in steps {
            if what == 0 {
                // A new life: what named the old one is gone from memory.
                boot += 1;
                book.passing = Page::default();
                continue;
            }
            let command = command(&nonce.to_string(), i64::from(nonce) * 40, (what == 1).then_some(boot));
            let named = (nonce, command.boot);
            if admit(&mut book, &command, life(boot, clock_ok.then_some(now))).is_ok() {
                prop_assert!(obeyed.insert(named), "{named:?} twice");
            }
        }
    }
}
