//! Sound: microphones and files with sound.

pub mod capture;

pub use capture::{MicrophoneOptions, MicrophoneUri};
