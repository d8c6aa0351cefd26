//! Sounds made for a test, as WAV files.

use std::f32::consts::TAU;
use std::path::{Path, PathBuf};

use aimass_core::runtime::files::write_atomically;

const RATE_HZ: u32 = 16_000;

/// So many seconds of a tone of 440 Hz with this amplitude; of digital silence with 0.
pub fn tone(seconds: f32, amplitude: f32) -> Vec<f32> {
    let count = (seconds * RATE_HZ as f32) as usize;
    (0..count).map(|n| amplitude * (n as f32 * 440.0 * TAU / RATE_HZ as f32).sin()).collect()
}

/// Writes samples as a mono WAV of 16 bits.
///
/// # Panics
/// The file cannot be written.
pub fn wav(folder: &Path, name: &str, samples: &[f32]) -> PathBuf {
    let bytes = samples.len() as u32 * 2;
    let mut file = Vec::with_capacity(44 + bytes as usize);
    file.extend(b"RIFF");
    file.extend((36 + bytes).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16u32.to_le_bytes());
    for field in [1u16, 1] {
        file.extend(field.to_le_bytes());
    }
    for field in [RATE_HZ, RATE_HZ * 2] {
        file.extend(field.to_le_bytes());
    }
    for field in [2u16, 16] {
        file.extend(field.to_le_bytes());
    }
    file.extend(b"data");
    file.extend(bytes.to_le_bytes());
    for sample in samples {
        file.extend(((sample * 32_767.0) as i16).to_le_bytes());
    }
    let path = folder.join(name);
    write_atomically(&path, &file).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    path
}
