//! Writing small state files so that a power cut leaves either the old or the new content, never half of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Writes `bytes` to a temporary file beside `path`, syncs it and renames it over `path`.
///
/// The file is readable by its owner only (0600): state may hold what nobody else should read. No link is followed
/// in the last part of the path: what lies there, or under the temporary file's name, is replaced.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, None)
}

/// As [`write_atomically`]; the file belongs to this user and group from the moment on at which it has its name.
///
/// # Errors
/// As there; or this process may not give files away.
#[cfg(unix)]
pub fn write_atomically_for(path: &Path, bytes: &[u8], uid: u32, gid: u32) -> io::Result<()> {
    write(path, bytes, Some((uid, gid)))
}

fn write(path: &Path, bytes: &[u8], owner: Option<(u32, u32)>) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = folder.join(name);
    // Left over by an earlier process of this number, or planted: root may write into a folder of somebody else.
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&part)?;
    let written = (|| {
        file.write_all(bytes)?;
        // By the open file and not by its name, which may be another file's by now.
        #[cfg(unix)]
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
        }
        #[cfg(not(unix))]
        drop(owner);
        file.sync_all()?;
        fs::rename(&part, path)
    })();
    if let Err(error) = written {
        fs::remove_file(&part).ok();
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_whole_file_and_leaves_no_part_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write_atomically(&path, b"a long first content").unwrap();
        write_atomically(&path, b"short").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"short");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write_atomically(&folder.path().join("missing/state"), b"x").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn planted_links_are_replaced_and_not_followed() {
        use std::os::unix::fs::{MetadataExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        write_atomically(&victim, b"precious").unwrap();
        let path = folder.path().join("state");
        let part = folder.path().join(format!("state.{}.part", std::process::id()));
        let own = fs::metadata(&victim).unwrap();
        for target in [victim.clone(), folder.path().join("not there")] {
            symlink(&target, &part).unwrap();
            symlink(&target, &path).unwrap();
            write_atomically_for(&path, b"new", own.uid(), own.gid()).unwrap();
            assert!(path.symlink_metadata().unwrap().is_file());
            assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
            assert_eq!(
                (fs::read(&path).unwrap(), fs::read(&victim).unwrap()),
                (b"new".into(), b"precious".into())
            );
            assert!(part.symlink_metadata().is_err() && !folder.path().join("not there").exists());
            fs::remove_file(&path).unwrap();
        }
        // What cannot be removed is no place to write to either.
        fs::create_dir(&part).unwrap();
        assert!(write_atomically(&path, b"new").is_err());
        assert!(!path.exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_given_away_belongs_to_its_new_owner() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let own = fs::metadata(folder.path()).unwrap();
        // Only root may give files away; everybody else is refused and leaves nothing behind.
        let given = write_atomically_for(&path, b"x", own.uid() + 1, own.gid());
        match path.metadata() {
            Ok(found) => assert_eq!((given.is_ok(), found.uid()), (true, own.uid() + 1)),
            Err(_) => assert_eq!((given.is_err(), fs::read_dir(folder.path()).unwrap().count()), (true, 0)),
        }
    }
}
