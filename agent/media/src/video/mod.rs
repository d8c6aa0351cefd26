//! Pictures: addresses and options of cameras, and the sources that deliver frames.

mod buffer_pool;
pub mod controls;
mod convert;
mod frame_mapping;
mod gst_source;
mod mask_painter;
pub mod options;
mod pipeline_run;
pub(crate) mod rate_limit;
mod sink_bin;
pub(crate) mod source_bin;
mod still_source;
pub mod stills;
pub mod uri;
#[cfg(feature = "v4l2")]
pub(crate) mod v4l2;

pub use controls::{ControlValue, Controls};
pub use options::{SourceOptions, Transport};
pub use rate_limit::Pace;
pub use stills::Stills;
pub use uri::{BadUri, SourceUri};
