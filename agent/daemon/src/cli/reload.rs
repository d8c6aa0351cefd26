//! `aimass-agent reload`: makes the running node read its file again, and waits for the outcome if asked to.

#![expect(clippy::print_stdout, reason = "this command answers on stdout")]

use std::path::Path;

use crate::config::revisions;
use crate::exit::Failure;

/// Tells the running node to read its file again, and with `wait` what becomes of it.
///
/// # Errors
/// No node runs, or it is another user's; with `wait` also `BadInput` with the reasons why the file is not in force.
pub fn run(config: &Path, wait: bool) -> Result<(), Failure> {
    if !wait {
        revisions::reload(config)?;
        println!("the running node reads {} again; see aimass-agent config history", config.display());
        return Ok(());
    }
    let before = revisions::Before::reload(config);
    revisions::reload(config)?;
    await_outcome(config, &before)
}

/// Waits for the outcome of a request and prints it.
///
/// # Errors
/// `BadInput` with the reasons if the configuration is not in force; `Unavailable` if the node ends or does not answer.
pub(super) fn await_outcome(config: &Path, before: &revisions::Before) -> Result<(), Failure> {
    let trial = |revision| println!("revision {revision} is on probation");
    match revisions::await_outcome(config, before, trial)? {
        Some((revision, notes)) => {
            notes.iter().for_each(|note| println!("warning: {note}"));
            println!("revision {revision} has proved itself and is in force");
        }
        None => println!("nothing to try: the node has this configuration already"),
    }
    Ok(())
}
