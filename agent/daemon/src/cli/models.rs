//! `aimass-agent models list | verify | bench`.

#![expect(clippy::print_stdout, reason = "these commands answer on stdout")]

use std::path::PathBuf;

use aimass_core::finding::Label;
use aimass_inference::tasks::FACE;
use aimass_inference::{ModelBench, ModelCache, Task, bench_model, verify_model};
use serde_json::{Value, json};

use crate::cli::args::ModelsCommand;
use crate::cli::progress::Progress;
use crate::exit::Failure;
use crate::pipeline::chain;

/// Runs the command.
///
/// # Errors
/// `BadInput` when a model is damaged or does not answer as recorded.
pub fn run(command: &ModelsCommand, folders: &[PathBuf]) -> Result<(), Failure> {
    let models = chain::open_models(folders, None).map_err(|e| Failure::Unavailable(e.to_string()))?;
    match command {
        ModelsCommand::List { json } => list(&models, *json),
        ModelsCommand::Verify { names, json } => verify(&models, names, *json),
        ModelsCommand::Bench { names, runs, threads, verbose, json } => {
            bench(&models, names, [*runs as usize, usize::from(*threads)], *verbose, *json)
        }
    }
}

/// The models asked for; all that have their file if none was named.
fn wanted(models: &ModelCache, names: &[String]) -> Vec<String> {
    if !names.is_empty() {
        return names.to_vec();
    }
    let there = |entry: Result<&aimass_inference::library::Entry, _>| entry.is_ok_and(|e| e.has_file());
    models
        .library()
        .list()
        .filter(|(_, entry)| there(entry.to_owned()))
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn list(models: &ModelCache, json: bool) -> Result<(), Failure> {
    let mut damaged = 0;
    let mut rows: Vec<Value> = Vec::new();
    for (name, entry) in models.library().list() {
        let row = match entry {
            Ok(entry) => {
                let state = match entry.has_file() {
                    false => "missing: `make models` brings it".to_owned(),
                    true => entry.read_model().map_or_else(|e| e.to_string(), |_| "ok".to_owned()),
                };
                damaged += u32::from(entry.has_file() && state != "ok");
                let m = &entry.manifest;
                let labels = match m.task {
                    Task::Faces => Some(vec![Some(Label::from(FACE))]),
                    // `null`: whoever needs the list tells what is wrong with it.
                    Task::Detect => entry.read_labels().ok(),
                };
                let labels: Option<Vec<Label>> = labels.map(|all| all.into_iter().flatten().collect());
                json!({
                    "name": name, "version": m.version, "task": m.task, "precision": m.precision.as_str(),
                    "bytes": m.bytes, "licence": m.licence.spdx, "sha256": m.sha256, "folder": entry.folder,
                    "state": state, "labels": labels,
                })
            }
            Err(error) => {
                damaged += 1;
                json!({ "name": name, "state": error.to_string() })
            }
        };
        rows.push(row);
    }
    if json {
        println!("{}", Value::from(rows));
    } else {
        println!(
            "{:<18} {:<8} {:<8} {:<6} {:>9}  {:<12} state",
            "name", "version", "task", "stored", "bytes", "licence"
        );
        for row in &rows {
            let text = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
            println!(
                "{:<18} {:<8} {:<8} {:<6} {:>9}  {:<12} {}",
                text("name"),
                text("version"),
                text("task"),
                text("precision"),
                row["bytes"].as_u64().map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()),
                text("licence"),
                text("state")
            );
        }
    }
    match damaged {
        0 => Ok(()),
        n => Err(Failure::BadInput(format!("{n} model(s) are damaged, see above"))),
    }
}

fn verify(models: &ModelCache, names: &[String], json: bool) -> Result<(), Failure> {
    let names = wanted(models, names);
    let bar = Progress::bar(names.len() as u64, "models");
    let (mut failed, mut rows) = (Vec::new(), Vec::new());
    for name in &names {
        bar.say(name.as_str());
        let report = verify_model(models, name, None).map_err(|e| Failure::BadInput(e.to_string()))?;
        bar.step();
        let Some(report) = report else {
            rows.push(json!({ "model": name, "passed": null, "problems": ["has no golden.json"] }));
            continue;
        };
        let problems: Vec<String> = report
            .cases
            .iter()
            .flat_map(|case| case.problems.iter().map(|p| format!("{}: {p}", case.picture)))
            .collect();
        if !report.passed() {
            failed.push(name.as_str());
        }
        rows.push(json!({
            "model": name, "passed": report.passed(), "cases": report.cases.len(), "problems": problems,
            "made_by": report.made_by, "by": report.backend.as_str(),
        }));
    }
    bar.finish();
    if json {
        println!("{}", Value::from(rows));
    } else {
        for row in &rows {
            let word = match row["passed"].as_bool() {
                Some(true) => "ok",
                Some(false) => "FAILED",
                None => "not checked",
            };
            println!(
                "{}: {word} ({} pictures, answers by {})",
                text(&row["model"]),
                row["cases"],
                text(&row["made_by"])
            );
            for problem in row["problems"].as_array().into_iter().flatten() {
                println!("    {}", text(problem));
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::BadInput(format!("answers differ from the recorded ones: {}", failed.join(", "))))
}

fn bench(
    models: &ModelCache,
    names: &[String],
    [runs, threads]: [usize; 2],
    verbose: bool,
    json: bool,
) -> Result<(), Failure> {
    let names = wanted(models, names);
    let bar = Progress::bar(names.len() as u64, "models");
    let (mut measured, mut failed) = (Vec::new(), Vec::new());
    for name in &names {
        bar.say(name.as_str());
        match bench_model(models, name, runs, threads) {
            Ok(figures) => measured.push(figures),
            Err(error) => failed.push(error.to_string()),
        }
        bar.step();
    }
    bar.finish();
    let outcome = if failed.is_empty() { Ok(()) } else { Err(Failure::BadInput(failed.join("; "))) };
    if json {
        println!("{}", json!(measured));
        return outcome;
    }
    println!(
        "| model | runs by | load ms | infer ms, median (min) | prepare ms | decode ms | left to tract | answers | chosen |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for model in &measured {
        for f in &model.figures {
            let answers = match (f.golden, f.like_tract) {
                (Some(true), _) => "as recorded",
                (None, Some(true)) => "as tract's",
                (Some(false), _) | (None, Some(false)) => "DIFFER",
                (None, None) => "not recorded",
            };
            let left = if f.steps.is_empty() { "all".to_owned() } else { format!("{} nodes", f.fallbacks) };
            let shared =
                f.shared_median_ms.map_or(String::new(), |ms| format!("; {threads} threads {ms:.1}"));
            println!(
                "| {} | {} | {:.0} | {:.1} ({:.1}){shared} | {:.2} | {:.2} | {left} | {answers} | {} |",
                model.model,
                f.backend.as_str(),
                f.load_ms,
                f.infer_median_ms,
                f.infer_min_ms,
                f.prepare_median_ms,
                f.decode_median_ms,
                if model.chosen == f.backend { "✓" } else { "" }
            );
        }
        for (backend, problem) in &model.refused {
            println!("| {} | {} | refused: {problem} | | | | | | |", model.model, backend.as_str());
        }
    }
    if verbose {
        measured.iter().for_each(print_steps);
    }
    outcome
}

/// Where a model's time goes, and what the engine left to tract.
fn print_steps(model: &ModelBench) {
    for f in model.figures.iter().filter(|f| !f.steps.is_empty()) {
        let fallback: f64 = f.steps.iter().filter(|s| s.fallback).map(|s| s.ms).sum();
        let memory = f.session_bytes.unwrap_or(0) as f64 / 1e6;
        println!(
            "\n{} by {}: {fallback:.2} ms in tract, {memory:.1} MB of working memory",
            model.model,
            f.backend.as_str()
        );
        for step in &f.steps {
            println!("    {:8.3} ms  {:3} x  {}", step.ms, step.steps, step.kind);
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}
