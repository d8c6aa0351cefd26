//! Sends an envelope to a node through its broker, and waits for what the node says.

#![expect(clippy::print_stdout, reason = "the node's answer goes to stdout")]

use std::path::PathBuf;
use std::time::Duration;

use aimass_core::id::Name;
use aimass_core::runtime::clock::SystemClock;
use aimass_mqtt::client::{Incoming, OneShot, Outgoing};
use aimass_mqtt::{BrokerConfig, LinkError};
use aimass_signing::Recipient;
use clap::Args;
use serde_json::Value;
use ulid::Ulid;

use crate::cli::runtime::block_on;
use crate::exit::Failure;
use crate::identity::clock_ok;

/// Where an envelope is sent.
#[derive(Debug, Clone, Args)]
pub struct PublishArgs {
    /// Sends it through this broker: `mqtts://host:8883`.
    #[arg(long)]
    pub publish: Option<String>,
    /// The user name that the broker asks for.
    #[arg(long, requires = "publish")]
    pub username: Option<String>,
    /// A file with the password and nothing else.
    #[arg(long, requires = "username")]
    pub password_file: Option<PathBuf>,
    /// PEM certificates that the broker's may be signed by. Default: the system's.
    #[arg(long, requires = "publish")]
    pub ca_file: Option<PathBuf>,
    /// A PEM file with the certificate that this command shows to the broker.
    #[arg(long, requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// The private key to it.
    #[arg(long, requires_all = ["cert_file", "publish"])]
    pub key_file: Option<PathBuf>,
    /// Allows `mqtt://` to another machine.
    #[arg(long, requires = "publish")]
    pub allow_plaintext: bool,
    /// Waits for the node's answer and prints it.
    #[arg(long, requires = "publish")]
    pub wait: bool,
    /// Seconds to wait for it.
    #[arg(long, default_value_t = 120, requires = "wait")]
    pub wait_s: u64,
}

/// What is sent.
pub enum Publication {
    /// A configuration.
    Config {
        /// For whom.
        to: Recipient,
        /// Which.
        version: u64,
    },
    /// A command.
    Command {
        /// For whom.
        to: Recipient,
        /// Which.
        name: Name,
    },
}

impl PublishArgs {
    /// Whether the broker can be used like this.
    ///
    /// # Errors
    /// `Usage`.
    pub fn check(&self) -> Result<(), Failure> {
        match self.broker() {
            Some(config) => config.validate().map(drop).map_err(|e| Failure::Usage(by_option(&e))),
            None => Ok(()),
        }
    }

    fn broker(&self) -> Option<BrokerConfig> {
        let mut config = BrokerConfig::new(self.publish.clone()?);
        config.username.clone_from(&self.username);
        config.password_file.clone_from(&self.password_file);
        config.ca_file.clone_from(&self.ca_file);
        config.cert_file.clone_from(&self.cert_file);
        config.key_file.clone_from(&self.key_file);
        config.allow_plaintext = self.allow_plaintext;
        Some(config)
    }
}

/// What is wrong with the broker, in the words of the command line rather than of the file.
fn by_option(error: &LinkError) -> String {
    let LinkError::Config { field, problem } = error else { return error.to_string() };
    let option = if *field == "url" { "publish".to_owned() } else { field.replace('_', "-") };
    format!("--{option}: {}", problem.replace("set allow_plaintext = true", "give --allow-plaintext"))
}

/// Sends it.
///
/// # Errors
/// `Unavailable` for a broker or a node that does not answer, and for a roll back; `BadInput` if the node refuses.
pub fn run(args: &PublishArgs, envelope: String, errand: &Publication) -> Result<(), Failure> {
    let broker = args.broker().ok_or_else(|| Failure::Usage("--publish is missing".into()))?;
    let wait = args.wait.then(|| Duration::from_secs(args.wait_s));
    block_on(async {
        // Nobody else has this id, so that nobody is pushed out.
        let client_id = format!("aimass-sign-{}", Ulid::new());
        let clock = SystemClock::shared();
        let fine = clock_ok(clock.wall());
        let shot = OneShot::connect(&broker, client_id.clone(), clock, fine).await;
        let mut shot = shot.map_err(unavailable)?;
        let outcome = match errand {
            Publication::Config { to, version } => push(&mut shot, envelope, to, *version, wait).await,
            Publication::Command { to, name } => ask(&mut shot, envelope, to, name, wait).await,
        };
        shot.close().await;
        outcome
    })
}

async fn push(
    shot: &mut OneShot,
    envelope: String,
    to: &Recipient,
    version: u64,
    wait: Option<Duration>,
) -> Result<(), Failure> {
    let root = root(to);
    let reported = format!("{root}config/reported");
    if wait.is_some() {
        shot.subscribe(&reported).await.map_err(unavailable)?;
    }
    let (topic, payload) = (format!("{root}config/desired"), envelope.into_bytes());
    let message = Outgoing { topic: topic.clone(), payload, retain: true, ..Outgoing::default() };
    shot.publish(message).await.map_err(unavailable)?;
    let Some(within) = wait else {
        println!("published version {version} to {topic}");
        return Ok(());
    };
    // What was retained before is about an earlier push; probation is not the last word.
    let last_word = |m: &Incoming| {
        let report = report(m);
        let about = report.get("desired_version").and_then(Value::as_u64);
        let refused = state(&report) == "rejected";
        // A refusal that does not get as far as the version names none.
        !m.retained
            && state(&report) != "probation"
            && (about == Some(version) || (about.is_none() && refused))
    };
    let answer = shot.expect(within, last_word).await.map_err(unavailable)?.ok_or_else(|| {
        Failure::Unavailable(format!(
            "no last word about version {version} on {reported} within {} s: is the node online? The push stays with the broker",
            within.as_secs()
        ))
    })?;
    let report = report(&answer);
    println!("{report}");
    let errors = errors(&report);
    match state(&report) {
        "applied" => Ok(()),
        "rejected" => Err(Failure::BadInput(format!("the node refused version {version}:\n{errors}"))),
        other => Err(Failure::Unavailable(format!("version {version} ended as {other}:\n{errors}"))),
    }
}

async fn ask(
    shot: &mut OneShot,
    envelope: String,
    to: &Recipient,
    name: &Name,
    wait: Option<Duration>,
) -> Result<(), Failure> {
    let root = root(to);
    let (topic, reply) = (format!("{root}command/{name}"), format!("{root}reply/{name}"));
    let correlation = Ulid::new().to_string().into_bytes();
    if wait.is_some() {
        shot.subscribe(&reply).await.map_err(unavailable)?;
    }
    let message = Outgoing {
        topic: topic.clone(),
        payload: envelope.into_bytes(),
        retain: false,
        response_topic: Some(reply.clone()),
        correlation: Some(correlation.clone()),
    };
    shot.publish(message).await.map_err(unavailable)?;
    let Some(within) = wait else {
        println!("published to {topic}");
        return Ok(());
    };
    let ours = |m: &Incoming| m.correlation.as_deref() == Some(&correlation);
    let answer = shot.expect(within, ours).await.map_err(unavailable)?.ok_or_else(|| {
        Failure::Unavailable(format!(
            "no reply on {reply} within {} s: is the node online?",
            within.as_secs()
        ))
    })?;
    println!("{}", String::from_utf8_lossy(&answer.payload));
    let error = report(&answer).get("error").cloned();
    match error {
        None | Some(Value::Null) => Ok(()),
        Some(error) => {
            let message =
                error.get("message").and_then(Value::as_str).map_or(error.to_string(), str::to_owned);
            Err(Failure::BadInput(format!("the node did not obey: {message}")))
        }
    }
}

fn root(to: &Recipient) -> String {
    format!("aimass/v1/{}/{}/", to.site, to.node)
}

fn report(message: &Incoming) -> Value {
    serde_json::from_slice(&message.payload).unwrap_or_default()
}

fn state(report: &Value) -> &str {
    report.get("state").and_then(Value::as_str).unwrap_or_default()
}

fn errors(report: &Value) -> String {
    let lines = report.get("errors").and_then(Value::as_array).into_iter().flatten().map(|problem| {
        let part = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
        if part("path").is_empty() {
            part("message").to_owned()
        } else {
            format!("{}: {}", part("path"), part("message"))
        }
    });
    lines.collect::<Vec<String>>().join("\n")
}

fn unavailable(error: LinkError) -> Failure {
    Failure::Unavailable(error.to_string())
}
