//! `aimass-agent probe`: what this board has.

#![expect(clippy::print_stdout, reason = "the report is what this command answers")]

use std::collections::BTreeMap;

use aimass_media::probe::MediaReport;
use serde::Serialize;

use crate::chain;
use crate::exit::Failure;
use crate::process;

/// What a board has.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    architecture: &'static str,
    cpu: String,
    cores: usize,
    cpu_features: Vec<String>,
    memory_bytes: u64,
    memory_available_bytes: u64,
    temperatures_c: BTreeMap<String, f32>,
    media: MediaReport,
    models: Vec<String>,
    problems: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// None but bugs: what is missing is part of the report.
pub fn run(json: bool) -> Result<(), Failure> {
    let report = look();
    if json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(|e| Failure::Bug(e.to_string()))?);
        return Ok(());
    }
    println!("aimass-agent {} on {}", report.version, report.architecture);
    println!("processor     {} ({} cores; {})", report.cpu, report.cores, or_none(&report.cpu_features));
    println!(
        "memory        {} MiB, {} MiB available",
        report.memory_bytes >> 20,
        report.memory_available_bytes >> 20
    );
    let temperatures: Vec<String> =
        report.temperatures_c.iter().map(|(n, t)| format!("{n} {t:.0} °C")).collect();
    println!("temperatures  {}", or_none(&temperatures));
    println!("gstreamer     {}", report.media.gstreamer.as_deref().unwrap_or("not usable"));
    for codec in &report.media.codecs {
        let hardware = if codec.hardware.is_empty() {
            String::new()
        } else {
            format!("; in hardware: {}", codec.hardware.join(", "))
        };
        println!("  {:<11} {}{hardware}", codec.codec, or_none(&codec.decoders));
    }
    println!(
        "cameras       {}",
        if report.media.cameras.is_empty() { "none on this board's own connectors" } else { "" }
    );
    for camera in &report.media.cameras {
        println!("  {} {} {}", camera.path.display(), camera.name, camera.problem.as_deref().unwrap_or(""));
        if camera.device != camera.path {
            println!("      now {}", camera.device.display());
        }
        for format in &camera.formats {
            println!("      {format}");
        }
        for control in &camera.controls {
            println!("      control {control}");
        }
    }
    for microphone in &report.media.microphones {
        let problem = microphone.problem.as_deref().unwrap_or("");
        println!("microphone    {}  {}  {problem}", microphone.source, microphone.name);
    }
    println!("models        {}", or_none(&report.models));
    for problem in &report.problems {
        println!("problem       {problem}");
    }
    Ok(())
}

fn or_none(list: &[String]) -> String {
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}

fn look() -> Report {
    let media = aimass_media::probe::media();
    let mut problems = Vec::new();
    if let Err(error) = &media.gstreamer {
        problems.push(format!("GStreamer cannot be used: {error}"));
    }
    for codec in media.codecs.iter().filter(|c| c.decoders.is_empty()) {
        problems.push(format!("{} cannot be decoded: install the package gstreamer1.0-libav", codec.codec));
    }
    let models = match chain::open_models(&[]) {
        Ok(models) => models.library().list().map(|(name, _)| name.to_owned()).collect(),
        Err(error) => {
            problems.push(error.to_string());
            Vec::new()
        }
    };
    let (memory_bytes, memory_available_bytes) = process::board_memory_bytes();
    Report {
        version: crate::node::VERSION,
        architecture: std::env::consts::ARCH,
        cpu: process::cpu_model(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        cpu_features: process::cpu_features(),
        memory_bytes,
        memory_available_bytes,
        temperatures_c: process::temperatures_c(),
        media,
        models,
        problems,
    }
}
