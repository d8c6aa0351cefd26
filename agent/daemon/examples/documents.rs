//! The manual pages and the shell completions, made from the command line's own types: `make reference` runs
//! this with `agent/daemon/reference`. They are committed, so that cross builds need not run
//! what they built; `tests/documents.rs` compares. Invariant: same types, same bytes.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aimass_agent::cli::args::Cli;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

/// As in `aimass_agent::exit` and sysexits.h.
const EXIT_STATUS: [(&str, &str); 7] = [
    ("0", "All went well."),
    ("64", "The command line makes no sense."),
    (
        "65",
        "A file is not as it should be: configuration, clip, picture, model, envelope; or it does not fit here.",
    ),
    ("69", "Something that is needed is not there now: a port, a camera, a broker, a file, a running node."),
    ("70", "A mistake in the program: please report it."),
    ("101", "A panic: likewise."),
    ("141", "Whoever read the output has closed it."),
];
const FILES: &[(&str, &str)] = &[
    ("/etc/aimass/agent.toml", "The node's own configuration; `aimass-agent reference` describes it."),
    ("/etc/aimass/secrets/", "Where secrets may lie that systemd hands over as credentials."),
    ("/var/lib/aimass/agent.db", "Events that wait for the broker, and the history."),
    ("/var/lib/aimass/config/", "Configurations that were tried, and what became of them."),
    ("/var/lib/aimass/models/", "Models of your own."),
    ("/usr/share/aimass/models/", "Models of the package aimass-models."),
    ("/usr/share/doc/aimass-agent/examples/agent.example.toml", "An example to begin with."),
];
const ENVIRONMENT: &[(&str, &str)] = &[
    ("AIMASS_CONFIG", "The configuration file, instead of /etc/aimass/agent.toml."),
    (
        "AIMASS_LOG",
        "What is logged, as with --log. Empty is info; a module alone is logged whole; run falls back to info if it makes no sense.",
    ),
    (
        "AIMASS_STATE",
        "The folder for what was measured and compiled on this machine; systemd's STATE_DIRECTORY by default.",
    ),
    (
        "CREDENTIALS_DIRECTORY",
        "Where systemd has put credentials: a token_file there may have the mode that systemd gave it.",
    ),
];

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
    let is_first = command.get_name() == "aimass-agent";
    for (title, entries) in
        [("EXIT STATUS", &EXIT_STATUS[..]), ("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT)]
    {
        // What holds for all commands stands on the first page; how a command ends, everyone wants to know.
        if !is_first && title != "EXIT STATUS" {
            continue;
        }
        writeln!(text, ".SH \"{title}\"")?;
        for (name, what) in entries {
            writeln!(text, ".TP\n\\fB{}\\fR\n{what}", name.replace('-', "\\-"))?;
        }
    }
    all.insert(Path::new("man").join(page.get_filename()), text);
    command.get_subcommands().filter(|c| !c.is_hide_set()).try_for_each(|below| pages(below, all))
}

fn main() -> ExitCode {
    let folder = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| "agent/daemon/reference".into()));
    let written = documents().and_then(|all| {
        for (name, text) in all {
            let path = folder.join(name);
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            aimass_core::runtime::files::write_atomically(&path, &text)?;
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
