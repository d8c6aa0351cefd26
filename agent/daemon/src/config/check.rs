//! What types cannot say: limits, names that must be unique or known, and what belongs together.

use std::collections::HashSet;

use aimass_core::analytics::MOST_PLACES;
use aimass_core::id::Name;
use aimass_inference::tasks::AnalyzerConfig;
use aimass_media::video::SourceUri;

use super::{CameraConfig, Config, MAX_CAMERAS, MAX_FPS, MAX_MICROPHONES, Problem};

/// Everything that is wrong with a configuration whose types are right.
pub(super) fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    if config.camera.len() > MAX_CAMERAS {
        let message = format!("{} cameras: a node has at most {MAX_CAMERAS}", config.camera.len());
        problems.push(Problem::new("camera", message));
    }
    if config.microphone.len() > MAX_MICROPHONES {
        let message =
            format!("{} microphones: a node has at most {MAX_MICROPHONES}", config.microphone.len());
        problems.push(Problem::new("microphone", message));
    }
    // They share their topics.
    let cameras = config.camera.len();
    unique(
        config.camera.iter().map(|c| &c.id).chain(config.microphone.iter().map(|m| &m.id)),
        |n| if n < cameras { format!("camera[{n}].id") } else { format!("microphone[{}].id", n - cameras) },
        &mut problems,
    );
    for (n, microphone) in config.microphone.iter().enumerate() {
        problems.extend(microphone.check(&format!("microphone[{n}]")));
    }
    for (n, camera) in config.camera.iter().enumerate() {
        check_camera(config, camera, &format!("camera[{n}]"), &mut problems);
    }
    if let Some(broker) = &config.broker {
        problems.extend(
            broker.problems().into_iter().map(|p| Problem::new(format!("broker.{}", p.field), p.message)),
        );
    }
    for (name, analyzer) in &config.analyzer {
        for (field, message) in analyzer.check() {
            problems.push(Problem::new(format!("analyzer.{name}.{field}"), message));
        }
    }
    if let Some(parallel) = config.inference.parallel.filter(|p| !(1..=64).contains(p)) {
        let message = format!("{parallel} is not within 1..64: give one of these, or leave it out");
        problems.push(Problem::new("inference.parallel", message));
    }
    if let Some(threads) = config.inference.threads.filter(|t| !(1..=4).contains(t)) {
        let message = format!("{threads} is not within 1..4: give one of these, or leave it out");
        problems.push(Problem::new("inference.threads", message));
    }
    for (field, message) in config.governor.check() {
        problems.push(Problem::new(format!("governor.{field}"), message));
    }
    if let Err(error) = config.http.check() {
        problems.push(in_section("http", &error.to_string()));
    }
    for (field, message) in config.home_assistant.check() {
        problems.push(Problem::new(format!("home_assistant.{field}"), message));
    }
    if let Err(error) = config.store.validate() {
        problems.push(in_section("store", &error.to_string()));
    }
    for (field, message) in config.trust.check() {
        problems.push(Problem::new(format!("trust.{field}"), message));
    }
    problems
}

/// A section's own error, which may begin with the field's path.
fn in_section(section: &str, message: &str) -> Problem {
    match message.split_once(' ') {
        Some((path, rest)) if path.split('.').next() == Some(section) && path.contains('.') => {
            Problem::new(path.trim_end_matches(':'), rest)
        }
        _ => Problem::new(section, message),
    }
}

fn check_camera(config: &Config, camera: &CameraConfig, at: &str, problems: &mut Vec<Problem>) {
    let mut say =
        |field: &str, message: String| problems.push(Problem::new(format!("{at}.{field}"), message));
    match camera.source.parse::<SourceUri>() {
        Err(error) => say("source", error.to_string()),
        Ok(source) => {
            let for_rtsp = [("username", camera.username.is_some()), ("ca_file", camera.ca_file.is_some())];
            for (field, _) in for_rtsp.iter().filter(|(_, set)| *set && !matches!(source, SourceUri::Rtsp(_)))
            {
                say(field, "is for rtsp:// and rtsps:// sources only: leave it out".to_owned());
            }
            if !camera.controls.is_empty() && !matches!(source, SourceUri::V4l2(_)) {
                say("controls", "are for v4l2: sources only: leave them out".to_owned());
            }
        }
    }
    if camera.id.as_str() == "node" {
        say("id", "\"node\" is the source of the node's own events: choose another name".to_owned());
    }
    if !(camera.fps > 0.0 && camera.fps <= MAX_FPS) {
        say("fps", format!("{} is not above 0 and at most {MAX_FPS}", camera.fps));
    }
    if let Some(floor) = camera.min_fps.filter(|floor| !(*floor > 0.0 && *floor <= camera.fps)) {
        say("min_fps", format!("{floor} is not above 0 and at most fps, which is {}", camera.fps));
    }
    if !(1..=9).contains(&camera.priority) {
        say("priority", format!("{} is not within 1..9", camera.priority));
    }
    for (field, value) in [("stall_after_s", camera.stall_after_s), ("open_timeout_s", camera.open_timeout_s)]
    {
        if !(1.0..=600.0).contains(&value) {
            say(field, format!("{value} is not within 1..600"));
        }
    }
    if camera.latency_ms > 10_000 {
        say("latency_ms", format!("{} is above the limit of 10000", camera.latency_ms));
    }
    if camera.password_file.is_some() && camera.username.is_none() {
        say("username", "password_file is set without a username: set both or none".to_owned());
    }
    for (n, name) in camera.chain.iter().enumerate() {
        if !config.analyzer.contains_key(name) && AnalyzerConfig::named(name).is_none() {
            say(&format!("chain[{n}]"), super::chain::unknown(name, &config.analyzer));
        }
    }
    for (n, mask) in camera.mask.iter().enumerate() {
        if let Err(problem) = mask.polygon.check() {
            say(&format!("mask[{n}].polygon"), problem);
        }
    }
    for (n, zone) in camera.zone.iter().enumerate() {
        for (field, problem) in zone.check() {
            say(&format!("zone[{n}].{field}"), problem);
        }
    }
    for (n, line) in camera.line.iter().enumerate() {
        for (field, problem) in line.check() {
            say(&format!("line[{n}].{field}"), problem);
        }
    }
    for (field, count) in [("zone", camera.zone.len()), ("line", camera.line.len())] {
        if count > MOST_PLACES {
            say(field, format!("{count} are too many: at most {MOST_PLACES}"));
        }
    }
    for (field, problem) in camera.motion.check() {
        say(&format!("motion.{field}"), problem);
    }
    for (field, problem) in camera.health.check() {
        say(&format!("health.{field}"), problem);
    }
    for (field, problem) in camera.tracker.check() {
        say(&format!("tracker.{field}"), problem);
    }
    unique(camera.zone.iter().map(|z| &z.id), |n| format!("{at}.zone[{n}].id"), problems);
    unique(camera.line.iter().map(|l| &l.id), |n| format!("{at}.line[{n}].id"), problems);
}

/// Notes every name that stands a second time.
fn unique<'a>(
    names: impl Iterator<Item = &'a Name>,
    path: impl Fn(usize) -> String,
    problems: &mut Vec<Problem>,
) {
    let mut seen = HashSet::new();
    for (n, name) in names.enumerate() {
        if !seen.insert(name) {
            problems
                .push(Problem::new(path(n), format!("\"{name}\" is used twice: every id must be unique")));
        }
    }
}
