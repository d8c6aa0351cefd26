//! What a source is built from, and the one place where the kinds of sources meet.
//!
//! Owner: the configuration. Invariant: every kind is built here and nowhere else.

use std::path::PathBuf;
use std::time::Duration;

use aimass_core::geometry::Polygon;
use aimass_core::id::Name;
use aimass_core::runtime::clock::SharedClock;
use aimass_core::traits::{Source, SourceError, SourceErrorKind};
pub use aimass_protocol::command::Transport;

use crate::video::controls::Controls;
use crate::video::gst_source::GstSource;
use crate::video::rate_limit::Pace;
use crate::video::still_source::StillSource;
use crate::video::stills;
use crate::video::uri::SourceUri;

/// Everything that a source needs to know.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// The camera's id, in frames and messages.
    pub id: Name,
    /// Where the frames come from.
    pub uri: SourceUri,
    /// RTSP user name.
    pub username: Option<String>,
    /// File with the RTSP password; read at each attempt, so that a changed password needs no restart.
    pub password_file: Option<PathBuf>,
    /// Frames a second that are delivered, at most; 0 delivers all.
    pub fps: f32,
    /// What may slow it down further while it runs.
    pub pace: Pace,
    /// The longest side that is of use, in pixels; pictures more than a quarter larger are shrunk. 0 never shrinks.
    pub max_side_px: u32,
    /// A live source that decodes nothing for so long has stalled.
    pub stall_after: Duration,
    /// The time from opening to the first picture, at most.
    pub open_timeout: Duration,
    /// How RTSP gets its pictures.
    pub transport: Transport,
    /// How long RTSP waits for late packets, in milliseconds; adds as much delay.
    pub latency_ms: u32,
    /// Certificates (PEM) that rtsps trusts instead of the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// Areas that are painted over before anybody sees a frame.
    pub masks: Vec<Polygon>,
    /// A V4L2 camera's controls, set at each opening.
    pub controls: Controls,
}

impl SourceOptions {
    /// The defaults for a source: 5 frames a second, unshrunk, 10 s to open, 5 s to stall, 200 ms of RTSP latency.
    pub fn new(id: Name, uri: SourceUri) -> Self {
        SourceOptions {
            id,
            uri,
            username: None,
            password_file: None,
            fps: 5.0,
            pace: Pace::default(),
            max_side_px: 0,
            stall_after: Duration::from_secs(5),
            open_timeout: Duration::from_secs(10),
            transport: Transport::Auto,
            latency_ms: 200,
            tls_ca_file: None,
            masks: Vec::new(),
            controls: Controls::new(),
        }
    }

    /// "camera dock (rtsp://…)": how messages begin.
    pub(crate) fn label(&self) -> String {
        format!("camera {} ({})", self.id, self.uri)
    }

    /// An error about this source.
    pub(crate) fn error(&self, kind: SourceErrorKind, problem: impl std::fmt::Display) -> SourceError {
        SourceError::new(kind, format!("{}: {problem}", self.label()))
    }

    /// Builds the source; nothing is opened yet.
    ///
    /// # Errors
    /// [`SourceErrorKind::Config`]: an option that cannot be, or GStreamer that cannot start.
    pub fn build(self, clock: SharedClock) -> Result<Box<dyn Source>, SourceError> {
        self.check()?;
        match &self.uri {
            SourceUri::File(clip) if stills::is_still(&clip.path) => {
                Ok(Box::new(StillSource::new(self, clock)))
            }
            SourceUri::Rtsp(_)
            | SourceUri::Libcamera(_)
            | SourceUri::File(_)
            | SourceUri::Gst(_)
            | SourceUri::Test(_) => Ok(Box::new(GstSource::new(self, clock)?)),
            #[cfg(feature = "v4l2")]
            SourceUri::V4l2(_) => Ok(Box::new(crate::video::v4l2::V4l2Source::new(self, clock))),
            #[cfg(not(feature = "v4l2"))]
            SourceUri::V4l2(_) => Err(self.error(
                SourceErrorKind::Config,
                "this program was built without the feature v4l2: use gst:v4l2src device=… instead",
            )),
        }
    }

    fn check(&self) -> Result<(), SourceError> {
        let config = |problem: String| Err(self.error(SourceErrorKind::Config, problem));
        if !self.fps.is_finite() || !(0.0..=1000.0).contains(&self.fps) {
            return config(format!("fps = {}: give 0 (all frames) to 1000", self.fps));
        }
        if self.max_side_px != 0 && self.max_side_px < 16 {
            return config(format!(
                "a longest side of {} pixels is too small: give 16 or more",
                self.max_side_px
            ));
        }
        for (what, duration) in [("stall_after", self.stall_after), ("open_timeout", self.open_timeout)] {
            if duration.is_zero() {
                return config(format!("{what} must be above 0"));
            }
        }
        if self.password_file.is_some() && self.username.is_none() {
            return config("password_file is given without username: give both".into());
        }
        if (self.username.is_some() || self.tls_ca_file.is_some()) && !matches!(self.uri, SourceUri::Rtsp(_))
        {
            return config(
                "username, password_file and tls_ca_file are for rtsp:// and rtsps:// only".into(),
            );
        }
        if !self.controls.is_empty() && !matches!(self.uri, SourceUri::V4l2(_)) {
            return config("controls are for v4l2: sources only".into());
        }
        for (n, polygon) in self.masks.iter().enumerate() {
            if let Err(problem) = polygon.check() {
                return config(format!("mask {n} {problem}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use aimass_core::geometry::Point;
    use aimass_core::runtime::clock::SystemClock;

    use super::*;

    fn refusal(change: impl FnOnce(&mut SourceOptions)) -> String {
        let mut options = SourceOptions::new("dock".parse().unwrap(), "test:".parse().unwrap());
        change(&mut options);
        let error = options.build(SystemClock::shared()).map(|_| ()).unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Config);
        error.message
    }

    #[test]
    fn options_that_cannot_be_are_refused_by_name() {
        assert!(refusal(|o| o.fps = f32::NAN).contains("fps"));
        assert!(refusal(|o| o.fps = -1.0).contains("fps = -1"));
        assert!(refusal(|o| o.max_side_px = 3).contains("16 or more"));
        assert!(refusal(|o| o.stall_after = Duration::ZERO).contains("stall_after"));
        assert!(refusal(|o| o.username = Some("a".into())).contains("rtsp://"));
        assert!(
            refusal(|o| o.masks = vec![Polygon(vec![Point { x: 0.0, y: 0.0 }])])
                .contains("mask 0 has 1 corners")
        );
        assert!(refusal(|o| o.fps = 1e9).starts_with("camera dock (test:"));
    }
}
