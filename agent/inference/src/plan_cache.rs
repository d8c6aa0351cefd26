//! Compiled plans on disk: a start from them needs neither the graph nor tract.
//!
//! A file is the engine's bytes, what they were made for, and a hash over both. It counts only for the same model file,
//! input, backend, kernels and sources of this crate; anything else, or damage, is no error: the plan is made again.
//!
//! Invariant: no file here is trusted beyond that. What the bytes say is checked as for a plan that was just compiled,
//! and memory is bounded by the file's size. Whoever can write here is the agent's own user, who could change its models
//! as well: such a one can make a model answer otherwise, or take its time.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aimass_core::runtime::files::write_atomically;
use aimass_kernels::Kernels;
use bytes::Bytes;
use ring::digest;

use crate::backend::Backend;
use crate::library::manifest::Manifest;

const FOLDER: &str = "plans";
const ENDING: &str = "plan";
/// The most bytes of all plans together.
const MOST_BYTES: u64 = 96 << 20;
/// How a file ends.
const MAGIC: &[u8; 8] = b"AIMPLAN1";
/// The key's length, the hash, and [`MAGIC`].
const TAIL: usize = 4 + digest::SHA256_OUTPUT_LEN + MAGIC.len();

/// What a plan was made for.
#[derive(Debug)]
pub(crate) struct Key {
    /// The file's name: one for each model, backend and path, so that a newer program's plan replaces an older one's.
    file: String,
    /// All that must be the same.
    text: String,
}

impl Key {
    pub(crate) fn new(manifest: &Manifest, backend: Backend, kernels: Kernels) -> Self {
        let (sha256, path, input) = (&manifest.sha256, kernels.path(), &manifest.input);
        let backend = backend.as_str();
        Key {
            file: format!("{}-{backend}-{path}.{ENDING}", sha256.get(..16).unwrap_or(sha256)),
            text: format!(
                "{sha256} {:?} {:?} {backend} {path} {} {}",
                input.name,
                input.shape,
                env!("CARGO_PKG_VERSION"),
                env!("AIMASS_INFERENCE_SOURCES")
            ),
        }
    }
}

/// The plans of this machine.
#[derive(Debug)]
pub(crate) struct Plans {
    folder: PathBuf,
    /// The most bytes of all plans together, and so of one.
    limit: u64,
}

impl Plans {
    /// Within the folder for small facts about this machine; nothing is made there yet.
    pub(crate) fn new(state_folder: &Path) -> Self {
        Plans { folder: state_folder.join(FOLDER), limit: MOST_BYTES }
    }

    /// A plan's bytes; `Ok(None)` if there is no file.
    ///
    /// # Errors
    /// Why the file does not count, on one line.
    pub(crate) fn read(&self, key: &Key) -> Result<Option<Bytes>, String> {
        let path = self.folder.join(&key.file);
        // Before it is opened: opening a pipe would wait for ever.
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
            Ok(found) if !found.is_file() => Err("it is no file".into()),
            Ok(found) if found.len() > self.limit => Err(format!("it has {} bytes", found.len())),
            Ok(found) => Self::checked(&path, found.len(), key).map(Some),
        }
    }

    fn checked(path: &Path, length: u64, key: &Key) -> Result<Bytes, String> {
        let mut bytes = Vec::with_capacity(length as usize + 1);
        File::open(path)
            .and_then(|file| file.take(length + 1).read_to_end(&mut bytes))
            .map_err(|e| e.to_string())?;
        let mut rest = Bytes::from(bytes);
        let mut cut = |length: usize| {
            let at = rest.len().checked_sub(length).ok_or("it is too short")?;
            Ok::<_, String>(rest.split_off(at))
        };
        let magic = cut(MAGIC.len())?;
        let hash = cut(digest::SHA256_OUTPUT_LEN)?;
        let length = cut(4)?;
        if magic[..] != MAGIC[..] {
            return Err("it is no plan".into());
        }
        let key_length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
        let found = cut(key_length as usize)?;
        if found[..] != *key.text.as_bytes() {
            return Err("it was made for something else, or by another version".into());
        }
        if hash[..] != hash_of(&rest, &found)[..] {
            return Err("its content is damaged".into());
        }
        Ok(rest)
    }

    /// Keeps a plan, and lets the oldest others go when there is too much of them.
    ///
    /// # Errors
    /// The disk refuses, or the plan is too large.
    pub(crate) fn write(&self, key: &Key, plan: Bytes) -> io::Result<()> {
        let size = plan.len() as u64 + key.text.len() as u64 + TAIL as u64;
        if size > self.limit {
            return Err(io::Error::other(format!("{size} bytes are too many")));
        }
        let hash = hash_of(&plan, key.text.as_bytes());
        let mut bytes = Vec::from(plan);
        // Exactly, since growing by itself would ask for twice as much.
        bytes.reserve_exact(key.text.len() + TAIL);
        bytes.extend(key.text.as_bytes());
        bytes.extend((key.text.len() as u32).to_le_bytes());
        bytes.extend(hash);
        bytes.extend(MAGIC);
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join(&key.file);
        write_atomically(&path, &bytes)?;
        self.clear(&path, self.limit - size)
    }

    /// Removes a plan that is of no use.
    pub(crate) fn remove(&self, key: &Key) {
        if let Err(error) = fs::remove_file(self.folder.join(&key.file)) {
            tracing::debug!(%error, "A plan that is of no use cannot be removed.");
        }
    }

    /// Keeps the newest plans beside this one up to `limit` bytes, and nothing that a cut-off write left.
    fn clear(&self, keep: &Path, limit: u64) -> io::Result<()> {
        let mut others = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let Ok(found) = fs::symlink_metadata(&path) else { continue };
            let (Ok(modified), true) = (found.modified(), found.is_file() && path != keep) else { continue };
            match path.extension().and_then(|e| e.to_str()) {
                Some(ENDING) => others.push((modified, found.len(), path)),
                // Another process may just be writing it.
                Some("part") if modified.elapsed().is_ok_and(|age| age > Duration::from_secs(3600)) => {
                    fs::remove_file(&path)?;
                }
                _ => {}
            }
        }
        others.sort_by_key(|(modified, ..)| std::cmp::Reverse(*modified));
        let mut sum = 0;
        for (_, size, path) in others {
            sum += size;
            if sum > limit {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

fn hash_of(plan: &[u8], key: &[u8]) -> [u8; digest::SHA256_OUTPUT_LEN] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(plan);
    context.update(key);
    let mut hash = [0; digest::SHA256_OUTPUT_LEN];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::manifest::tests::SSD;

    fn plans(limit: u64) -> (tempfile::TempDir, Plans) {
        let folder = tempfile::tempdir().unwrap();
        let plans = Plans { limit, ..Plans::new(folder.path()) };
        (folder, plans)
    }

    fn key(first: char) -> Key {
        let mut manifest = Manifest::parse(SSD).unwrap();
        manifest.sha256.replace_range(..1, &first.to_string());
        Key::new(&manifest, Backend::EngineInt8, Kernels::detect())
    }

    fn size_of(plans: &Plans) -> u64 {
        let sizes =
            fs::read_dir(&plans.folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        sizes.sum()
    }

    #[test]
    fn a_plan_is_read_as_it_was_written_and_only_for_what_it_was_made_for() {
        let (_folder, plans) = plans(10_000);
        assert_eq!(plans.read(&key('a')), Ok(None));
        plans.write(&key('a'), Bytes::from_static(b"steps")).unwrap();
        assert_eq!(plans.read(&key('a')), Ok(Some(Bytes::from_static(b"steps"))));
        assert_eq!(plans.read(&key('b')), Ok(None));
        let older = Key { text: key('a').text.replace(env!("CARGO_PKG_VERSION"), "0.0.9"), ..key('a') };
        assert!(plans.read(&older).unwrap_err().contains("another version"));
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let (_folder, plans) = plans(10_000);
        plans.write(&key('a'), Bytes::from_static(b"steps")).unwrap();
        let path = plans.folder.join(key('a').file);
        let sound = fs::read(&path).unwrap();
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            write_atomically(&path, &damaged).unwrap();
            assert!(plans.read(&key('a')).is_err(), "byte {at}");
            write_atomically(&path, &sound[..at]).unwrap();
            assert!(plans.read(&key('a')).is_err(), "cut at {at}");
        }
        write_atomically(&path, &[&sound[..], &sound[..]].concat()).unwrap();
        assert!(plans.read(&key('a')).is_err(), "twice");
    }

    #[test]
    fn what_is_no_file_or_too_large_is_not_opened() {
        let (_folder, plans) = plans(300);
        fs::create_dir_all(plans.folder.join(key('a').file)).unwrap();
        assert!(plans.read(&key('a')).unwrap_err().contains("no file"));
        write_atomically(&plans.folder.join(key('b').file), &[0; 301]).unwrap();
        assert!(plans.read(&key('b')).unwrap_err().contains("301 bytes"));
        assert!(plans.write(&key('c'), Bytes::from(vec![0; 300])).is_err());
    }

    #[test]
    fn the_oldest_plans_go_when_there_is_too_much_of_them() {
        let (_folder, plans) = plans(1000);
        for (age, name) in [(9, 'a'), (8, 'b'), (7, 'c')] {
            plans.write(&key(name), Bytes::from(vec![0; 100])).unwrap();
            let file = File::options().append(true).open(plans.folder.join(key(name).file)).unwrap();
            let written = file.metadata().unwrap().modified().unwrap();
            file.set_modified(written - Duration::from_secs(age * 60)).unwrap();
        }
        let each = size_of(&plans) / 3;
        plans.write(&key('d'), Bytes::from(vec![0; (1000 - 2 * each) as usize])).unwrap();
        assert!(size_of(&plans) <= 1000, "{} bytes", size_of(&plans));
        let left = ['a', 'b', 'c', 'd'].map(|name| plans.read(&key(name)).unwrap().is_some());
        assert_eq!(left, [false, false, true, true]);
    }

    #[test]
    fn what_a_cut_off_write_left_goes_in_the_end() {
        let (_folder, plans) = plans(1000);
        fs::create_dir_all(&plans.folder).unwrap();
        let part = |name: &str| plans.folder.join(format!("{name}.plan.1.part"));
        for name in ["old", "new"] {
            write_atomically(&part(name), b"half").unwrap();
        }
        let file = File::options().append(true).open(part("old")).unwrap();
        file.set_modified(file.metadata().unwrap().modified().unwrap() - Duration::from_secs(7200)).unwrap();
        plans.write(&key('a'), Bytes::from_static(b"steps")).unwrap();
        assert_eq!(["old", "new"].map(|name| part(name).exists()), [false, true]);
    }
}
