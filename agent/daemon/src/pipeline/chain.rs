//! A chain of analyzers, run in order on the same frame.

use std::path::PathBuf;

use aimass_core::finding::Findings;
use aimass_core::frame::Frame;
use aimass_core::tracking::TrackerConfig;
use aimass_core::traits::{AnalyzeError, Analyzer};
use aimass_inference::{AnalyzerConfig, Backend, InferenceError, Library, ModelCache};

pub use crate::config::chain::{Link, resolve};
use crate::config::paths::open_library;
pub use crate::config::paths::{model_folders, state_folder};
use crate::pipeline::throttle::ChainModels;

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

/// The models, with the measured choices of this machine; `engine` pins what runs them.
///
/// # Errors
/// A folder that was named cannot be read.
pub fn open_models(named: &[PathBuf], engine: Option<Backend>) -> Result<ModelCache, InferenceError> {
    Ok(ModelCache::new(open_library(named)?, state_folder()).with_engine(engine))
}
