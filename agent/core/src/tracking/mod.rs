//! Tells which findings of successive frames are the same thing, in the manner of ByteTrack.
//!
//! Owned by whoever analyses one source; no clock, no I/O. Each analysed frame:
//! 1. every track's box is carried on to the frame's time (Kalman, real time steps, at most a second);
//! 2. sure findings are matched with tracks by overlap, the best total first (optimal assignment);
//! 3. unsure findings (`low_score`..`high_score`) may keep tracks alive that are still without a match;
//! 4. what is left is matched by nearness: at low frame rates a walker's boxes no longer overlap;
//! 5. sure findings that are left begin tracks, tentative until seen in `confirm_frames` frames.
//!
//! When does a track end? Analysis is irregular: a motion gate may withhold frames for seconds, and a still
//! scene is looked at only now and then. So silence alone never ends a track; only a frame that was analysed
//! and did not show it starts its clock. Then both must hold:
//! - `lost_after_s` (for what stood still: `still_lost_after_s`) has gone by since that first miss, and
//! - it was missed in at least [`MISSES_TO_END`] analysed frames: one bad look at a parked car is no departure.
//!
//! If the misses do not add up because no further frames are analysed, [`Tracker::tick`] ends the track once
//! [`PATIENCE`] times its limit went by without a sighting. That is longer than three periodic looks, so
//! a thing that is there has had its chances. A tentative track ends with its second miss in a row.
//!
//! Invariants: at most [`MOST_FINDINGS`] findings a frame and [`MOST_TRACKS`] tracks; an id is never reused;
//! findings that make no sense (NaN, no area, far outside the frame) are never tracked.

mod assign;
mod config;
mod kalman;
mod track;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::finding::Finding;
use crate::geometry::Region;

use assign::Assignment;
pub use config::TrackerConfig;
use track::Group;
pub use track::{PATH_POINTS, Track, TrackState};

/// Findings of one frame beyond these, the least sure, are not tracked.
pub const MOST_FINDINGS: usize = 256;
/// Tracks at a time; no more begin until some end.
pub const MOST_TRACKS: usize = 512;
/// Analysed frames that must have missed a track before it ends.
pub const MISSES_TO_END: u32 = 3;
/// Times its limit after which a missed track ends although hardly any frames were analysed.
pub const PATIENCE: u32 = 16;
/// Overlap above which two findings of one label group, but of different labels, are one thing.
const SAME_THING_IOU: f32 = 0.65;
/// Least overlap for an unsure finding.
const UNSURE_IOU: f32 = 0.4;
/// What a match costs more if the track was not in view in the frame before.
const MISSED_COST: f32 = 0.15;
/// How far, in sizes of its own box, a thing may be from where it is expected, when no box overlaps.
const NEAR: f32 = 0.5;
/// How much further for each second since it was seen.
const NEAR_GROWTH: f32 = 0.5;

/// The tracker of one source.
#[derive(Debug)]
pub struct Tracker {
    config: TrackerConfig,
    tracks: Vec<Track>,
    last_id: u64,
    /// Scratch, kept between frames.
    order: Vec<usize>,
    groups: Vec<Option<Group>>,
    owner: Vec<Option<u64>>,
    table: Assignment,
    pairs: Vec<(usize, usize)>,
    free_tracks: Vec<usize>,
    free_findings: Vec<usize>,
}

/// Whether a finding can be tracked: numbers are numbers, the box is not far outside the frame, and some of it
/// is within.
pub fn is_trackable(finding: &Finding) -> bool {
    let Region { x, y, w, h } = finding.region;
    finding.region.is_sound()
        && finding.score.is_finite()
        && x.abs() <= 4.0
        && y.abs() <= 4.0
        && w <= 4.0
        && h <= 4.0
        && finding.region.clipped().area() > 0.0
}

impl Tracker {
    /// A tracker that has seen nothing.
    pub fn new(config: TrackerConfig) -> Self {
        Tracker {
            config,
            tracks: Vec::new(),
            last_id: 0,
            order: Vec::new(),
            groups: Vec::new(),
            owner: Vec::new(),
            table: Assignment::default(),
            pairs: Vec::new(),
            free_tracks: Vec::new(),
            free_findings: Vec::new(),
        }
    }

    /// Its settings.
    pub fn config(&self) -> &TrackerConfig {
        &self.config
    }

    /// All tracks, the tentative and the lost too, in the order in which they began.
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Takes in the findings of the frame at `elapsed`; sets `track` in those that belong to a confirmed track.
    /// Returns the tracks that ended; of these, only those of state `Lost` were ever confirmed.
    pub fn update(&mut self, elapsed: Duration, findings: &mut [Finding]) -> Vec<Track> {
        for track in &mut self.tracks {
            track.predict(elapsed, self.config.still_after_s);
        }
        self.sort_out(findings);
        self.owner.clear();
        self.owner.resize(findings.len(), None);
        self.free_tracks.clear();
        self.free_tracks.extend(0..self.tracks.len());

        let (high, low) = (self.config.high_score, self.config.low_score);
        let min_iou = self.config.min_iou.max(1e-3);
        self.select(findings, |score| score >= high);
        self.pair(findings, elapsed, |track, seen, _| overlap_cost(track, seen, min_iou));
        self.select(findings, |score| (low..high).contains(&score));
        self.pair(findings, elapsed, |track, seen, _| {
            let settled = track.state != TrackState::Tentative && track.missed < 2;
            if settled { overlap_cost(track, seen, UNSURE_IOU) } else { f32::INFINITY }
        });
        self.select(findings, |score| score >= high);
        self.pair(findings, elapsed, near_cost);
        self.share(findings);
        self.begin_tracks(findings, elapsed);
        for &n in &self.free_tracks {
            self.tracks[n].miss(elapsed);
        }
        for (finding, owner) in findings.iter_mut().zip(&self.owner) {
            let confirmed =
                |id: &u64| self.tracks.iter().any(|t| t.id == *id && t.state == TrackState::Confirmed);
            finding.track = owner.filter(confirmed);
        }
        self.end_tracks(elapsed)
    }

    /// Lets time pass without an analysed frame: ends what was missed long ago. See the module's head.
    pub fn tick(&mut self, elapsed: Duration) -> Vec<Track> {
        self.end_tracks(elapsed)
    }

    /// Ends all tracks: the source is gone.
    pub fn end_all(&mut self) -> Vec<Track> {
        std::mem::take(&mut self.tracks)
    }

    /// Picks the findings worth tracking, the surest first, and tells their groups.
    fn sort_out(&mut self, findings: &[Finding]) {
        let low = self.config.low_score;
        self.order.clear();
        self.order
            .extend((0..findings.len()).filter(|&n| is_trackable(&findings[n]) && findings[n].score >= low));
        self.order.sort_by(|&a, &b| findings[b].score.total_cmp(&findings[a].score).then(a.cmp(&b)));
        self.order.truncate(MOST_FINDINGS);
        self.groups.clear();
        self.groups.resize(findings.len(), None);
        // A vehicle that the model calls car and truck at once is one thing: the surer name stands for both.
        let mut kept = 0;
        for at in 0..self.order.len() {
            let n = self.order[at];
            let group = Group::of(&findings[n].label, &self.config);
            let twin = matches!(group, Group::Listed(_))
                && self.order[..kept]
                    .iter()
                    .any(|&m| self.groups[m].as_ref() == Some(&group) && is_twin(&findings[n], &findings[m]));
            if !twin {
                self.groups[n] = Some(group);
                self.order[kept] = n;
                kept += 1;
            }
        }
        self.order.truncate(kept);
    }

    /// The findings that still have no track and whose score is as wanted.
    fn select(&mut self, findings: &[Finding], wanted: impl Fn(f32) -> bool) {
        let free = self.order.iter().copied();
        self.free_findings.clear();
        self.free_findings.extend(free.filter(|&n| self.owner[n].is_none() && wanted(findings[n].score)));
    }

    /// Matches free tracks with free findings at the least total cost; costs of 1 or more are no match.
    fn pair(
        &mut self,
        findings: &[Finding],
        now: Duration,
        cost: impl Fn(&Track, &Finding, Duration) -> f32,
    ) {
        self.table.begin(self.free_tracks.len(), self.free_findings.len(), 1.0);
        for (row, &t) in self.free_tracks.iter().enumerate() {
            let track = &self.tracks[t];
            for (column, &f) in self.free_findings.iter().enumerate() {
                if self.groups[f].as_ref() == Some(&track.group) {
                    self.table.set(row, column, cost(track, &findings[f], now));
                }
            }
        }
        self.table.solve(&mut self.pairs);
        for &(row, column) in &self.pairs {
            let (t, f) = (self.free_tracks[row], self.free_findings[column]);
            self.tracks[t].see(&findings[f], now, self.config.confirm_frames);
            self.owner[f] = Some(self.tracks[t].id);
            self.free_tracks[row] = usize::MAX;
        }
        self.free_tracks.retain(|&t| t != usize::MAX);
    }

    /// Findings that were left out as a second name of one thing get its track, and vote for its label.
    fn share(&mut self, findings: &[Finding]) {
        for n in 0..findings.len() {
            if self.groups[n].is_some()
                || !is_trackable(&findings[n])
                || findings[n].score < self.config.low_score
            {
                continue;
            }
            let group = Group::of(&findings[n].label, &self.config);
            let twin =
                self.order.iter().copied().find(|&m| {
                    self.groups[m].as_ref() == Some(&group) && is_twin(&findings[n], &findings[m])
                });
            let Some(id) = twin.and_then(|m| self.owner[m]) else {
                continue;
            };
            self.owner[n] = Some(id);
            if let Some(track) = self.tracks.iter_mut().find(|t| t.id == id) {
                track.vote(&findings[n].label, findings[n].score);
            }
        }
    }

    fn begin_tracks(&mut self, findings: &[Finding], now: Duration) {
        for &f in &self.order {
            let finding = &findings[f];
            let room = self.tracks.len() < MOST_TRACKS;
            let Some(group) = self.groups[f].clone().filter(|_| room) else {
                continue;
            };
            if self.owner[f].is_none() && finding.score >= self.config.high_score {
                self.last_id += 1;
                let mut track = Track::begin(self.last_id, group, finding, now);
                if self.config.confirm_frames <= 1 {
                    track.state = TrackState::Confirmed;
                }
                self.owner[f] = Some(track.id);
                self.tracks.push(track);
            }
        }
    }

    fn end_tracks(&mut self, now: Duration) -> Vec<Track> {
        let config = &self.config;
        let is_over = |track: &mut Track| {
            let Some(since) = track.lost_since else {
                return false;
            };
            let limit_s = match track.state {
                TrackState::Tentative if track.missed >= 2 => return true,
                TrackState::Tentative => config.lost_after_s,
                _ if track.is_still(config.still_after_s) => {
                    config.still_lost_after_s.max(config.lost_after_s)
                }
                _ => config.lost_after_s,
            };
            let limit = Duration::try_from_secs_f32(limit_s).unwrap_or_default();
            let gone = now.saturating_sub(since);
            gone >= limit && (track.missed >= MISSES_TO_END || gone >= limit * PATIENCE)
        };
        self.tracks.extract_if(.., is_over).collect()
    }
}

/// Two names that a model gave to one thing.
fn is_twin(a: &Finding, b: &Finding) -> bool {
    a.label != b.label && a.region.iou(&b.region) >= SAME_THING_IOU
}

/// By overlap with where the track is expected. In doubt the track that was in view a moment ago wins over one
/// that was missed, and the surer finding over a less sure one.
fn overlap_cost(track: &Track, seen: &Finding, min_iou: f32) -> f32 {
    let iou = track.region().iou(&seen.region);
    if iou < min_iou {
        return f32::INFINITY;
    }
    let missed = if track.is_missed() { MISSED_COST } else { 0.0 };
    (1.0 - iou) * (0.98 - MISSED_COST) + missed + (1.0 - seen.score.clamp(0.0, 1.0)) * 0.01
}

/// By distance from where the track is expected, in sizes of the boxes: for steps so wide that nothing overlaps.
fn near_cost(track: &Track, seen: &Finding, now: Duration) -> f32 {
    let (a, b) = (track.region(), seen.region);
    let alike = |p: f32, q: f32| p.min(q) / p.max(q);
    if alike(a.w, b.w) < 0.5 || alike(a.h, b.h) < 0.5 {
        return f32::INFINITY;
    }
    let (p, q) = (a.centre(), b.centre());
    let apart = ((p.x - q.x) / ((a.w + b.w) / 2.0)).hypot((p.y - q.y) / ((a.h + b.h) / 2.0));
    let unseen_s = now.saturating_sub(track.last_seen()).as_secs_f32().min(1.0);
    apart / (NEAR + NEAR_GROWTH * unseen_s)
}
