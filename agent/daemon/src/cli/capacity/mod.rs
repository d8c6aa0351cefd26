//! What this board can carry: each chain and each camera of a configuration is run and measured, and judged against the
//! board. `probe --config` and `validate --on-this-board` show it.
//!
//! Owner: the main thread of these two commands; nothing of a running node takes part. Invariant: what could not be
//! measured is said, and is not in the sum.

pub mod board;
pub mod cost;
pub mod fit;
mod text;

use aimass_core::traits::SourceErrorKind;
use aimass_inference::ModelCache;
use serde::Serialize;

pub use text::{lines, proposal};

use crate::board::process;
use crate::config::{CameraConfig, Config};
use crate::exit::Failure;
use crate::pipeline::chain::{self, Link};
use crate::pipeline::sources;
use cost::{ChainCost, SourceCost};
use fit::{Load, Room, Verdict};

/// Rates that people ask for.
const USUAL_FPS: [f64; 4] = [1.0, 2.0, 5.0, 10.0];

/// A chain of the configuration, measured.
#[derive(Debug, Clone, Serialize)]
pub struct MeasuredChain {
    /// Its analyzers.
    pub analyzers: Vec<String>,
    /// Their models.
    pub models: Vec<String>,
    /// The cameras that use it.
    pub cameras: Vec<String>,
    /// What it costs.
    pub cost: ChainCost,
    /// How many cameras like its first one fit alone on this board, by frames a second.
    pub fit: Vec<(f64, usize)>,
}

/// A camera of the configuration, measured.
#[derive(Debug, Clone, Serialize)]
pub struct MeasuredCamera {
    /// Its id.
    pub id: String,
    /// What its pictures cost; null if it could not be measured.
    pub source: Option<SourceCost>,
}

/// What a configuration asks of this board.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What there is.
    pub room: Room,
    /// The part of it that stays free.
    pub headroom: f64,
    /// The chains.
    pub chains: Vec<MeasuredChain>,
    /// The cameras.
    pub cameras: Vec<MeasuredCamera>,
    /// Whether it fits.
    pub verdict: Verdict,
    /// What cannot run here at all, one line each.
    pub problems: Vec<String>,
    /// What could not be measured or is not there now, one line each.
    pub warnings: Vec<String>,
}

impl Report {
    /// Whether the configuration can run here.
    pub fn fits(&self) -> bool {
        self.verdict.fits && self.problems.is_empty()
    }
}

/// Measures what a configuration asks of this board: up to five seconds for each distinct chain and for each camera.
///
/// # Errors
/// The model library cannot be read.
pub fn measure(config: &Config) -> Result<Report, Failure> {
    let models = chain::open_models(&config.inference.model_folders, config.inference.engine)
        .map_err(|e| Failure::Unavailable(e.to_string()))?;
    let mut measuring = Measuring { config, models, problems: Vec::new(), warnings: Vec::new() };
    let chains = measuring.chains();
    // Models stay loaded until here, and so are in it.
    let base_bytes = process::memory_bytes().0;
    let cameras: Vec<MeasuredCamera> = config.camera.iter().map(|camera| measuring.camera(camera)).collect();
    let (_, available) = process::board_memory_bytes();
    let room = Room {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        parallel: crate::node::parallel(config),
        memory_bytes: available + base_bytes,
    };
    let mut loads = Vec::new();
    for (camera, measured) in config.camera.iter().zip(&cameras) {
        let cost = chains.iter().find(|c| c.cameras.contains(&measured.id)).map(|c| &c.cost);
        if !measuring.is_paced(camera) {
            let text =
                "it is read as fast as it is analysed, takes what the others leave, and is not in the sum";
            measuring.warnings.push(format!("camera {}: {text}", camera.id));
            continue;
        }
        loads.push(load_of(camera, cost, measured.source.as_ref()));
    }
    let verdict = fit::judge(&room, base_bytes, &loads);
    let fit_of = |chain: &MeasuredChain| {
        let like = loads.iter().find(|l| chain.cameras.contains(&l.id));
        let mut rates = USUAL_FPS.to_vec();
        rates.extend(like.map(|l| l.fps));
        rates.sort_by(f64::total_cmp);
        rates.dedup();
        let count = |fps| (fps, like.map_or(0, |like| fit::how_many(&room, base_bytes, like, fps)));
        rates.into_iter().map(count).collect()
    };
    let fits: Vec<_> = chains.iter().map(fit_of).collect();
    let chains = chains.into_iter().zip(fits).map(|(chain, fit)| MeasuredChain { fit, ..chain }).collect();
    let Measuring { problems, warnings, .. } = measuring;
    Ok(Report { room, headroom: fit::HEADROOM, chains, cameras, verdict, problems, warnings })
}

fn load_of(camera: &CameraConfig, chain: Option<&ChainCost>, source: Option<&SourceCost>) -> Load {
    Load {
        id: camera.id.to_string(),
        fps: f64::from(camera.fps),
        floor_fps: f64::from(camera.floor_fps()),
        priority: camera.priority,
        chain_ms: chain.map_or(0.0, |c| c.frame_ms),
        source_cores: source.map_or(0.0, |s| s.cores),
        memory_bytes: chain.map_or(0, |c| c.session_bytes) + source.map_or(0, |s| s.memory_bytes),
    }
}

struct Measuring<'a> {
    config: &'a Config,
    models: ModelCache,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Measuring<'_> {
    /// Each distinct chain once.
    fn chains(&mut self) -> Vec<MeasuredChain> {
        let mut distinct: Vec<(Vec<Link>, Vec<String>)> = Vec::new();
        for camera in &self.config.camera {
            match chain::resolve(&camera.chain, &self.config.analyzer) {
                Ok(links) if links.is_empty() => {}
                Ok(links) => match distinct.iter_mut().find(|(known, _)| *known == links) {
                    Some((_, cameras)) => cameras.push(camera.id.to_string()),
                    None => distinct.push((links, vec![camera.id.to_string()])),
                },
                Err(error) => self.problems.push(format!("camera {}: {error}", camera.id)),
            }
        }
        let (mut measured, mut alive) = (Vec::new(), Vec::new());
        for (links, cameras) in distinct {
            let analyzers: Vec<String> = links.iter().map(|(name, _)| name.clone()).collect();
            tracing::info!(chain = analyzers.join(","), "Measuring a chain.");
            match cost::chain(&links, &self.models) {
                Ok((cost, chain)) => {
                    alive.push(chain);
                    let models = chain::models_of(&links, self.models.library()).usual;
                    measured.push(MeasuredChain { analyzers, models, cameras, cost, fit: Vec::new() });
                }
                Err(error) => {
                    let cameras = cameras.join(", ");
                    self.problems.push(format!("the chain of {cameras} cannot run: {error}"));
                }
            }
        }
        measured
    }

    fn is_paced(&self, camera: &CameraConfig) -> bool {
        camera.source.parse::<aimass_media::SourceUri>().is_ok_and(|uri| uri.is_paced())
    }

    fn camera(&mut self, camera: &CameraConfig) -> MeasuredCamera {
        let id = camera.id.to_string();
        if !self.is_paced(camera) {
            return MeasuredCamera { id, source: None };
        }
        tracing::info!(camera = id, "Watching a camera.");
        let options = sources::source_of(camera).map(|mut options| {
            let links = chain::resolve(&camera.chain, &self.config.analyzer).unwrap_or_default();
            options.max_side_px = chain::useful_side_px(&links, &self.models);
            options
        });
        let source = match options.map(cost::source) {
            Ok(Ok(source)) => Some(source),
            Ok(Err(error)) => {
                let list = match error.kind {
                    SourceErrorKind::NotMedia | SourceErrorKind::Config => &mut self.problems,
                    _ => &mut self.warnings,
                };
                list.push(format!("{error}: what its pictures cost is not in the sum"));
                None
            }
            Err(failure) => {
                self.problems.push(failure.to_string());
                None
            }
        };
        MeasuredCamera { id, source }
    }
}
