//! `aimass-agent keygen`: a key, and the lines that make a node trust it.

#![expect(clippy::print_stdout, reason = "this command answers on stdout")]

use std::path::PathBuf;

use aimass_core::id::Name;
use aimass_signing::SecretKey;
use clap::Args;

use crate::exit::Failure;

/// `aimass-agent keygen`.
#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// The file for the secret key. It must not exist yet. Keep it off the nodes.
    #[arg(long)]
    pub out: PathBuf,
    /// What nodes call the key, as in `ops-2026`. Default: the file's name.
    #[arg(long)]
    pub id: Option<Name>,
}

/// Makes a key.
///
/// # Errors
/// `Usage` if the file's name is no name for a key; `Unavailable` if the file is there already or cannot be written.
pub fn run(args: &KeygenArgs) -> Result<(), Failure> {
    let id = match &args.id {
        Some(id) => id.clone(),
        None => {
            let stem = args.out.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_ascii_lowercase();
            stem.parse().map_err(|e| {
                Failure::Usage(format!("the file's name cannot be the key's: {e}; give one with --id"))
            })?
        }
    };
    let unavailable = |e: aimass_signing::TrustError| Failure::Unavailable(e.to_string());
    let key = SecretKey::generate().map_err(unavailable)?;
    key.write_new(&args.out).map_err(unavailable)?;
    println!("# The secret key is in {}. Add this to the node's own file:", args.out.display());
    println!(
        "[[trust.key]]\nid = \"{id}\"\npublic_key = \"{}\"\nallow = [\"config\"] # and \"command\", if it may",
        key.public()
    );
    Ok(())
}
