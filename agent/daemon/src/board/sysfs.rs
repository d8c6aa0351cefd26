//! What the kernel's tree of files tells of a board's troubles. The root is given, so that tests have a tree of their own.
//!
//! Owner: whoever reads; it may block for some milliseconds, as sensors on slow buses do. Invariant: what is not there,
//! or shows nonsense, is left out.

use std::fs;
use std::path::{Path, PathBuf};

use aimass_core::governor::{BoardReadings, Zone};
pub use aimass_protocol::health::CpuFrequency;

/// Bits of the Raspberry Pi's `get_throttled` that hold now; those above 15 tell of the past.
const UNDER_VOLTAGE: u32 = 1;
/// Frequency capped, throttled, soft temperature limit.
const THROTTLED: u32 = 0b1110;
/// The folder in which Raspberry Pi's kernels show what `vcgencmd get_throttled` prints, on most of them …
const FIRMWARE: &str = "devices/platform/soc/soc:firmware";
/// … and where links to it lie on all.
const FIRMWARE_DRIVER: &str = "bus/platform/drivers/raspberrypi-firmware";

/// A look at the board.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BoardSample {
    /// Its troubles.
    pub signs: BoardReadings,
    /// Its frequency, where it can be told.
    pub frequency: Option<CpuFrequency>,
}

/// The kernel's tree.
#[derive(Debug, Clone)]
pub struct Sysfs(PathBuf);

impl Sysfs {
    /// Below this folder, which is `/sys` but in tests.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Sysfs(root.into())
    }

    /// The board's own. In builds with debug assertions `AIMASS_TEST_SYS_ROOT` names another one, for tests of the
    /// whole program.
    pub fn of_board() -> Self {
        #[cfg(debug_assertions)]
        if let Some(root) = std::env::var_os("AIMASS_TEST_SYS_ROOT") {
            return Sysfs::at(root);
        }
        Sysfs::at("/sys")
    }

    /// Looks at the board.
    pub fn look(&self) -> BoardSample {
        let bits = self.firmware_bits();
        let frequency = self.frequency();
        let signs = BoardReadings {
            zones: self.zones(),
            throttled: bits & THROTTLED != 0 || self.is_cooled_by_slowing(),
            under_voltage: bits & UNDER_VOLTAGE != 0 || self.has_low_supply(),
            capped: frequency.is_some_and(|f| f.limit_mhz < f.max_mhz),
        };
        BoardSample { signs, frequency }
    }

    fn below(&self, folder: &str, prefix: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.join(folder)).into_iter().flatten().flatten();
        let named = entries.filter(|e| e.file_name().to_str().is_some_and(|name| name.starts_with(prefix)));
        let mut found: Vec<PathBuf> = named.map(|e| e.path()).collect();
        found.sort();
        found
    }

    fn zones(&self) -> Vec<Zone> {
        let zone = |folder: PathBuf| {
            let celsius = number::<f32>(&folder.join("temp"))? / 1000.0;
            Some(Zone { name: text(&folder.join("type"))?, celsius, passive_c: passive_trips(&folder) })
        };
        self.below("class/thermal", "thermal_zone").into_iter().filter_map(zone).collect()
    }

    /// A cooling device that slows the processor is at work. Fans are none of these.
    fn is_cooled_by_slowing(&self) -> bool {
        self.below("class/thermal", "cooling_device").iter().any(|device| {
            let kind = text(&device.join("type")).unwrap_or_default().to_ascii_lowercase();
            let slows = kind.contains("cpufreq") || kind == "processor" || kind.contains("cpu-idle");
            slows && number::<u32>(&device.join("cur_state")).is_some_and(|state| state > 0)
        })
    }

    fn firmware_bits(&self) -> u32 {
        let read = |folder: PathBuf| {
            let text = text(&folder.join("get_throttled"))?;
            u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()
        };
        let usual = read(self.0.join(FIRMWARE));
        usual.or_else(|| self.below(FIRMWARE_DRIVER, "").into_iter().find_map(read)).unwrap_or(0)
    }

    fn has_low_supply(&self) -> bool {
        self.below("class/hwmon", "hwmon").iter().any(|monitor| {
            text(&monitor.join("name")).is_some_and(|name| name == "rpi_volt")
                && number::<u32>(&monitor.join("in0_lcrit_alarm")) == Some(1)
        })
    }

    /// The fastest core's, as boards with two kinds of cores slow the fast ones first.
    fn frequency(&self) -> Option<CpuFrequency> {
        let policies = self.below("devices/system/cpu/cpufreq", "policy");
        let read = |folder: &PathBuf| {
            let mhz = |file: &str| Some(number::<u32>(&folder.join(file))? / 1000);
            let (limit_mhz, max_mhz) = (mhz("scaling_max_freq")?, mhz("cpuinfo_max_freq")?);
            Some(CpuFrequency { current_mhz: mhz("scaling_cur_freq")?, limit_mhz, max_mhz })
        };
        policies.iter().filter_map(read).max_by_key(|f| f.max_mhz)
    }
}

fn passive_trips(zone: &Path) -> Vec<f32> {
    // Kernels number them without gaps.
    let trip = |n: u32| {
        let kind = text(&zone.join(format!("trip_point_{n}_type")))?;
        let celsius = number::<f32>(&zone.join(format!("trip_point_{n}_temp"))).map(|c| c / 1000.0);
        Some((kind, celsius))
    };
    let trips = (0..32).map_while(trip).filter(|(kind, _)| kind == "passive");
    trips.filter_map(|(_, celsius)| celsius).collect()
}

fn text(file: &Path) -> Option<String> {
    Some(fs::read_to_string(file).ok()?.trim().to_owned())
}

fn number<T: std::str::FromStr>(file: &Path) -> Option<T> {
    text(file)?.parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use aimass_core::runtime::files::write_atomically;

    use super::*;

    /// Writes files of a tree.
    pub(crate) fn put(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            write_atomically(&path, text.as_bytes()).unwrap();
        }
    }

    fn look(files: &[(&str, &str)]) -> BoardSample {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), files);
        Sysfs::at(root.path()).look()
    }

    #[test]
    fn a_raspberry_pi_tells_temperature_trips_and_frequency() {
        let look = look(&[
            ("class/thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("class/thermal/thermal_zone0/temp", "71234\n"),
            ("class/thermal/thermal_zone0/trip_point_0_type", "critical\n"),
            ("class/thermal/thermal_zone0/trip_point_0_temp", "110000\n"),
            ("class/thermal/thermal_zone0/trip_point_1_type", "passive\n"),
            ("class/thermal/thermal_zone0/trip_point_1_temp", "80000\n"),
            ("class/thermal/thermal_zone1/type", "broken\n"),
            ("class/thermal/thermal_zone1/temp", "oops\n"),
            ("class/thermal/cooling_device0/type", "pwm-fan\n"),
            ("class/thermal/cooling_device0/cur_state", "3\n"),
            ("class/thermal/cooling_device0/max_state", "4\n"),
            ("devices/platform/soc/soc:firmware/get_throttled", "50000\n"),
            ("devices/system/cpu/cpufreq/policy0/scaling_cur_freq", "1500000\n"),
            ("devices/system/cpu/cpufreq/policy0/scaling_max_freq", "1800000\n"),
            ("devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", "1800000\n"),
        ]);
        let zone = Zone { name: "cpu-thermal".into(), celsius: 71.234, passive_c: vec![80.0] };
        assert_eq!(
            look.signs,
            BoardReadings { zones: vec![zone], ..BoardReadings::default() },
            "what was is no trouble now"
        );
        assert_eq!(look.frequency, Some(CpuFrequency { current_mhz: 1500, limit_mhz: 1800, max_mhz: 1800 }));
    }

    #[test]
    fn each_sign_of_trouble_is_read_where_its_kernel_shows_it() {
        let firmware = "devices/platform/soc/soc:firmware/get_throttled";
        for (bits, throttled, under_voltage) in [
            ("1", false, true),
            ("4", true, false),
            ("0x50008", true, false),
            ("50005", true, true),
            ("0", false, false),
        ] {
            let signs = look(&[(firmware, bits)]).signs;
            assert_eq!((signs.throttled, signs.under_voltage), (throttled, under_voltage), "{bits}");
        }
        let driver = "bus/platform/drivers/raspberrypi-firmware/soc@1:firmware/get_throttled";
        assert!(look(&[(driver, "2\n")]).signs.throttled);
        let weak =
            look(&[("class/hwmon/hwmon2/name", "rpi_volt\n"), ("class/hwmon/hwmon2/in0_lcrit_alarm", "1\n")]);
        assert!(weak.signs.under_voltage);
        let slowed = look(&[
            ("class/thermal/cooling_device1/type", "thermal-cpufreq-0\n"),
            ("class/thermal/cooling_device1/cur_state", "2\n"),
        ]);
        assert!(slowed.signs.throttled);
        let policy = |file: &str| format!("devices/system/cpu/cpufreq/policy4/{file}");
        let capped = look(&[
            (policy("scaling_cur_freq").as_str(), "1200000"),
            (policy("scaling_max_freq").as_str(), "1400000"),
            (policy("cpuinfo_max_freq").as_str(), "2200000"),
        ]);
        assert!(capped.signs.capped);
    }

    #[test]
    fn a_machine_without_any_of_it_has_no_troubles() {
        assert_eq!(look(&[]), BoardSample::default());
    }
}
