//! `aimass-agent probe`: what this board has.

#![expect(clippy::print_stdout, reason = "the report is what this command answers")]

use std::collections::BTreeMap;

use std::path::Path;

use aimass_core::governor::GovernorConfig;
use aimass_media::probe::MediaReport;
use serde::Serialize;

use crate::board::process;
use crate::board::sysfs::Sysfs;
use crate::cli::capacity::{self, board};
use crate::config::{self, Config};
use crate::exit::Failure;
use crate::pipeline::chain;

/// What a board has.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    board: Option<String>,
    architecture: &'static str,
    cpu: String,
    cores: usize,
    cpu_features: Vec<String>,
    memory_bytes: u64,
    memory_available_bytes: u64,
    temperatures_c: BTreeMap<String, f32>,
    trouble: board::Trouble,
    disk: Option<board::Disk>,
    media: MediaReport,
    models: Vec<String>,
    /// What the configuration costs here, if one was given.
    capacity: Option<capacity::Report>,
    problems: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// `BadInput` for a configuration that is none. What the board lacks is part of the report.
pub fn run(config: Option<&Path>, json: bool) -> Result<(), Failure> {
    let config =
        config.map(|file| config::load(file).map_err(|e| Failure::BadInput(e.to_string()))).transpose()?;
    let mut report = look(config.as_ref());
    report.capacity = config.as_ref().map(capacity::measure).transpose()?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(|e| Failure::Bug(e.to_string()))?);
        return Ok(());
    }
    println!("aimass-agent {} on {}", report.version, report.architecture);
    println!("board         {}", report.board.as_deref().unwrap_or("unknown"));
    println!("processor     {} ({} cores; {})", report.cpu, report.cores, or_none(&report.cpu_features));
    println!(
        "memory        {} MiB, {} MiB available",
        report.memory_bytes >> 20,
        report.memory_available_bytes >> 20
    );
    let temperatures: Vec<String> =
        report.temperatures_c.iter().map(|(n, t)| format!("{n} {t:.0} °C")).collect();
    println!("temperatures  {}", or_none(&temperatures));
    tell_trouble(&report.trouble);
    if let Some(disk) = &report.disk {
        let read_only = if disk.read_only { ", read-only" } else { "" };
        println!(
            "disk          {} MiB free of {} MiB at {}{read_only}",
            disk.free_bytes >> 20,
            disk.total_bytes >> 20,
            disk.folder.display()
        );
    }
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
        println!(
            "  v4l2:{}  {}  {}",
            camera.path.display(),
            camera.name,
            camera.problem.as_deref().unwrap_or("")
        );
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
    if let Some(capacity) = &report.capacity {
        println!("capacity");
        capacity::lines(capacity).iter().for_each(|line| println!("  {line}"));
    }
    for problem in &report.problems {
        println!("problem       {problem}");
    }
    Ok(())
}

fn tell_trouble(trouble: &board::Trouble) {
    let mut now = Vec::new();
    if let Some(hottest) = &trouble.hottest_zone {
        now.push(format!("slows down at {:.0} °C of {}", hottest.limit_c, hottest.zone));
    }
    if let Some(f) = trouble.frequency {
        now.push(format!("{} of {} MHz, {} allowed", f.current_mhz, f.max_mhz, f.limit_mhz));
    }
    now.push(if trouble.throttled { "throttled now" } else { "not throttled" }.to_owned());
    if trouble.under_voltage {
        now.push("the supply is too weak".to_owned());
    }
    println!("governor      {}", or_none(&now));
}

fn or_none(list: &[String]) -> String {
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}

fn look(config: Option<&Config>) -> Report {
    let media = aimass_media::probe::media();
    let mut problems = Vec::new();
    if let Err(error) = &media.gstreamer {
        problems.push(format!("GStreamer cannot be used: {error}"));
    }
    for codec in media.codecs.iter().filter(|c| c.decoders.is_empty()) {
        problems.push(format!("{} cannot be decoded: install the package {}", codec.codec, codec.package));
    }
    let usual = (GovernorConfig::default(), aimass_store::StoreConfig::default().path, Vec::new());
    let (governor, store, folders) = config
        .map_or(usual, |c| (c.governor.clone(), c.store.path.clone(), c.inference.model_folders.clone()));
    let disk = board::disk(&store).map_err(|problem| problems.push(problem)).ok();
    if disk.as_ref().is_some_and(|d| d.read_only) {
        problems.push(format!("{} lies on a file system that is mounted read-only", store.display()));
    }
    let models = match chain::open_models(&folders, None) {
        Ok(models) => models.library().list().map(|(name, _)| name.to_owned()).collect(),
        Err(error) => {
            problems.push(error.to_string());
            Vec::new()
        }
    };
    let (memory_bytes, memory_available_bytes) = process::board_memory_bytes();
    Report {
        version: crate::identity::VERSION,
        board: board::model(),
        architecture: std::env::consts::ARCH,
        cpu: process::cpu_model(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        cpu_features: process::cpu_features(),
        memory_bytes,
        memory_available_bytes,
        temperatures_c: process::temperatures_c(),
        trouble: board::trouble(&Sysfs::of_board(), &governor),
        disk,
        media,
        models,
        capacity: None,
        problems,
    }
}
