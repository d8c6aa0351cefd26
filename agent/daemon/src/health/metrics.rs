//! The health of the node as Prometheus text. Pure: a document in, text out.
//!
//! Names are `aimass_<area>_<noun>_<unit>[_total]`; a golden test holds them, because people build dashboards
//! and alarms on them.

use std::fmt::{Display, Write};

use crate::health::document::{
    BrokerState, ConnectionState, DegradedReason, HealthDocument, SourceHealth, WorkerHealth, WorkerState,
};

/// What the text is, for the answer's header.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Figures of the HTTP server itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpFigures {
    /// People who watch live pictures.
    pub viewers: usize,
    /// Programs that follow the events.
    pub followers: usize,
    /// Events that slow followers missed.
    pub missed_events_total: u64,
    /// Pictures encoded for viewers.
    pub pictures_total: u64,
}

/// Metrics text under construction.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, help: &str) {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let mut shown = String::new();
        for (n, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let comma = if n > 0 { "," } else { "" };
            shown.push_str(&format!("{comma}{label}=\"{text}\""));
        }
        if shown.is_empty() {
            self.line(format_args!("{name} {value}"));
        } else {
            self.line(format_args!("{name}{{{shown}}} {value}"));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        writeln!(self.0, "{line}").ok();
    }

    fn one(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, help);
        self.sample(name, &[], value);
    }

    fn by_source<V: Display>(
        &mut self,
        sources: &[SourceHealth],
        name: &str,
        help: &str,
        value: fn(&SourceHealth) -> V,
    ) {
        self.family(name, help);
        for source in sources {
            self.sample(name, &[("source", &source.id)], value(source));
        }
    }

    fn by_worker<V: Display>(
        &mut self,
        workers: &[WorkerHealth],
        name: &str,
        help: &str,
        value: fn(&WorkerHealth) -> V,
    ) {
        self.family(name, help);
        for worker in workers {
            self.sample(name, &[("worker", &worker.name)], value(worker));
        }
    }
}

/// The metrics text.
pub fn render(health: &HealthDocument, http: &HttpFigures) -> String {
    let mut text = Text(String::with_capacity(8 * 1024));
    node(&mut text, health);
    connection(&mut text, health);
    sources(&mut text, &health.sources);
    workers(&mut text, &health.workers);
    let t = &mut text;
    t.one("aimass_http_viewers_count", "People who watch live pictures.", http.viewers);
    t.one("aimass_http_followers_count", "Programs that follow the events.", http.followers);
    t.one("aimass_http_missed_events_total", "Events that slow followers missed.", http.missed_events_total);
    t.one("aimass_http_encoded_pictures_total", "Pictures encoded for viewers.", http.pictures_total);
    text.0
}

fn node(t: &mut Text, h: &HealthDocument) {
    t.family("aimass_node_build_info", "Always 1; what runs where.");
    let labels = [("site", h.site.as_str()), ("node", h.node.as_str()), ("version", h.version.as_str())];
    t.sample("aimass_node_build_info", &labels, 1);
    t.one("aimass_node_health_state", "1 if nothing is wrong.", u8::from(h.healthy));
    t.one("aimass_node_problems_count", "Things that are wrong.", h.problems.len());
    t.one("aimass_node_uptime_seconds", "Time since the program began.", h.uptime_s);
    t.one("aimass_node_config_version", "Version of the configuration in force.", h.config_version);
    t.family("aimass_node_temperature_celsius", "Temperatures of the board.");
    for (sensor, celsius) in &h.temperatures_c {
        t.sample("aimass_node_temperature_celsius", &[("sensor", sensor)], celsius);
    }
    let g = &h.governor;
    t.one("aimass_governor_level_count", "Rungs that the cameras are down; 0 if all is watched.", g.level);
    t.family("aimass_governor_reason_state", "1 for the reason why less is watched.");
    for reason in DegradedReason::ALL {
        t.sample(
            "aimass_governor_reason_state",
            &[("reason", reason.as_str())],
            u8::from(g.reason == Some(reason)),
        );
    }
    t.one("aimass_process_resident_bytes", "Resident memory.", h.rss_bytes);
    t.one("aimass_process_peak_resident_bytes", "The most resident memory so far.", h.peak_rss_bytes);
    t.one("aimass_process_cpu_seconds_total", "CPU time of the process.", h.cpu_seconds_total);
}

fn connection(t: &mut Text, h: &HealthDocument) {
    let (broker, outbox) = (&h.broker, &h.outbox);
    t.one(
        "aimass_broker_online_state",
        "1 if the broker is there.",
        u8::from(broker.state == BrokerState::Online),
    );
    t.one("aimass_broker_reconnects_total", "Connections after the first.", broker.reconnects_total);
    t.one("aimass_broker_in_flight_events", "Events sent, not yet acknowledged.", broker.in_flight);
    t.one("aimass_broker_delivered_events_total", "Events that the broker has.", broker.delivered_total);
    t.one("aimass_outbox_depth_events", "Events that wait for the broker.", outbox.depth);
    let age = outbox.oldest_age_s.unwrap_or(0.0);
    t.one("aimass_outbox_oldest_age_seconds", "Age of the oldest of them; 0 if none.", age);
    t.one("aimass_outbox_size_bytes", "Size of the store.", outbox.bytes);
    t.one("aimass_outbox_newest_seq", "The highest seq.", outbox.newest_seq);
    t.one("aimass_outbox_lost_events_total", "Events that had to be given up.", outbox.lost_total);
}

fn sources(t: &mut Text, sources: &[SourceHealth]) {
    t.family("aimass_source_status_state", "1 for the state that the source is in.");
    for source in sources {
        for state in ConnectionState::ALL {
            let labels = [("source", source.id.as_str()), ("state", state.as_str())];
            t.sample("aimass_source_status_state", &labels, u8::from(source.state == state));
        }
    }
    let s = sources;
    t.by_source(s, "aimass_source_width_pixels", "Width as the camera sends it.", |s| s.width);
    t.by_source(s, "aimass_source_height_pixels", "Height as the camera sends it.", |s| s.height);
    t.by_source(s, "aimass_source_wanted_fps", "Frames a second asked for; 0 is no limit.", |s| {
        s.fps_configured
    });
    t.by_source(s, "aimass_source_given_fps", "Frames a second that the governor leaves.", |s| s.fps_allowed);
    t.by_source(s, "aimass_source_seen_fps", "Frames a second that reach us.", |s| s.fps_received);
    t.by_source(s, "aimass_source_analysed_fps", "Frames a second that are analysed.", |s| s.fps_analysed);
    t.by_source(s, "aimass_source_motion_state", "1 while the gate sees motion.", |s| u8::from(s.motion));
    t.by_source(s, "aimass_source_seen_frames_total", "Frames that reached us.", |s| s.frames_received_total);
    t.by_source(s, "aimass_source_idle_frames_total", "Frames that the motion gate held back.", |s| {
        s.frames_skipped_total
    });
    t.by_source(
        s,
        "aimass_source_replaced_frames_total",
        "Frames replaced before they were analysed.",
        |s| s.frames_dropped_total,
    );
    t.by_source(s, "aimass_source_analysed_frames_total", "Frames that went through the chain.", |s| {
        s.frames_analysed_total
    });
    t.by_source(s, "aimass_source_errors_total", "Frames on which an analyzer failed.", |s| s.errors_total);
    t.by_source(s, "aimass_source_reconnects_total", "Attempts to open after the first.", |s| {
        s.reconnects_total
    });
    t.by_source(s, "aimass_source_inferences_total", "Times a model ran.", |s| s.inferences_total);
    let heard: Vec<_> = sources.iter().filter_map(|s| Some((s, s.level?))).collect();
    if !heard.is_empty() {
        t.family("aimass_source_rms_dbfs", "Mean level of the latest window of a microphone.");
        heard.iter().for_each(|(s, l)| t.sample("aimass_source_rms_dbfs", &[("source", &s.id)], l.rms_dbfs));
        t.family("aimass_source_peak_dbfs", "Peak level of the latest window of a microphone.");
        heard
            .iter()
            .for_each(|(s, l)| t.sample("aimass_source_peak_dbfs", &[("source", &s.id)], l.peak_dbfs));
    }
    t.family("aimass_source_stage_seconds_total", "Time spent by stage.");
    for source in sources {
        for (stage, seconds) in &source.stage_seconds_total {
            let labels = [("source", source.id.as_str()), ("stage", stage)];
            t.sample("aimass_source_stage_seconds_total", &labels, seconds);
        }
    }
}

fn workers(t: &mut Text, workers: &[WorkerHealth]) {
    let w = workers;
    t.by_worker(w, "aimass_worker_running_state", "1 if it runs.", |w| {
        u8::from(w.state == WorkerState::Running)
    });
    t.by_worker(w, "aimass_worker_restarts_total", "Restarts so far.", |w| w.restarts_total);
    t.by_worker(w, "aimass_worker_heartbeat_age_seconds", "Since its last sign of life.", |w| {
        w.heartbeat_age_s
    });
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
pub(crate) mod tests;
