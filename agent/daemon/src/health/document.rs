//! The health of the node as one document: over MQTT every minute, at `/healthz`, and as metrics.

use std::collections::BTreeMap;

use aimass_core::audio::Level;
use aimass_core::id::Name;
use jiff::Timestamp;
use serde::Serialize;

use crate::governor::GovernorHealth;
use crate::pipeline::views::SourceKind;

/// How one source is doing. Rates and stage times are means over the last ten seconds or so.
#[derive(Debug, Clone, Serialize)]
pub struct SourceHealth {
    /// Its id.
    pub id: String,
    /// `camera` or `microphone`. The frames of a microphone are windows of half a second; what only cameras have is 0.
    pub kind: SourceKind,
    /// `connecting`, `delivering`, `stalled`, `failed` or `ended`.
    pub state: String,
    /// The latest error: one line, no secrets.
    pub error: Option<String>,
    /// Size as the camera sends it, in pixels.
    pub width: u32,
    /// Size as the camera sends it, in pixels.
    pub height: u32,
    /// Container, codec, pixel format.
    pub description: String,
    /// Whether only another configuration, or a hand at the board, can help it.
    pub misconfigured: bool,
    /// Frames a second that the configuration asks for, at most; 0 is no limit.
    pub fps_wanted: f32,
    /// Frames a second that the governor leaves of them.
    pub fps_given: f32,
    /// Frames a second that reached us.
    pub fps_seen: f32,
    /// Frames a second that were analysed.
    pub fps_analysed: f32,
    /// Frames that reached us.
    pub frames_seen_total: u64,
    /// Frames that the motion gate held back.
    pub frames_idle_total: u64,
    /// Frames that were replaced before they were analysed.
    pub frames_replaced_total: u64,
    /// Frames that went through the chain.
    pub frames_analysed_total: u64,
    /// Frames on which an analyzer failed.
    pub errors_total: u64,
    /// Attempts to open it after the first.
    pub reconnects_total: u64,
    /// Times a model ran.
    pub inferences_total: u64,
    /// Mean milliseconds by stage: `gate`, `prepare`, `infer`, `decode`, `track`.
    pub stage_ms: BTreeMap<&'static str, f64>,
    /// Seconds by stage, summed since the program began.
    pub stage_seconds_total: BTreeMap<&'static str, f64>,
    /// Whether the motion gate sees motion.
    pub motion: bool,
    /// How it sees, as its state `sight` tells; null before the first word.
    pub sight: Option<&'static str>,
    /// How loud the latest window of a microphone was; null for a camera, and while nothing is heard.
    pub level: Option<Level>,
}

impl SourceHealth {
    /// Mean milliseconds by stage since the program began.
    pub fn stage_ms_mean(&self) -> BTreeMap<&'static str, f64> {
        let mean = |stage: &'static str, total_s: f64| {
            // The gate sees every frame, the other stages those that are analysed.
            let frames = if stage == "gate" { self.frames_seen_total } else { self.frames_analysed_total };
            (stage, total_s * 1000.0 / frames.max(1) as f64)
        };
        self.stage_seconds_total.iter().map(|(stage, total_s)| mean(stage, *total_s)).collect()
    }
}

/// The connection to the broker.
#[derive(Debug, Clone, Default, Serialize)]
pub struct BrokerHealth {
    /// `off`, `connecting`, `online`, `stopping`, …
    pub state: String,
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
#[derive(Debug, Clone, Default, Serialize)]
pub struct OutboxHealth {
    /// Events that wait for the broker.
    pub depth: u64,
    /// Age of the oldest of them, in seconds.
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

/// One named thread.
#[derive(Debug, Clone, Serialize)]
pub struct WorkerHealth {
    /// Its name.
    pub name: String,
    /// `running`, `restarting`, `gave_up` or `ended`.
    pub state: String,
    /// Restarts so far.
    pub restarts_total: u64,
    /// Since its last sign of life, in seconds.
    pub heartbeat_age_s: f64,
    /// The latest error.
    pub last_error: Option<String>,
}

/// The health of the node.
#[derive(Debug, Clone, Serialize)]
pub struct HealthDocument {
    /// The site.
    pub site: Name,
    /// The node.
    pub node: Name,
    /// Whether nothing below is a problem.
    pub healthy: bool,
    /// What is wrong, one line each.
    pub problems: Vec<String>,
    /// When this was collected.
    #[serde(with = "aimass_core::event::rfc3339_ms")]
    pub time: Timestamp,
    /// The program's version.
    pub version: &'static str,
    /// This life of the program.
    pub boot: String,
    /// Seconds since it began.
    pub uptime_s: f64,
    /// The version of the configuration in force.
    pub config_version: u64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// The most resident memory so far.
    pub peak_rss_bytes: u64,
    /// CPU seconds of the whole process since it began.
    pub cpu_seconds_total: f64,
    /// Temperatures by sensor, in °C.
    pub temperatures_c: BTreeMap<String, f32>,
    /// What is not watched now, and why.
    pub governor: GovernorHealth,
    /// The broker.
    pub broker: BrokerHealth,
    /// The events on disk.
    pub outbox: OutboxHealth,
    /// The sources.
    pub sources: Vec<SourceHealth>,
    /// The named threads.
    pub workers: Vec<WorkerHealth>,
}
