//! `aimass-agent verify`: what an envelope is worth, without sending it anywhere.

#![expect(clippy::print_stdout, reason = "this command answers on stdout")]

use std::io::Read;
use std::path::PathBuf;

use aimass_signing::{
    CommandStatement, ConfigStatement, Domain, Envelope, MAX_ENVELOPE_BYTES, PublicKey, TrustError,
    TrustErrorKind, Verified,
};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::sign;
use crate::config::{self, ConfigErrors};
use crate::exit::Failure;

/// `aimass-agent verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The envelope; `-` is stdin.
    pub envelope: PathBuf,
    /// The file of the node that it is for: its `[trust]` decides, and the body is laid over it.
    #[arg(long, env = "AIMASS_CONFIG", required_unless_present = "public_key")]
    pub config: Option<PathBuf>,
    /// A public key to check against, in place of a node's file: `ed25519:…`.
    #[arg(long, conflicts_with = "config")]
    pub public_key: Option<PublicKey>,
}

/// Tells who signed, for whom, which version, and whether the body is valid.
///
/// # Errors
/// `BadInput` for an envelope that a node would refuse for what it is.
pub fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let bytes = read(args)?;
    let bad = |e: TrustError| Failure::BadInput(e.to_string());
    let envelope = Envelope::read(&bytes).map_err(bad)?;
    let own = args
        .config
        .as_deref()
        .map(|file| config::load(file).map(|c| (file, c)).map_err(|e| Failure::BadInput(e.to_string())));
    let own = own.transpose()?;
    let open = |domain| match (&args.public_key, &own) {
        (Some(key), _) => envelope.verify_with(key, domain),
        (None, Some((_, config))) => envelope.verify(&config.trust, domain),
        (None, None) => Err(TrustError::NoKeys),
    };
    // The kind is only known once the signature is: a key that may sign one of them is enough to look.
    let as_config = open(Domain::Config);
    let verified = match as_config {
        Err(TrustError::NotAllowed { .. }) => open(Domain::Command).map_err(bad)?,
        other => other.map_err(bad)?,
    };
    match ConfigStatement::read(&verified) {
        Ok(statement) => tell_config(&verified, &statement, own.as_ref().map(|(file, c)| (*file, c))),
        Err(e) if e.kind() == TrustErrorKind::WrongDomain => {
            let verified = open(Domain::Command).map_err(bad)?;
            let statement = CommandStatement::read(&verified).map_err(bad)?;
            tell(&json!({
                "valid": true, "key": verified.key, "domain": "command", "site": statement.site, "node": statement.node,
                "name": statement.name, "not_after": statement.not_after, "boot": statement.boot,
            }));
            Ok(())
        }
        Err(e) => Err(bad(e)),
    }
}

fn tell_config(
    verified: &Verified,
    statement: &ConfigStatement,
    own: Option<(&std::path::Path, &config::Config)>,
) -> Result<(), Failure> {
    let body = match own {
        Some((file, _)) => config::read(file).and_then(|text| config::tree(&text)).and_then(|local| {
            let folder =
                file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
            let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
            config::effective(&local, &statement.body, &folder).map(drop)
        }),
        None => sign::check_body(&statement.body, &statement.site, &statement.node),
    };
    let mut errors = body.err().unwrap_or(ConfigErrors(Vec::new()));
    if let Some((_, config)) = own {
        let (site, node) = (&config.node.site, &config.node.id);
        if (site, node) != (&statement.site, &statement.node) {
            let text =
                format!("meant for {}/{}, but that file is of {site}/{node}", statement.site, statement.node);
            errors.0.push(config::Problem::new("", text));
        }
    }
    tell(&json!({
        "valid": errors.0.is_empty(), "key": verified.key, "domain": "config", "site": statement.site,
        "node": statement.node, "version": statement.version, "not_after": statement.not_after, "errors": errors.0,
    }));
    if errors.0.is_empty() { Ok(()) } else { Err(Failure::BadInput(errors.to_string())) }
}

fn tell(answer: &Value) {
    println!("{answer}");
}

fn read(args: &VerifyArgs) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let most = MAX_ENVELOPE_BYTES as u64 + 2;
    let outcome = if args.envelope.as_os_str() == "-" {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(&args.envelope).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    outcome.map_err(|e| Failure::BadInput(format!("cannot read {}: {e}", args.envelope.display())))?;
    Ok(bytes)
}
