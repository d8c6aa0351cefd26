//! Source addresses as people write them: parsed once, shown without secrets.
//!
//! Owner: none, pure. Invariant: neither `Display` nor `Debug` nor an error ever shows a password.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::redact::{has_port, redacted};

pub(crate) mod text;

use text::{Options, number, split_options, unknown_option, yes_or_no};

const KINDS: &str = "rtsp://host/path, rtsps://host/path, v4l2:/dev/video0, libcamera:, file:/path/clip.mp4, \
                     gst:<pipeline ending in a raw pad>, test:";

/// Where frames come from.
#[derive(Clone, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum SourceUri {
    /// `rtsp://…` or `rtsps://…`: a camera or recorder in the network. Holds the whole address.
    Rtsp(String),
    /// `v4l2:/dev/video0`: a camera on this board.
    V4l2(V4l2Device),
    /// `libcamera:` or `csi:`: a camera on a CSI connector.
    Libcamera(CsiCamera),
    /// `file:/path`: a clip or a still picture.
    File(FileClip),
    /// `gst:…`: a GStreamer pipeline of the administrator's own, ending in a raw video pad.
    Gst(String),
    /// `test:`: a moving test picture.
    Test(TestPicture),
}

/// A camera on this board. Options: `?width=…&height=…&format=mjpeg|yuyv|nv12|i420|gray`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct V4l2Device {
    /// The device, or a link to it, such as those in `/dev/v4l/by-id/`.
    pub path: PathBuf,
    /// Wanted width in pixels; `None` takes what suits the chain.
    pub width: Option<u32>,
    /// Wanted height in pixels; `None` takes what suits the chain.
    pub height: Option<u32>,
    /// Wanted pixel format: `mjpeg`, `yuyv`, `nv12`, `i420` or `gray`; `None` takes the cheapest.
    pub format: Option<String>,
}

/// A camera on a CSI connector, through libcamera. Options: `?width=1280&height=720`.
#[derive(Debug, Clone, PartialEq)]
pub struct CsiCamera {
    /// What libcamera calls it (`cam -l` lists the names); `None` takes the first.
    pub name: Option<String>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

impl Default for CsiCamera {
    fn default() -> Self {
        CsiCamera { name: None, width: 1280, height: 720 }
    }
}

/// A clip or a still. Options: `?loop=true` begins anew at the end, `realtime=false` delivers as fast as it is taken.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FileClip {
    /// The file.
    pub path: PathBuf,
    /// Begins anew at the end.
    pub looped: bool,
    /// Keeps the clip's own pace; otherwise delivers every frame as fast as it is taken.
    pub realtime: bool,
}

/// A moving test picture. Options: `?width=640&height=480&fps=10&frames=50&realtime=false&pattern=ball`.
#[derive(Debug, Clone, PartialEq)]
pub struct TestPicture {
    /// Width in pixels, 16..=8192.
    pub width: u32,
    /// Height in pixels, 16..=8192.
    pub height: u32,
    /// Frames a second, 1..=240.
    pub fps: u32,
    /// Ends after so many frames; `None` goes on for ever.
    pub frames: Option<u32>,
    /// Paced as a live camera; otherwise as fast as it is taken.
    pub realtime: bool,
    /// What it shows: `ball`, `smpte`, `snow`, `black`, `gradient`, `circular`.
    pub pattern: String,
}

impl Default for TestPicture {
    fn default() -> Self {
        TestPicture { width: 640, height: 480, fps: 10, frames: None, realtime: true, pattern: "ball".into() }
    }
}

/// Why a text is no source address. The message names what is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadUri(String);

pub(crate) fn bad<T>(message: impl Into<String>) -> Result<T, BadUri> {
    Err(BadUri(message.into()))
}

impl SourceUri {
    /// The same source for offline work: a clip is read once, every frame, as fast as it is taken.
    #[must_use]
    pub fn offline(mut self) -> Self {
        match &mut self {
            SourceUri::File(clip) => (clip.looped, clip.realtime) = (false, false),
            SourceUri::Test(test) => test.realtime = false,
            SourceUri::Rtsp(_) | SourceUri::V4l2(_) | SourceUri::Libcamera(_) | SourceUri::Gst(_) => {}
        }
        self
    }

    /// The path of a `file:` source.
    pub fn file_path(&self) -> Option<&Path> {
        match self {
            SourceUri::File(clip) => Some(&clip.path),
            _ => None,
        }
    }

    /// Whether frames come at the pace of life; else as fast as they are taken.
    pub fn is_paced(&self) -> bool {
        match self {
            SourceUri::File(clip) => clip.realtime,
            SourceUri::Test(test) => test.realtime,
            SourceUri::Rtsp(_) | SourceUri::V4l2(_) | SourceUri::Libcamera(_) | SourceUri::Gst(_) => true,
        }
    }

    /// The scheme: `rtsp`, `rtsps`, `v4l2`, `libcamera`, `file`, `gst` or `test`.
    pub fn kind(&self) -> &'static str {
        match self {
            SourceUri::Rtsp(url) if url.starts_with("rtsps:") => "rtsps",
            SourceUri::Rtsp(_) => "rtsp",
            SourceUri::V4l2(_) => "v4l2",
            SourceUri::Libcamera(_) => "libcamera",
            SourceUri::File(_) => "file",
            SourceUri::Gst(_) => "gst",
            SourceUri::Test(_) => "test",
        }
    }
}

impl FromStr for SourceUri {
    type Err = BadUri;

    fn from_str(text: &str) -> Result<Self, BadUri> {
        let text = text.trim();
        if text.is_empty() {
            return bad(format!("no source is given; known are {KINDS}"));
        }
        if text.contains('\0') {
            return bad("a source address cannot hold a zero byte");
        }
        let scheme_end = text.find(':').filter(|&end| {
            end > 0 && text[..end].bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        });
        let Some(end) = scheme_end else {
            let told = redacted(text);
            let hint = match text.starts_with("/dev/") {
                true => format!("v4l2:{told} if it is a camera"),
                false => format!("file:{told} if it is a file"),
            };
            return bad(format!("\"{told}\" has no scheme: write {hint}; known are {KINDS}"));
        };
        let (scheme, rest) = (text[..end].to_ascii_lowercase(), &text[end + 1..]);
        match scheme.as_str() {
            "rtsp" | "rtsps" => rtsp(&scheme, rest),
            "v4l2" => v4l2(rest),
            "libcamera" | "csi" => csi(rest),
            "file" => file_clip(rest, "/path/clip.mp4").map(SourceUri::File),
            "gst" if rest.trim().is_empty() => {
                bad("gst: needs a pipeline that ends in a raw pad, such as gst:videotestsrc ! videoconvert")
            }
            "gst" => Ok(SourceUri::Gst(rest.trim().to_owned())),
            "test" => test(rest),
            other => bad(format!("the source kind \"{other}:\" is not known; known are {KINDS}")),
        }
    }
}

fn rtsp(scheme: &str, rest: &str) -> Result<SourceUri, BadUri> {
    let Some(address) = rest.strip_prefix("//") else {
        return bad(format!("{scheme}: needs a host: {scheme}://host/path"));
    };
    let authority_end = address.find(['/', '?', '#']).unwrap_or(address.len());
    // An '@' anywhere before a '/' that could still be part of a password counts as credentials.
    let authority = &address[..authority_end];
    if authority.contains('@') || (address.contains('@') && authority.contains(':') && !has_port(authority)) {
        return bad(format!(
            "a {scheme} address must not hold a user name or password: \
             take them out and set username and password_file instead"
        ));
    }
    if authority.is_empty() || authority.starts_with(':') {
        return bad(format!("{scheme}: needs a host: {scheme}://host/path"));
    }
    if authority.contains(':') && !has_port(authority) && !authority.ends_with(']') {
        return bad(format!("{scheme}://{authority}: the port is not a number between 1 and 65535"));
    }
    if address.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return bad(format!("a {scheme} address cannot hold blanks: write %20"));
    }
    Ok(SourceUri::Rtsp(format!("{scheme}://{address}")))
}

fn v4l2(rest: &str) -> Result<SourceUri, BadUri> {
    let (path, options) = split_options(rest);
    let mut device = V4l2Device { path: PathBuf::from(path), ..Default::default() };
    if !path.starts_with('/') {
        return bad("v4l2: needs the path of a device: v4l2:/dev/video0");
    }
    for (key, value) in options {
        match key {
            "width" => device.width = Some(number(key, value, 16, 8192)?),
            "height" => device.height = Some(number(key, value, 16, 8192)?),
            // `probe` lists them in capitals.
            "format" if FORMATS.contains(&value.to_ascii_lowercase().as_str()) => {
                device.format = Some(value.to_ascii_lowercase());
            }
            "format" => return bad(format!("format={value}: known are {}", FORMATS.join(", "))),
            other => return unknown_option("v4l2:", other, "width, height, format"),
        }
    }
    Ok(SourceUri::V4l2(device))
}

const FORMATS: [&str; 5] = ["mjpeg", "yuyv", "nv12", "i420", "gray"];

fn csi(rest: &str) -> Result<SourceUri, BadUri> {
    let (name, options) = split_options(rest);
    if name.contains(char::is_whitespace) {
        return bad("libcamera: the name of a camera cannot hold blanks: `cam -l` lists the names");
    }
    let mut camera = CsiCamera { name: (!name.is_empty()).then(|| name.to_owned()), ..Default::default() };
    for (key, value) in options {
        match key {
            "width" => camera.width = number(key, value, 16, 8192)?,
            "height" => camera.height = number(key, value, 16, 8192)?,
            other => return unknown_option("libcamera:", other, "width, height"),
        }
    }
    Ok(SourceUri::Libcamera(camera))
}

/// A path with options; `example` is shown to those who give none.
pub(crate) fn file_clip(rest: &str, example: &str) -> Result<FileClip, BadUri> {
    // file:///x is what browsers and desktops write.
    let rest = rest.strip_prefix("//").filter(|r| r.starts_with('/')).unwrap_or(rest);
    if rest.starts_with("//") {
        return bad("file://host/path cannot be read: write file:/path");
    }
    let (path, options) = split_options(rest);
    if path.is_empty() {
        return bad(format!("file: needs a path: file:{example}"));
    }
    let mut clip = FileClip { path: PathBuf::from(path), looped: false, realtime: true };
    for (key, value) in options {
        match key {
            "loop" => clip.looped = yes_or_no(key, value)?,
            "realtime" => clip.realtime = yes_or_no(key, value)?,
            other => return unknown_option("file:", other, "loop, realtime"),
        }
    }
    Ok(clip)
}

fn test(rest: &str) -> Result<SourceUri, BadUri> {
    let (path, options) = split_options(rest);
    if !path.trim_matches('/').is_empty() {
        return bad("test: takes options only: test:?width=640&height=480&fps=10");
    }
    let mut picture = TestPicture::default();
    for (key, value) in options {
        match key {
            "width" => picture.width = number(key, value, 16, 8192)?,
            "height" => picture.height = number(key, value, 16, 8192)?,
            "fps" => picture.fps = number(key, value, 1, 240)?,
            "frames" => picture.frames = Some(number(key, value, 1, i32::MAX as u32)?),
            "realtime" => picture.realtime = yes_or_no(key, value)?,
            "pattern" if PATTERNS.contains(&value) => picture.pattern = value.to_owned(),
            "pattern" => return bad(format!("pattern={value}: known are {}", PATTERNS.join(", "))),
            other => return unknown_option("test:", other, "width, height, fps, frames, realtime, pattern"),
        }
    }
    Ok(SourceUri::Test(picture))
}

const PATTERNS: [&str; 6] = ["ball", "smpte", "snow", "black", "gradient", "circular"];

impl fmt::Display for SourceUri {
    /// As it is written in a configuration, without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceUri::Rtsp(url) => f.write_str(&redacted(url)),
            SourceUri::V4l2(device) => {
                write!(f, "v4l2:{}", device.path.display())?;
                let mut options = Options(f, '?');
                options.number("width", device.width)?;
                options.number("height", device.height)?;
                options.text("format", device.format.as_deref())
            }
            SourceUri::Libcamera(camera) => {
                write!(f, "libcamera:{}", camera.name.as_deref().unwrap_or_default())?;
                let mut options = Options(f, '?');
                options.number("width", Some(camera.width))?;
                options.number("height", Some(camera.height))
            }
            SourceUri::File(clip) => clip.fmt(f),
            SourceUri::Gst(pipeline) => write!(f, "gst:{}", redacted(pipeline)),
            SourceUri::Test(test) => {
                f.write_str("test:")?;
                let mut options = Options(f, '?');
                options.number("width", Some(test.width))?;
                options.number("height", Some(test.height))?;
                options.number("fps", Some(test.fps))?;
                options.number("frames", test.frames)?;
                options.text("realtime", (!test.realtime).then_some("false"))?;
                options.text("pattern", (test.pattern != "ball").then_some(test.pattern.as_str()))
            }
        }
    }
}

impl fmt::Display for FileClip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file:{}", self.path.display())?;
        let mut options = Options(f, '?');
        options.text("loop", self.looped.then_some("true"))?;
        options.text("realtime", (!self.realtime).then_some("false"))?;
        // A '?' in the path would be read as the start of options.
        let ambiguous = self.path.to_string_lossy().contains('?') && options.1 == '?';
        if ambiguous { f.write_str("?") } else { Ok(()) }
    }
}

impl fmt::Debug for SourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceUri({self})")
    }
}

impl TryFrom<String> for SourceUri {
    type Error = BadUri;

    fn try_from(text: String) -> Result<Self, BadUri> {
        text.parse()
    }
}

impl From<SourceUri> for String {
    /// As [`fmt::Display`]: without secrets.
    fn from(uri: SourceUri) -> String {
        uri.to_string()
    }
}

impl JsonSchema for SourceUri {
    fn schema_name() -> Cow<'static, str> {
        "SourceUri".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(rtsps?://|v4l2:|libcamera:|csi:|file:|gst:|test:)" })
    }
}

#[cfg(test)]
#[path = "uri_tests.rs"]
mod tests;
