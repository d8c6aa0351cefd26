//! The configuration: TOML on disk, the same types as JSON in a push. The types are the only truth: the
//! reference, the schema and the checks all come from them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aimass_core::analytics::line::LineConfig;
use aimass_core::analytics::zone::ZoneConfig;
use aimass_core::geometry::Polygon;
use aimass_core::governor::GovernorConfig;
use aimass_core::id::Name;
use aimass_core::motion::MotionConfig;
use aimass_core::source_health::VideoHealthConfig;
use aimass_core::tracking::TrackerConfig;
use aimass_inference::Backend;
use aimass_inference::tasks::AnalyzerConfig;
use aimass_media::video::{Controls, Transport};
use aimass_mqtt::BrokerConfig;
use aimass_signing::TrustConfig;
use aimass_store::StoreConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod chain;
mod check;
pub mod diff;
pub mod home_assistant;
pub mod http;
mod load;
mod microphone;
pub mod overlay;
pub mod paths;
mod preflight;
mod redact;
pub mod reference;
pub mod revisions;

pub use home_assistant::HomeAssistantConfig;
pub use http::HttpConfig;
pub use load::{ConfigErrors, Problem, from_document, load, parse, read, tree};
pub use microphone::MicrophoneConfig;
pub use overlay::effective;
pub use preflight::missing;
pub use redact::redacted;

/// The most analysed frames a second of one camera.
pub const MAX_FPS: f32 = 60.0;
/// The most cameras of one node.
pub const MAX_CAMERAS: usize = 64;
/// The most microphones of one node.
pub const MAX_MICROPHONES: usize = 16;

/// The configuration of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who this node is.
    pub node: NodeConfig,
    /// The MQTT broker that events go to. Without it, events stay in the store and on the page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<BrokerConfig>,
    /// The cameras.
    #[serde(default)]
    pub camera: Vec<CameraConfig>,
    /// The microphones.
    #[serde(default)]
    pub microphone: Vec<MicrophoneConfig>,
    /// The analyzers that chains name. A chain may also name a kind (`detect`, `faces`), which then has its
    /// defaults. A table that is named after a kind needs no `kind`.
    #[serde(default)]
    pub analyzer: BTreeMap<String, AnalyzerConfig>,
    /// How models are run.
    #[serde(default)]
    pub inference: InferenceConfig,
    /// What the node leaves out when its board is too hot, throttled or late.
    #[serde(default)]
    pub governor: GovernorConfig,
    /// The HTTP API and the page.
    #[serde(default)]
    pub http: HttpConfig,
    /// The events on disk.
    #[serde(default)]
    pub store: StoreConfig,
    /// Whose signed configurations and commands this node obeys. In the node's own file only.
    #[serde(default)]
    pub trust: TrustConfig,
    /// Home Assistant's MQTT discovery.
    #[serde(default)]
    pub home_assistant: HomeAssistantConfig,
}

/// Who this node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The site, first level of all topics after `aimass/v1`.
    pub site: Name,
    /// The node within the site. Default: the host name, in lower case, other characters than a-z, 0-9, `_` and
    /// `-` replaced by `-`.
    #[serde(default = "host_name")]
    #[schemars(default = "documented_host_name")]
    pub id: Name,
}

/// One camera, clip or test picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CameraConfig {
    /// The camera's name in topics, events and the API.
    pub id: Name,
    /// Where its pictures come from: `rtsp://…`, `rtsps://…`, `v4l2:/dev/video0`
    /// (or a link from `/dev/v4l/by-id/`; `?width=640&height=480&format=mjpeg`, `yuyv`, `nv12`, `i420` or `gray`),
    /// `libcamera:` (a CSI camera; `?width=1280&height=720`), `file:/path/clip.mp4`
    /// (`?loop=true&realtime=false`), `gst:<pipeline ending in a raw pad>`, `test:`.
    pub source: String,
    /// The user name that the camera asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// A file that holds the camera's password and nothing else. Read again at each attempt to connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// PEM certificates that `rtsps` trusts instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How RTSP transports its pictures.
    #[serde(default)]
    pub transport: Transport,
    /// How long RTSP waits for late packets, in milliseconds; adds as much delay. 0 to 10000.
    #[serde(default = "default_latency_ms")]
    #[schemars(range(max = 10_000))]
    pub latency_ms: u32,
    /// Analysed frames a second, at most. Above 0, at most 60.
    #[serde(default = "default_fps")]
    pub fps: f32,
    /// Analysed frames a second that the governor always leaves. Above 0, at most `fps`. Default: 1, or `fps` if that
    /// is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_fps: Option<f32>,
    /// How much the camera matters when the board cannot carry them all: 1 gives up first, 9 last.
    #[serde(default = "default_priority")]
    #[schemars(range(min = 1, max = 9))]
    pub priority: u8,
    /// A camera that delivers nothing for so many seconds has stalled and is opened anew. 1 to 600.
    #[serde(default = "default_stall_after_s")]
    pub stall_after_s: f32,
    /// Seconds that the camera may take from opening to its first picture. 1 to 600.
    #[serde(default = "default_open_timeout_s")]
    pub open_timeout_s: f32,
    /// The analyzers that look at each frame, in this order.
    #[serde(default = "default_chain")]
    pub chain: Vec<String>,
    /// Privacy masks: never analysed, stored or shown.
    #[serde(default)]
    pub mask: Vec<MaskConfig>,
    /// Zones to watch.
    #[serde(default)]
    pub zone: Vec<ZoneConfig>,
    /// Lines to count at.
    #[serde(default)]
    pub line: Vec<LineConfig>,
    /// Controls of a `v4l2:` camera, by the names that `aimass-agent probe` shows, set at each opening: numbers, switches
    /// (`true`, `false`) and the numbers of menus' entries, such as `auto_exposure = 1` and
    /// `exposure_time_absolute = 300`.
    #[serde(default, skip_serializing_if = "Controls::is_empty")]
    pub controls: Controls,
    /// The motion gate, which holds idle frames back from the models.
    #[serde(default)]
    pub motion: MotionConfig,
    /// When the camera counts as not seeing: stalled, black, covered, frozen, moved, out of focus.
    #[serde(default)]
    pub health: VideoHealthConfig,
    /// How findings become tracks.
    #[serde(default)]
    pub tracker: TrackerConfig,
}

/// An area that nobody may see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaskConfig {
    /// Its corners, in fractions of the frame.
    pub polygon: Polygon,
}

/// How models are run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InferenceConfig {
    /// Inferences that run at once. Default: one less than the board has cores, at least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub parallel: Option<u16>,
    /// Threads that share each convolution of one model, so that one camera gets its answers sooner; where the agent's
    /// own engine runs the model. Each further thread needs a free one of `parallel`. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4))]
    pub threads: Option<u16>,
    /// Folders with models, looked through in this order. Default: `/usr/share/aimass/models`,
    /// `/var/lib/aimass/models`, and `models` beside or above the program.
    pub model_folders: Vec<PathBuf>,
    /// Pins what runs models, where it can run them. Left out, the fastest, as measured at a model's first load on
    /// this machine and remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<Backend>,
}

fn default_latency_ms() -> u32 {
    200
}

fn default_fps() -> f32 {
    5.0
}

/// Analysed frames a second that a camera keeps if its configuration says nothing else.
const USUAL_FLOOR_FPS: f32 = 1.0;

impl CameraConfig {
    /// Analysed frames a second that it keeps in any case.
    pub fn floor_fps(&self) -> f32 {
        self.min_fps.unwrap_or(USUAL_FLOOR_FPS).min(self.fps)
    }
}

fn default_priority() -> u8 {
    5
}

fn default_stall_after_s() -> f32 {
    5.0
}

fn default_open_timeout_s() -> f32 {
    10.0
}

fn default_chain() -> Vec<String> {
    vec!["detect".to_owned()]
}

fn documented_host_name() -> &'static str {
    "<host name>"
}

/// The host name as a [`Name`]; `node` if there is nothing to make one of.
fn host_name() -> Name {
    let raw = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let first = raw.trim().split('.').next().unwrap_or_default().to_ascii_lowercase();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let text: String = first.chars().map(|c| if allowed(c) { c } else { '-' }).take(63).collect();
    let fallback = || "node".parse().unwrap_or_else(|_| unreachable!("\"node\" is a name"));
    text.trim_start_matches(['-', '_']).parse().unwrap_or_else(|_| fallback())
}
