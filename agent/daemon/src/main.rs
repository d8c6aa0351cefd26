//! `aimass-agent`: parse → run the command → tell how it ended.

use std::process::ExitCode;

use aimass_agent::cli::analyze;
use aimass_agent::cli::args::{Cli, Command};
use aimass_agent::cli::bench;
use aimass_agent::cli::config;
use aimass_agent::cli::demo;
use aimass_agent::cli::events;
use aimass_agent::cli::keygen;
use aimass_agent::cli::models;
use aimass_agent::cli::probe;
use aimass_agent::cli::reference;
use aimass_agent::cli::reload;
use aimass_agent::cli::run;
use aimass_agent::cli::sign;
use aimass_agent::cli::validate;
use aimass_agent::cli::verify;
use aimass_agent::exit::{self, Failure};
use aimass_agent::logging;
use clap::Parser;

fn main() -> ExitCode {
    exit::quietly_when_output_is_closed();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; whether they can be printed is the terminal's business.
            error.print().ok();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let start =
        if matches!(cli.command, Command::Run { .. }) { logging::start_in_service } else { logging::start };
    logging::report(start(&cli.log, cli.log_json).and_then(|()| act(cli.command)))
}

fn act(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run { config } => run::run(&config),
        Command::Demo(args) => demo::run(&args),
        Command::Validate { config, on_this_board, json } => validate::run(&config, on_this_board, json),
        Command::Reference { schema } => reference::run(schema),
        Command::Probe { config, json } => probe::run(config.as_deref(), json),
        Command::Analyze(args) => analyze::run(&args),
        Command::Models { command, models } => models::run(&command, &models),
        Command::Events(args) => events::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Keygen(args) => keygen::run(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Config { command } => config::run(&command),
        Command::Reload { config, wait } => reload::run(&config, wait),
    }
}
