//! What this board is: its name, its processor, its memory, how hot it is, and where the store lies.

use std::fs;
use std::path::{Path, PathBuf};

use aimass_core::governor::{GovernorConfig, ThermalZone};
use serde::Serialize;

use crate::board::sysfs::{CpuFrequency, Sysfs};

/// The file system of the store.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Disk {
    /// The nearest folder of the store's path that there is.
    pub folder: PathBuf,
    /// Bytes that may still be written.
    pub free_bytes: u64,
    /// Its size.
    pub total_bytes: u64,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

/// Whether the board is in trouble now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trouble {
    /// The thermal zone that is nearest to where the governor slows down; null if the board has none.
    pub hottest_zone: Option<ThermalZone>,
    /// Whether the kernel or the firmware slows the processor down.
    pub throttled: bool,
    /// Whether the supply is too weak.
    pub under_voltage: bool,
    /// The processor's frequency; null where the kernel does not tell.
    pub frequency: Option<CpuFrequency>,
}

/// The board's name, as its firmware has it: `Raspberry Pi 4 Model B Rev 1.4`.
pub fn model() -> Option<String> {
    let names = ["/proc/device-tree/model", "/sys/class/dmi/id/product_name"];
    let read = |path: &&str| fs::read(path).ok();
    names.iter().find_map(read).and_then(|raw| named(&raw))
}

fn named(raw: &[u8]) -> Option<String> {
    // The device tree ends its texts with a zero.
    let text = String::from_utf8_lossy(raw).trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned();
    (!text.is_empty()).then_some(text)
}

/// Looks at temperature, supply and frequency.
pub fn trouble(tree: &Sysfs, config: &GovernorConfig) -> Trouble {
    let look = tree.look();
    Trouble {
        hottest_zone: config.hottest(&look.signs),
        throttled: look.signs.throttled,
        under_voltage: look.signs.under_voltage,
        frequency: look.frequency,
    }
}

/// Where the store lies, or would.
///
/// # Errors
/// The file system does not answer.
pub fn disk(store: &Path) -> Result<Disk, String> {
    let folder = store.ancestors().skip(1).find(|f| f.is_dir()).unwrap_or(Path::new("."));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let stat = rustix::fs::statvfs(folder)
        .map_err(|e| format!("the file system of {} does not answer: {e}", folder.display()))?;
    Ok(Disk {
        folder: folder.to_owned(),
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        read_only: stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_the_device_tree_loses_its_zero() {
        assert_eq!(
            named(b"Raspberry Pi 4 Model B Rev 1.4\0").as_deref(),
            Some("Raspberry Pi 4 Model B Rev 1.4")
        );
        assert_eq!(named(b"\0\n"), None);
    }

    #[test]
    fn the_disk_is_that_of_the_nearest_folder_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk(&folder.path().join("not/there/agent.db")).unwrap();
        assert_eq!(disk.folder, folder.path());
        assert!(disk.total_bytes >= disk.free_bytes && disk.total_bytes > 0 && !disk.read_only);
    }
}
