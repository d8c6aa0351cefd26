//! Where the recorded clips and pictures lie: fetched by the project's scripts, never committed.

use std::path::PathBuf;

/// A fixture by its file name: in `$AIMASS_MEDIA`, or in `${AIMASS_CACHE:-~/.cache/aimass}/media`.
///
/// # Panics
/// It is not there; the message says what fetches it.
pub fn fixture(name: &str) -> PathBuf {
    let folder = folder();
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{name} is not in {}: `make test` fetches it (or set AIMASS_MEDIA)",
        folder.display()
    );
    path
}

fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("AIMASS_MEDIA") {
        return folder.into();
    }
    let cache = std::env::var_os("AIMASS_CACHE").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default().join(".cache/aimass");
    cache.unwrap_or_else(home).join("media")
}
