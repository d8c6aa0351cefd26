//! What a board shows of its troubles, and what that means.
//!
//! Pure. Invariant: a sensor that shows nonsense counts for nothing.

use super::{GovernorConfig, ThermalZone};

/// Zones that say nothing about the processor: radios, batteries, chargers.
const OTHERS: [&str; 9] = ["iwlwifi", "ath", "mt7", "bat", "charg", "int3400", "nvme", "phy", "wifi"];
/// Processors of PCs run hot on purpose and regulate themselves.
const SELF_REGULATED: [&str; 4] = ["x86_pkg", "tcpu", "acpitz", "coretemp"];
/// What those may have beyond the limit of a board.
const SELF_REGULATED_MORE_C: f32 = 20.0;
/// Trip points outside of this are no trip points: firmware leaves zeros and -274 °C where nothing is set.
const SANE_TRIP_C: std::ops::RangeInclusive<f32> = 40.0..=130.0;
/// Temperatures outside of this are no temperatures.
const SANE_C: std::ops::RangeInclusive<f32> = -45.0..=150.0;

/// One thermal zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    /// Its type, as the kernel names it: `cpu-thermal`, `soc-thermal`.
    pub name: String,
    /// Its temperature.
    pub celsius: f32,
    /// Its passive trip points: from the lowest on the kernel slows the processor down.
    pub passive_c: Vec<f32>,
}

/// What a board shows at a moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BoardReadings {
    /// Its thermal zones.
    pub zones: Vec<Zone>,
    /// The kernel or the firmware slows the processor down now.
    pub throttled: bool,
    /// The supply is too weak now.
    pub under_voltage: bool,
    /// The processor may not run at its highest frequency. A person may have wanted it so: it counts only while the
    /// board is warm.
    pub capped: bool,
}

impl GovernorConfig {
    /// Whether a zone counts.
    fn counts(&self, zone: &Zone) -> bool {
        if !SANE_C.contains(&zone.celsius) {
            return false;
        }
        if !self.zones.is_empty() {
            return self.zones.contains(&zone.name);
        }
        let name = zone.name.to_ascii_lowercase();
        !OTHERS.iter().any(|other| name.starts_with(other))
    }

    /// Where the node slows down for a zone.
    fn limit_c(&self, zone: &Zone) -> f32 {
        let name = zone.name.to_ascii_lowercase();
        let more = if SELF_REGULATED.iter().any(|known| name.starts_with(known)) {
            SELF_REGULATED_MORE_C
        } else {
            0.0
        };
        let trips = zone.passive_c.iter().copied().filter(|c| SANE_TRIP_C.contains(c));
        let own = trips.map(|c| c - self.margin_c).fold(f32::INFINITY, f32::min);
        own.min(self.max_temperature_c + more)
    }

    /// The zone that matters most; `None` if the board has none that counts.
    pub fn hottest(&self, signs: &BoardReadings) -> Option<ThermalZone> {
        let zones = signs.zones.iter().filter(|zone| self.counts(zone));
        zones
            .map(|z| ThermalZone { zone: z.name.clone(), temperature_c: z.celsius, limit_c: self.limit_c(z) })
            .max_by(|a, b| a.over_c().total_cmp(&b.over_c()))
    }
}
