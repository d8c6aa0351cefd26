//! The daemon's modules import in one direction: ARCHITECTURE.md, "The daemon".

#![expect(clippy::unwrap_used, reason = "a test ends there")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The rows of modules, lowest first. A module imports from its own row (except for other modules of a row that lists
/// alternatives, see [`ALTERNATIVES`]) or from rows below it.
const ROWS: [&[&str]; 9] = [
    &["exit", "identity", "logging"],
    &["board"],
    &["config"],
    &["pipeline"],
    &["governor", "health"],
    &["handle"],
    &["api", "commands", "integrations"],
    &["node"],
    &["cli"],
];

/// Modules of one row that must not know each other.
const ALTERNATIVES: [&str; 3] = ["api", "commands", "integrations"];

fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// The modules that follow `crate::` in `source`, comments and documentation links included: `crate::x` and
/// `crate::{x::a, y}`.
fn imported(source: &str) -> BTreeSet<String> {
    let identifier = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut found = BTreeSet::new();
    for (at, _) in source.match_indices("crate::") {
        let is_own_word = !source[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        if !is_own_word {
            continue;
        }
        let rest = &source[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => {
                found.insert(identifier(rest));
            }
            Some(group) => {
                let mut depth = 0_usize;
                let mut start = 0;
                for (i, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' | ',' if depth == 0 => {
                            found.insert(identifier(&group[start..i]));
                            start = i + 1;
                            if c == '}' {
                                break;
                            }
                        }
                        '}' => depth -= 1,
                        _ => {}
                    }
                }
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn imports_are_found_in_single_and_grouped_form() {
    let source = "use crate::config::Config;\nuse crate::{pipeline::{a, b}, node};\nuse other_crate::api;";
    let expected: Vec<_> = imported(source).into_iter().collect();
    assert_eq!(expected, ["config", "node", "pipeline"]);
}

#[test]
fn each_module_imports_only_from_its_own_row_or_from_rows_below() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for file in files {
        let relative = file.strip_prefix(&src).unwrap();
        let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if module == "main" || module == "lib" {
            continue;
        }
        let Some(from) = row(&module) else {
            faults.push(format!("{}: the module {module} is in no row of ROWS", relative.display()));
            continue;
        };
        seen.insert(module.clone());
        for import in imported(&std::fs::read_to_string(&file).unwrap()) {
            let Some(to) = row(&import) else {
                faults.push(format!("{}: crate::{import} is in no row of ROWS", relative.display()));
                continue;
            };
            let alternative =
                ALTERNATIVES.contains(&module.as_str()) && ALTERNATIVES.contains(&import.as_str());
            if to > from || (alternative && import != module) {
                faults.push(format!("{}: {module} imports {import}", relative.display()));
            }
        }
    }
    let listed: BTreeSet<String> = ROWS.iter().flat_map(|row| row.iter().map(|m| (*m).to_owned())).collect();
    assert_eq!(seen, listed, "ROWS lists the modules that exist");
    assert!(faults.is_empty(), "imports against the order of ARCHITECTURE.md:\n{}", faults.join("\n"));
}
