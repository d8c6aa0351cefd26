//! `aimass-agent`: parse → run the command → tell how it ended.

use std::process::ExitCode;

use aimass_agent::cli::{Cli, Command};
use aimass_agent::exit::{self, Failure};
use aimass_agent::{
    analyze, bench, commands, config_command, demo, keygen, logging, models_command, probe, run, sign, verify,
};
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
    exit::report(start(&cli.log, cli.log_json).and_then(|()| act(cli.command)))
}

fn act(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run { config } => run::run(&config),
        Command::Demo(args) => demo::run(&args),
        Command::Validate { config, on_this_board, json } => commands::validate(&config, on_this_board, json),
        Command::Reference { schema } => commands::reference(schema),
        Command::Probe { config, json } => probe::run(config.as_deref(), json),
        Command::Analyze(args) => analyze::run(&args),
        Command::Models { command, models } => models_command::run(&command, &models),
        Command::Events(args) => commands::events(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Keygen(args) => keygen::run(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Config { command } => config_command::run(&command),
        Command::Reload { config, wait } => config_command::reload(&config, wait),
    }
}
