//! What the kernel says about this process and this board.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Resident memory now and at its highest, in bytes.
pub fn memory_bytes() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    (kilobytes(&status, "VmRSS"), kilobytes(&status, "VmHWM"))
}

/// A field such as `VmRSS:   1234 kB`, in bytes; 0 if it is not there.
fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Memory of the board: all of it, and what can still be had, in bytes.
pub fn board_memory_bytes() -> (u64, u64) {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    (kilobytes(&info, "MemTotal"), kilobytes(&info, "MemAvailable"))
}

/// CPU seconds of all threads of this process, user and system.
pub fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name, in parentheses, may hold spaces: count from behind it.
    let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    // Linux reports in hundredths of a second to user space on every architecture we run on.
    (ticks() + ticks()) as f64 / 100.0
}

/// CPU time of the calling thread. Unlike wall time it does not count what other programs took meanwhile.
pub fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// Temperatures by sensor, in °C.
pub fn temperatures_c() -> BTreeMap<String, f32> {
    temperatures_below(Path::new("/sys/class/thermal"))
}

fn temperatures_below(folder: &Path) -> BTreeMap<String, f32> {
    let mut found = BTreeMap::new();
    for zone in fs::read_dir(folder).into_iter().flatten().flatten() {
        let read = |name: &str| fs::read_to_string(zone.path().join(name)).ok();
        let (Some(kind), Some(milli)) = (read("type"), read("temp")) else { continue };
        if let Ok(milli) = milli.trim().parse::<f32>() {
            found.insert(kind.trim().to_owned(), milli / 1000.0);
        }
    }
    found
}

/// Name of the processor, as the kernel tells it.
pub fn cpu_model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        info.lines().find_map(|l| Some(l.strip_prefix(name)?.split_once(':')?.1.trim().to_owned()))
    };
    field("model name")
        .or_else(|| field("Model"))
        .or_else(|| field("Hardware"))
        .unwrap_or_else(|| "unknown".into())
}

/// Features of the processor that matter for models.
pub fn cpu_features() -> Vec<String> {
    const MATTER: [&str; 12] = [
        "avx2",
        "fma",
        "f16c",
        "avx512f",
        "avx512_vnni",
        "avx_vnni",
        "neon",
        "asimd",
        "asimddp",
        "asimdhp",
        "i8mm",
        "vfpv4",
    ];
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|l| l.starts_with("flags") || l.starts_with("Features")).unwrap_or_default();
    line.split_ascii_whitespace().filter(|f| MATTER.contains(f)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_time_of_this_process_are_read() {
        let (now, peak) = memory_bytes();
        assert!(now > 100_000 && peak >= now, "{now} {peak}");
        assert!(cpu_seconds() >= 0.0);
    }

    #[test]
    fn temperatures_are_read_from_the_kernel_s_tree_and_damaged_sensors_left_out() {
        let tree = tempfile::tempdir().unwrap();
        for (zone, kind, temp) in
            [("thermal_zone0", "cpu-thermal\n", "48312\n"), ("thermal_zone1", "gpu\n", "oops\n")]
        {
            let folder = tree.path().join(zone);
            fs::create_dir(&folder).unwrap();
            aimass_core::files::write_atomically(&folder.join("type"), kind.as_bytes()).unwrap();
            aimass_core::files::write_atomically(&folder.join("temp"), temp.as_bytes()).unwrap();
        }
        let found = temperatures_below(tree.path());
        assert_eq!(found.len(), 1);
        assert!((found["cpu-thermal"] - 48.312).abs() < 1e-3);
    }
}
