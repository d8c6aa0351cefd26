//! A disk that is full: refused, never wrong, and over when there is space again.

use std::fs;
use std::process::Command;

use aimass_core::event::Severity;
use aimass_core::runtime::clock::SystemClock;
use aimass_store::{ErrorKind, LossReason, Store, StoreConfig, Tuning};

use crate::support::*;

#[tokio::test]
async fn a_database_that_cannot_grow_gives_up_the_oldest_for_the_new() {
    let folder = tempfile::tempdir().unwrap();
    let tuning = Tuning { page_limit: Some(400), ..eager() };
    let (store, _) = open_tuned(folder.path(), tuning, SystemClock::shared());
    let sink = store.sink("mqtt").await.unwrap();
    let mut accepted = 0;
    for _ in 0..40 {
        accepted += store.accept(infos(50)).await.unwrap().len();
    }
    assert_eq!(accepted, 2000);
    let loss = receipt_within(&sink, LossReason::DiskFull).await;
    assert_eq!(loss.first_seq, 1);
    close(store).await;
}

#[tokio::test]
async fn an_event_that_never_fits_is_an_error_and_the_store_lives_on() {
    let folder = tempfile::tempdir().unwrap();
    let tuning = Tuning { page_limit: Some(60), ..eager() };
    let (store, _) = open_tuned(folder.path(), tuning, SystemClock::shared());
    let mut huge = event(Severity::Alarm, 1);
    huge.what.attributes.insert("text".into(), "x".repeat(100_000).into());
    assert_eq!(store.accept(vec![huge]).await.unwrap_err().kind(), ErrorKind::DiskFull);
    assert_eq!(store.accept(infos(1)).await.unwrap(), [1], "the failed one used up no number");
    close(store).await;
}

/// A small file system of its own, if we may mount one.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(kib: u32) -> Option<Disk> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={kib}k");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).status();
        mounted.is_ok_and(|s| s.success()).then_some(Disk(folder))
    }

    fn remount(&self, options: &str) {
        let done =
            Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.0.path()).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0.path()).status().ok();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_works_again_when_there_is_space() {
    let Some(disk) = Disk::mount(2048) else {
        println!("skipped: only root can mount a small disk");
        return;
    };
    let folder = disk.0.path();
    let (store, _) = open(folder);
    let sink = store.sink("mqtt").await.unwrap();
    let mut accepted = store.accept(infos(20)).await.unwrap();
    let ballast = folder.join("ballast");
    let fill = vec![0u8; 4 << 20];
    // As much of it as fits.
    let filled = fs::File::create(&ballast).and_then(|mut f| std::io::Write::write_all(&mut f, &fill));
    assert!(filled.is_err());
    let mut refused = 0;
    for _ in 0..30 {
        match store.accept(infos(50)).await {
            Ok(seqs) => accepted.extend(seqs),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "the disk was not full");
    fs::remove_file(&ballast).unwrap();
    accepted.extend(store.accept(infos(50)).await.unwrap());
    assert_eq!(accepted, (1..=accepted.len() as u64).collect::<Vec<_>>());
    let pending = all_pending(&sink).await;
    let lost = lost_by(&pending, LossReason::DiskFull);
    assert_eq!(pending.len() as u64 + lost, store.newest(), "each is there or told");
    close(store).await;
}

#[tokio::test]
async fn a_file_system_that_turns_read_only_is_an_error_until_it_is_writable_again() {
    let Some(disk) = Disk::mount(4096) else {
        println!("skipped: only root can mount a small disk");
        return;
    };
    let (store, _) = open(disk.0.path());
    store.accept(infos(3)).await.unwrap();
    close(store).await;
    disk.remount("ro");
    let error = Store::open(&config(disk.0.path()), SystemClock::shared(), stamp).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
    disk.remount("rw");
    let (store, opened) = open(disk.0.path());
    assert_eq!(opened.last_seq, 3);
    close(store).await;
}

#[tokio::test]
async fn a_path_that_cannot_be_is_a_clear_error() {
    let path = "/proc/aimass/agent.db".into();
    let nowhere = StoreConfig { path, ..StoreConfig::default() };
    let error = Store::open(&nowhere, SystemClock::shared(), stamp).err().unwrap();
    assert!(error.to_string().contains("/proc/aimass"), "{error}");
}
