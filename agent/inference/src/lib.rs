//! Frames to findings: the model library, the loader, pre-processing, decoders and the analyzers of a chain.
//!
//! Everything here runs on the caller's thread, unless [`Threads`] permit more. Models are shared ([`ModelCache`]); what changes while a model
//! runs belongs to one analyzer. Bytes from outside (manifests, model files) never panic past this crate.

pub mod backend;
pub mod backend_selection;
pub mod benchmark;
mod engine;
mod error;
pub mod golden;
pub mod library;
mod memory;
mod model_cache;
pub mod onnx;
mod plan_cache;
pub mod preprocess;
pub mod tasks;
mod threads;

pub use backend::{Backend, Model};
pub use backend_selection::Choices;
pub use benchmark::{BackendBench, ModelBench, bench_model};
pub use engine::StepTime;
pub use error::{ErrorKind, InferenceError};
pub use golden::{CaseReport, VerifyReport, verify_model};
pub use library::Library;
pub use library::manifest::{Manifest, Precision, Task};
pub use model_cache::{Detector, LoadedModel, ModelCache, Seen};
pub use tasks::{AnalyzerConfig, DetectConfig, build};
pub use threads::Threads;
