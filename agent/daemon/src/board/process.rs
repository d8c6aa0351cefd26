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

/// CPU time of all threads of this process.
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
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
        .or_else(|| arm_core(&info))
        .or_else(|| field("Hardware"))
        .unwrap_or_else(|| "unknown".into())
}

/// 64-bit ARM kernels tell the core by numbers only: the common ones by name, both kinds where there are two.
fn arm_core(cpuinfo: &str) -> Option<String> {
    const PARTS: [(&str, &str); 12] = [
        ("0xc07", "Cortex-A7"),
        ("0xd03", "Cortex-A53"),
        ("0xd04", "Cortex-A35"),
        ("0xd05", "Cortex-A55"),
        ("0xd07", "Cortex-A57"),
        ("0xd08", "Cortex-A72"),
        ("0xd09", "Cortex-A73"),
        ("0xd0a", "Cortex-A75"),
        ("0xd0b", "Cortex-A76"),
        ("0xd0d", "Cortex-A77"),
        ("0xd41", "Cortex-A78"),
        ("0xd46", "Cortex-A510"),
    ];
    let value = |line: &str, name: &str| Some(line.strip_prefix(name)?.split_once(':')?.1.trim().to_owned());
    let mut cores: Vec<String> = Vec::new();
    for part in cpuinfo.lines().filter_map(|line| value(line, "CPU part")) {
        let name = PARTS.iter().find(|(number, _)| *number == part);
        let name = name.map_or_else(|| format!("ARM part {part}"), |(_, name)| (*name).to_owned());
        if !cores.contains(&name) {
            cores.push(name);
        }
    }
    (!cores.is_empty()).then(|| cores.join(" + "))
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
    fn arm_cores_have_names_and_unknown_ones_their_number() {
        let of = |parts: &[&str]| {
            let text: String = parts.iter().map(|p| format!("processor\t: 0\nCPU part\t: {p}\n\n")).collect();
            arm_core(&text)
        };
        assert_eq!(of(&["0xd08"; 4]).as_deref(), Some("Cortex-A72"));
        assert_eq!(of(&["0xd05", "0xd05", "0xd0b"]).as_deref(), Some("Cortex-A55 + Cortex-A76"));
        assert_eq!(of(&["0xfff"]).as_deref(), Some("ARM part 0xfff"));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn temperatures_are_read_from_the_kernel_s_tree_and_damaged_sensors_left_out() {
        let tree = tempfile::tempdir().unwrap();
        for (zone, kind, temp) in
            [("thermal_zone0", "cpu-thermal\n", "48312\n"), ("thermal_zone1", "gpu\n", "oops\n")]
        {
            let folder = tree.path().join(zone);
            fs::create_dir(&folder).unwrap();
            aimass_core::runtime::files::write_atomically(&folder.join("type"), kind.as_bytes()).unwrap();
            aimass_core::runtime::files::write_atomically(&folder.join("temp"), temp.as_bytes()).unwrap();
        }
        let found = temperatures_below(tree.path());
        assert_eq!(found.len(), 1);
        assert!((found["cpu-thermal"] - 48.312).abs() < 1e-3);
    }
}
