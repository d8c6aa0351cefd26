//! From text to types, with every error at once and its path in the file.
//!
//! serde stops at the first error. So the document is read into a tree first; each error is noted with its path,
//! the offending part is taken out of the tree, and the rest is tried again.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::Config;

/// A configuration file larger than this is not read.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// More errors than this help nobody.
const MAX_PROBLEMS: usize = 50;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Where, as in `camera[0].fps`; empty for the document as a whole.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    /// A problem at a path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Problem { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" | "." => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if n > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Reads and checks a file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let fail = |message: String| ConfigErrors(vec![Problem::new("", message)]);
    let size =
        std::fs::metadata(path).map_err(|e| fail(format!("cannot read {}: {e}", path.display())))?.len();
    if size > MAX_FILE_BYTES {
        return Err(fail(format!(
            "{} has {size} bytes: a configuration has at most {MAX_FILE_BYTES}",
            path.display()
        )));
    }
    let text =
        std::fs::read_to_string(path).map_err(|e| fail(format!("cannot read {}: {e}", path.display())))?;
    parse(&text)
}

/// Reads and checks a TOML document.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str) -> Result<Config, ConfigErrors> {
    let tree: Value = toml::from_str(text).map_err(|e| {
        ConfigErrors(vec![Problem::new("", format!("not valid TOML: {}", e.to_string().trim_end()))])
    })?;
    from_tree(tree)
}

/// Checks a configuration that the program itself has put together, or that came as JSON.
///
/// # Errors
/// Everything that is wrong with it.
pub fn from_document(document: Value) -> Result<Config, ConfigErrors> {
    from_tree(document)
}

/// Reads and checks a document tree.
fn from_tree(mut tree: Value) -> Result<Config, ConfigErrors> {
    name_kinds(&mut tree);
    let mut problems: Vec<Problem> = Vec::new();
    loop {
        match serde_path_to_error::deserialize::<_, Config>(&tree) {
            Ok(config) => {
                problems.extend(super::check::check(&config));
                return if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) };
            }
            Err(error) => {
                let mut steps = steps(error.path());
                let message = error.into_inner().to_string();
                if let Some(unknown) = quoted(&message, "unknown field `").map(Step::Key)
                    && steps.last() != Some(&unknown)
                {
                    steps.push(unknown);
                }
                let problem = Problem::new(shown(&steps), helpful(&message));
                // The same error twice means that taking the part out did not help.
                let stuck = problems.contains(&problem);
                if !stuck {
                    problems.push(problem);
                }
                if stuck || problems.len() >= MAX_PROBLEMS || !take_out(&mut tree, &steps) {
                    return Err(ConfigErrors(problems));
                }
            }
        }
    }
}

/// `[analyzer.detect]` without a kind is of the kind `detect`.
fn name_kinds(tree: &mut Value) {
    let Some(analyzers) = tree.get_mut("analyzer").and_then(Value::as_object_mut) else { return };
    for (name, table) in analyzers {
        if let Some(table) = table.as_object_mut() {
            table.entry("kind").or_insert_with(|| Value::from(name.as_str()));
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

fn steps(path: &serde_path_to_error::Path) -> Vec<Step> {
    use serde_path_to_error::Segment;
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn shown(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.extend([".", key]),
            Step::Index(n) => text.push_str(&format!("[{n}]")),
        }
    }
    text
}

/// Removes the part at `steps`; false if there is no such part, or it is the whole document.
fn take_out(tree: &mut Value, steps: &[Step]) -> bool {
    let Some((last, parents)) = steps.split_last() else { return false };
    let mut at = tree;
    for step in parents {
        let next = match step {
            Step::Key(key) => at.get_mut(key.as_str()),
            Step::Index(n) => at.get_mut(*n),
        };
        match next {
            Some(next) => at = next,
            None => return false,
        }
    }
    match (last, at) {
        (Step::Key(key), Value::Object(map)) => map.remove(key).is_some(),
        (Step::Index(n), Value::Array(list)) if *n < list.len() => {
            list.remove(*n);
            true
        }
        _ => false,
    }
}

/// The word that follows `opening`, up to the closing back quote.
fn quoted(message: &str, opening: &str) -> Option<String> {
    let rest = message.split_once(opening)?.1;
    Some(rest.split_once('`')?.0.to_owned())
}

/// serde's message, with the nearest known name where a name was not known.
fn helpful(message: &str) -> String {
    let given = quoted(message, "unknown field `").or_else(|| quoted(message, "unknown variant `"));
    let (Some(given), Some((_, known))) = (given, message.split_once("expected ")) else {
        return message.to_owned();
    };
    let near = known
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|candidate| (strsim::jaro_winkler(&given, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, candidate)) => format!("{message}; did you mean `{candidate}`?"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
