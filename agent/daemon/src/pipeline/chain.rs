//! A chain of analyzers, run in order on the same frame.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aimass_core::finding::Findings;
use aimass_core::frame::Frame;
use aimass_core::tracking::TrackerConfig;
use aimass_core::traits::{AnalyzeError, Analyzer};
use aimass_inference::{AnalyzerConfig, Backend, InferenceError, Library, ModelCache};

use crate::governor::ChainModels;

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

/// The models of a chain, in its order, and those that take over when there is too little time: `None` if no analyzer
/// names a smaller one that the library has.
pub fn models_of(links: &[Link], models: &Library) -> ChainModels {
    let usual: Vec<String> = links.iter().map(|(_, config)| config.model().to_owned()).collect();
    let known = |config: &AnalyzerConfig| match config.smaller_model() {
        Some(smaller) => match models.get(smaller) {
            Ok(_) => smaller.to_owned(),
            Err(error) => {
                tracing::warn!(model = smaller, %error, "The smaller model is not here: the governor goes without it.");
                config.model().to_owned()
            }
        },
        None => config.model().to_owned(),
    };
    let smaller: Vec<String> = links.iter().map(|(_, config)| known(config)).collect();
    let smaller = (smaller != usual).then_some(smaller);
    ChainModels { usual, smaller }
}

/// The same chain with these models, in its order.
pub fn with_models(links: &[Link], models: &[String]) -> Vec<Link> {
    let mut links = links.to_vec();
    for ((_, config), model) in links.iter_mut().zip(models) {
        config.set(Some(model), None);
    }
    links
}

/// The analyzers of one source, on its analyzer thread.
pub struct Chain(Vec<Box<dyn Analyzer>>);

impl Chain {
    /// Builds the analyzers; loads models that nobody has loaded yet.
    ///
    /// # Errors
    /// A model is unknown, missing, damaged or for another task.
    pub fn build(links: &[Link], models: &ModelCache) -> Result<Self, InferenceError> {
        links
            .iter()
            .map(|(name, config)| aimass_inference::build(name, config, models))
            .collect::<Result<_, _>>()
            .map(Chain)
    }

    /// What they see in the frame.
    ///
    /// # Errors
    /// The first analyzer that fails; the next frame may work.
    pub fn analyze(&mut self, frame: &Frame) -> Result<Findings, AnalyzeError> {
        let mut findings = Findings::default();
        for analyzer in &mut self.0 {
            analyzer.analyze(frame, &mut findings)?;
        }
        Ok(findings)
    }
}

/// The longest side, in pixels, that is of use to a chain whose models are not loaded yet; 0 if that cannot be told.
pub fn useful_side_px(links: &[Link], models: &ModelCache) -> u32 {
    links.iter().filter_map(|(_, config)| config.useful_side_px(models.library())).max().unwrap_or(0)
}

/// Lets object detectors hand on what they are less sure of, down to the tracker's `low_score`: it keeps tracks
/// alive through weak moments. What may begin a track stays above the detector's own `min_score`.
pub fn with_weak_findings(links: &mut [Link], mut tracker: TrackerConfig, models: &Library) -> TrackerConfig {
    for (_, config) in links {
        if !matches!(config, AnalyzerConfig::Detect(_)) {
            continue;
        }
        let own =
            models.get(config.model()).map_or(tracker.high_score, |entry| entry.manifest.default_min_score);
        let reported = config.min_score().unwrap_or(own);
        tracker.high_score = tracker.high_score.max(reported);
        config.set(None, Some(reported.min(tracker.low_score)));
    }
    tracker
}

/// Where models are looked for when nobody says otherwise.
pub fn model_folders() -> Vec<PathBuf> {
    let mut folders =
        vec![PathBuf::from("/usr/share/aimass/models"), PathBuf::from("/var/lib/aimass/models")];
    // In a checkout: beside the target folder, wherever the program was started from.
    let program = std::env::current_exe().unwrap_or_default();
    folders.extend(program.ancestors().skip(1).take(4).map(|above| above.join("models")));
    folders.push(PathBuf::from("models"));
    // A packaged program (cross/build.sh) knows nothing of the folder that it was built in.
    if option_env!("AIMASS_PACKAGED").is_none() {
        folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models"));
    }
    folders.retain(|f| f.is_dir());
    folders
}

/// The models, with the measured choices of this machine; `engine` pins what runs them.
///
/// # Errors
/// A folder that was named cannot be read.
pub fn open_models(named: &[PathBuf], engine: Option<Backend>) -> Result<ModelCache, InferenceError> {
    let usual;
    let folders = if named.is_empty() {
        usual = model_folders();
        &usual
    } else {
        named
    };
    Ok(ModelCache::new(Library::open(folders)?, state_folder()).with_engine(engine))
}

/// Where small facts about this machine are kept: `$AIMASS_STATE`, systemd's state directory, or the user's.
pub fn state_folder() -> Option<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    from("AIMASS_STATE")
        .or_else(|| from("STATE_DIRECTORY"))
        .or_else(|| from("XDG_STATE_HOME").map(|p| p.join("aimass")))
        .or_else(|| from("HOME").map(|p| p.join(".local/state/aimass")))
}
