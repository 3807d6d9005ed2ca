//! Which detection belongs to which track.

use contract::detection::{DETECTIONS_MAX, Detection};
use contract::spec::{TrackerAlgorithm, TrackerSpec};

use super::appearance::Embeddings;
use super::assignment::Assignment;
use super::similarity::similarity;
use super::track::{Track, TrackState};

/// Detections below take part in nothing (`track_low_thresh` of `ByteTrack`).
const LOW_SCORE: f32 = 0.1;

/// Smallest similarity of the second association: a weak detection must lie where the
/// track is expected (`ByteTrack`: 0.5).
const LOW_SCORE_SIMILARITY_MIN: f32 = 0.5;

/// Smallest similarity at which a track seen once is confirmed (`ByteTrack`: 0.3).
const TENTATIVE_SIMILARITY_MIN: f32 = 0.3;

/// Embeddings are compared of boxes that are at least so similar: appearance decides among
/// those who are near (`theta_iou` of BoT-SORT, a distance: 0.5).
const APPEARANCE_SIMILARITY_MIN: f32 = 0.5;

/// The associations of one update; keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Association {
    pools: Pools,
    assignment: Assignment,
}

/// What is not matched yet, by index.
#[derive(Debug, Default)]
struct Pools {
    /// Confirmed tracks: those that the last answer had, and those that are lost.
    confirmed: Vec<usize>,
    /// Tracks seen once.
    tentative: Vec<usize>,
    /// Detections from `high_score` on.
    high: Vec<usize>,
    /// Those below, down to [`LOW_SCORE`].
    low: Vec<usize>,
}

impl Association {
    /// Gives each track its detection, or lets it be lost.
    pub(crate) fn run(
        &mut self,
        spec: &TrackerSpec,
        pts_ns: u64,
        tracks: &mut [Track],
        detections: &[Detection],
        embeddings: &Embeddings<'_>,
    ) {
        let Self { pools, assignment } = self;
        pools.fill(spec, tracks, detections);
        let mut update = Update {
            algorithm: spec.algorithm,
            pts_ns,
            tracks,
            detections,
            embeddings,
            assignment,
        };
        match spec.algorithm {
            TrackerAlgorithm::Sort => {
                pools.confirmed.append(&mut pools.tentative);
                let all = &mut pools.confirmed;
                update.stage(all, &mut pools.high, spec.iou_min, Detections::Strong);
            }
            TrackerAlgorithm::Bytetrack | TrackerAlgorithm::Botsort => {
                // Strong detections may also bring back what is lost; weak ones only carry on
                // what was there, for most of them are nothing.
                let (confirmed, high) = (&mut pools.confirmed, &mut pools.high);
                update.stage(confirmed, high, spec.iou_min, Detections::Strong);
                confirmed.retain(|&track| update.tracks[track].state != TrackState::Lost);
                let least = spec.iou_min.max(LOW_SCORE_SIMILARITY_MIN);
                update.stage(confirmed, &mut pools.low, least, Detections::Weak);
                let least = spec.iou_min.max(TENTATIVE_SIMILARITY_MIN);
                update.stage(&mut pools.tentative, high, least, Detections::Strong);
            }
        }
        for track in tracks {
            if track.detection.is_none() {
                track.state = TrackState::Lost;
            }
        }
    }

    /// Strong detections that belong to no track, by index.
    pub(crate) fn unmatched(&self) -> &[usize] {
        &self.pools.high
    }
}

/// Which detections a stage is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detections {
    Strong,
    Weak,
}

/// One frame's tracks and detections, and how they are compared.
struct Update<'a> {
    algorithm: TrackerAlgorithm,
    pts_ns: u64,
    tracks: &'a mut [Track],
    detections: &'a [Detection],
    embeddings: &'a Embeddings<'a>,
    assignment: &'a mut Assignment,
}

impl Update<'_> {
    /// Matches tracks with detections that are similar enough, and takes both out of the pools.
    fn stage(
        &mut self,
        rows: &mut Vec<usize>,
        columns: &mut Vec<usize>,
        least: f32,
        which: Detections,
    ) {
        let Self {
            algorithm,
            pts_ns,
            tracks,
            detections,
            embeddings,
            assignment,
        } = self;
        let learns = *algorithm == TrackerAlgorithm::Botsort && which == Detections::Strong;
        let matches = assignment.solve(rows, columns, |row, column| {
            let (track, detection) = (&tracks[row], &detections[column]);
            if track.class != detection.class {
                return None;
            }
            if *algorithm != TrackerAlgorithm::Botsort {
                let iou = track.bounds.iou(&detection.bounds);
                return (iou > 0.0 && iou >= least).then_some(iou);
            }
            let near = similarity(&track.bounds, track.unseen_s(*pts_ns), &detection.bounds);
            if near <= 0.0 || near < least {
                return None;
            }
            if which == Detections::Weak {
                // Many are of somebody half hidden. A box that has lost its lower half would
                // pull the track's place, size and velocity off; by height it is refused.
                return Some(near);
            }
            // Fused with the score, as published, but only to choose among several: the
            // smallest similarity is one of boxes. Scores of small models are too low for a
            // threshold on the product, and tracks would break.
            let fused = near * detection.score.min(1.0);
            let alike = (near > APPEARANCE_SIMILARITY_MIN)
                .then(|| track.appearance.similarity(embeddings, column))
                .flatten();
            Some(alike.map_or(fused, |alike| alike.max(fused)))
        });
        for &(row, column) in matches {
            let track = &mut tracks[row];
            track.see(*pts_ns, column, &detections[column]);
            if learns {
                track.appearance.learn(embeddings, column);
            }
        }
        rows.retain(|&row| tracks[row].detection.is_none());
        let is_taken = |column| matches.iter().any(|(_, matched)| *matched == column);
        columns.retain(|&column| !is_taken(column));
    }
}

impl Pools {
    fn fill(&mut self, spec: &TrackerSpec, tracks: &[Track], detections: &[Detection]) {
        for pool in [
            &mut self.confirmed,
            &mut self.tentative,
            &mut self.high,
            &mut self.low,
        ] {
            pool.clear();
        }
        for (index, track) in tracks.iter().enumerate() {
            if track.is_confirmed() {
                self.confirmed.push(index);
            } else {
                self.tentative.push(index);
            }
        }
        for (index, detection) in detections.iter().enumerate().take(DETECTIONS_MAX) {
            let usable = detection.bounds.is_valid() && detection.bounds.area() > 0.0;
            if usable && detection.score >= spec.high_score {
                self.high.push(index);
            } else if usable && detection.score >= LOW_SCORE {
                self.low.push(index);
            }
        }
    }
}
