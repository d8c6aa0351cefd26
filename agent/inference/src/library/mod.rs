//! The model library: finds model folders, and hands out a model's bytes only after its size and hash were checked.
//!
//! Invariant: nothing outside a model's own folder is read, except through a symlink that the folder's owner made.

pub mod manifest;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aimass_core::finding::{Label, ModelRef};
use ring::digest;

use crate::error::InferenceError;
use crate::library::manifest::{MAX_MANIFEST_BYTES, Manifest};

/// The most folders of one library that are looked at.
const MAX_MODELS: usize = 1000;
/// The largest label list, in bytes.
const MAX_LABEL_BYTES: usize = 1024 * 1024;
/// How much of a model file is read at a time.
const PART_BYTES: usize = 256 * 1024;
/// The most classes of a model.
pub const MAX_CLASSES: usize = 20_000;

/// A model of the library: its manifest and its folder.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What it is.
    pub manifest: Arc<Manifest>,
    /// Where it lies.
    pub folder: PathBuf,
    /// Where its file lies: in its folder, or in a later library folder's folder of the same name.
    pub file: PathBuf,
}

/// The models found in some folders. A snapshot: open it again to see what changed.
#[derive(Debug, Clone, Default)]
pub struct Library {
    folders: Vec<PathBuf>,
    models: BTreeMap<String, Result<Entry, InferenceError>>,
}

impl Library {
    /// Looks for `<folder>/<name>/model.toml`. Where two folders hold the same name, the earlier one's manifest
    /// counts; its model file may lie in a later one (a cache). Folders that do not exist are passed over. A bad
    /// manifest spoils only its own model.
    ///
    /// # Errors
    /// A folder that exists and cannot be read.
    pub fn open(folders: &[PathBuf]) -> Result<Self, InferenceError> {
        let mut models = BTreeMap::new();
        for folder in folders {
            let entries = match fs::read_dir(folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(InferenceError::io(folder, error)),
            };
            for entry in entries.take(MAX_MODELS) {
                let path = entry.map_err(|e| InferenceError::io(folder, e))?.path();
                let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
                    continue;
                };
                if models.contains_key(name) || !path.join("model.toml").is_file() {
                    continue;
                }
                models.insert(name.to_owned(), read_entry(name, &path, folders));
            }
        }
        Ok(Library { folders: folders.to_vec(), models })
    }

    /// The model of that name.
    ///
    /// # Errors
    /// No such model (the nearest name is offered), or its manifest is not valid.
    pub fn get(&self, name: &str) -> Result<&Entry, InferenceError> {
        match self.models.get(name) {
            Some(Ok(entry)) => Ok(entry),
            Some(Err(error)) => Err(error.clone()),
            None => {
                let near = nearest(name, self.models.keys().map(String::as_str));
                let known: Vec<&str> = self.models.keys().map(String::as_str).collect();
                Err(InferenceError::UnknownModel {
                    name: name.chars().take(80).flat_map(char::escape_default).collect(),
                    hint: near.map_or(String::new(), |n| format!(": did you mean \"{n}\"?")),
                    known: if known.is_empty() { self.nowhere() } else { known.join(", ") },
                })
            }
        }
    }

    /// That there are no models at all, and where they were looked for.
    fn nowhere(&self) -> String {
        let folders: Vec<String> = self.folders.iter().map(|f| f.display().to_string()).collect();
        match folders.is_empty() {
            true => {
                "none, as there is no folder with models: install the package aimass-models, or name a folder"
                    .to_owned()
            }
            false => format!("none, looked in {}", folders.join(", ")),
        }
    }

    /// All models by name, those with a bad manifest too.
    pub fn list(&self) -> impl Iterator<Item = (&str, Result<&Entry, &InferenceError>)> {
        self.models.iter().map(|(name, entry)| (name.as_str(), entry.as_ref()))
    }
}

impl Entry {
    /// Whether the model file is there. Says nothing of its content.
    pub fn has_file(&self) -> bool {
        self.file.is_file()
    }

    /// The model file's bytes, checked.
    ///
    /// # Errors
    /// The file is missing, has another size or another hash.
    pub fn read_model(&self) -> Result<Vec<u8>, InferenceError> {
        let mut content = Vec::new();
        self.walk_model(|part| {
            // Only now it is sure that the file is as long as the manifest says.
            if content.is_empty() {
                content.reserve_exact(self.manifest.bytes as usize);
            }
            content.extend_from_slice(part);
        })?;
        Ok(content)
    }

    /// Checks the model file without keeping it.
    ///
    /// # Errors
    /// As [`Self::read_model`].
    pub fn check_model(&self) -> Result<(), InferenceError> {
        self.walk_model(|_| ())
    }

    /// Hands the file on part by part; whether it is the right one is known at its end.
    fn walk_model(&self, mut each: impl FnMut(&[u8])) -> Result<(), InferenceError> {
        let Manifest { name, sha256, bytes, .. } = &*self.manifest;
        let file = File::open(&self.file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                InferenceError::MissingFile { model: name.clone(), path: self.file.clone() }
            }
            _ => InferenceError::io(&self.file, error),
        })?;
        let found = file.metadata().map_err(|e| InferenceError::io(&self.file, e))?.len();
        let wrong_size = |found| InferenceError::WrongSize {
            model: name.clone(),
            path: self.file.clone(),
            expected: *bytes,
            found,
        };
        if found != *bytes {
            return Err(wrong_size(found));
        }
        let (mut hash, mut read, mut buffer) =
            (digest::Context::new(&digest::SHA256), 0, vec![0; PART_BYTES]);
        // One byte more than expected: a file that grows meanwhile is noticed and never read further.
        let mut file = file.take(*bytes + 1);
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    read += count as u64;
                    hash.update(&buffer[..count]);
                    each(&buffer[..count]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(InferenceError::io(&self.file, error)),
            }
        }
        if read != *bytes {
            return Err(wrong_size(read));
        }
        let found = hex(hash.finish().as_ref());
        if found != *sha256 {
            return Err(InferenceError::WrongHash {
                model: name.clone(),
                path: self.file.clone(),
                expected: sha256.clone(),
                found,
            });
        }
        Ok(())
    }

    /// The classes by index; `None` for an unused class. Empty if the model has no list.
    ///
    /// # Errors
    /// The list is missing, too long or no text.
    pub fn read_labels(&self) -> Result<Vec<Option<Label>>, InferenceError> {
        let Some(name) = &self.manifest.labels else {
            return Ok(Vec::new());
        };
        let path = self.folder.join(name);
        let text = read_text(&path, MAX_LABEL_BYTES)?;
        let labels: Vec<Option<Label>> = text
            .lines()
            .map(|line| Some(line.trim()).filter(|line| !line.is_empty()).map(Label::from))
            .take(MAX_CLASSES + 1)
            .collect();
        if labels.len() > MAX_CLASSES {
            return Err(InferenceError::BadManifest {
                path,
                problem: format!("more than {MAX_CLASSES} classes"),
            });
        }
        Ok(labels)
    }

    /// How findings name this model.
    pub fn model_ref(&self) -> ModelRef {
        let Manifest { name, version, sha256, .. } = &*self.manifest;
        ModelRef { name: name.clone(), version: version.clone(), sha256: sha256.clone() }
    }
}

fn read_entry(name: &str, folder: &Path, folders: &[PathBuf]) -> Result<Entry, InferenceError> {
    let path = folder.join("model.toml");
    let text = read_text(&path, MAX_MANIFEST_BYTES)?;
    let bad = |problem| InferenceError::BadManifest { path: path.clone(), problem };
    let manifest = Manifest::parse(&text).map_err(bad)?;
    if manifest.name != name {
        return Err(bad(format!("name: \"{}\" lies in a folder named \"{name}\"", manifest.name)));
    }
    let beside = folder.join(&manifest.file);
    let file = std::iter::once(beside.clone())
        .chain(folders.iter().map(|f| f.join(name).join(&manifest.file)))
        .find(|path| path.is_file())
        .unwrap_or(beside);
    Ok(Entry { manifest: Arc::new(manifest), folder: folder.to_owned(), file })
}

/// Reads a text of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: usize) -> Result<String, InferenceError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes))
        .map_err(|e| InferenceError::io(path, e))?;
    let bad = |problem| InferenceError::BadManifest { path: path.to_owned(), problem };
    if bytes.len() > limit {
        return Err(bad(format!("longer than {limit} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| bad("is no UTF-8 text".into()))
}

/// SHA-256 in lower-case hex.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The known name with the fewest changes, if it is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name: String = name.chars().take(80).collect();
    known
        .map(|k| (distance(&name, k), k))
        .filter(|(d, k)| *d <= 2.max(k.len() / 3) || (name.len() > 2 && k.contains(&name)))
        .min()
        .map(|(_, k)| k)
}

/// Labels that are told where one is not known and none is near.
const TOLD_LABELS: usize = 8;

/// The end of a sentence that says of a label that it is never found: which one may be meant, or which there are.
pub fn instead_of<'a>(label: &str, found: impl Iterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(label, found.clone()) {
        return format!(": did you mean \"{near}\"?");
    }
    let told = found.clone().take(TOLD_LABELS).collect::<Vec<_>>().join(", ");
    match found.count() {
        0 => String::new(),
        n if n <= TOLD_LABELS => format!(", but {told}"),
        n => {
            let more = n - TOLD_LABELS;
            format!(", but {told} and {more} more (`aimass-agent models list --json` has each model's)")
        }
    }
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "test fixtures are no state")]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::library::manifest::tests::SSD;

    fn library(manifest: &str, file: Option<&[u8]>) -> (tempfile::TempDir, Library) {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("tiny");
        fs::create_dir(&model).unwrap();
        fs::write(model.join("model.toml"), manifest).unwrap();
        fs::write(model.join("labels.txt"), "person\n\n car \n").unwrap();
        if let Some(bytes) = file {
            fs::write(model.join("model.onnx"), bytes).unwrap();
        }
        let library = Library::open(&[folder.path().to_owned()]).unwrap();
        (folder, library)
    }

    #[test]
    fn an_unknown_model_names_the_known_and_the_nearest() {
        let (_folder, library) = library(SSD, None);
        let error = library.get("tinny").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownModel);
        assert_eq!(error.to_string(), "no model is named \"tinny\": did you mean \"tiny\"?; known: tiny");
        let nowhere = Library::open(&["/nowhere".into()]).unwrap().get("tiny").unwrap_err();
        assert!(nowhere.to_string().ends_with("known: none, looked in /nowhere"), "{nowhere}");
    }

    #[test]
    fn a_missing_file_says_which_command_brings_it() {
        let (_folder, library) = library(SSD, None);
        let error = library.get("tiny").unwrap().read_model().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MissingFile);
        assert!(error.to_string().contains("make models"), "{error}");
    }

    #[test]
    fn a_file_of_another_size_or_hash_is_refused_with_both_values() {
        let (_folder, lib) = library(SSD, Some(b"four"));
        let error = lib.get("tiny").unwrap().read_model().unwrap_err();
        assert!(error.to_string().contains("4 bytes where 3"), "{error}");
        let (_folder, lib) = library(SSD, Some(b"abc"));
        let error = lib.get("tiny").unwrap().read_model().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongHash);
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(error.to_string().contains(abc) && error.to_string().contains("expected 0000"), "{error}");
        let (_folder, lib) = library(&SSD.replace(&"0".repeat(64), abc), Some(b"abc"));
        assert_eq!(lib.get("tiny").unwrap().read_model().unwrap(), b"abc");
    }

    #[test]
    fn a_label_that_nobody_finds_is_answered_by_the_nearest_or_by_what_there_is() {
        let few = ["person", "car"];
        assert_eq!(instead_of("persn", few.into_iter()), ": did you mean \"person\"?");
        assert_eq!(instead_of("forklift", few.into_iter()), ", but person, car");
        assert_eq!(instead_of("forklift", [].into_iter()), "");
        let many = ["aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh", "ii", "jj"];
        let text = instead_of("forklift", many.into_iter());
        assert!(text.starts_with(", but aa, bb, ") && text.contains("hh and 2 more "), "{text}");
    }

    #[test]
    fn labels_keep_their_line_as_index_and_empty_lines_are_unused() {
        let (_folder, library) = library(SSD, None);
        let labels = library.get("tiny").unwrap().read_labels().unwrap();
        assert_eq!(labels, [Some("person".into()), None, Some("car".into())]);
    }

    #[test]
    fn a_bad_manifest_spoils_only_its_own_model() {
        let (folder, _) = library(SSD, None);
        let other = folder.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("model.toml"), SSD).unwrap();
        let library = Library::open(&[folder.path().to_owned(), "/nowhere".into()]).unwrap();
        assert!(library.get("tiny").is_ok());
        let error = library.get("other").unwrap_err();
        assert!(error.to_string().contains("folder named \"other\""), "{error}");
        assert_eq!(library.list().count(), 2);
    }

    #[test]
    fn a_model_file_may_lie_in_a_later_folder() {
        let (folder, _) = library(SSD, None);
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir(cache.path().join("tiny")).unwrap();
        fs::write(cache.path().join("tiny/model.onnx"), b"abc").unwrap();
        let library = Library::open(&[folder.path().to_owned(), cache.path().to_owned()]).unwrap();
        assert!(library.get("tiny").unwrap().has_file());
    }
}
