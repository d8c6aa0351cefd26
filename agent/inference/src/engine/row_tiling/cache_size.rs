//! The size of the second-level cache, which tiles are made for.

use std::path::Path;
use std::sync::OnceLock;

/// What small boards have (Cortex-A53), for all of their cores.
const DEFAULT_BYTES: usize = 512 << 10;

/// Bytes of the second-level data cache of the first processor: as Linux says, or [`DEFAULT_BYTES`]. Read once.
pub(super) fn second_level() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| read(Path::new("/sys/devices/system/cpu/cpu0/cache")).unwrap_or(DEFAULT_BYTES))
}

/// `None` where nothing is told, or nothing that makes sense.
fn read(folder: &Path) -> Option<usize> {
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let told = |name: &str| std::fs::read_to_string(entry.path().join(name)).ok();
        let is_second = told("level")?.trim() == "2" && told("type")?.trim() != "Instruction";
        let size = told("size").filter(|_| is_second)?;
        let kibibytes: usize = size.trim().strip_suffix('K')?.parse().ok()?;
        (64..=64 << 10).contains(&kibibytes).then_some(kibibytes << 10)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &Path, index: u32, files: [&str; 3]) {
        let folder = folder.join(format!("index{index}"));
        std::fs::create_dir(&folder).unwrap();
        for (name, content) in ["level", "type", "size"].into_iter().zip(files) {
            aimass_core::runtime::files::write_atomically(
                &folder.join(name),
                format!("{content}\n").as_bytes(),
            )
            .unwrap();
        }
    }

    #[test]
    fn the_second_level_is_found_among_all() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(&folder.path().join("none")), None);
        cache(folder.path(), 0, ["1", "Data", "32K"]);
        cache(folder.path(), 1, ["2", "Instruction", "256K"]);
        assert_eq!(read(folder.path()), None);
        cache(folder.path(), 2, ["2", "Unified", "1024K"]);
        cache(folder.path(), 3, ["3", "Unified", "32768K"]);
        assert_eq!(read(folder.path()), Some(1 << 20));
    }

    #[test]
    fn a_size_that_makes_no_sense_counts_as_none() {
        for size in ["", "K", "0K", "12", "-1K", "99999999999999999999K", "1M"] {
            let folder = tempfile::tempdir().unwrap();
            cache(folder.path(), 2, ["2", "Unified", size]);
            assert_eq!(read(folder.path()), None, "{size}");
        }
    }
}
