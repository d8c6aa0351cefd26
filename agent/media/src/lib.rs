//! Frames from the world: GStreamer (RTSP, files, test pictures), cameras on the board (V4L2), stills; and sound from
//! microphones.
//!
//! [`SourceUri`] is what people write, [`SourceOptions::build`] makes the source, [`run_forever`] keeps it going.
//! This crate is the only one that names GStreamer and nokhwa.

pub mod audio;
mod gst;
pub mod jpeg;
pub mod probe;
pub mod reconnect;
mod redact;
pub mod video;

pub use audio::{MicrophoneOptions, MicrophoneUri};
pub use reconnect::{SourceState, camera_backoff, run_forever};
pub use video::{BadUri, ControlValue, Controls, Pace, SourceOptions, SourceUri, Stills, Transport};
