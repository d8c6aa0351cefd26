//! Cells: the store's file is cut off, has flipped bits, or is deleted.

use std::fs;
use std::path::PathBuf;

use aimass_core::runtime::files::write_atomically;
use harness::delivery::DeliveryCheck;
use harness::random::SeededRandom;
use harness::subscriber::Subscriber;
use harness::{TIMEOUT, by_depth, eventually};

use crate::rig::{ALL, Rig};

/// The store's files beside the database.
fn beside(store: &std::path::Path, suffix: &str) -> PathBuf {
    format!("{}{suffix}", store.display()).into()
}

#[tokio::test]
async fn a_truncated_store_file_is_set_aside_and_its_events_are_reported_lost() {
    for keep in by_depth(vec![0.5], vec![0.0, 0.01, 0.1, 0.5, 0.9]) {
        let mut rig = Rig::new().await;
        let accepted = rig.fill(300).await;
        let whole = fs::read(rig.store()).unwrap();
        write_atomically(&rig.store(), &whole[..(whole.len() as f64 * keep) as usize]).unwrap();
        let agent = rig.agent();
        rig.settle(agent, &accepted).await;
        let receipts = rig.delivery.receipts();
        assert!(receipts.iter().any(|r| r.reason == "store_quarantined"), "{receipts:?}");
        let kept = fs::read_dir(rig.folder.path()).unwrap().flatten();
        let kept = kept.filter(|entry| entry.file_name().to_string_lossy().contains(".broken-")).count();
        assert_eq!(kept, 1, "the damaged file is kept for whoever wants to look");
    }
}

/// Depending on the bit, the damage is detected and reported, changes one event only, or makes the file unreadable. The
/// agent never crashes, never counts backwards, and never loses an event without a report.
#[tokio::test]
async fn flipped_bits_never_lose_an_event_without_a_report() {
    let mut random = SeededRandom::new("flipped bits");
    let mut rig = Rig::new().await;
    let accepted = rig.fill(300).await.by_number();
    let (whole, seqs) = (fs::read(rig.store()).unwrap(), fs::read(beside(&rig.store(), ".seq")).unwrap());
    let (rounds, mut refusals) = (by_depth(4, 30), 0);
    for round in 0..rounds {
        for suffix in ["-wal", "-shm"] {
            fs::remove_file(beside(&rig.store(), suffix)).ok();
        }
        let mut bytes = whole.clone();
        // The first pages hold the schema and the counters: damage them more often.
        let within = if round % 2 == 0 { bytes.len() as u64 } else { 4096 };
        for _ in 0..random.range(1, 12) {
            bytes[random.range(0, within) as usize] ^= 1 << random.range(0, 8);
        }
        write_atomically(&rig.store(), &bytes).unwrap();
        write_atomically(&beside(&rig.store(), ".seq"), &seqs).unwrap();
        rig.delivery = DeliveryCheck::new();
        rig.subscriber = Subscriber::on(rig.broker.port(), ALL).await;
        let mut refused = false;
        // Two starts: receipts of one kind are sent every ten minutes, and at once after a start.
        for life in 0..2 {
            let mut agent = rig.agent();
            let up = eventually("the agent connects or refuses", TIMEOUT, async || {
                let all = agent.stderr().all();
                let connected = all.iter().any(|line| line.contains("Connected to the broker"));
                (connected || all.iter().any(|line| line.starts_with("error: "))).then_some(connected)
            })
            .await;
            refused = !up;
            if up {
                if life == 1 {
                    rig.delivery.settle(&rig.subscriber, &accepted, TIMEOUT).await;
                }
                agent.terminate();
                assert!(agent.wait(TIMEOUT).await.success(), "round {round}: {}", agent.stderr().tail());
            }
            let said = agent.stderr().all().join("\n");
            assert!(!said.contains("panicked"), "round {round}: {said}");
            assert!(up || said.contains("agent.db"), "round {round}: {said}");
        }
        refusals += usize::from(refused);
    }
    assert!(
        refusals * 4 <= rounds,
        "{refusals} of {rounds} files were refused: only those without our mark are"
    );
}

#[tokio::test]
async fn store_files_deleted_under_the_agent_lose_no_event() {
    let mut rig = Rig::new().await;
    let accepted = rig.fill(by_depth(500, 3000)).await;
    rig.way.set(|b| b.refuse = true).await;
    let agent = rig.agent();
    Rig::says(&agent, "No connection to the broker").await;
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(beside(&rig.store(), suffix)).unwrap();
    }
    rig.way.set(|b| b.refuse = false).await;
    // At its end the agent restores the file; the delivery check reads it.
    rig.settle(agent, &accepted).await;
}

#[tokio::test]
async fn a_store_file_that_is_missing_at_start_is_reported_as_a_loss_and_seq_continues() {
    let mut rig = Rig::new().await;
    let accepted = rig.fill(300).await;
    fs::remove_file(rig.store()).unwrap();
    let agent = rig.agent();
    rig.settle(agent, &accepted).await;
    assert!(rig.delivery.events().all(|event| event["seq"].as_u64() > Some(300)), "seq never goes back");
}
