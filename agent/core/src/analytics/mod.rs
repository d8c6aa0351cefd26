//! What goes on before one source: turns the findings of its frames into tracks, events and current values.
//!
//! Owned by the worker that takes the source's findings; pure, no clock and no I/O. Call
//! [`CameraAnalytics::observe`] for each analysed frame, with an empty list too when nothing was found: what is missing
//! is missed only by being looked for. Call [`CameraAnalytics::tick`] about once a second while frames are withheld by
//! the motion gate, with the stamp of such a frame, or with the clock for a live source.
//!
//! Invariants: every `began` has exactly one `ended` of the same `thing`, later; an event is told once however
//! long its cause lasts; times come from the stamps only.

mod config;
mod event_builder;
pub mod line;
mod states;
mod track_record;
pub mod zone;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use ulid::Ulid;

use crate::analytics::line::{CrossingState, LineConfig};
use crate::analytics::zone::ZoneConfig;
use crate::event::EventData;
use crate::finding::{Finding, Label};
use crate::frame::{CaptureTime, TimeSource};
use crate::geometry::{Point, Region};
use crate::id::Name;
use crate::tracking::{Track, TrackState, Tracker, is_trackable};

pub use config::{AnalyticsConfig, MOST_PLACES};
use event_builder::EventBuilder;
pub use event_builder::FACE;
use states::{LineCounter, Occupancy};
pub use states::{LineTotals, StateValue, topic_level};
use track_record::{InZone, TrackRecord};

/// Makes an id from milliseconds since 1970: injected, so that tests can tell ids beforehand.
pub type MakeId = Box<dyn FnMut(u64) -> Ulid + Send>;

/// What one frame, or the passing of time, has brought.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    /// The frame's findings, without those that make no sense, with their tracks.
    pub findings: Vec<Finding>,
    /// What happened, in order.
    pub happenings: Vec<EventData>,
    /// The current values that changed.
    pub states: Vec<StateValue>,
}

/// A track, for those who watch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrackView {
    /// Its id.
    pub id: u64,
    /// Whether it is in view (`confirmed`) or only expected to come back (`lost`).
    pub state: TrackState,
    /// Its class, by vote.
    pub label: Label,
    /// The score of its last sighting.
    pub score: f32,
    /// Where it is, smoothed, within the frame.
    pub region: Region,
    /// The way of its bottom centre, oldest first.
    pub path: Vec<Point>,
    /// The zones that it is in.
    pub zones: Vec<Name>,
    /// For how long it has not moved, in seconds.
    pub still_s: f32,
}

/// What goes on before one source.
pub struct CameraAnalytics {
    source: Name,
    tracker: Tracker,
    zones: Vec<ZoneConfig>,
    lines: Vec<LineConfig>,
    occupancy: Vec<Occupancy>,
    tallies: Vec<LineCounter>,
    memories: Vec<TrackRecord>,
    time_source: TimeSource,
    make_id: MakeId,
}

impl fmt::Debug for CameraAnalytics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CameraAnalytics")
            .field("source", &self.source)
            .field("tracker", &self.tracker)
            .finish_non_exhaustive()
    }
}

impl CameraAnalytics {
    /// A scene in which nothing was seen yet. `config` is expected to have passed [`AnalyticsConfig::check`].
    pub fn new(source: Name, config: AnalyticsConfig, make_id: MakeId) -> Self {
        CameraAnalytics {
            source,
            tracker: Tracker::new(config.tracker),
            occupancy: config.zones.iter().map(Occupancy::new).collect(),
            tallies: config.lines.iter().map(|l| LineCounter::new(l.id.clone())).collect(),
            zones: config.zones,
            lines: config.lines,
            memories: Vec::new(),
            time_source: TimeSource::Clock,
            make_id,
        }
    }

    /// Takes in what was found in a frame.
    pub fn observe(&mut self, stamp: &CaptureTime, mut findings: Vec<Finding>) -> Observation {
        findings.retain(is_trackable);
        self.time_source = stamp.wall_source;
        let ended = self.tracker.update(stamp.elapsed, &mut findings);
        let mut seen = Observation { findings, ..Observation::default() };
        self.follow(stamp.elapsed, stamp.wall, &mut seen.happenings);
        self.conclude(&ended, stamp.elapsed, stamp.wall, &mut seen.happenings);
        self.tell_states(&mut seen.states);
        seen
    }

    /// Takes in that time went by without an analysed frame: dwell times run on, what was missed may end.
    pub fn tick(&mut self, elapsed: Duration, wall: Timestamp) -> Observation {
        let ended = self.tracker.tick(elapsed);
        let mut seen = Observation::default();
        let (tracks, mut teller) = (
            self.tracker.tracks(),
            teller(&self.source, &mut self.make_id, (wall, self.time_source), &mut seen.happenings),
        );
        for memory in &mut self.memories {
            let track = tracks.iter().find(|t| t.id == memory.track);
            if let Some(track) = track.filter(|t| t.state() == TrackState::Confirmed) {
                memory.pass_time(track, elapsed, &self.zones, &mut teller);
            }
        }
        self.conclude(&ended, elapsed, wall, &mut seen.happenings);
        self.tell_states(&mut seen.states);
        seen
    }

    /// Ends everything: the source was removed, or the program stops.
    pub fn end_all(&mut self, elapsed: Duration, wall: Timestamp) -> Observation {
        let ended = self.tracker.end_all();
        let mut seen = Observation::default();
        self.conclude(&ended, elapsed, wall, &mut seen.happenings);
        self.tell_states(&mut seen.states);
        seen
    }

    /// Whether anything is being followed, so that the passing of time can bring something.
    pub fn is_following(&self) -> bool {
        !self.tracker.tracks().is_empty()
    }

    /// The confirmed and the lost tracks, for viewers.
    pub fn tracks(&self) -> Vec<TrackView> {
        let counted = self.tracker.tracks().iter().filter(|t| t.state() != TrackState::Tentative);
        counted.map(|t| self.view(t)).collect()
    }

    fn view(&self, track: &Track) -> TrackView {
        let memory = self.memories.iter().find(|m| m.track == track.id);
        let places = memory.into_iter().flat_map(|m| m.zones.iter().zip(&self.zones));
        TrackView {
            id: track.id,
            state: track.state(),
            label: track.label().clone(),
            score: track.score(),
            region: track.region().clipped(),
            path: track.path().collect(),
            zones: places
                .filter(|(place, _)| place.stay.is_inside())
                .map(|(_, zone)| zone.id.clone())
                .collect(),
            still_s: track.still_s(),
        }
    }

    /// How often each line was crossed.
    pub fn totals(&self) -> Vec<LineTotals> {
        self.tallies.iter().map(|t| t.totals.clone()).collect()
    }

    /// Goes on counting from totals of an earlier life. Lines that are not watched are passed over.
    pub fn restore_totals(&mut self, totals: &[LineTotals]) {
        for tally in &mut self.tallies {
            if let Some(known) = totals.iter().find(|t| t.id == tally.totals.id) {
                tally.totals = known.clone();
            }
        }
    }

    /// Whether a state of this name is of a zone or a line that is watched; other states are not the scene's.
    pub fn watches(&self, state: &str) -> bool {
        let mut levels = state.split('/');
        match (levels.next(), levels.next()) {
            (Some("count"), Some(zone)) => self.zones.iter().any(|z| z.id.as_str() == zone),
            (Some("line"), Some(line)) => self.lines.iter().any(|l| l.id.as_str() == line),
            _ => true,
        }
    }

    /// Watches other zones and lines from now on. Tracks go on; so do stays and totals of zones and lines that
    /// keep their id. Stays in zones that are gone end, and states of what is gone are withdrawn (null).
    pub fn set_zones_lines(
        &mut self,
        zones: Vec<ZoneConfig>,
        lines: Vec<LineConfig>,
        elapsed: Duration,
        wall: Timestamp,
    ) -> Observation {
        let mut seen = Observation::default();
        let (tracks, mut teller) = (
            self.tracker.tracks(),
            teller(&self.source, &mut self.make_id, (wall, self.time_source), &mut seen.happenings),
        );
        for memory in &mut self.memories {
            let Some(track) = tracks.iter().find(|t| t.id == memory.track) else {
                continue;
            };
            let mut kept: Vec<InZone> = zones.iter().map(|_| InZone::default()).collect();
            for (mut place, zone) in std::mem::take(&mut memory.zones).into_iter().zip(&self.zones) {
                match zones.iter().position(|z| z.id == zone.id) {
                    Some(n) => kept[n] = place,
                    None => place.end(track, zone, elapsed, &mut teller),
                }
            }
            memory.zones = kept;
            let same = |line: &LineConfig| self.lines.iter().position(|l| l == line);
            memory.lines = lines
                .iter()
                .map(|line| same(line).map_or_else(CrossingState::default, |n| memory.lines[n]))
                .collect();
        }
        let mut old = std::mem::take(&mut self.occupancy);
        for zone in &zones {
            let known = old.iter().position(|o| *o.id() == zone.id);
            self.occupancy.push(known.map_or_else(|| Occupancy::new(zone), |n| old.swap_remove(n)));
        }
        old.iter().for_each(|gone| gone.withdraw(&mut seen.states));
        let mut old = std::mem::take(&mut self.tallies);
        for line in &lines {
            let known = old.iter().position(|t| t.totals.id == line.id);
            self.tallies
                .push(known.map_or_else(|| LineCounter::new(line.id.clone()), |n| old.swap_remove(n)));
        }
        old.iter().for_each(|gone| gone.withdraw(&mut seen.states));
        (self.zones, self.lines) = (zones, lines);
        self.tell_states(&mut seen.states);
        seen
    }

    /// Follows every track that was seen in this frame.
    fn follow(&mut self, now: Duration, wall: Timestamp, out: &mut Vec<EventData>) {
        let mut teller = teller(&self.source, &mut self.make_id, (wall, self.time_source), out);
        let still_after_s = self.tracker.config().still_after_s;
        for track in self.tracker.tracks().iter().filter(|t| !t.is_missed()) {
            let known = self.memories.iter().position(|m| m.track == track.id);
            let n = known.unwrap_or_else(|| {
                self.memories.push(TrackRecord::new(track, self.zones.len(), self.lines.len()));
                self.memories.len() - 1
            });
            let places = (&self.zones[..], &self.lines[..], &mut self.tallies[..]);
            self.memories[n].seen(track, now, still_after_s, places, &mut teller);
        }
    }

    /// Tells the end of tracks, and forgets them.
    fn conclude(&mut self, ended: &[Track], now: Duration, wall: Timestamp, out: &mut Vec<EventData>) {
        let mut teller = teller(&self.source, &mut self.make_id, (wall, self.time_source), out);
        for track in ended {
            if let Some(n) = self.memories.iter().position(|m| m.track == track.id) {
                self.memories.swap_remove(n).end(track, now, &self.zones, &mut teller);
            }
        }
    }

    fn tell_states(&mut self, out: &mut Vec<StateValue>) {
        let tracks = self.tracker.tracks();
        for (n, occupancy) in self.occupancy.iter_mut().enumerate() {
            let inside = self.memories.iter().filter(|m| m.zones[n].stay.is_inside());
            let label = |m: &TrackRecord| tracks.iter().find(|t| t.id == m.track).map(Track::label);
            occupancy.recount(inside.filter_map(label));
            occupancy.tell(out);
        }
        self.tallies.iter_mut().for_each(|t| t.tell(out));
    }
}

fn teller<'a>(
    source: &'a Name,
    make_id: &'a mut MakeId,
    (time, time_source): (Timestamp, TimeSource),
    out: &'a mut Vec<EventData>,
) -> EventBuilder<'a> {
    EventBuilder { source, make_id, time, time_source, out }
}
