//! The manual pages and the shell completions, made from the command line's own types: `make reference` runs
//! this with `agent/daemon/reference`. They are committed, so that cross builds need not run
//! what they built; `tests/documents.rs` compares. Invariant: same types, same bytes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aimass_agent::cli::Cli;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

/// What is committed, by its path below the reference folder.
pub(crate) fn documents() -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut all = BTreeMap::new();
    // Wide enough that no page depends on the terminal of whoever makes it.
    let mut program = Cli::command().term_width(100).disable_help_subcommand(true);
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut program.clone(), "aimass-agent", &mut text);
        if shell == Shell::Bash {
            // clap_complete 4 writes a name with a dash in two ways, and finds no subcommand by the one that it looks for.
            text =
                String::from_utf8_lossy(&text).replace("aimass__subcmd__agent", "aimass__agent").into_bytes();
        }
        let name = match shell {
            Shell::Zsh => "_aimass-agent".to_owned(),
            other => format!("aimass-agent.{other}"),
        };
        all.insert(Path::new("completions").join(name), text);
    }
    program.build();
    pages(&program, &mut all)?;
    Ok(all)
}

/// A page for the command, and one for each below it.
fn pages(command: &clap::Command, all: &mut BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    let page = Man::new(command.clone()).manual("AI Mass Edge").source("AI Mass Edge");
    let mut text = Vec::new();
    page.render(&mut text)?;
    all.insert(Path::new("man").join(page.get_filename()), text);
    command.get_subcommands().filter(|c| !c.is_hide_set()).try_for_each(|below| pages(below, all))
}

fn main() -> ExitCode {
    let folder = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| "agent/daemon/reference".into()));
    let written = documents().and_then(|all| {
        for (name, text) in all {
            let path = folder.join(name);
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            aimass_core::files::write_atomically(&path, &text)?;
        }
        Ok(())
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the documents cannot be written to {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}
