//! One object over time: where it is, what it is, how long it has stood still.
//!
//! Invariant: `region()` is always finite and has an area; times never run backwards.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::finding::{Finding, Label, ModelRef};
use crate::geometry::{Point, Region};

use super::config::TrackerConfig;
use super::kalman::BoxFilter;

/// How many points of its way a track remembers.
pub const PATH_POINTS: usize = 64;
/// The longest step that a motion is carried on over. Longer pauses stop it: what happened meanwhile is unknown.
const LONGEST_STEP_S: f32 = 1.0;
/// A thing that went further than this part of its own size has moved.
const MOVED: f32 = 0.3;
/// How much of the votes for a label is left after the next sighting: it forgets over some fifty frames.
const VOTE_MEMORY: f32 = 0.98;
/// By how much another label must lead before it takes over.
const VOTE_LEAD: f32 = 1.25;

/// How sure it is that the thing is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TrackState {
    /// Seen too few times to count.
    Tentative,
    /// In view in the last analysed frame.
    Confirmed,
    /// Confirmed, but not seen in the last analysed frame.
    Lost,
}

/// One object over time.
#[derive(Debug, Clone)]
pub struct Track {
    /// Unique within its tracker, counted from 1, never used again.
    pub id: u64,
    pub(super) state: TrackState,
    pub(super) group: Group,
    pub(super) missed: u32,
    pub(super) lost_since: Option<Duration>,
    label: Label,
    votes: Vec<(Label, f32)>,
    filter: BoxFilter,
    predicted_at: Duration,
    first_seen: Duration,
    last_seen: Duration,
    last_region: Region,
    stands_at: Point,
    stands_since: Duration,
    path: VecDeque<Point>,
    frames: u32,
    score: f32,
    peak_score: f32,
    model: Arc<ModelRef>,
}

/// What a track may be matched with: its label group, or its own label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Group {
    Listed(usize),
    Only(Label),
}

impl Group {
    pub(super) fn of(label: &Label, config: &TrackerConfig) -> Self {
        let listed = config.label_groups.iter().position(|g| g.iter().any(|l| **l == **label));
        listed.map_or_else(|| Group::Only(label.clone()), Group::Listed)
    }
}

impl Track {
    pub(super) fn begin(id: u64, group: Group, finding: &Finding, now: Duration) -> Self {
        let mut track = Track {
            id,
            state: TrackState::Tentative,
            group,
            missed: 0,
            lost_since: None,
            label: finding.label.clone(),
            votes: vec![(finding.label.clone(), finding.score)],
            filter: BoxFilter::new(&finding.region),
            predicted_at: now,
            first_seen: now,
            last_seen: now,
            last_region: finding.region,
            stands_at: finding.region.centre(),
            stands_since: now,
            path: VecDeque::with_capacity(PATH_POINTS),
            frames: 1,
            score: finding.score,
            peak_score: finding.score,
            model: finding.model.clone(),
        };
        track.path.push_back(track.region().bottom_centre());
        track
    }

    /// Moves the expectation to `now`. What is hidden for longer than a second is expected where it was last
    /// believed to be; so is what stood still.
    pub(super) fn predict(&mut self, now: Duration, still_after_s: f32) {
        let dt = now.saturating_sub(self.predicted_at).as_secs_f32();
        self.predicted_at = self.predicted_at.max(now);
        let hidden = now.saturating_sub(self.last_seen).as_secs_f32();
        let paused = dt > LONGEST_STEP_S || hidden > LONGEST_STEP_S.max(dt * 1.5);
        if paused || (self.missed > 0 && self.is_still(still_after_s)) {
            self.filter.halt();
        }
        self.filter.predict(dt.min(LONGEST_STEP_S));
    }

    /// It was seen.
    pub(super) fn see(&mut self, finding: &Finding, now: Duration, confirm_frames: u32) {
        self.filter.correct(&finding.region, finding.score);
        self.frames = self.frames.saturating_add(1);
        self.missed = 0;
        self.lost_since = None;
        self.last_seen = self.last_seen.max(now);
        self.score = finding.score;
        self.peak_score = self.peak_score.max(finding.score);
        self.model = finding.model.clone();
        if self.state != TrackState::Tentative || self.frames >= confirm_frames {
            self.state = TrackState::Confirmed;
        }
        self.votes.iter_mut().for_each(|(_, v)| *v *= VOTE_MEMORY);
        self.vote(&finding.label, finding.score);
        if self.path.len() == PATH_POINTS {
            self.path.pop_front();
        }
        let region = self.region();
        self.last_region = region;
        self.path.push_back(region.bottom_centre());
        let centre = region.centre();
        let (dx, dy) = ((centre.x - self.stands_at.x) / region.w, (centre.y - self.stands_at.y) / region.h);
        if dx.hypot(dy) > MOVED {
            (self.stands_at, self.stands_since) = (centre, now);
        }
    }

    /// Counts a vote for a label. Labels of one group only, so the list stays as short as the group.
    pub(super) fn vote(&mut self, label: &Label, score: f32) {
        match self.votes.iter_mut().find(|(l, _)| l == label) {
            Some((_, votes)) => *votes += score,
            None => self.votes.push((label.clone(), score)),
        }
        let own = self.votes.iter().find(|(l, _)| *l == self.label).map_or(0.0, |v| v.1);
        if let Some((label, votes)) = self.votes.iter().max_by(|a, b| a.1.total_cmp(&b.1))
            && *votes > own * VOTE_LEAD
        {
            self.label = label.clone();
        }
    }

    /// It was not seen in the frame of `now`.
    pub(super) fn miss(&mut self, now: Duration) {
        self.missed = self.missed.saturating_add(1);
        self.lost_since.get_or_insert(now);
        if self.state == TrackState::Confirmed {
            self.state = TrackState::Lost;
        }
    }

    /// Where it stands in its life.
    pub fn state(&self) -> TrackState {
        self.state
    }

    /// Its class: the label with the most votes, weighted by score.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Where it is, smoothed; while it is lost, where it is expected. May reach beyond the frame.
    pub fn region(&self) -> Region {
        self.filter.region()
    }

    /// The way of its bottom centre, oldest first, at most [`PATH_POINTS`] points, one a sighting.
    pub fn path(&self) -> impl ExactSizeIterator<Item = Point> + '_ {
        self.path.iter().copied()
    }

    /// Time from its first to its last sighting.
    pub fn age(&self) -> Duration {
        self.last_seen.saturating_sub(self.first_seen)
    }

    /// Where it was, smoothed, when it was seen last.
    pub fn last_region(&self) -> Region {
        self.last_region
    }

    /// Whether the last analysed frame did not show it.
    pub fn is_missed(&self) -> bool {
        self.missed > 0
    }

    /// When it was seen last, on the source's timeline.
    pub fn last_seen(&self) -> Duration {
        self.last_seen
    }

    /// For how long it had not moved when it was seen last, in seconds: it stayed within 0.3 of its own size.
    pub fn still_s(&self) -> f32 {
        self.last_seen.saturating_sub(self.stands_since).as_secs_f32()
    }

    /// Whether it had not moved for `after_s` seconds when it was seen last.
    pub fn is_still(&self, after_s: f32) -> bool {
        self.still_s() >= after_s
    }

    /// In how many frames it was seen.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// The score of its last sighting.
    pub fn score(&self) -> f32 {
        self.score
    }

    /// The best score of all sightings.
    pub fn peak_score(&self) -> f32 {
        self.peak_score
    }

    /// The model that saw it last.
    pub fn model(&self) -> &Arc<ModelRef> {
        &self.model
    }
}
