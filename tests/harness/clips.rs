//! Clips made for a test: recorded frames with simulated camera faults, encoded again.
//!
//! GStreamer's own command decodes and encodes; the changes are made here, on planes of raw pictures.

use std::path::{Path, PathBuf};
use std::process::Command;

use aimass_core::runtime::files::write_atomically;

/// A raw I420 picture.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Width in pixels, even.
    pub width: usize,
    /// Height in pixels, even.
    pub height: usize,
    /// The planes, one after the other.
    pub planes: Vec<u8>,
}

impl Picture {
    fn luma_mut(&mut self) -> &mut [u8] {
        &mut self.planes[..self.width * self.height]
    }

    /// The same with another luma, level by level.
    #[must_use]
    pub fn lit(mut self, light: impl Fn(u8) -> f32) -> Self {
        self.luma_mut().iter_mut().for_each(|v| *v = light(*v).clamp(0.0, 255.0) as u8);
        self
    }

    /// Black, as with a lens cap.
    #[must_use]
    pub fn black(self) -> Self {
        self.lit(|_| 16.0)
    }

    /// Covered by a cloth near the lens: light falls off to one side, nothing else is left.
    #[must_use]
    pub fn covered(mut self) -> Self {
        let width = self.width;
        for (n, v) in self.luma_mut().iter_mut().enumerate() {
            // A little of what was there stays as a sensor's noise would.
            *v = (70 + (n % width) * 20 / width) as u8 + (*v & 1);
        }
        self
    }

    /// Out of focus: the mean over a square of so many pixels on each side, twice.
    #[must_use]
    pub fn blurred(mut self, radius: usize) -> Self {
        let (w, h) = (self.width, self.height);
        for _ in 0..2 {
            for (step, length, lines, line_step) in [(1, w, h, w), (w, h, w, 1)] {
                for line in 0..lines {
                    let at = |n: usize| line * line_step + n * step;
                    let from: Vec<u8> = (0..length).map(|n| self.planes[at(n)]).collect();
                    for n in 0..length {
                        let near = &from[n.saturating_sub(radius)..(n + radius + 1).min(length)];
                        let sum: u32 = near.iter().map(|&v| u32::from(v)).sum();
                        self.planes[at(n)] = (sum / near.len() as u32) as u8;
                    }
                }
            }
        }
        self
    }

    /// The part of this size whose upper left corner is there, all even.
    #[must_use]
    pub fn cropped(&self, (x, y): (usize, usize), (width, height): (usize, usize)) -> Self {
        let mut planes = Vec::with_capacity(width * height * 3 / 2);
        let mut from = 0;
        for (part, of) in [(1, self.width), (2, self.width / 2), (2, self.width / 2)] {
            for row in y / part..(y + height) / part {
                let begin = from + row * of + x / part;
                planes.extend_from_slice(&self.planes[begin..begin + width / part]);
            }
            from += of * (self.height / part);
        }
        Picture { width, height, planes }
    }
}

/// The frames of a clip, scaled, at a rate.
///
/// # Panics
/// GStreamer's command is not there or cannot decode it.
pub fn decode(clip: &Path, (width, height): (usize, usize), fps: u32) -> Vec<Picture> {
    let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary folder: {e}"));
    let raw = folder.path().join("raw");
    launch(&format!(
        "filesrc location={} ! decodebin ! videoconvert ! videoscale ! videorate \
         ! video/x-raw,format=I420,width={width},height={height},framerate={fps}/1 ! filesink location={}",
        clip.display(),
        raw.display()
    ));
    let bytes = std::fs::read(&raw).unwrap_or_else(|e| panic!("{}: {e}", raw.display()));
    let picture = |planes: &[u8]| Picture { width, height, planes: planes.to_vec() };
    bytes.chunks_exact(width * height * 3 / 2).map(picture).collect()
}

/// Encodes frames as `name` in `folder`, with `codec`: GStreamer elements that end in a muxer.
///
/// # Panics
/// There are no frames; GStreamer's command is not there or cannot encode them.
pub fn encode(folder: &Path, name: &str, codec: &str, fps: u32, frames: &[Picture]) -> PathBuf {
    let (raw, clip) = (folder.join(format!("{name}.raw")), folder.join(name));
    let (width, height) = (frames[0].width, frames[0].height);
    let bytes: Vec<u8> = frames.iter().flat_map(|f| f.planes.iter().copied()).collect();
    write_atomically(&raw, &bytes).unwrap_or_else(|e| panic!("{}: {e}", raw.display()));
    launch(&format!(
        "filesrc location={} ! rawvideoparse format=i420 width={width} height={height} framerate={fps}/1 \
         ! {codec} ! filesink location={}",
        raw.display(),
        clip.display()
    ));
    std::fs::remove_file(&raw).unwrap_or_else(|e| panic!("{}: {e}", raw.display()));
    clip
}

fn launch(pipeline: &str) {
    let output = Command::new("gst-launch-1.0")
        .arg("-q")
        .args(pipeline.split_whitespace())
        .output()
        .unwrap_or_else(|e| panic!("gst-launch-1.0: {e}: apt-get install gstreamer1.0-tools"));
    assert!(output.status.success(), "{pipeline}:\n{}", String::from_utf8_lossy(&output.stderr));
}
