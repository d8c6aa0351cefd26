//! Addresses of microphones as people write them.
//!
//! Owner: none, pure. Invariant: neither `Display` nor `Debug` nor an error ever shows a password.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::redact::redacted;
use crate::video::uri::text::{Options, number, split_options, unknown_option, yes_or_no};
use crate::video::uri::{BadUri, FileClip, bad, file_clip};

const KINDS: &str = "alsa:default, alsa:hw:CARD=Device,DEV=0, pulse:, pulse:<source>, file:/path/sound.wav, \
                     gst:<pipeline ending in raw sound>, test:";
/// Kinds of ALSA devices that may have arguments: all of them lead to hardware.
const ALSA_KINDS: [&str; 6] = ["hw", "plughw", "default", "sysdefault", "dsnoop", "front"];
const WAVES: [&str; 3] = ["sine", "silence", "white-noise"];

/// Where sound comes from.
#[derive(Clone, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum MicrophoneUri {
    /// `alsa:<device>`: a device by ALSA's name for it; `alsa:` is `alsa:default`.
    Alsa(String),
    /// `pulse:<source>`: a source of PulseAudio or PipeWire; `pulse:` is the default one, held as `None`.
    Pulse(Option<String>),
    /// `file:/path`: any file with sound.
    File(FileClip),
    /// `gst:…`: a GStreamer pipeline of the administrator's own, ending in a raw pad of sound.
    Gst(String),
    /// `test:`: a tone.
    Test(TestTone),
}

/// A test tone. Options: `?hz=440&volume=0.1&wave=sine&seconds=10&realtime=false`.
#[derive(Debug, Clone, PartialEq)]
pub struct TestTone {
    /// The frequency, 20..=7900 Hz.
    pub hz: u32,
    /// The amplitude, 0..=1 of full scale.
    pub volume: f64,
    /// `sine`, `silence` or `white-noise`.
    pub wave: String,
    /// Ends after so many seconds; `None` goes on for ever.
    pub seconds: Option<u32>,
    /// Paced as a live microphone; otherwise as fast as it is taken.
    pub realtime: bool,
}

impl Default for TestTone {
    fn default() -> Self {
        TestTone { hz: 440, volume: 0.1, wave: WAVES[0].to_owned(), seconds: None, realtime: true }
    }
}

impl MicrophoneUri {
    /// Whether sound comes at the pace of life; else as fast as it is taken.
    pub fn is_paced(&self) -> bool {
        match self {
            MicrophoneUri::File(clip) => clip.realtime,
            MicrophoneUri::Test(tone) => tone.realtime,
            MicrophoneUri::Alsa(_) | MicrophoneUri::Pulse(_) | MicrophoneUri::Gst(_) => true,
        }
    }

    /// Whether it is a file, which does not become better by waiting.
    pub fn is_file(&self) -> bool {
        matches!(self, MicrophoneUri::File(_))
    }
}

impl FromStr for MicrophoneUri {
    type Err = BadUri;

    fn from_str(text: &str) -> Result<Self, BadUri> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once(':') else {
            return bad(format!("\"{}\" is no microphone; known are {KINDS}", redacted(text)));
        };
        if text.contains(|c: char| c.is_control()) {
            return bad("the address of a microphone cannot hold control characters");
        }
        let device = |rest: &str, kind: &str| match rest.contains(char::is_whitespace) {
            true => bad(format!("{kind}: the name of a device cannot hold blanks")),
            false => Ok(rest.to_owned()),
        };
        match scheme.to_ascii_lowercase().as_str() {
            "alsa" if rest.is_empty() => Ok(MicrophoneUri::Alsa("default".to_owned())),
            "alsa" => alsa(rest),
            "pulse" if rest.is_empty() => Ok(MicrophoneUri::Pulse(None)),
            "pulse" => device(rest, "pulse").map(|name| MicrophoneUri::Pulse(Some(name))),
            "file" => file_clip(rest, "/path/sound.wav").map(MicrophoneUri::File),
            "gst" if rest.trim().is_empty() => {
                bad("gst: needs a pipeline that ends in a raw pad, such as gst:alsasrc ! audioconvert")
            }
            "gst" => Ok(MicrophoneUri::Gst(rest.trim().to_owned())),
            "test" => tone(rest),
            other => bad(format!(
                "the kind \"{}:\" of microphone is not known; known are {KINDS}",
                redacted(other)
            )),
        }
    }
}

/// A device of ALSA. Its names are a language: `tee:` writes sound to a file, and a file that begins with `|` is a
/// program. So only plain names are taken, and arguments only for what leads to hardware.
fn alsa(name: &str) -> Result<MicrophoneUri, BadUri> {
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || "_:=,.-".contains(c)) {
        return bad(
            "alsa: the name of a device holds letters, digits and _ : = , . - only: alsa:hw:CARD=Device,DEV=0",
        );
    }
    match name.split_once(':') {
        Some((kind, _)) if !ALSA_KINDS.contains(&kind) => bad(format!(
            "alsa:{kind}: takes no arguments here; known are {}: name it in /etc/asound.conf and give that name",
            ALSA_KINDS.join(", ")
        )),
        _ => Ok(MicrophoneUri::Alsa(name.to_owned())),
    }
}

fn tone(rest: &str) -> Result<MicrophoneUri, BadUri> {
    let (path, options) = split_options(rest);
    if !path.trim_matches('/').is_empty() {
        return bad("test: takes options only: test:?hz=440&volume=0.1");
    }
    let mut tone = TestTone::default();
    for (key, value) in options {
        match key {
            "hz" => tone.hz = number(key, value, 20, 7900)?,
            "volume" => match value.parse() {
                Ok(volume) if (0.0..=1.0).contains(&volume) => tone.volume = volume,
                _ => return bad(format!("volume={value}: give a number from 0 to 1")),
            },
            "wave" if WAVES.contains(&value) => tone.wave = value.to_owned(),
            "wave" => return bad(format!("wave={value}: known are {}", WAVES.join(", "))),
            "seconds" => tone.seconds = Some(number(key, value, 1, 86_400)?),
            "realtime" => tone.realtime = yes_or_no(key, value)?,
            other => return unknown_option("test:", other, "hz, volume, wave, seconds, realtime"),
        }
    }
    Ok(MicrophoneUri::Test(tone))
}

impl fmt::Display for MicrophoneUri {
    /// As it is written in a configuration, without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MicrophoneUri::Alsa(device) => write!(f, "alsa:{device}"),
            MicrophoneUri::Pulse(source) => write!(f, "pulse:{}", source.as_deref().unwrap_or_default()),
            MicrophoneUri::File(clip) => clip.fmt(f),
            MicrophoneUri::Gst(pipeline) => write!(f, "gst:{}", redacted(pipeline)),
            MicrophoneUri::Test(tone) => {
                let plain = TestTone::default();
                f.write_str("test:")?;
                let mut options = Options(f, '?');
                options.number("hz", (tone.hz != plain.hz).then_some(tone.hz))?;
                let volume = (tone.volume != plain.volume).then(|| tone.volume.to_string());
                options.text("volume", volume.as_deref())?;
                options.text("wave", (tone.wave != plain.wave).then_some(tone.wave.as_str()))?;
                options.number("seconds", tone.seconds)?;
                options.text("realtime", (!tone.realtime).then_some("false"))
            }
        }
    }
}

impl fmt::Debug for MicrophoneUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MicrophoneUri({self})")
    }
}

impl TryFrom<String> for MicrophoneUri {
    type Error = BadUri;

    fn try_from(text: String) -> Result<Self, BadUri> {
        text.parse()
    }
}

impl From<MicrophoneUri> for String {
    fn from(uri: MicrophoneUri) -> String {
        uri.to_string()
    }
}

impl JsonSchema for MicrophoneUri {
    fn schema_name() -> Cow<'static, str> {
        "MicrophoneUri".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(alsa:|pulse:|file:|gst:|test:)" })
    }
}
