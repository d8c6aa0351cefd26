//! Frames from the world: GStreamer (RTSP, files, test pictures), cameras on the board (V4L2), stills; and sound from
//! microphones.
//!
//! [`SourceUri`] is what people write, [`SourceOptions::build`] makes the source, [`run_forever`] keeps it going.
//! This crate is the only one that names GStreamer and nokhwa.

pub mod controls;
mod convert;
mod gst;
mod limit;
pub mod options;
mod pool;
pub mod probe;
mod redact;
pub mod run;
pub mod sound;
mod still_source;
pub mod stills;
pub mod uri;
#[cfg(feature = "v4l2")]
mod v4l2;

pub use controls::{ControlValue, Controls};
pub use limit::Pace;
pub use options::{SourceOptions, Transport};
pub use run::{SourceState, camera_backoff, run_forever};
pub use sound::{MicrophoneOptions, MicrophoneUri};
pub use stills::Stills;
pub use uri::{BadUri, SourceUri};
