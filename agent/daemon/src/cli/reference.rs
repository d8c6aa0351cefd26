//! `aimass-agent reference`: the configuration reference, made from the configuration's types.

#![expect(clippy::print_stdout, reason = "this command answers on stdout")]

use crate::config::reference;
use crate::exit::Failure;

/// Prints the reference or the schema.
///
/// # Errors
/// None; the signature is that of every command.
pub fn run(schema: bool) -> Result<(), Failure> {
    print!("{}", if schema { reference::schema() } else { reference::markdown() });
    Ok(())
}
