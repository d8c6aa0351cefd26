//! Folders of this machine: models, and state.

use std::path::{Path, PathBuf};

use aimass_inference::{InferenceError, Library};

/// Where models are looked for when nobody says otherwise.
pub fn model_folders() -> Vec<PathBuf> {
    let mut folders =
        vec![PathBuf::from("/usr/share/aimass/models"), PathBuf::from("/var/lib/aimass/models")];
    // In a checkout: beside the target folder, wherever the program was started from.
    let program = std::env::current_exe().unwrap_or_default();
    folders.extend(program.ancestors().skip(1).take(4).map(|above| above.join("models")));
    folders.push(PathBuf::from("models"));
    // A packaged program (cross/build.sh) knows nothing of the folder that it was built in.
    if option_env!("AIMASS_PACKAGED").is_none() {
        folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models"));
    }
    folders.retain(|f| f.is_dir());
    folders
}

/// The model library in these folders, or in [`model_folders`] if none is named.
///
/// # Errors
/// A folder that was named cannot be read.
pub fn open_library(named: &[PathBuf]) -> Result<Library, InferenceError> {
    let defaults;
    let folders = if named.is_empty() {
        defaults = model_folders();
        &defaults
    } else {
        named
    };
    Library::open(folders)
}

/// Where small facts about this machine are kept: `$AIMASS_STATE`, systemd's state directory, or the user's.
pub fn state_folder() -> Option<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    from("AIMASS_STATE")
        .or_else(|| from("STATE_DIRECTORY"))
        .or_else(|| from("XDG_STATE_HOME").map(|p| p.join("aimass")))
        .or_else(|| from("HOME").map(|p| p.join(".local/state/aimass")))
}
