//! Files that are torn, flipped, emptied, foreign, deleted or older than they should be.

use std::fs;
use std::path::Path;

use aimass_core::runtime::clock::SystemClock;
use aimass_core::runtime::files::write_atomically;
use aimass_store::{ErrorKind, LossReason, Store};
use proptest::prelude::*;
use serde_json::json;

use crate::support::*;

/// A store with 300 events, of which 100 were delivered, and a value; closed.
async fn filled(folder: &Path) {
    let (store, _) = open(folder);
    let sink = store.sink("mqtt").await.unwrap();
    store.accept(infos(300)).await.unwrap();
    for seq in 1..=100 {
        aimass_core::traits::Outbox::acknowledge(&sink, seq).await.unwrap();
    }
    store.put_value("config_version", &json!(9)).await.unwrap();
    close(store).await;
}

/// Opens what was damaged: seq goes on above, the loss is told, and the store works.
async fn goes_on(folder: &Path, moved: bool) {
    let (store, opened) = open(folder);
    assert_eq!(opened.quarantined.is_some(), moved);
    assert!(opened.last_seq >= 300, "seq never goes back");
    let sink = store.sink("mqtt").await.unwrap();
    let next = store.accept(infos(1)).await.unwrap()[0];
    assert!(next > 300);
    let loss = receipt_within(&sink, LossReason::StoreQuarantined).await;
    assert!(loss.first_seq <= 101 && loss.last_seq >= 300, "{loss:?}");
    assert!(loss.last_seq < next);
    close(store).await;
    let (store, opened) = open(folder);
    assert_eq!(opened.quarantined, None);
    close(store).await;
}

#[tokio::test]
async fn a_file_of_garbage_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    write_atomically(&config(folder.path()).path, &[0x5a; 70_000]).unwrap();
    goes_on(folder.path(), true).await;
}

#[tokio::test]
async fn an_emptied_file_is_a_loss_and_no_beginning() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    write_atomically(&config(folder.path()).path, b"").unwrap();
    goes_on(folder.path(), true).await;
}

#[tokio::test]
async fn a_missing_file_is_a_loss_and_no_beginning() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    fs::remove_file(config(folder.path()).path).unwrap();
    goes_on(folder.path(), false).await;
}

#[tokio::test]
async fn a_truncated_file_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let path = config(folder.path()).path;
    let whole = fs::read(&path).unwrap();
    for keep in [100, 700, whole.len() / 2] {
        write_atomically(&path, &whole[..keep]).unwrap();
        goes_on(folder.path(), true).await;
    }
    let kept = fs::read_dir(path.parent().unwrap()).unwrap().flatten();
    let kept = kept.filter(|e| e.file_name().to_string_lossy().contains(".broken-")).count();
    assert!(kept <= 2, "{kept} damaged files are kept");
}

#[tokio::test]
async fn an_older_copy_that_was_put_back_does_not_turn_seq_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path()).path;
    let (store, _) = open(folder.path());
    store.sink("mqtt").await.unwrap();
    store.accept(infos(3)).await.unwrap();
    close(store).await;
    let old = fs::read(&path).unwrap();
    let (store, _) = open(folder.path());
    store.accept(infos(3000)).await.unwrap();
    store.accept(infos(3000)).await.unwrap();
    close(store).await;
    write_atomically(&path, &old).unwrap();
    let (store, opened) = open(folder.path());
    assert!(opened.last_seq >= 6003, "{opened:?}");
    let sink = store.sink("mqtt").await.unwrap();
    store.accept(infos(1)).await.unwrap();
    let loss = receipt_within(&sink, LossReason::StoreQuarantined).await;
    assert_eq!(loss.first_seq, 4);
    close(store).await;
}

#[tokio::test]
async fn the_files_deleted_under_a_running_store_are_put_back_without_loss() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path()).path;
    let (store, _) = open(folder.path());
    let sink = store.sink("mqtt").await.unwrap();
    store.accept(infos(50)).await.unwrap();
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(format!("{}{suffix}", path.display())).unwrap();
    }
    assert_eq!(store.accept(infos(1)).await.unwrap(), [51]);
    assert_eq!(all_pending(&sink).await.len(), 51);
    close(store).await;
    let (store, opened) = open(folder.path());
    assert_eq!((opened.last_seq, opened.quarantined), (51, None));
    assert_eq!(all_pending(&store.sink("mqtt").await.unwrap()).await.len(), 51);
    close(store).await;
}

#[tokio::test]
async fn a_file_replaced_under_a_running_store_does_not_win() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path()).path;
    let (store, _) = open(folder.path());
    let sink = store.sink("mqtt").await.unwrap();
    store.accept(infos(50)).await.unwrap();
    write_atomically(&path, b"what is this?").unwrap();
    assert_eq!(store.accept(infos(1)).await.unwrap(), [51]);
    assert_eq!(all_pending(&sink).await.len(), 51);
    close(store).await;
}

#[tokio::test]
async fn databases_of_others_and_of_the_future_are_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    let foreign = aimass_store::StoreConfig { path: other.clone(), ..config(folder.path()) };
    let error = Store::open(&foreign, SystemClock::shared(), stamp).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Foreign, "{error}");
    assert!(other.exists());

    filled(folder.path()).await;
    let path = config(folder.path()).path;
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Store::open(&config(folder.path()), SystemClock::shared(), stamp).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Foreign);
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[tokio::test]
async fn a_context_that_cannot_be_read_costs_its_own_events_only() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let db = rusqlite::Connection::open(config(folder.path()).path).unwrap();
    db.execute("UPDATE context SET document = CAST(x'ff' || CAST(document AS BLOB) AS TEXT)", []).unwrap();
    drop(db);
    let (store, opened) = open(folder.path());
    assert_eq!(opened.quarantined, None);
    let sink = store.sink("mqtt").await.unwrap();
    let got = store.accept(infos(3)).await.unwrap();
    assert_eq!(&seqs(&all_pending(&sink).await)[..3], got);
    let loss = receipt_within(&sink, LossReason::Unreadable).await;
    assert_eq!((loss.first_seq, loss.last_seq, loss.count), (101, 300, 200));
    close(store).await;
}

#[tokio::test]
async fn a_header_that_would_make_the_file_read_only_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let path = config(folder.path()).path;
    let mut bytes = fs::read(&path).unwrap();
    // The write version of the file format.
    bytes[18] ^= 4;
    write_atomically(&path, &bytes).unwrap();
    goes_on(folder.path(), true).await;
}

#[tokio::test]
async fn a_letter_flipped_in_the_schema_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let path = config(folder.path()).path;
    let mut bytes = fs::read(&path).unwrap();
    let whole = b"context (id INTEGER";
    let places: Vec<usize> =
        (0..bytes.len() - whole.len()).filter(|&n| bytes[n..].starts_with(whole)).collect();
    assert!(!places.is_empty());
    for at in places {
        // The last letter but one; pages may hold remains of earlier versions.
        bytes[at + whole.len() - 2] ^= 1;
    }
    write_atomically(&path, &bytes).unwrap();
    goes_on(folder.path(), true).await;
}

#[tokio::test]
async fn a_cursor_that_was_flipped_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let db = rusqlite::Connection::open(config(folder.path()).path).unwrap();
    let sql =
        "UPDATE value SET document = replace(document, '\"seq\":100', '\"seq\":900') WHERE name = 's/ledger'";
    assert_eq!(db.execute(sql, []).unwrap(), 1);
    drop(db);
    goes_on(folder.path(), true).await;
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_given_up_and_does_not_block_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let db = rusqlite::Connection::open(config(folder.path()).path).unwrap();
    db.execute("UPDATE event SET body = '{\"s\":' WHERE seq = 150", []).unwrap();
    drop(db);
    let (store, _) = open(folder.path());
    let sink = store.sink("mqtt").await.unwrap();
    let pending = all_pending(&sink).await;
    assert_eq!(pending.iter().filter(|e| e.seq <= 300).count(), 199);
    let loss = receipt_within(&sink, LossReason::Unreadable).await;
    assert_eq!((loss.first_seq, loss.last_seq, loss.count), (150, 150, 1));
    close(store).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn flipped_bits_never_stop_the_store_nor_turn_seq_back(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..30),
        head in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            filled(folder.path()).await;
            let path = config(folder.path()).path;
            let mut bytes = fs::read(&path).unwrap();
            let within = if head { 2048 } else { bytes.len() };
            for (at, bit) in flips {
                bytes[at.index(within)] ^= 1 << bit;
            }
            write_atomically(&path, &bytes).unwrap();
            match Store::open_tuned(&config(folder.path()), eager(), SystemClock::shared(), stamp) {
                // The mark that the file is ours was hit: it is not touched.
                Err(error) => assert_eq!(error.kind(), ErrorKind::Foreign, "{error}"),
                Ok((store, opened)) => {
                    assert!(opened.last_seq >= 300 || opened.quarantined.is_none(), "{opened:?}");
                    let sink = store.sink("mqtt").await.unwrap();
                    let got = store.accept(infos(3)).await.unwrap();
                    assert!(got[0] > 300, "{got:?} {opened:?}");
                    let pending = all_pending(&sink).await;
                    // Damage that shows only later takes new events along, and tells so.
                    if !pending.iter().any(|e| e.seq == got[2]) {
                        let loss = receipt_within(&sink, LossReason::StoreQuarantined).await;
                        assert!((loss.first_seq..=loss.last_seq).contains(&got[2]), "{loss:?} {got:?}");
                    }
                    close(store).await;
                }
            }
        });
    }
}
