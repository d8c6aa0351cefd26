//! The health of a node: the `health` topic, `GET /healthz`, and what metrics are made of.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{rfc3339_ms, rfc3339_ms_optional};
use crate::name::Name;
use crate::state::Level;

/// What a source is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// Delivers pictures.
    #[default]
    Camera,
    /// Delivers sound; its frames are chunks of it.
    Microphone,
}

/// The connection of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionState {
    /// It is being opened.
    Connecting,
    /// Frames arrive.
    Delivering,
    /// It is open, and frames stopped arriving.
    Stalled,
    /// It could not be opened or broke; it is tried again.
    Failed,
    /// A file that was read to its end, or a source that was stopped.
    Ended,
}

impl ConnectionState {
    /// All of them.
    pub const ALL: [ConnectionState; 5] = [
        ConnectionState::Connecting,
        ConnectionState::Delivering,
        ConnectionState::Stalled,
        ConnectionState::Failed,
        ConnectionState::Ended,
    ];

    /// As in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            ConnectionState::Connecting => "connecting",
            ConnectionState::Delivering => "delivering",
            ConnectionState::Stalled => "stalled",
            ConnectionState::Failed => "failed",
            ConnectionState::Ended => "ended",
        }
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How one source is doing. Rates and stage times are means over about ten seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceHealth {
    /// Its id.
    pub id: String,
    /// What it is. Fields that only cameras have are 0 for a microphone.
    pub kind: SourceKind,
    /// Its connection.
    pub state: ConnectionState,
    /// The latest error: one line, no secrets.
    pub error: Option<String>,
    /// Width as the camera sends it, in pixels.
    pub width: u32,
    /// Height as the camera sends it, in pixels.
    pub height: u32,
    /// Container, codec, pixel format.
    pub description: String,
    /// Whether only another configuration, or somebody at the board, can help it.
    pub misconfigured: bool,
    /// Frames a second that the configuration asks for, at most; 0 is no limit.
    pub fps_configured: f32,
    /// Frames a second that the governor leaves of them.
    pub fps_allowed: f32,
    /// Frames a second that reached the node.
    pub fps_received: f32,
    /// Frames a second that were analysed.
    pub fps_analysed: f32,
    /// Frames that reached the node.
    pub frames_received_total: u64,
    /// Frames that the motion gate held back.
    pub frames_skipped_total: u64,
    /// Frames that were replaced by a newer one before they were analysed.
    pub frames_dropped_total: u64,
    /// Frames that went through the chain.
    pub frames_analysed_total: u64,
    /// Frames on which an analyzer failed.
    pub errors_total: u64,
    /// Attempts to open it after the first.
    pub reconnects_total: u64,
    /// Times a model ran.
    pub inferences_total: u64,
    /// Mean milliseconds by stage: `gate`, `preprocess`, `infer`, `postprocess`, `track`.
    pub stage_ms: BTreeMap<Cow<'static, str>, f64>,
    /// Seconds by stage, summed since the program began.
    pub stage_seconds_total: BTreeMap<Cow<'static, str>, f64>,
    /// Whether the motion gate sees motion.
    pub motion: bool,
    /// As in `state/<source>/health`; null before it is known.
    pub health: Option<HealthState>,
    /// How loud the latest chunk of a microphone was; null for a camera, and while none arrives.
    pub level: Option<Level>,
}

impl SourceHealth {
    /// Mean milliseconds by stage since the program began.
    pub fn stage_ms_mean(&self) -> BTreeMap<Cow<'static, str>, f64> {
        let mean = |(stage, total_s): (&Cow<'static, str>, &f64)| {
            // The gate sees every frame, the other stages those that are analysed.
            let frames =
                if stage == "gate" { self.frames_received_total } else { self.frames_analysed_total };
            (stage.clone(), total_s * 1000.0 / frames.max(1) as f64)
        };
        self.stage_seconds_total.iter().map(mean).collect()
    }
}

/// How well a source can be used: the value of `state/<source>/health`, and the label of its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// Nothing is wrong.
    Ok,
    /// It is open, and frames stopped arriving.
    Stalled,
    /// It cannot be opened, or broke.
    Failed,
    /// A file that was read to its end, or a source that was stopped.
    Ended,
    /// The picture does not change at all.
    Frozen,
    /// The picture is black.
    Black,
    /// Something covers the camera.
    Covered,
    /// The camera points elsewhere.
    Moved,
    /// The picture is blurred.
    OutOfFocus,
    /// A microphone delivers the same sample all the time.
    Dead,
    /// A microphone is quieter than its limit.
    Silent,
    /// Of the source `node`: the board's clock is not synchronized.
    ClockNotSynchronized,
}

impl HealthState {
    /// All of them.
    pub const ALL: [HealthState; 12] = [
        HealthState::Ok,
        HealthState::Stalled,
        HealthState::Failed,
        HealthState::Ended,
        HealthState::Frozen,
        HealthState::Black,
        HealthState::Covered,
        HealthState::Moved,
        HealthState::OutOfFocus,
        HealthState::Dead,
        HealthState::Silent,
        HealthState::ClockNotSynchronized,
    ];

    /// As in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthState::Ok => "ok",
            HealthState::Stalled => "stalled",
            HealthState::Failed => "failed",
            HealthState::Ended => "ended",
            HealthState::Frozen => "frozen",
            HealthState::Black => "black",
            HealthState::Covered => "covered",
            HealthState::Moved => "moved",
            HealthState::OutOfFocus => "out_of_focus",
            HealthState::Dead => "dead",
            HealthState::Silent => "silent",
            HealthState::ClockNotSynchronized => "clock_not_synchronized",
        }
    }

    /// The state of this name.
    pub fn named(name: &str) -> Option<HealthState> {
        HealthState::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The connection to the broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BrokerState {
    /// No broker is configured.
    #[default]
    Off,
    /// No connection; trying to get one.
    Connecting,
    /// Connected.
    Online,
    /// A stop was asked for; what is left is being delivered.
    Stopping,
    /// Stopped.
    Stopped,
}

impl BrokerState {
    /// As in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            BrokerState::Off => "off",
            BrokerState::Connecting => "connecting",
            BrokerState::Online => "online",
            BrokerState::Stopping => "stopping",
            BrokerState::Stopped => "stopped",
        }
    }
}

impl fmt::Display for BrokerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The connection to the broker, with figures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BrokerHealth {
    /// The connection.
    pub state: BrokerState,
    /// The broker that is connected, or that was tried last.
    pub url: Option<String>,
    /// The latest error.
    pub last_error: Option<String>,
    /// Subscriptions that the broker refuses: configuration and commands do not reach the node.
    pub subscription_error: Option<String>,
    /// Connections after the first.
    pub reconnects_total: u64,
    /// Events sent and not yet acknowledged.
    pub in_flight: u64,
    /// Events that the broker acknowledged.
    pub delivered_total: u64,
}

/// The events on disk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OutboxHealth {
    /// Events that wait for the broker.
    pub depth: u64,
    /// Age of the oldest of them, in seconds; null if none waits.
    pub oldest_age_s: Option<f64>,
    /// Size of the store.
    pub bytes: u64,
    /// The highest `seq`.
    pub newest_seq: u64,
    /// Events that had to be given up.
    pub lost_total: u64,
    /// The latest error.
    pub last_error: Option<String>,
}

/// How a worker thread or task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// It runs.
    Running,
    /// It failed and will be started again.
    Restarting,
    /// It failed too often and is not started again.
    Failed,
    /// It has finished, or was stopped.
    Ended,
}

/// One named thread or task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerHealth {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: WorkerState,
    /// Restarts so far.
    pub restarts_total: u64,
    /// Seconds since its last heartbeat.
    pub heartbeat_age_s: f64,
    /// The latest error.
    pub last_error: Option<String>,
}

/// Whether the governor holds the node back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GovernorState {
    /// Switched off.
    #[default]
    Off,
    /// There is no camera that could be slowed down; the board is not sampled.
    Idle,
    /// All cameras have what they are to have.
    Normal,
    /// Some cameras have less.
    Degraded,
}

/// Why cameras have less than they are to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DegradedReason {
    /// The supply is too weak.
    UnderVoltage,
    /// The kernel or the firmware slows the processor down.
    Throttled,
    /// A thermal zone is beyond its limit.
    Overheating,
    /// Frames are replaced before they can be analysed.
    Overloaded,
}

impl DegradedReason {
    /// All of them.
    pub const ALL: [DegradedReason; 4] = [
        DegradedReason::Overheating,
        DegradedReason::Throttled,
        DegradedReason::UnderVoltage,
        DegradedReason::Overloaded,
    ];

    /// As in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            DegradedReason::UnderVoltage => "under_voltage",
            DegradedReason::Throttled => "throttled",
            DegradedReason::Overheating => "overheating",
            DegradedReason::Overloaded => "overloaded",
        }
    }
}

/// The thermal zone that is nearest to its limit, or furthest beyond it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThermalZone {
    /// Its type, as the kernel names it.
    pub zone: String,
    /// Its temperature.
    pub temperature_c: f32,
    /// The temperature from which on the node slows down.
    pub limit_c: f32,
}

impl ThermalZone {
    /// By how much it is beyond its limit; negative below it.
    pub fn over_c(&self) -> f32 {
        self.temperature_c - self.limit_c
    }
}

/// The frequency of the fastest processor core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CpuFrequency {
    /// Now, in MHz.
    pub current_mhz: u32,
    /// The highest that it may have now.
    pub limit_mhz: u32,
    /// The highest that it is able to have.
    pub max_mhz: u32,
}

/// What one camera has of what it is to have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CameraShare {
    /// The camera.
    pub id: String,
    /// 1 is slowed down first, 9 last.
    pub priority: u8,
    /// Analysed frames a second that the configuration asks for.
    pub fps_configured: f32,
    /// What it has of them.
    pub fps_allowed: f32,
    /// Whether its smaller models do the work.
    pub smaller_models: bool,
    /// The models that do the work, in the order of the chain.
    pub models: Vec<String>,
}

impl CameraShare {
    /// Whether it has all that it is to have.
    pub fn is_whole(&self) -> bool {
        self.fps_allowed >= self.fps_configured && !self.smaller_models
    }
}

/// How the governor holds the node back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GovernorHealth {
    /// Whether it does.
    pub state: GovernorState,
    /// Steps by which the cameras are slowed down, in total; 0 unless `degraded`.
    pub level: u32,
    /// The most steps that are possible.
    pub max_level: u32,
    /// Why; null unless `degraded`.
    pub reason: Option<DegradedReason>,
    /// Since when it is `degraded`.
    #[serde(with = "rfc3339_ms_optional")]
    #[schemars(with = "Option<crate::schema::DateTime>")]
    pub since: Option<Timestamp>,
    /// The thermal zone that is nearest to its limit; null if the board has none.
    pub hottest_zone: Option<ThermalZone>,
    /// Whether the kernel or the firmware slows the processor down.
    pub throttled: bool,
    /// Whether the supply is too weak.
    pub under_voltage: bool,
    /// The processor's frequency; null where the kernel does not report it.
    pub cpu_frequency: Option<CpuFrequency>,
    /// The cameras that can be slowed down: all but files that are read as fast as they are analysed.
    pub cameras: Vec<CameraShare>,
}

impl GovernorHealth {
    /// The share of one camera.
    pub fn camera(&self, id: &str) -> Option<&CameraShare> {
        self.cameras.iter().find(|camera| camera.id == id)
    }
}

/// The version of the health document.
pub const HEALTH_SCHEMA: u32 = 2;

/// The health of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealthDocument {
    /// Version of this document: [`HEALTH_SCHEMA`].
    pub schema: u32,
    /// The site.
    pub site: Name,
    /// The node.
    pub node: Name,
    /// Whether nothing below is a problem.
    pub healthy: bool,
    /// What is wrong, one line each.
    pub problems: Vec<String>,
    /// When this was collected.
    #[serde(with = "rfc3339_ms")]
    #[schemars(with = "crate::schema::DateTime")]
    pub time: Timestamp,
    /// The program's version.
    pub version: String,
    /// This run of the program.
    pub boot: String,
    /// Seconds since it began.
    pub uptime_s: f64,
    /// The version of the configuration in force; 0 for the local file.
    pub config_version: u64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// The most resident memory so far.
    pub peak_rss_bytes: u64,
    /// CPU seconds of the whole process since it began.
    pub cpu_seconds_total: f64,
    /// Temperatures by sensor, in °C.
    pub temperatures_c: BTreeMap<String, f32>,
    /// What is not analysed now, and why.
    pub governor: GovernorHealth,
    /// The broker.
    pub broker: BrokerHealth,
    /// The events on disk.
    pub outbox: OutboxHealth,
    /// The sources.
    pub sources: Vec<SourceHealth>,
    /// The named threads and tasks.
    pub workers: Vec<WorkerHealth>,
}
