//! The chain of analyzers that a camera's configuration names.

use std::collections::BTreeMap;

use aimass_inference::AnalyzerConfig;

/// An analyzer's name in the chain, and what it is.
pub type Link = (String, AnalyzerConfig);

/// What the names of a chain stand for: the configuration's analyzers, or kinds with their defaults.
///
/// # Errors
/// The name that nobody knows.
pub fn resolve(names: &[String], known: &BTreeMap<String, AnalyzerConfig>) -> Result<Vec<Link>, String> {
    names
        .iter()
        .map(|name| {
            let config = known.get(name).cloned().or_else(|| AnalyzerConfig::named(name));
            config.map(|c| (name.clone(), c)).ok_or_else(|| unknown(name, known))
        })
        .collect()
}

/// The message about a name that nobody knows.
pub fn unknown(name: &str, known: &BTreeMap<String, AnalyzerConfig>) -> String {
    let mut names: Vec<&str> = AnalyzerConfig::KINDS.to_vec();
    names.extend(known.keys().map(String::as_str));
    names.sort_unstable();
    names.dedup();
    format!("no analyzer is named \"{name}\"; known are {}", names.join(", "))
}
