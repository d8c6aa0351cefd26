//! `aimass-agent config history|show|rollback`.

#![expect(clippy::print_stdout, reason = "these commands answer on stdout")]

use crate::cli::args::ConfigCommand;
use crate::cli::reload::await_outcome;
use crate::config::revisions;
use crate::exit::Failure;

/// Does it.
///
/// # Errors
/// There is no record, or the revision is not kept.
pub fn run(command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::History { config, json } => {
            let history = revisions::history(config)?;
            if *json {
                println!("{}", serde_json::to_string(&history).map_err(|e| Failure::Bug(e.to_string()))?);
            } else {
                print(&history);
            }
        }
        ConfigCommand::Show { config, revision } => {
            let tree = revisions::body_of(config, *revision)?;
            println!("{}", serde_json::to_string_pretty(&tree).map_err(|e| Failure::Bug(e.to_string()))?);
        }
        ConfigCommand::Rollback { config, to, wait } => {
            let known = revisions::history(config)?;
            if let Some(wanted) = to.filter(|wanted| !known.kept.contains(wanted)) {
                let kept: Vec<String> = known.kept.iter().map(u64::to_string).collect();
                return Err(Failure::BadInput(format!(
                    "revision {wanted} cannot be rolled back to; kept besides the present one: {}",
                    if kept.is_empty() { "none".to_owned() } else { kept.join(", ") }
                )));
            }
            let Some(target) = to.or(known.kept.first().copied()) else {
                let text = "there is nothing to roll back to: no other configuration was committed yet";
                return Err(Failure::BadInput(text.into()));
            };
            let before = revisions::Before::roll_back(config);
            let running = revisions::ask_for_rollback(config, *to)?;
            let who = if running {
                "the running node tries it now"
            } else {
                "no node runs: its next start tries it"
            };
            println!("asked for revision {target}: {who}; see aimass-agent config history");
            if running && *wait {
                await_outcome(config, &before)?;
            }
        }
    }
    Ok(())
}

fn print(history: &revisions::History) {
    println!("{:>8}  {:<24}  {:<6}  {:>7}  {:<11}  by", "revision", "time", "origin", "version", "outcome");
    for past in &history.entries {
        let mark = if Some(past.revision) == history.committed { '*' } else { ' ' };
        let origin = format!("{:?}", past.origin).to_lowercase();
        let outcome = serde_json::to_value(past.outcome).ok();
        let outcome = outcome.as_ref().and_then(|o| o.as_str()).unwrap_or_default();
        let version = past.version.map_or("?".to_owned(), |v| v.to_string());
        let by = past.key.as_ref().map_or("", |key| key.as_str());
        let back = past.rollback_of.map_or(String::new(), |r| format!(" (revision {r} again)"));
        println!(
            "{mark}{:>7}  {:<24}  {origin:<6}  {version:>7}  {outcome:<11}  {by}{back}",
            past.revision,
            format!("{:.3}", past.time)
        );
        for problem in &past.errors {
            println!("          {problem}");
        }
    }
    println!("* is in force; versions up to {} are spent", history.highest_version);
}
