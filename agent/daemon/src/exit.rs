//! How the program ends: one line for people, one code for programs.

use std::fmt;

/// Why a command ended without success.
#[derive(Debug)]
pub enum Failure {
    /// The command line makes no sense (64).
    Usage(String),
    /// A file that was given is not as it should be: configuration, clip, picture, model (65).
    BadInput(String),
    /// Something that is needed is not there now: a port, a camera, a broker, a file (69).
    Unavailable(String),
    /// A mistake in the program (70).
    Bug(String),
}

impl Failure {
    /// The exit code, as in sysexits.h.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 64,
            Failure::BadInput(_) => 65,
            Failure::Unavailable(_) => 69,
            Failure::Bug(_) => 70,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(m) | Failure::BadInput(m) | Failure::Unavailable(m) | Failure::Bug(m) => {
                f.write_str(m)
            }
        }
    }
}

impl std::error::Error for Failure {}

/// From now on the program ends quietly when whoever read its output has enough (`… | head`).
pub fn quietly_when_output_is_closed() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to stdout") && text.contains("os error 32") {
            // As a shell tells of who was ended by SIGPIPE.
            std::process::exit(141);
        }
        usual(panic);
    }));
}
