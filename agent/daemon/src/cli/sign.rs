//! `aimass-agent sign`: an envelope from a configuration or for a command; [`crate::cli::publish`] sends it.

#![expect(clippy::print_stdout, reason = "this command answers on stdout")]

use std::path::PathBuf;

use aimass_core::id::Name;
use aimass_core::runtime::clock::{Clock, SystemClock};
use aimass_core::runtime::files::write_atomically;
use aimass_signing::{
    CommandStatement, ConfigStatement, Domain, Envelope, Recipient, SecretKey, TrustError, strict_json,
};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use ulid::Ulid;

use crate::cli::publish::{self, Publication, PublishArgs};
use crate::config::overlay::{LOCAL_ONLY, pushable};
use crate::config::{self, ConfigErrors};
use crate::exit::Failure;

/// How long a command is valid if nothing is said.
const COMMAND_LIFE: &str = "60s";

/// `aimass-agent sign`.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// The configuration: what a node's file would say. Its `[trust]`, `[node]`, `[store]`, `[http]` and model_folders are
    /// left out.
    #[arg(required_unless_present = "command", conflicts_with = "command")]
    pub file: Option<PathBuf>,
    /// The secret key, from `aimass-agent keygen`.
    #[arg(long)]
    pub key: PathBuf,
    /// What nodes call the key.
    #[arg(long)]
    pub id: Name,
    /// The configuration's version: higher than any before.
    #[arg(long, required_unless_present = "command", value_parser = clap::value_parser!(u64).range(1..))]
    pub version: Option<u64>,
    /// The site of the node. Default: what `[node]` of the file says.
    #[arg(long)]
    pub site: Option<Name>,
    /// The node. Default: what `[node]` of the file says.
    #[arg(long)]
    pub node: Option<Name>,
    /// Not valid after this time (`2026-11-24T10:00:00Z`) or so long from now (`60s`, `15m`, `2h`). A command lasts
    /// 60 s if nothing is said, a configuration for ever.
    #[arg(long)]
    pub not_after: Option<String>,
    /// BoardReadings a command of this name instead of a configuration.
    #[arg(long, requires_all = ["site", "node"])]
    pub command: Option<Name>,
    /// The command's nonce: 16 to 64 characters, never used before; `auto` makes one.
    #[arg(long, default_value = "auto", requires = "command")]
    pub nonce: String,
    /// The life of the node that the command is for, as its `status` says. A board whose clock is not set needs it.
    #[arg(long, requires = "command")]
    pub boot: Option<Ulid>,
    /// The command's arguments as JSON.
    #[arg(long, default_value = "{}", requires = "command")]
    pub body: String,
    /// Where the envelope goes; `-` is stdout. Default: stdout, or nowhere if it is published.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// How it is sent.
    #[command(flatten)]
    pub publish: PublishArgs,
}

/// BoardReadings, writes, sends.
///
/// # Errors
/// `BadInput` for a configuration or key that is wrong, and for a refusal by the node; `Unavailable` for a broker or
/// node that does not answer, and for a roll back.
pub fn run(args: &SignArgs) -> Result<(), Failure> {
    args.publish.check()?;
    let secret = SecretKey::read(&args.key).map_err(bad)?;
    let now = SystemClock::new().wall();
    let (envelope, errand) = match &args.command {
        Some(name) => command(args, name, &secret, now)?,
        None => configuration(args, &secret, now)?,
    };
    let text = envelope.to_json();
    let sent = args.publish.publish.is_some();
    match args.out.as_deref() {
        Some(path) if path.as_os_str() != "-" => write_atomically(path, text.as_bytes())
            .map_err(|e| Failure::Unavailable(format!("cannot write {}: {e}", path.display())))?,
        None if sent => {}
        _ => println!("{text}"),
    }
    if sent { publish::run(&args.publish, text, &errand) } else { Ok(()) }
}

fn configuration(
    args: &SignArgs,
    secret: &SecretKey,
    now: Timestamp,
) -> Result<(Envelope, Publication), Failure> {
    let (Some(file), Some(version)) = (&args.file, args.version) else {
        return Err(Failure::Usage("give a configuration file and --version".into()));
    };
    let wrong = |e: ConfigErrors| Failure::BadInput(format!("{}:\n{e}", file.display()));
    let tree = config::read(file).and_then(|text| config::tree(&text)).map_err(wrong)?;
    let (site, node) =
        (named(args.site.as_ref(), &tree, "site", file)?, named(args.node.as_ref(), &tree, "id", file)?);
    let body = pushable(&tree);
    check_body(&body, &site, &node).map_err(wrong)?;
    let left_out: Vec<&str> = LOCAL_ONLY.into_iter().filter(|s| tree.get(s).is_some()).collect();
    if !left_out.is_empty() {
        tracing::info!(tables = left_out.join(", "), "Left out: only the node's own file says these.");
    }
    let not_after = args.not_after.as_deref().map(|text| until(text, now)).transpose()?;
    let statement = ConfigStatement {
        domain: Domain::Config,
        site: site.clone(),
        node: node.clone(),
        version,
        not_after,
        body,
    };
    let envelope = statement.sign(secret, args.id.clone()).map_err(bad)?;
    Ok((envelope, Publication::Config { to: Recipient { site, node }, version }))
}

fn command(
    args: &SignArgs,
    name: &Name,
    secret: &SecretKey,
    now: Timestamp,
) -> Result<(Envelope, Publication), Failure> {
    let (Some(site), Some(node)) = (args.site.clone(), args.node.clone()) else {
        return Err(Failure::Usage("a command needs --site and --node".into()));
    };
    let body = strict_json(args.body.as_bytes()).map_err(|e| Failure::Usage(format!("--body: {e}")))?;
    // 128 random bits and the time, in letters that a nonce may have.
    let nonce =
        if args.nonce == "auto" { format!("{}{}", Ulid::new(), Ulid::new()) } else { args.nonce.clone() };
    let statement = CommandStatement {
        domain: Domain::Command,
        site: site.clone(),
        node: node.clone(),
        name: name.clone(),
        nonce,
        not_after: until(args.not_after.as_deref().unwrap_or(COMMAND_LIFE), now)?,
        boot: args.boot,
        body,
    };
    let envelope = statement.sign(secret, args.id.clone()).map_err(bad)?;
    Ok((envelope, Publication::Command { to: Recipient { site, node }, name: name.clone() }))
}

/// What is wrong with a body, as far as that can be told without the node's own file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check_body(body: &Value, site: &Name, node: &Name) -> Result<(), ConfigErrors> {
    let mut tree = body.clone();
    if let Some(tables) = tree.as_object_mut() {
        tables.entry("node").or_insert_with(|| json!({ "site": site, "id": node }));
    }
    config::from_document(tree).map(drop)
}

fn named(given: Option<&Name>, tree: &Value, field: &str, file: &std::path::Path) -> Result<Name, Failure> {
    if let Some(name) = given {
        return Ok(name.clone());
    }
    let option = if field == "site" { "--site" } else { "--node" };
    let found = tree.get("node").and_then(|n| n.get(field)).and_then(Value::as_str);
    let found = found.ok_or_else(|| {
        Failure::Usage(format!(
            "{} names no node.{field}: say with {option} which node this is for",
            file.display()
        ))
    })?;
    found.parse().map_err(|e| Failure::BadInput(format!("{}: node.{field}: {e}", file.display())))
}

/// A time, or a duration from now.
fn until(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let age =
        crate::cli::events::seconds(text).and_then(|s| now.checked_add(SignedDuration::from_secs(s)).ok());
    age.ok_or_else(|| {
        Failure::Usage(format!(
            "--not-after {text}: give a time (2026-11-24T10:00:00Z) or a duration (60s, 15m, 2h, 7d)"
        ))
    })
}

fn bad(error: TrustError) -> Failure {
    Failure::BadInput(error.to_string())
}
