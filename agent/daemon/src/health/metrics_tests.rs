//! The names are a promise to dashboards: whoever changes one changes this file too.

use std::collections::BTreeMap;

use aimass_core::id::Name;

use super::*;
use crate::health::document::{BrokerHealth, HealthState, OutboxHealth};
use crate::pipeline::views::SourceKind;

const NAMES: &str = "\
aimass_broker_delivered_events_total aimass_broker_in_flight_events aimass_broker_online_state \
aimass_broker_reconnects_total aimass_governor_level_count aimass_governor_reason_state aimass_http_encoded_pictures_total aimass_http_followers_count \
aimass_http_missed_events_total aimass_http_viewers_count aimass_node_build_info aimass_node_config_version \
aimass_node_health_state aimass_node_problems_count aimass_node_temperature_celsius \
aimass_node_uptime_seconds aimass_outbox_depth_events aimass_outbox_lost_events_total \
aimass_outbox_newest_seq aimass_outbox_oldest_age_seconds aimass_outbox_size_bytes \
aimass_process_cpu_seconds_total aimass_process_peak_resident_bytes aimass_process_resident_bytes \
aimass_source_analysed_fps aimass_source_analysed_frames_total aimass_source_errors_total aimass_source_given_fps \
aimass_source_height_pixels aimass_source_idle_frames_total aimass_source_inferences_total \
aimass_source_motion_state aimass_source_peak_dbfs aimass_source_reconnects_total \
aimass_source_replaced_frames_total aimass_source_rms_dbfs \
aimass_source_seen_fps aimass_source_seen_frames_total aimass_source_stage_seconds_total \
aimass_source_status_state aimass_source_wanted_fps aimass_source_width_pixels \
aimass_worker_heartbeat_age_seconds aimass_worker_restarts_total aimass_worker_running_state";

/// A node with one of everything.
pub(crate) fn health() -> HealthDocument {
    let name = |text: &str| text.parse::<Name>().unwrap();
    HealthDocument {
        schema: 2,
        site: name("warehouse-1"),
        node: name("dock-3"),
        healthy: true,
        problems: vec![],
        time: jiff::Timestamp::UNIX_EPOCH,
        version: "0.1.0".into(),
        boot: "01JB0000000000000000000000".into(),
        uptime_s: 12.5,
        config_version: 7,
        rss_bytes: 20 << 20,
        peak_rss_bytes: 24 << 20,
        cpu_seconds_total: 3.25,
        temperatures_c: BTreeMap::from([("CPU \"0\" \\ a\nb".to_owned(), 51.5)]),
        governor: crate::governor::GovernorHealth::default(),
        broker: BrokerHealth { state: BrokerState::Online, ..BrokerHealth::default() },
        outbox: OutboxHealth { newest_seq: 41, ..OutboxHealth::default() },
        sources: vec![SourceHealth {
            id: "dock".into(),
            kind: SourceKind::Camera,
            state: ConnectionState::Delivering,
            error: None,
            width: 768,
            height: 576,
            description: "H.264, I420".into(),
            misconfigured: false,
            fps_configured: 5.0,
            fps_allowed: 2.5,
            fps_received: 25.0,
            fps_analysed: 4.9,
            frames_received_total: 250,
            frames_skipped_total: 100,
            frames_dropped_total: 1,
            frames_analysed_total: 149,
            errors_total: 0,
            reconnects_total: 2,
            inferences_total: 149,
            stage_ms: BTreeMap::from([("infer".into(), 21.4), ("gate".into(), 0.3)]),
            stage_seconds_total: BTreeMap::from([("infer".into(), 3.1), ("gate".into(), 0.1)]),
            motion: true,
            health: Some(HealthState::Ok),
            level: Some(aimass_protocol::state::Level { rms_dbfs: -42.5, peak_dbfs: -20.0 }),
        }],
        workers: vec![WorkerHealth {
            name: "src-dock".into(),
            state: WorkerState::Running,
            restarts_total: 0,
            heartbeat_age_s: 0.1,
            last_error: None,
        }],
    }
}

#[test]
fn the_names_are_those_that_dashboards_know() {
    let text = render(&health(), &HttpFigures::default());
    let mut names: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).collect();
    names.sort_unstable();
    for name in &names {
        let (name, kind) = name.split_once(' ').unwrap();
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
    }
    let names: Vec<_> = names.iter().map(|n| n.split(' ').next().unwrap()).collect();
    assert_eq!(names.join(" "), NAMES);
}

#[test]
fn every_sample_follows_the_help_and_type_of_its_family() {
    let text = render(&health(), &HttpFigures { viewers: 3, ..HttpFigures::default() });
    let mut family = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap();
        } else if !line.starts_with('#') {
            assert_eq!(line.split(['{', ' ']).next().unwrap(), family, "{line}");
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
    assert!(text.contains("aimass_http_viewers_count 3\n"));
    assert!(text.contains("aimass_source_seen_frames_total{source=\"dock\"} 250\n"));
    assert!(text.contains("aimass_source_rms_dbfs{source=\"dock\"} -42.5\n"));
    assert!(text.contains("aimass_source_status_state{source=\"dock\",state=\"stalled\"} 0\n"));
}

#[test]
fn labels_from_outside_cannot_break_the_text() {
    let text = render(&health(), &HttpFigures::default());
    assert!(text.contains(r#"{sensor="CPU \"0\" \\ a\nb"} 51.5"#), "{text}");
}
