//! The command line.

use std::path::PathBuf;

use aimass_inference::Backend;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where the package has the node's configuration file.
const OWN_FILE: &str = "/etc/aimass/agent.toml";

/// A private AI node: cameras in, events out, pictures stay.
#[derive(Debug, Parser)]
#[command(name = "aimass-agent", version, max_term_width = 110)]
pub struct Cli {
    /// What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`.
    #[arg(long, global = true, env = "AIMASS_LOG", default_value = "info", hide_env_values = true)]
    pub log: String,
    /// Logs as lines of JSON.
    #[arg(long, global = true)]
    pub log_json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the node as its configuration says, until SIGTERM.
    Run {
        /// The configuration file.
        #[arg(long, env = "AIMASS_CONFIG", default_value = OWN_FILE)]
        config: PathBuf,
    },
    /// Everything in one process: a clip or camera, a broker of its own, the page; events as lines of JSON.
    Demo(DemoArgs),
    /// Tells everything that is wrong with a configuration.
    Validate {
        /// The configuration file.
        #[arg(long, env = "AIMASS_CONFIG", default_value = OWN_FILE)]
        config: PathBuf,
        /// Measures its chains and cameras on this machine too, and refuses what the machine cannot carry.
        #[arg(long)]
        on_this_board: bool,
        /// Answers with a JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Prints the configuration reference (Markdown) or its JSON Schema.
    Reference {
        /// The schema instead of the reference.
        #[arg(long)]
        schema: bool,
    },
    /// Tells what this board has: cameras, decoders, CPU, memory, temperatures, disk, models.
    Probe {
        /// A configuration whose chains and cameras are measured here: what they cost, and how many fit.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Answers with a JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Looks at a clip, a picture or a folder of pictures offline: one line of JSON a frame.
    Analyze(AnalyzeArgs),
    /// The models that this node can run.
    Models {
        /// What to do with them.
        #[command(subcommand)]
        command: ModelsCommand,
        /// Folders with models, in place of the usual ones.
        #[arg(long, global = true)]
        models: Vec<PathBuf>,
    },
    /// Events of the local store, as lines of JSON.
    Events(EventsArgs),
    /// Measures the stages' costs on this machine.
    Bench(BenchArgs),
    /// Makes a key that signs configurations and commands; prints the lines that make a node trust it.
    Keygen(crate::cli::keygen::KeygenArgs),
    /// BoardReadings a configuration or a command for one node, and sends it if asked to.
    Sign(Box<crate::cli::sign::SignArgs>),
    /// Tells who signed an envelope, for whom, and whether what it says is valid.
    Verify(crate::cli::verify::VerifyArgs),
    /// The configurations of this node: what ran, what was refused, what can be brought back.
    Config {
        /// What to do.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Tells the running node to read its configuration file again.
    Reload {
        /// The configuration file.
        #[arg(long, env = "AIMASS_CONFIG", default_value = OWN_FILE)]
        config: PathBuf,
        /// Waits until the configuration has proved itself, was refused or taken back, and tells which.
        #[arg(long)]
        wait: bool,
    },
}

/// `aimass-agent config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// What was offered, and what became of it; the newest last.
    History {
        /// The node's configuration file.
        #[arg(long, env = "AIMASS_CONFIG", default_value = OWN_FILE)]
        config: PathBuf,
        /// Answers with a JSON document.
        #[arg(long)]
        json: bool,
    },
    /// The configuration of a revision as JSON, of the last known good one if none is named.
    Show {
        /// The node's configuration file.
        #[arg(long, env = "AIMASS_CONFIG", default_value = OWN_FILE)]
        config: PathBuf,
        /// Which one, as in `config history`.
        #[arg(long)]
        revision: Option<u64>,
    },
    /// Brings back the configuration before the present one, or a named one. The running node tries it like any
    /// other; if none runs, the next start does.
    Rollback {
        /// The node's configuration file.
        #[arg(long, env = "AIMASS_CONFIG", default_value = OWN_FILE)]
        config: PathBuf,
        /// Which one, as in `config history`.
        #[arg(long)]
        to: Option<u64>,
        /// Waits until the configuration has proved itself, was refused or taken back, and tells which.
        #[arg(long)]
        wait: bool,
    },
}

/// `aimass-agent demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// What to look at, e.g. `file:/path/clip.mp4?loop=true`, `rtsp://…`, `test:`.
    #[arg(long, default_value = "test:")]
    pub source: String,
    /// A broker to publish to, instead of one inside this process: `mqtt://host:1883`.
    #[arg(long)]
    pub broker: Option<String>,
    /// Ends by itself after so many seconds.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Where the page is served.
    #[arg(long, default_value = "127.0.0.1:8642")]
    pub listen: std::net::SocketAddr,
    /// Analyzers to run on each frame, in this order.
    #[arg(long, value_delimiter = ',', default_value = "detect")]
    pub chain: Vec<String>,
    /// Frames a second to analyse, at most.
    #[arg(long, default_value_t = 5.0)]
    pub fps: f32,
    /// Folders with models, in place of the usual ones.
    #[arg(long)]
    pub models: Vec<PathBuf>,
    /// Writes the summary as JSON to this file too.
    #[arg(long)]
    pub summary: Option<PathBuf>,
}

/// `aimass-agent analyze`.
#[derive(Debug, Args)]
pub struct AnalyzeArgs {
    /// A clip (`file:/path/clip.mp4`), a picture (`file:/path/x.jpg`) or a folder of pictures (`file:/path`).
    #[arg(long)]
    pub source: String,
    /// Analyzers, in this order.
    #[arg(long, value_delimiter = ',', default_value = "detect")]
    pub chain: Vec<String>,
    /// Analyses every Nth frame only.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub every: u64,
    /// Where the lines go; `-` is stdout.
    #[arg(long, default_value = "-")]
    pub out: PathBuf,
    /// Findings below this score are left out. Default: the model's own.
    #[arg(long)]
    pub min_score: Option<f32>,
    /// The model of the first analyzer, in place of its default.
    #[arg(long)]
    pub model: Option<String>,
    /// What runs the models, where it can; default: what is fastest here.
    #[arg(long, value_parser = engines())]
    pub engine: Option<Backend>,
    /// Folders with models, in place of the usual ones.
    #[arg(long)]
    pub models: Vec<PathBuf>,
}

/// What can run models, by name.
fn engines() -> impl TypedValueParser<Value = Backend> {
    PossibleValuesParser::new(Backend::ALL.map(Backend::as_str)).try_map(|name| {
        Backend::ALL.into_iter().find(|backend| backend.as_str() == name).ok_or("there is no such engine")
    })
}

/// `aimass-agent models …`.
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// Lists them with version, task, licence, size, and whether the file is there and right.
    List {
        /// Answers with a JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Replays the recorded answers of each model and compares.
    Verify {
        /// Only these.
        names: Vec<String>,
        /// Answers with a JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Measures each model by all that can run it, and remembers the fastest.
    Bench {
        /// Only these.
        names: Vec<String>,
        /// Timed runs of each.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        runs: u32,
        /// Also how long the engine takes when so many threads share a model's layers.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
        threads: u8,
        /// Also what each kind of layer takes, and what the engine leaves to tract.
        #[arg(long, short)]
        verbose: bool,
        /// Answers with a JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// `aimass-agent events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// The configuration file, for the store's place.
    #[arg(long, env = "AIMASS_CONFIG", conflicts_with = "store")]
    pub config: Option<PathBuf>,
    /// The store itself.
    #[arg(long)]
    pub store: Option<PathBuf>,
    /// Not older than this: a time (`2026-11-23T08:00:00Z`) or an age (`90s`, `15m`, `2h`, `7d`).
    #[arg(long)]
    pub since: Option<String>,
    /// At most so many, the newest; 10000 at most.
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
    /// Goes on with new events until interrupted.
    #[arg(long)]
    pub follow: bool,
}

/// `aimass-agent bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// A clip.
    #[arg(long, default_value = "test:?frames=200&realtime=false")]
    pub source: String,
    /// Analyzers, in this order.
    #[arg(long, value_delimiter = ',', default_value = "detect")]
    pub chain: Vec<String>,
    /// Frames a second of the clip that are analysed; 0 is all.
    #[arg(long, default_value_t = 0.0)]
    pub fps: f32,
    /// Whether idle frames are held back from the models, as in `run`.
    #[arg(long, value_enum, default_value_t = Gate::Off)]
    pub gate: Gate,
    /// Writes the figures to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// What runs the models, where it can; default: what is fastest here.
    #[arg(long, value_parser = engines())]
    pub engine: Option<Backend>,
    /// Folders with models, in place of the usual ones.
    #[arg(long)]
    pub models: Vec<PathBuf>,
}

/// The motion gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Gate {
    /// As in `run`.
    On,
    /// Every frame is analysed.
    Off,
}
