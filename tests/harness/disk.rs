//! Disks that fail: small, full, read-only, broken. Only root can mount them; tests that need one are skipped
//! elsewhere and say so.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A file system of the test's own. Unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
    image: Option<TempDir>,
}

impl Disk {
    /// In memory, with so much room.
    pub fn small(kib: u32) -> Option<Disk> {
        let folder = tempfile::tempdir().ok()?;
        let mounted =
            run("mount", &["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"], Some(folder.path()));
        mounted.then_some(Disk { folder, image: None }).or_else(skipped)
    }

    /// An ext4 in a file, as on an SD card; see [`Disk::break_down`].
    pub fn card(mib: u64) -> Option<Disk> {
        let (folder, image) = (tempfile::tempdir().ok()?, tempfile::tempdir().ok()?);
        let file = image.path().join("card.img");
        std::fs::File::create(&file).and_then(|f| f.set_len(mib << 20)).ok()?;
        let made = run("mkfs.ext4", &["-q", "-F"], Some(&file));
        let disk = Disk { folder, image: Some(image) };
        (made && disk.mount_card()).then_some(disk).or_else(skipped)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all room that is left with a file; gives it back when that file is removed.
    ///
    /// # Panics
    /// The disk is larger than it should be.
    pub fn fill(&self) -> std::path::PathBuf {
        let ballast = self.path().join("ballast");
        let megabyte = vec![0u8; 1 << 20];
        let filled = std::fs::File::create(&ballast)
            .and_then(|mut file| (0..64).try_for_each(|_| file.write_all(&megabyte)));
        assert!(filled.is_err(), "the disk took 64 MiB and is not full");
        ballast
    }

    /// Remounts it with other options (`ro`, `rw`). No file on it may be open for writing.
    ///
    /// # Panics
    /// It cannot be done.
    pub fn remount(&self, options: &str) {
        assert!(run("mount", &["-o", &format!("remount,{options}")], Some(self.path())), "remount,{options}");
    }

    /// The card fails: from now on it is read-only and every write is an error.
    ///
    /// # Panics
    /// It cannot be done.
    pub fn break_down(&self) {
        assert!(run("mount", &["-o", "remount,abort"], Some(self.path())), "remount,abort");
    }

    /// Takes the card out, checks it as a board does at start, and puts it in again. Nobody may use it.
    ///
    /// # Panics
    /// It cannot be done.
    pub fn repair(&self) {
        assert!(run("umount", &[], Some(self.path())), "umount {}", self.path().display());
        let Some(image) = self.image.as_ref().map(|folder| folder.path().join("card.img")) else {
            panic!("only a card can be repaired");
        };
        // 1: errors were corrected.
        let checked = Command::new("e2fsck").args(["-f", "-y"]).arg(&image).output();
        let code = checked.map(|o| o.status.code());
        assert!(matches!(code, Ok(Some(0 | 1))), "e2fsck: {code:?}");
        assert!(self.mount_card(), "the card cannot be mounted again");
    }

    fn mount_card(&self) -> bool {
        let Some(image) = &self.image else { return false };
        let file = image.path().join("card.img").to_string_lossy().into_owned();
        run("mount", &["-o", "loop,errors=remount-ro", &file], Some(self.path()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l"], Some(self.path()));
    }
}

fn run(program: &str, arguments: &[&str], path: Option<&Path>) -> bool {
    Command::new(program).args(arguments).args(path).output().is_ok_and(|o| o.status.success())
}

fn skipped<T>() -> Option<T> {
    crate::skip("only root can mount a disk of the test's own (and a container may forbid it)");
    None
}
