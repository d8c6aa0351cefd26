//! Every document as JSON in `tests/golden/`, and the JSON Schemas of all: what subscribers and API clients rely on.
//!
//! After a wanted change: `GOLDEN=write cargo test -p aimass-protocol`, and look at the difference.

#![expect(clippy::unwrap_used, reason = "a test ends there")]
#![expect(clippy::disallowed_methods, reason = "golden files are written by hand-started runs only")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use aimass_protocol::api::{
    Caption, ErrorResponse, EventsPage, MissedEvents, OverlayTrack, Shape, Shapes, Source, SourceStatus,
    Sources, Stream,
};
use aimass_protocol::command::{
    CommandError, DrainRequest, DrainResult, LogLevel, LogRequest, LogResult, Picture, ProbeRequest,
    ProbeResult, Reply, RestartRequest, RestartResult, ResumeRequest, ResumeResult, SnapshotRequest,
    SnapshotResult, Transport,
};
use aimass_protocol::config::{CONFIG_REPORT_SCHEMA, ConfigProblem, ConfigReport, Origin, ReportState};
use aimass_protocol::event::{
    Crossing, Direction, EVENT_SCHEMA, Event, EventData, Evidence, Kind, ModelRef, Phase, Severity,
    TimeSource,
};
use aimass_protocol::geometry::{Point, Polygon, Region};
use aimass_protocol::health::HEALTH_SCHEMA;
use aimass_protocol::health::{
    BrokerHealth, BrokerState, CameraShare, ConnectionState, CpuFrequency, DegradedReason, GovernorHealth,
    GovernorState, HealthDocument, HealthState, OutboxHealth, SourceHealth, SourceKind, ThermalZone,
    WorkerHealth, WorkerState,
};
use aimass_protocol::name::Name;
use aimass_protocol::state::{Level, LevelState};
use aimass_protocol::status::{Presence, STATUS_SCHEMA, Status};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ulid::Ulid;

fn compare(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("GOLDEN").is_some_and(|v| v == "write") {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
    assert_eq!(text, golden, "{file} has changed");
}

/// The document is written as its file, and read from it as it was.
fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(file: &str, document: &T) {
    let text = serde_json::to_string_pretty(document).unwrap() + "\n";
    compare(file, &text);
    assert_eq!(serde_json::from_str::<T>(&text).unwrap(), *document, "{file}");
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn time() -> Timestamp {
    "2026-11-23T08:15:30.123Z".parse().unwrap()
}

fn event() -> Event {
    Event {
        schema: EVENT_SCHEMA,
        id: Ulid::from_parts(1_795_421_730_123, 1),
        boot: Ulid::from_parts(1_795_400_000_000, 2),
        seq: 4711,
        replay: false,
        clock_synchronized: true,
        site: name("warehouse-1"),
        node: name("dock-3"),
        config_version: 7,
        what: EventData {
            time: time(),
            time_source: TimeSource::Rtp,
            source: name("gate"),
            kind: Kind::Line,
            phase: Phase::Once,
            severity: Severity::Notice,
            label: "person".into(),
            score: Some(0.875),
            region: Some(Region { x: 0.25, y: 0.5, w: 0.125, h: 0.25 }),
            track: Some(12),
            occurrence_id: Some(Ulid::from_parts(1_795_421_725_000, 3)),
            zone: None,
            line: Some(Crossing { id: name("door"), direction: Direction::In, in_total: 42, out_total: 40 }),
            attributes: [("note".into(), json!("x"))].into(),
            model: Some(ModelRef { name: "coco-ssd-lite".into(), version: "1".into(), sha256: "00".into() }),
            evidence: Some(Evidence { frames: 14, peak_score: 0.9375, stationary_s: 0.5 }),
        },
    }
}

fn picture() -> Picture {
    Picture { width: 640, height: 360, jpeg_base64: "/9j/".into() }
}

fn source_health() -> SourceHealth {
    let stages = ["gate", "preprocess", "infer", "postprocess", "track"].map(Cow::from);
    SourceHealth {
        id: "gate".into(),
        kind: SourceKind::Camera,
        state: ConnectionState::Delivering,
        error: None,
        width: 1920,
        height: 1080,
        description: "rtsp, H.264, NV12".into(),
        misconfigured: false,
        fps_configured: 5.0,
        fps_allowed: 2.5,
        fps_received: 15.0,
        fps_analysed: 2.5,
        frames_received_total: 100,
        frames_skipped_total: 60,
        frames_dropped_total: 10,
        frames_analysed_total: 30,
        errors_total: 1,
        reconnects_total: 2,
        inferences_total: 33,
        stage_ms: stages.clone().into_iter().map(|stage| (stage, 1.5)).collect(),
        stage_seconds_total: stages.into_iter().map(|stage| (stage, 2.5)).collect(),
        motion: true,
        health: Some(HealthState::Ok),
        level: None,
    }
}

fn governor() -> GovernorHealth {
    GovernorHealth {
        state: GovernorState::Degraded,
        level: 1,
        max_level: 4,
        reason: Some(DegradedReason::Overheating),
        since: Some(time()),
        hottest_zone: Some(ThermalZone { zone: "cpu-thermal".into(), temperature_c: 81.5, limit_c: 78.0 }),
        throttled: true,
        under_voltage: false,
        cpu_frequency: Some(CpuFrequency { current_mhz: 1000, limit_mhz: 1200, max_mhz: 1500 }),
        cameras: vec![CameraShare {
            id: "gate".into(),
            priority: 5,
            fps_configured: 5.0,
            fps_allowed: 2.5,
            smaller_models: true,
            models: vec!["nanodet".into()],
        }],
    }
}

fn health() -> HealthDocument {
    HealthDocument {
        schema: HEALTH_SCHEMA,
        site: name("warehouse-1"),
        node: name("dock-3"),
        healthy: false,
        problems: vec!["source gate: no route to host".into()],
        time: time(),
        version: "0.1.0".into(),
        boot: Ulid::from_parts(1_795_400_000_000, 2).to_string(),
        uptime_s: 60.5,
        config_version: 7,
        rss_bytes: 50_000_000,
        peak_rss_bytes: 60_000_000,
        cpu_seconds_total: 12.5,
        temperatures_c: [("cpu-thermal".into(), 81.5)].into(),
        governor: governor(),
        broker: BrokerHealth {
            state: BrokerState::Online,
            url: Some("mqtts://broker:8883".into()),
            last_error: None,
            subscription_error: None,
            reconnects_total: 1,
            in_flight: 2,
            delivered_total: 4700,
        },
        outbox: OutboxHealth {
            depth: 3,
            oldest_age_s: Some(1.5),
            bytes: 65_536,
            newest_seq: 4711,
            lost_total: 0,
            last_error: None,
        },
        sources: vec![
            source_health(),
            SourceHealth {
                id: "hall".into(),
                kind: SourceKind::Microphone,
                level: Some(Level { rms_dbfs: -42.5, peak_dbfs: -30.0 }),
                health: Some(HealthState::Silent),
                ..source_health()
            },
        ],
        workers: vec![WorkerHealth {
            name: "src-gate".into(),
            state: WorkerState::Running,
            restarts_total: 0,
            heartbeat_age_s: 0.25,
            last_error: None,
        }],
    }
}

fn source() -> Source {
    Source {
        id: "gate".into(),
        kind: SourceKind::Camera,
        status: SourceStatus { state: ConnectionState::Delivering, since: time(), error: None },
        stream: Some(Stream { width: 1920, height: 1080, fps: 15.0, description: "rtsp, H.264".into() }),
        chain: vec!["detect".into()],
        shapes: Shapes {
            zones: vec![Shape { id: name("bay"), points: polygon() }],
            lines: vec![Shape { id: name("door"), points: Polygon(polygon().0[..2].to_vec()) }],
            masks: vec![polygon()],
        },
        motion: true,
        metrics: Some(source_health()),
    }
}

fn polygon() -> Polygon {
    Polygon([[0.0, 0.0], [1.0, 0.0], [0.5, 1.0]].map(Point::from).to_vec())
}

#[test]
fn events_are_as_recorded() {
    golden("event.json", &event());
    let all: Vec<Kind> = Kind::ALL.into();
    golden("event_kinds.json", &all);
    let mut lasting = event();
    lasting.what = EventData {
        kind: Kind::Health,
        phase: Phase::Ended,
        label: "covered".into(),
        score: None,
        region: None,
        track: None,
        line: None,
        attributes: [("duration_s".into(), json!(12.5)), ("end_reason".into(), json!("recovered"))].into(),
        model: None,
        evidence: None,
        ..lasting.what
    };
    golden("event_source_health.json", &lasting);
    lasting.what = EventData {
        source: name("node"),
        kind: Kind::Node,
        label: "degraded".into(),
        attributes: [("duration_s".into(), json!(12.5)), ("end_reason".into(), json!("recovered"))].into(),
        ..lasting.what
    };
    golden("event_degraded.json", &lasting);
}

#[test]
fn status_and_health_are_as_recorded() {
    golden(
        "status.json",
        &Status {
            schema: STATUS_SCHEMA,
            state: Presence::Online,
            boot: Ulid::from_parts(1_795_400_000_000, 2),
            version: "0.1.0".into(),
            config_version: 7,
            since: time(),
        },
    );
    golden("health.json", &health());
    golden("state_health.json", &HealthState::ALL.to_vec());
    golden("state_level.json", &LevelState::from(Some(Level { rms_dbfs: -42.46, peak_dbfs: -30.0 })));
    golden("state_level_unknown.json", &LevelState::default());
}

#[test]
fn the_report_of_a_configuration_is_as_recorded() {
    golden(
        "config_reported.json",
        &ConfigReport {
            schema: CONFIG_REPORT_SCHEMA,
            desired_version: Some(8),
            running_version: 7,
            state: ReportState::RolledBack,
            errors: vec![ConfigProblem { path: "camera[0].source".into(), message: "no pictures".into() }],
            effective: Some(json!({"node": {"site": "warehouse-1", "id": "dock-3"}})),
            origin: Origin::Push,
            digest: "00".into(),
            revision: 12,
            time: time(),
        },
    );
}

#[test]
fn commands_and_replies_are_as_recorded() {
    golden(
        "command_probe.json",
        &ProbeRequest {
            source: "rtsp://camera/stream".into(),
            username: Some("viewer".into()),
            password_file: Some("/etc/aimass-agent/secrets/gate".into()),
            ca_file: None,
            transport: Transport::Auto,
            timeout_s: 15.0,
            max_side_px: 640,
        },
    );
    golden("command_snapshot.json", &SnapshotRequest { source: name("gate"), max_side_px: 1280 });
    golden("command_restart_source.json", &RestartRequest { source: name("gate") });
    golden("command_set_log_level.json", &LogRequest { level: LogLevel::Debug, duration_s: 600 });
    golden("command_drain.json", &DrainRequest { timeout_s: 10 });
    golden("command_resume.json", &ResumeRequest {});
    golden(
        "reply_probe.json",
        &Reply::from(Ok(ProbeResult {
            width: 1920,
            height: 1080,
            fps: 15.0,
            description: "rtsp, H.264".into(),
            first_frame_ms: 250,
            picture: picture(),
        })),
    );
    golden(
        "reply_snapshot.json",
        &Reply::from(Ok(SnapshotResult {
            source: "gate".into(),
            state: ConnectionState::Delivering,
            frame: 100,
            time: time(),
            picture: picture(),
        })),
    );
    golden("reply_restart_source.json", &Reply::from(Ok(RestartResult { source: name("gate") })));
    golden("reply_set_log_level.json", &Reply::from(Ok(LogResult { level: LogLevel::Debug, until: time() })));
    golden("reply_drain.json", &Reply::from(Ok(DrainResult { drained: true, events_pending: 3 })));
    golden("reply_resume.json", &Reply::from(Ok(ResumeResult {})));
    let error = CommandError::field("timeout_s", "0 is not within 1..60");
    golden("reply_error.json", &Reply::<Value>::from(Err(error)));
}

#[test]
fn api_documents_are_as_recorded() {
    golden(
        "api_sources.json",
        &Sources { site: name("warehouse-1"), node: name("dock-3"), sources: vec![source()] },
    );
    golden("api_events.json", &EventsPage { events: vec![event()] });
    golden("api_events_missed.json", &MissedEvents { count: 3, after_seq: Some(4711) });
    golden("api_error.json", &ErrorResponse::new("unknown_source", "there is no source of this name"));
    let track = OverlayTrack {
        id: 12,
        label: "person".into(),
        score: 0.875,
        region: Region { x: 0.25, y: 0.5, w: 0.125, h: 0.25 },
        path: vec![Point { x: 0.25, y: 0.5 }],
        points: vec![],
        zones: vec![name("bay")],
    };
    let states: BTreeMap<String, Value> =
        [("motion".to_owned(), json!(true)), ("health".to_owned(), json!("ok"))].into();
    golden(
        "api_live_caption.json",
        &Caption {
            frame: 100,
            time: time(),
            width: 640,
            height: 360,
            overlay_frame: 99,
            motion: true,
            tracks: Cow::Owned(vec![track]),
            states: Cow::Owned(states),
        },
    );
}

#[test]
fn the_json_schemas_are_as_recorded() {
    fn schema<T: schemars::JsonSchema>() -> Value {
        serde_json::to_value(schemars::schema_for!(T)).unwrap()
    }
    let all = json!({
        "event": schema::<Event>(),
        "status": schema::<Status>(),
        "health": schema::<HealthDocument>(),
        "config_reported": schema::<ConfigReport>(),
        "state_health": schema::<HealthState>(),
        "state_level": schema::<LevelState>(),
        "command_probe": schema::<ProbeRequest>(),
        "command_snapshot": schema::<SnapshotRequest>(),
        "command_restart_source": schema::<RestartRequest>(),
        "command_set_log_level": schema::<LogRequest>(),
        "command_drain": schema::<DrainRequest>(),
        "command_resume": schema::<ResumeRequest>(),
        "reply_probe": schema::<Reply<ProbeResult>>(),
        "reply_snapshot": schema::<Reply<SnapshotResult>>(),
        "reply_restart_source": schema::<Reply<RestartResult>>(),
        "reply_set_log_level": schema::<Reply<LogResult>>(),
        "reply_drain": schema::<Reply<DrainResult>>(),
        "reply_resume": schema::<Reply<ResumeResult>>(),
        "api_sources": schema::<Sources>(),
        "api_events": schema::<EventsPage>(),
        "api_events_missed": schema::<MissedEvents>(),
        "api_error": schema::<ErrorResponse>(),
        "api_live_caption": schema::<Caption<'_>>(),
    });
    compare("schemas.json", &(serde_json::to_string_pretty(&all).unwrap() + "\n"));
}
