//! A loaded model with its decoder, shared; and a detector, which is what one thread needs to look at pictures.
//!
//! Invariant: a model is loaded once for each backend, however many sources use it, and is freed when the last
//! of them goes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use aimass_core::finding::{Label, ModelRef, StageTimes};
use aimass_core::frame::Picture;
use aimass_core::geometry::{Point, Region};
use aimass_core::runtime::clock::Stopwatch;
use aimass_kernels::Kernels;

use crate::backend::{Backend, Model, Session};
use crate::backend_selection::Choices;
use crate::error::InferenceError;
use crate::library::manifest::{Manifest, Precision};
use crate::library::{Entry, Library};
use crate::memory::LargeBlocksApart;
use crate::plan_cache::{Key, Plans};
use crate::preprocess::image::Preparer;
use crate::tasks::box_detector::nms::{self, Detection, MAX_POINTS};
use crate::tasks::box_detector::postprocess::Decoder;
use crate::threads::Threads;

/// A model that is ready: shared between threads.
#[derive(Debug)]
pub struct LoadedModel {
    /// What it is.
    pub manifest: Arc<Manifest>,
    /// Its classes by index; `None` for an unused one.
    pub labels: Vec<Option<Label>>,
    /// How findings name it.
    pub reference: Arc<ModelRef>,
    /// How its outputs are read.
    pub decoder: Decoder,
    model: Model,
    threads: Threads,
}

impl LoadedModel {
    /// Reads, checks and loads a model of the library. Takes up to seconds: never call it on an async worker.
    ///
    /// # Errors
    /// The file is missing or is another one, cannot be run, or does not fit its decoder.
    pub fn load(entry: &Entry, backend: Backend) -> Result<Self, InferenceError> {
        let bytes = entry.read_model()?;
        Self::of(entry, || Model::load(bytes, &entry.manifest.input, backend))
    }

    /// As [`Self::load`] by a plan that was kept; without one it is kept now.
    fn load_by_plan(entry: &Entry, backend: Backend, plans: &Plans) -> Result<Self, InferenceError> {
        let (kernels, input, model) = (Kernels::detect(), &entry.manifest.input, &entry.manifest.name);
        let key = Key::new(&entry.manifest, backend, kernels);
        match plans.read(&key) {
            Ok(Some(saved)) => {
                // The plan replaces the file's content, and not the proof that the file is there and whole.
                entry.check_model()?;
                match Self::of(entry, || Model::restore(&saved, input, backend, kernels)) {
                    Ok(loaded) => return Ok(loaded),
                    // What is wrong with the manifest shows again below.
                    Err(error) => {
                        tracing::warn!(model, %error, "A compiled plan is at fault, and is made again.");
                    }
                }
            }
            Ok(None) => {}
            Err(problem) => {
                tracing::info!(model, problem, "A compiled plan does not count, and is made again.")
            }
        }
        let bytes = entry.read_model()?;
        let mut saved = Err(String::new());
        let loaded =
            Self::of(entry, || Model::load_keeping(bytes, input, backend, kernels, Some(&mut saved)))?;
        match saved {
            Ok(saved) => {
                if let Err(error) = plans.write(&key, saved) {
                    tracing::warn!(model, %error, "The compiled plan cannot be kept, and will be made again.");
                }
            }
            Err(problem) => {
                plans.remove(&key);
                tracing::info!(
                    model,
                    problem,
                    "The compiled plan is not kept: each start compiles the model."
                );
            }
        }
        Ok(loaded)
    }

    /// A model with its labels and decoder.
    fn of(entry: &Entry, load: impl FnOnce() -> Result<Model, String>) -> Result<Self, InferenceError> {
        let manifest = entry.manifest.clone();
        let labels = entry.read_labels()?;
        let model =
            load().map_err(|problem| InferenceError::BadModel { model: manifest.name.clone(), problem })?;
        let decoder = Decoder::new(&manifest, model.outputs())?;
        if decoder.landmarks().is_none() && labels.len() > decoder.classes() {
            return Err(InferenceError::WrongOutputs {
                model: manifest.name.clone(),
                decoder: manifest.decoder.kind(),
                problem: format!("{} labels, but scores for {} classes", labels.len(), decoder.classes()),
            });
        }
        let reference = Arc::new(entry.model_ref());
        let threads = Threads::default();
        Ok(LoadedModel { manifest, labels, reference, decoder, model, threads })
    }

    /// What runs it.
    pub fn backend(&self) -> Backend {
        self.model.backend()
    }

    /// The model itself.
    pub fn model(&self) -> &Model {
        &self.model
    }
}

/// Loads each model once and hands out shares of it.
#[derive(Debug)]
pub struct ModelCache {
    library: Library,
    choices: Choices,
    plans: Option<Plans>,
    engine: Option<Backend>,
    threads: Threads,
    /// Held for a look only.
    loaded: Mutex<HashMap<(String, Backend), Weak<LoadedModel>>>,
    /// Held while a model is loaded: two loads at once would double the memory's peak.
    loading: Mutex<()>,
    /// Held while a model is measured: two at once would measure each other.
    measuring: Mutex<()>,
}

impl ModelCache {
    /// On a library. `state_folder` is where measured choices and compiled plans are kept; without one nothing is
    /// measured, and what is expected to be fastest is used.
    pub fn new(library: Library, state_folder: Option<PathBuf>) -> Self {
        let plans = state_folder.as_deref().map(Plans::new);
        let choices = Choices::new(state_folder);
        let (loaded, loading, measuring) = Default::default();
        ModelCache {
            library,
            choices,
            plans,
            engine: None,
            threads: Threads::default(),
            loaded,
            loading,
            measuring,
        }
    }

    /// Pins what runs models, where it can run them.
    #[must_use]
    pub fn with_engine(self, engine: Option<Backend>) -> Self {
        ModelCache { engine, ..self }
    }

    /// Lets threads share the layers of one model.
    #[must_use]
    pub fn with_threads(self, threads: Threads) -> Self {
        ModelCache { threads, ..self }
    }

    /// The library.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// The measured choices.
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// The model, loaded now if nobody uses it yet, by what is fastest on this machine: at a model's first load that
    /// is measured. A model that the engine cannot run runs in tract. Who asks for a model that is loaded never waits;
    /// loads wait for each other, and measurements too.
    ///
    /// # Errors
    /// As [`Library::get`] and [`LoadedModel::load`].
    pub fn get(&self, name: &str, pin: Option<Precision>) -> Result<Arc<LoadedModel>, InferenceError> {
        let entry = self.library.get(name)?;
        let candidates = self.candidates(entry, pin)?;
        let known = || match candidates[..] {
            [only] => Some(only),
            _ => self.choices.winner(&entry.manifest.sha256).filter(|winner| candidates.contains(winner)),
        };
        let measured = || {
            let _measuring = self.measuring.lock().unwrap_or_else(PoisonError::into_inner);
            // Who waited may find that it was just measured.
            known().unwrap_or_else(|| {
                crate::backend_selection::measure::choose(entry, &candidates, &self.choices, &self.loading)
            })
        };
        let backend = match known() {
            Some(backend) => backend,
            None if self.choices.is_kept() => measured(),
            None => candidates[0],
        };
        if candidates.len() > 1 {
            self.choices.warn_if_given_up(name, &entry.manifest.sha256);
        }
        match self.share(entry, backend) {
            Err(InferenceError::BadModel { model, problem }) if backend != Backend::Tract => {
                tracing::warn!(model, problem, "The engine cannot run this model, so tract runs it, slower.");
                self.share(entry, Backend::Tract)
            }
            other => other,
        }
    }

    /// The model by one backend, loaded now if nobody uses it yet.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_by(&self, name: &str, backend: Backend) -> Result<Arc<LoadedModel>, InferenceError> {
        let entry = self.library.get(name)?;
        self.share(entry, backend)
    }

    fn share(&self, entry: &Entry, backend: Backend) -> Result<Arc<LoadedModel>, InferenceError> {
        let name = &entry.manifest.name;
        let key = (name.clone(), backend);
        let loaded = || self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = || loaded().get(&key).and_then(Weak::upgrade);
        if let Some(model) = shared() {
            return Ok(model);
        }
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        // Who waited may find that it was just loaded.
        if let Some(model) = shared() {
            return Ok(model);
        }
        let mut watch = Stopwatch::start();
        let apart = LargeBlocksApart::begin();
        let model = match &self.plans {
            Some(plans) if backend != Backend::Tract => LoadedModel::load_by_plan(entry, backend, plans),
            _ => LoadedModel::load(entry, backend),
        };
        let model = Arc::new(LoadedModel { threads: self.threads.clone(), ..model? });
        drop(apart);
        tracing::info!(
            model = name,
            by = backend.as_str(),
            load_ms = watch.lap().as_millis() as u64,
            "The model is loaded."
        );
        loaded().insert(key.clone(), Arc::downgrade(&model));
        Ok(model)
    }

    /// What may run the model, the one that is expected to be fastest first. A precision that an analyzer pins counts
    /// for more than the engine that the node pins.
    fn candidates(&self, entry: &Entry, pin: Option<Precision>) -> Result<Vec<Backend>, InferenceError> {
        let stored = entry.manifest.precision;
        if pin == Some(Precision::Int8) && stored == Precision::F32 {
            return Err(InferenceError::Config {
                what: "precision".into(),
                problem: format!("model {} is stored as f32: use \"f32\"", entry.manifest.name),
            });
        }
        let mut candidates = Backend::candidates(stored);
        candidates.retain(|backend| pin.is_none_or(|pin| backend.precision() == pin));
        if let Some(engine) = self.engine.filter(|engine| candidates.contains(engine)) {
            return Ok(vec![engine]);
        }
        Ok(candidates)
    }
}

/// Something that was seen, in fractions of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// Index of its class.
    pub class: usize,
    /// How sure the model is, 0..1.
    pub score: f32,
    /// Where, within the picture.
    pub region: Region,
    points: [Point; MAX_POINTS],
    point_count: usize,
}

impl Seen {
    /// Its landmarks; they may lie outside the picture.
    pub fn points(&self) -> &[Point] {
        &self.points[..self.point_count]
    }
}

/// What one thread needs to find things in pictures with one model.
#[derive(Debug)]
pub struct Detector {
    model: Arc<LoadedModel>,
    session: Session,
    preparer: Preparer,
    wanted: Vec<bool>,
    found: Vec<Detection>,
}

impl Detector {
    /// On a shared model; all classes that have a label are wanted.
    ///
    /// # Errors
    /// The backend refuses.
    pub fn new(model: Arc<LoadedModel>) -> Result<Self, InferenceError> {
        let session = model
            .model
            .session()
            .map(|session| session.shared_by(&model.threads))
            .map_err(|problem| InferenceError::Failed { model: model.manifest.name.clone(), problem })?;
        let wanted = model.labels.iter().map(Option::is_some).collect();
        let preparer = Preparer::new(&model.manifest.input);
        Ok(Detector { model, session, preparer, wanted, found: Vec::new() })
    }

    /// With layers that other threads may share than the model says.
    #[must_use]
    pub fn shared_by(mut self, threads: &Threads) -> Self {
        self.session = self.session.shared_by(threads);
        self
    }

    /// Only these classes, from now on.
    ///
    /// # Errors
    /// A label that the model does not know; the nearest is offered.
    pub fn want(&mut self, labels: &[String]) -> Result<(), InferenceError> {
        let known = || self.model.labels.iter().flatten().map(|label| &**label);
        for label in labels {
            if !known().any(|k| k == label) {
                return Err(InferenceError::Config {
                    what: "labels".into(),
                    problem: format!(
                        "model {} does not find \"{label}\"{}",
                        self.model.manifest.name,
                        crate::library::instead_of(label, known())
                    ),
                });
            }
        }
        let wanted =
            |label: &Option<Label>| label.as_ref().is_some_and(|l| labels.iter().any(|w| **w == **l));
        self.wanted = self.model.labels.iter().map(wanted).collect();
        Ok(())
    }

    /// The model.
    pub fn model(&self) -> &Arc<LoadedModel> {
        &self.model
    }

    /// Looks at a part of a picture. What it finds comes strongest first, in fractions of the whole picture.
    ///
    /// # Errors
    /// The backend failed; the next picture may work.
    pub fn detect(
        &mut self,
        picture: &Picture,
        part: Region,
        min_score: f32,
        times: &mut StageTimes,
    ) -> Result<impl Iterator<Item = Seen> + '_, InferenceError> {
        let failed = |problem| InferenceError::Failed { model: self.model.manifest.name.clone(), problem };
        let mut watch = Stopwatch::start();
        let preparer = &mut self.preparer;
        let placement =
            self.session.fill(|tensor| preparer.prepare(picture, part, tensor)).map_err(failed)?;
        times.prepare += watch.lap();
        self.session.run().map_err(failed)?;
        times.infer += watch.lap();
        times.inferences += 1;
        self.found.clear();
        // A score of 0 would make every cell a candidate.
        self.model.decoder.decode(&self.session, min_score.max(0.01), &self.wanted, &mut self.found);
        nms::suppress(&mut self.found, self.model.manifest.decoder.nms_iou());
        times.decode += watch.lap();
        Ok(self
            .found
            .iter()
            .map(move |d| Seen {
                class: d.class,
                score: d.score.clamp(0.0, 1.0),
                region: placement.region(d.corners).clipped(),
                points: d.points.map(|p| placement.point(p)),
                point_count: d.point_count,
            })
            .filter(|seen| seen.region.is_sound()))
    }
}
