//! What has been told about one track, so that nothing is told twice.
//!
//! Invariant: `object` is set from the object's `began` to its `ended`, a zone's `told` from the zone's `began`
//! to its `ended`; so every `began` has exactly one `ended`.

use std::time::Duration;

use ulid::Ulid;

use crate::analytics::line::{CrossingState, LineConfig};
use crate::analytics::zone::{ZoneChange, ZoneConfig, ZoneDwell, wants};
use crate::event::{Crossing, Phase};
use crate::finding::Label;
use crate::tracking::{Track, TrackState};

use super::event_builder::{EventBuilder, fact, seconds};
use super::states::LineCounter;

/// A track in a zone.
#[derive(Debug, Default)]
pub(super) struct InZone {
    pub(super) stay: ZoneDwell,
    /// The name of this stay, and the label under which it was told.
    told: Option<(Ulid, Label)>,
}

/// One track's memory; zones and lines in the order of the scene's.
#[derive(Debug)]
pub(super) struct TrackRecord {
    pub(super) track: u64,
    object: Option<Ulid>,
    label: Label,
    still: bool,
    /// The longest that it has stood in its present place.
    stood_s: f32,
    pub(super) zones: Vec<InZone>,
    pub(super) lines: Vec<CrossingState>,
}

impl TrackRecord {
    pub(super) fn new(track: &Track, zones: usize, lines: usize) -> Self {
        TrackRecord {
            track: track.id,
            object: None,
            label: track.label().clone(),
            still: false,
            stood_s: 0.0,
            zones: (0..zones).map(|_| InZone::default()).collect(),
            lines: vec![CrossingState::default(); lines],
        }
    }

    /// The track was seen in the frame of `now`.
    pub(super) fn seen(
        &mut self,
        track: &Track,
        now: Duration,
        still_after_s: f32,
        (zones, lines, tallies): (&[ZoneConfig], &[LineConfig], &mut [LineCounter]),
        teller: &mut EventBuilder<'_>,
    ) {
        let counts = track.state() == TrackState::Confirmed;
        if counts {
            self.tell_object(track, still_after_s, teller);
            for (place, zone) in self.zones.iter_mut().zip(zones) {
                let change = place.stay.see(zone, track.label(), &track.region(), now);
                place.tell(change, track, zone, teller);
                place.pass_time(track, zone, now, teller);
            }
        }
        for ((passage, line), tally) in self.lines.iter_mut().zip(lines).zip(tallies) {
            let crossed = passage.see(line, &track.region(), now, counts);
            if let Some(direction) = crossed.filter(|_| wants(&line.labels, track.label())) {
                tally.count(direction);
                let (in_total, out_total) = (tally.totals.in_total, tally.totals.out_total);
                let crossing = Crossing { id: line.id.clone(), direction, in_total, out_total };
                teller.line(track, self.object, line.severity, crossing);
            }
        }
    }

    fn tell_object(&mut self, track: &Track, still_after_s: f32, teller: &mut EventBuilder<'_>) {
        let is_still = track.is_still(still_after_s);
        let Some(thing) = self.object else {
            let thing = teller.new_thing();
            self.object = Some(thing);
            self.label = track.label().clone();
            self.still = is_still;
            self.stood_s = track.still_s();
            teller.object(track, thing, Phase::Began, []);
            return;
        };
        if *track.label() != self.label {
            let before = std::mem::replace(&mut self.label, track.label().clone());
            teller.object(track, thing, Phase::Updated, [fact("previous_label", &*before)]);
        }
        if is_still != self.still {
            self.still = is_still;
            let mut facts = vec![fact("stationary", is_still)];
            if !is_still {
                facts.push(fact("stationary_s", seconds(self.stood_s)));
            }
            teller.object(track, thing, Phase::Updated, facts);
        }
        self.stood_s = track.still_s();
    }

    /// Time went by; the track was not missed since it was last seen.
    pub(super) fn pass_time(
        &mut self,
        track: &Track,
        now: Duration,
        zones: &[ZoneConfig],
        teller: &mut EventBuilder<'_>,
    ) {
        for (place, zone) in self.zones.iter_mut().zip(zones) {
            place.pass_time(track, zone, now, teller);
        }
    }

    /// The track ended: whatever began ends now.
    pub(super) fn end(
        &mut self,
        track: &Track,
        now: Duration,
        zones: &[ZoneConfig],
        teller: &mut EventBuilder<'_>,
    ) {
        for (place, zone) in self.zones.iter_mut().zip(zones) {
            place.end(track, zone, now, teller);
        }
        if let Some(thing) = self.object.take() {
            teller.object_ended(track, thing);
        }
    }
}

impl InZone {
    fn tell(
        &mut self,
        change: Option<ZoneChange>,
        track: &Track,
        zone: &ZoneConfig,
        teller: &mut EventBuilder<'_>,
    ) {
        match change {
            Some(ZoneChange::Entered) => {
                let thing = teller.new_thing();
                self.told = Some((thing, track.label().clone()));
                teller.zone(track, zone, track.label(), thing, Phase::Began, None);
            }
            Some(ZoneChange::Left(dwell_s)) => {
                if let Some((thing, label)) = self.told.take() {
                    teller.zone(track, zone, &label, thing, Phase::Ended, Some(dwell_s));
                }
            }
            Some(ZoneChange::Dwelled) | None => {}
        }
    }

    fn pass_time(&mut self, track: &Track, zone: &ZoneConfig, now: Duration, teller: &mut EventBuilder<'_>) {
        if self.stay.pass_time(zone, now).is_some()
            && let Some((thing, _)) = self.told
        {
            teller.zone(track, zone, track.label(), thing, Phase::Updated, Some(self.stay.dwell_s(now)));
        }
    }

    /// The track or the zone is gone.
    pub(super) fn end(
        &mut self,
        track: &Track,
        zone: &ZoneConfig,
        now: Duration,
        teller: &mut EventBuilder<'_>,
    ) {
        let change = self.stay.leave(now);
        self.tell(change, track, zone, teller);
    }
}
