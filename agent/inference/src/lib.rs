//! Frames to findings: the model library, the loader, pre-processing, decoders and the analyzers of a chain.
//!
//! Everything here runs on the caller's thread, unless [`Threads`] permit more. Models are shared ([`ModelCache`]); what changes while a model
//! runs belongs to one analyzer. Bytes from outside (manifests, model files) never panic past this crate.

pub mod analyzer;
pub mod backend;
pub mod bench;
pub mod choice;
pub mod decode;
mod detector;
mod engine;
mod error;
pub mod library;
pub mod manifest;
mod measure;
mod memory;
pub mod nms;
pub mod onnx;
mod plans;
pub mod prepare;
mod proof;
mod threads;
mod tract;
pub mod verify;

pub use analyzer::{AnalyzerConfig, DetectConfig, build};
pub use backend::{Backend, Model};
pub use bench::{BackendBench, ModelBench, bench_model};
pub use choice::Choices;
pub use detector::{Detector, LoadedModel, ModelCache, Seen};
pub use engine::StepTime;
pub use error::{ErrorKind, InferenceError};
pub use library::Library;
pub use manifest::{Manifest, Precision, Task};
pub use threads::Threads;
pub use verify::{CaseReport, VerifyReport, verify_model};
