//! What a push may change and what only the node's own file says. Pure, but for looking where links lead.
//!
//! Invariant: no signed body adds a trusted key, moves the store, renames the node, opens the API, runs a pipeline
//! that the node's own file does not have, takes the broker away, or makes the agent read a secret from a folder that
//! was not opened for it, or send one from elsewhere to anybody but whom the node's own file sends it to.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use super::Config;
use super::load::{ConfigErrors, Problem, from_document};

/// Tables that stand in the node's own file only.
pub const LOCAL_ONLY: [&str; 4] = ["trust", "node", "store", "http"];
/// In `inference`, the same.
const MODEL_FOLDERS: &str = "model_folders";
/// Files that are no secrets.
const PUBLIC: [&str; 2] = ["ca_file", "cert_file"];

/// The node's own file with the body of a push laid over it, checked as a whole.
///
/// `local` is the file's tree, `own_folder` the folder that it lies in.
///
/// # Errors
/// Everything that is wrong, and everything that a push may not change, with its path in the body.
pub fn effective(local: &Value, body: &Value, own_folder: &Path) -> Result<Config, ConfigErrors> {
    let Some(pushed) = body.as_object() else {
        return Err(ConfigErrors(vec![Problem::new(
            "",
            "the body must be an object: the configuration's tables",
        )]));
    };
    if pushed.get("broker").is_some_and(Value::is_null) {
        let message = "a push cannot take the broker away, the node would be lost for good: leave it out, then the \
                       node's own file says it";
        return Err(ConfigErrors(vec![Problem::new("broker", message)]));
    }
    let own = from_document(local.clone())?;
    let config = from_document(laid_over(local, pushed))?;
    let mut problems = Vec::new();
    for (section, same) in [
        ("trust", config.trust == own.trust),
        ("node", config.node == own.node),
        ("store", config.store == own.store),
        ("http", config.http == own.http),
        ("inference.model_folders", config.inference.model_folders == own.inference.model_folders),
    ] {
        if !same {
            let message =
                "differs from the node's own file, and only that may say it: leave it out of a push";
            problems.push(Problem::new(section, message));
        }
    }
    let known: BTreeSet<&str> = sources(&own).map(|(_, _, source)| source).collect();
    for (list, n, source) in sources(&config) {
        let runs = source.split_once(':').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("gst"));
        if runs && !known.contains(source) {
            let message = "a gst: pipeline may do anything, so a push may only name one that stands in the same \
                           words in the node's own file";
            problems.push(Problem::new(format!("{list}[{n}].source"), message));
        }
    }
    let folders = match own.trust.secret_folders.as_slice() {
        [] => vec![own_folder.to_owned()],
        some => some.to_vec(),
    };
    let guard = Secrets { local, folders, token: own.http.token_file.as_deref() };
    for (name, value) in pushed.iter().filter(|(name, _)| !LOCAL_ONLY.contains(&name.as_str())) {
        guard.walk(value, name, &mut problems);
    }
    if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) }
}

/// Every address, with the list and the place where it stands.
fn sources(config: &Config) -> impl Iterator<Item = (&'static str, usize, &str)> {
    let cameras = config.camera.iter().enumerate().map(|(n, c)| ("camera", n, c.source.trim()));
    cameras.chain(config.microphone.iter().enumerate().map(|(n, m)| ("microphone", n, m.source.trim())))
}

/// A configuration without what only the node's own file says: what can be signed.
pub fn pushable(tree: &Value) -> Value {
    let mut body = tree.as_object().cloned().unwrap_or_default();
    body.retain(|section, _| !LOCAL_ONLY.contains(&section.as_str()));
    if let Some(inference) = body.get_mut("inference").and_then(Value::as_object_mut) {
        inference.retain(|key, _| key != MODEL_FOLDERS);
    }
    body.retain(|section, value| {
        section != "inference" || value.as_object().is_none_or(|table| !table.is_empty())
    });
    Value::Object(body)
}

/// The body, with the node's own tables where it is silent.
fn laid_over(local: &Value, pushed: &Map<String, Value>) -> Value {
    let mut tree = pushed.clone();
    for section in LOCAL_ONLY.iter().chain(&["broker", "inference"]) {
        if let (false, Some(own)) = (tree.contains_key(*section), local.get(section)) {
            tree.insert((*section).to_owned(), own.clone());
        }
    }
    let own = local.get("inference").and_then(|i| i.get(MODEL_FOLDERS));
    if let (Some(own), Some(inference)) = (own, tree.get_mut("inference").and_then(Value::as_object_mut)) {
        inference.entry(MODEL_FOLDERS).or_insert_with(|| own.clone());
    }
    Value::Object(tree)
}

/// Which files a push may make the agent read.
struct Secrets<'a> {
    local: &'a Value,
    folders: Vec<PathBuf>,
    token: Option<&'a Path>,
}

impl Secrets<'_> {
    /// Looks at every key that ends in `_file`, wherever it stands.
    fn walk(&self, value: &Value, at: &str, problems: &mut Vec<Problem>) {
        match value {
            Value::Object(table) => {
                for (key, value) in table {
                    let at = format!("{at}.{key}");
                    match value.as_str() {
                        Some(file) if key.ends_with("_file") => {
                            let problem = self.problem(table, key, Path::new(file));
                            problems.extend(problem.map(|m| Problem::new(at, m)));
                        }
                        _ => self.walk(value, &at, problems),
                    }
                }
            }
            Value::Array(list) => {
                for (n, value) in list.iter().enumerate() {
                    self.walk(value, &format!("{at}[{n}]"), problems);
                }
            }
            _ => {}
        }
    }

    fn problem(&self, table: &Map<String, Value>, key: &str, file: &Path) -> Option<String> {
        let real = really(file);
        if self.token.is_some_and(|token| file == token || (real.is_some() && really(token) == real)) {
            return Some("is the API's token: a push may not name it".into());
        }
        if named(self.local, key, file, table) {
            return None;
        }
        let inside = real.is_some_and(|real| {
            self.folders.iter().filter_map(|f| f.canonicalize().ok()).any(|folder| real.starts_with(folder))
        });
        if inside {
            return None;
        }
        let folders: Vec<String> = self.folders.iter().map(|f| f.display().to_string()).collect();
        let folders = folders.join(", ");
        Some(format!(
            "{} does not lie in {folders}, and the node's own file does not name it for this very address: put the \
             file there, or open its folder with trust.secret_folders in the node's own file",
            file.display()
        ))
    }
}

/// Whether the node's own file names this file itself for the same thing, and, unless it is a certificate, with the
/// same peer.
fn named(local: &Value, key: &str, file: &Path, pushed: &Map<String, Value>) -> bool {
    match local {
        Value::Object(table) => {
            let is_it = table.get(key).and_then(Value::as_str).is_some_and(|text| Path::new(text) == file);
            (is_it && (PUBLIC.contains(&key) || same_peer(table, pushed)))
                || table.iter().any(|(name, value)| {
                    !LOCAL_ONLY.contains(&name.as_str()) && named(value, key, file, pushed)
                })
        }
        Value::Array(list) => list.iter().any(|value| named(value, key, file, pushed)),
        _ => false,
    }
}

/// Whether two tables speak of the same camera or the same brokers, in the same words.
fn same_peer(own: &Map<String, Value>, pushed: &Map<String, Value>) -> bool {
    let others = |table: &Map<String, Value>| {
        table.get("fallback_urls").cloned().unwrap_or_else(|| Value::Array(Vec::new()))
    };
    ["source", "url"].iter().any(|key| own.contains_key(*key))
        && ["source", "url"].iter().all(|key| own.get(*key) == pushed.get(*key))
        && others(own) == others(pushed)
}

/// Where a path leads once all links are followed. The file need not be there yet; a link that leads nowhere, a
/// relative path and one with `..` have no such place.
fn really(path: &Path) -> Option<PathBuf> {
    if !path.is_absolute() || path.components().any(|c| matches!(c, Component::ParentDir)) {
        return None;
    }
    if let Ok(real) = path.canonicalize() {
        return Some(real);
    }
    if path.symlink_metadata().is_ok() {
        return None;
    }
    Some(really(path.parent()?)?.join(path.file_name()?))
}

#[cfg(test)]
#[path = "overlay_tests.rs"]
mod tests;
