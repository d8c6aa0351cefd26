//! `aimass-agent validate`: everything that is wrong with a configuration.

#![expect(clippy::print_stdout, reason = "these commands answer on stdout")]

use std::path::Path;

use crate::cli::capacity;
use crate::config;
use crate::exit::Failure;

/// Tells everything that is wrong with a configuration.
///
/// # Errors
/// `BadInput` with one line for each error; with `on_this_board` also for what this machine cannot carry.
pub fn run(path: &Path, on_this_board: bool, json: bool) -> Result<(), Failure> {
    let outcome = config::load(path);
    let missing = outcome.as_ref().map(config::missing).unwrap_or_default();
    if !json {
        missing.iter().for_each(warn);
    }
    if let (Ok(config), true) = (&outcome, on_this_board) {
        return judge(path, &capacity::measure(config)?, &missing, json);
    }
    if json {
        let errors = outcome.as_ref().err().map(|e| e.0.clone()).unwrap_or_default();
        println!(
            "{}",
            serde_json::json!({ "valid": outcome.is_ok(), "errors": errors, "warnings": missing })
        );
    }
    match outcome {
        Ok(config) => {
            if !json {
                let (cameras, microphones) = (config.camera.len(), config.microphone.len());
                let broker = if config.broker.is_some() { "a" } else { "no" };
                println!(
                    "{} is valid: {cameras} camera(s), {microphones} microphone(s), {broker} broker",
                    path.display()
                );
            }
            Ok(())
        }
        Err(errors) => Err(Failure::BadInput(errors.to_string())),
    }
}

/// Tells of what need not be wrong.
#[expect(clippy::print_stderr, reason = "an answer, which is not the result")]
fn warn(problem: &config::Problem) {
    eprintln!("warning: {problem}");
}

/// Tells whether a valid configuration fits on this machine, and what would if it does not.
fn judge(
    path: &Path,
    report: &capacity::Report,
    missing: &[config::Problem],
    json: bool,
) -> Result<(), Failure> {
    let fits = report.fits();
    if json {
        println!(
            "{}",
            serde_json::json!({ "valid": true, "fits": fits, "errors": [], "warnings": missing, "board": report })
        );
    } else {
        capacity::lines(report).iter().for_each(|line| println!("{line}"));
        if let Some(proposal) = &report.verdict.proposal {
            println!("\n# this would fit:\n{}", capacity::proposal(proposal));
        } else if fits {
            let but = if report.warnings.is_empty() { "" } else { ", as far as the warnings allow to tell" };
            println!("{} is valid, and fits on this board{but}", path.display());
        }
    }
    if fits {
        return Ok(());
    }
    let reasons: Vec<String> = report.problems.iter().chain(&report.verdict.reasons).cloned().collect();
    Err(Failure::BadInput(reasons.join("\n")))
}
