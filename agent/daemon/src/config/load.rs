//! From text to types, with every error at once and its path in the file.
//!
//! serde stops at the first error. So the document is read into a tree first; each error is noted with its path,
//! the offending part is taken out of the tree or stood in for, and the rest is tried again.
//! Invariant: paths count as the document does, whatever was taken out; no message repeats a line of the document.

use std::fmt;
use std::path::Path;

pub use aimass_protocol::config::ConfigProblem as Problem;
use serde_json::Value;

use aimass_inference::AnalyzerConfig;

use super::Config;

/// A configuration file larger than this is not read.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// More errors than this help nobody.
const MAX_PROBLEMS: usize = 50;

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
    parse(&read(path)?)
}

/// Reads a file's text.
///
/// # Errors
/// It cannot be read, or is too large to be a configuration.
pub fn read(path: &Path) -> Result<String, ConfigErrors> {
    let fail = |message: String| ConfigErrors(vec![Problem::new("", message)]);
    let size =
        std::fs::metadata(path).map_err(|e| fail(format!("cannot read {}: {e}", path.display())))?.len();
    if size > MAX_FILE_BYTES {
        return Err(fail(format!(
            "{} has {size} bytes: a configuration has at most {MAX_FILE_BYTES}",
            path.display()
        )));
    }
    std::fs::read_to_string(path).map_err(|e| fail(format!("cannot read {}: {e}", path.display())))
}

/// A TOML document as a tree that nobody has checked yet.
///
/// # Errors
/// It is no TOML.
pub fn tree(text: &str) -> Result<Value, ConfigErrors> {
    toml::from_str(text).map_err(|e| ConfigErrors(vec![Problem::new("", not_toml(text, &e))]))
}

/// Reads and checks a TOML document.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str) -> Result<Config, ConfigErrors> {
    from_tree(tree(text)?)
}

/// Checks a configuration that the program itself has put together, or that came as JSON.
///
/// # Errors
/// Everything that is wrong with it.
pub fn from_document(document: Value) -> Result<Config, ConfigErrors> {
    from_tree(document)
}

/// Where a document is no TOML and what was expected there. The line itself stays out: it may hold a secret that
/// was put in the wrong place.
fn not_toml(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim().replace('\n', ", ");
    let before = error.span().and_then(|span| text.get(..span.start));
    before.map_or_else(
        || format!("not valid TOML: {message}"),
        |before| {
            let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
            let line = before.matches('\n').count() + 1;
            format!("not valid TOML at line {line}, column {column}: {message}")
        },
    )
}

/// Reads and checks a document tree.
fn from_tree(mut tree: Value) -> Result<Config, ConfigErrors> {
    name_kinds(&mut tree);
    accept_old_keys(&mut tree);
    let mut problems: Vec<Problem> = Vec::new();
    let mut removed: Vec<Vec<Step>> = Vec::new();
    // Each round takes something out or puts something in; a document needs far fewer rounds than this.
    for _ in 0..4 * MAX_PROBLEMS {
        let error = match serde_path_to_error::deserialize::<_, Config>(&tree) {
            Ok(config) => {
                let checked = super::check::check(&config).into_iter();
                problems.extend(checked.map(|p| Problem { path: renumbered(&p.path, &removed), ..p }));
                return if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) };
            }
            Err(error) => error,
        };
        let (mut steps, mut message) = (steps(error.path()), error.inner().to_string());
        if let Some((within, inner)) = within_analyzer(&mut tree, &steps) {
            steps.extend(within);
            message = inner;
        }
        if let Some(unknown) = quoted(&message, "unknown field `").map(Step::Key)
            && steps.last() != Some(&unknown)
        {
            steps.push(unknown);
        }
        let origin = original(&steps, &removed);
        let absent = quoted(&message, "missing field `");
        // What was taken out because it is wrong is not missing as well.
        let consequence = absent.as_ref().is_some_and(|field| {
            let path = shown(&[&origin[..], &[Step::Key(field.clone())]].concat());
            problems.iter().any(|p| p.path.strip_prefix(&path).is_some_and(|r| !r.starts_with(is_name_char)))
        });
        if !consequence {
            let problem = Problem::new(shown(&origin), helpful(&message));
            // The same error twice means that taking the part out did not help.
            if problems.contains(&problem) {
                return Err(ConfigErrors(problems));
            }
            problems.push(problem);
        }
        if absent.is_some_and(|field| stand_in(&mut tree, &steps, &field)) {
            continue;
        }
        if problems.len() >= MAX_PROBLEMS || !take_out(&mut tree, &steps) {
            break;
        }
        if matches!(steps.last(), Some(Step::Index(_))) {
            removed.push(origin);
        }
    }
    Err(ConfigErrors(problems))
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

/// serde looks at an analyzer's table as a whole, because of its `kind`: which of its fields is wrong, and why.
fn within_analyzer(tree: &mut Value, place: &[Step]) -> Option<(Vec<Step>, String)> {
    let [Step::Key(section), Step::Key(_)] = place else { return None };
    let table = at(tree, place).filter(|_| section == "analyzer")?.as_object_mut()?;
    let mut fields = table.clone();
    let kind = fields.remove("kind")?;
    let mut track = serde_path_to_error::Track::new();
    let fields = serde_path_to_error::Deserializer::new(Value::Object(fields), &mut track);
    let error = AnalyzerConfig::of_kind(kind.as_str()?, fields)?.err()?;
    Some((steps(&track.path()), error.to_string()))
}

/// Puts a harmless value where a required one is missing, so that the rest of its table is checked too.
fn stand_in(tree: &mut Value, table: &[Step], field: &str) -> bool {
    let value = match field {
        "node" => serde_json::json!({ "site": "stand-in", "id": "stand-in" }),
        // As long as ids must be unique, so must be those that stand in.
        "id" | "site" => Value::from(format!("stand-in-{}", shown(table).replace(['.', '[', ']'], "-"))),
        "source" => Value::from("rtsp://127.0.0.1/"),
        "url" => Value::from("mqtt://127.0.0.1"),
        "polygon" => serde_json::json!([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]),
        "from" => serde_json::json!([0.123, 0.877]),
        "to" => serde_json::json!([0.877, 0.123]),
        _ => return false,
    };
    match at(tree, table) {
        Some(Value::Object(map)) => map.insert(field.to_owned(), value).is_none(),
        _ => false,
    }
}

/// Tables of sources whose key has changed: the list, the old key, the new one. A node must start with its
/// configuration after an upgrade, and pushed or kept revisions may be older than the program.
const OLD_KEYS: [(&str, &str, &str); 2] = [("camera", "sight", "health"), ("microphone", "sight", "health")];

/// Reads old keys as the new ones, with a warning. A table that has both keeps the old one, which is then an error.
fn accept_old_keys(tree: &mut Value) {
    for (list, old, new) in OLD_KEYS {
        for (n, source) in tree.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().enumerate()
        {
            let Some(source) = source.as_object_mut() else { continue };
            if source.contains_key(new) {
                continue;
            }
            if let Some(table) = source.remove(old) {
                tracing::warn!(
                    "{list}[{n}].{old}: this key is now named {new}: rename it in the configuration."
                );
                source.insert(new.to_owned(), table);
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

/// Steps into the tree as it is now, as steps into the document as it was, when `removed` was still in it.
fn original(steps: &[Step], removed: &[Vec<Step>]) -> Vec<Step> {
    let mut origin: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps {
        let step = match step {
            Step::Key(key) => Step::Key(key.clone()),
            Step::Index(n) => {
                let mut gone: Vec<usize> = removed.iter().filter_map(|r| index_in(r, &origin)).collect();
                gone.sort_unstable();
                Step::Index(gone.into_iter().fold(*n, |n, gone| if gone <= n { n + 1 } else { n }))
            }
        };
        origin.push(step);
    }
    origin
}

/// The index of an element of the list, if it is one.
fn index_in(element: &[Step], list: &[Step]) -> Option<usize> {
    match element.split_last() {
        Some((Step::Index(n), parents)) if parents == list => Some(*n),
        _ => None,
    }
}

/// A path of the checks, as in `camera[0].zone[1].id`, with the document's own numbers.
fn renumbered(path: &str, removed: &[Vec<Step>]) -> String {
    if removed.is_empty() {
        return path.to_owned();
    }
    let mut steps = Vec::new();
    for part in path.split('.') {
        let mut pieces = part.split('[');
        steps.extend(pieces.next().map(|key| Step::Key(key.to_owned())));
        steps.extend(pieces.filter_map(|n| n.trim_end_matches(']').parse().ok()).map(Step::Index));
    }
    shown(&original(&steps, removed))
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

/// The part at `steps`.
fn at<'a>(tree: &'a mut Value, steps: &[Step]) -> Option<&'a mut Value> {
    steps.iter().try_fold(tree, |at, step| match step {
        Step::Key(key) => at.get_mut(key.as_str()),
        Step::Index(n) => at.get_mut(*n),
    })
}

/// Removes the part at `steps`; false if there is no such part, or it is the whole document.
fn take_out(tree: &mut Value, steps: &[Step]) -> bool {
    let Some((last, parents)) = steps.split_last() else { return false };
    match (last, at(tree, parents)) {
        (Step::Key(key), Some(Value::Object(map))) => map.remove(key).is_some(),
        (Step::Index(n), Some(Value::Array(list))) if *n < list.len() => {
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
