//! Cells: the store's file is cut off, has flipped bits, or is deleted.

use std::fs;
use std::path::PathBuf;

use aimass_core::files::write_atomically;
use harness::by_depth;
use harness::dice::Dice;
use harness::ledger::Ledger;
use harness::{PATIENCE, subscriber::Subscriber};

use crate::rig::{ALL, Rig};

/// The store's files beside the database.
fn beside(store: &std::path::Path, suffix: &str) -> PathBuf {
    format!("{}{suffix}", store.display()).into()
}

#[tokio::test]
async fn a_file_that_is_cut_off_is_put_aside_and_its_events_are_told_lost() {
    for keep in by_depth(vec![0.5], vec![0.0, 0.01, 0.1, 0.5, 0.9]) {
        let mut rig = Rig::new().await;
        let accepted = rig.fill(300).await;
        let whole = fs::read(rig.store()).unwrap();
        write_atomically(&rig.store(), &whole[..(whole.len() as f64 * keep) as usize]).unwrap();
        let agent = rig.agent();
        rig.settle(agent, &accepted).await;
        let receipts = rig.ledger.receipts();
        assert!(receipts.iter().any(|r| r.reason == "store_quarantined"), "{receipts:?}");
        let kept = fs::read_dir(rig.folder.path()).unwrap().flatten();
        let kept = kept.filter(|entry| entry.file_name().to_string_lossy().contains(".broken-")).count();
        assert_eq!(kept, 1, "the damaged file is kept for whoever wants to look");
    }
}

/// What a flipped bit hits decides: it is found and told, it is seen by nobody but in the one event, or the file is
/// no longer ours to touch. Never does the agent die of it, count backwards or lose an event without a word.
#[tokio::test]
async fn flipped_bits_never_lose_an_event_without_a_word() {
    let mut dice = Dice::new("flipped bits");
    let mut rig = Rig::new().await;
    let accepted = rig.fill(300).await.by_number();
    let (whole, seqs) = (fs::read(rig.store()).unwrap(), fs::read(beside(&rig.store(), ".seq")).unwrap());
    for round in 0..by_depth(4, 30) {
        for suffix in ["-wal", "-shm"] {
            fs::remove_file(beside(&rig.store(), suffix)).ok();
        }
        let mut bytes = whole.clone();
        // The pages at the head hold the schema and the books: hit more often than their share.
        let within = if round % 2 == 0 { bytes.len() as u64 } else { 4096 };
        for _ in 0..dice.roll(1, 12) {
            bytes[dice.roll(0, within) as usize] ^= 1 << dice.roll(0, 8);
        }
        write_atomically(&rig.store(), &bytes).unwrap();
        write_atomically(&beside(&rig.store(), ".seq"), &seqs).unwrap();
        rig.ledger = Ledger::new();
        rig.subscriber = Subscriber::on(rig.broker.port(), ALL).await;
        let mut agent = rig.agent();
        let refused = tokio::select! {
            _ = agent.wait(PATIENCE) => true,
            () = rig.ledger.settle(&rig.subscriber, &accepted, PATIENCE / 2) => false,
        };
        if refused {
            let said = agent.stderr().tail();
            assert!(said.contains("agent.db") && !said.contains("panicked"), "round {round}: {said}");
            continue;
        }
        agent.terminate();
        assert!(agent.wait(PATIENCE).await.success(), "round {round}: {}", agent.stderr().tail());
    }
}

#[tokio::test]
async fn files_that_are_deleted_under_the_agent_cost_no_event() {
    let mut rig = Rig::new().await;
    let accepted = rig.fill(by_depth(500, 3000)).await;
    rig.way.set(|b| b.refuse = true).await;
    let agent = rig.agent();
    Rig::says(&agent, "No connection to the broker").await;
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(beside(&rig.store(), suffix)).unwrap();
    }
    rig.way.set(|b| b.refuse = false).await;
    // At its end the agent puts the file back; the judge reads it.
    rig.settle(agent, &accepted).await;
}

#[tokio::test]
async fn a_file_that_is_gone_at_start_is_a_loss_that_is_told_and_no_new_beginning() {
    let mut rig = Rig::new().await;
    let accepted = rig.fill(300).await;
    fs::remove_file(rig.store()).unwrap();
    let agent = rig.agent();
    rig.settle(agent, &accepted).await;
    assert!(rig.ledger.events().all(|event| event["seq"].as_u64() > Some(300)), "seq never goes back");
}
