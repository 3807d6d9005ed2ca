//! Detections to tracks, over real time.
//!
//! One life of a track and one motion model (`kalman`) serve three algorithms, which differ in
//! how detections are given to tracks (`association`) and in what they look at beside boxes:
//!
//! | algorithm | associations | similarity | camera motion, appearance |
//! |---|---|---|---|
//! | SORT (Bewley et al. 2016) | strong detections with all tracks | `IoU` | no |
//! | `ByteTrack` (Zhang et al. 2022) | strong, then weak, then tracks seen once | `IoU` | no |
//! | BoT-SORT (Aharon et al. 2022) | the same three | `similarity` | yes |
//!
//! What differs from the papers: all have BoT-SORT's motion model, and their time-outs and noise
//! are in seconds; SORT keeps a lost track for the configured time and not for one frame; and
//! BoT-SORT's similarity and its use of scores are adapted to gaps and to small models, as
//! `similarity` and `association` say.
//!
//! A frame for which inference answered is an *update*; one for which it did not
//! (gated, shed, late, or the worker is away) is *coasted*. Only updates say
//! that something is not there, so only they make a track lost. All ages and
//! time-outs are in event time and none in frames.

mod appearance;
mod assignment;
mod association;
mod camera_motion;
mod kalman;
mod similarity;
mod track;

use contract::detection::Detection;
use contract::geometry::{BoundingBox, PixelSize};
use contract::spec::{TrackerAlgorithm, TrackerSpec};

use self::association::Association;
use self::track::Track;

pub use self::appearance::{EMBEDDING_DIMENSIONS_MAX, Embeddings};
pub use self::camera_motion::{CameraMotion, CameraMotionEstimator};
pub use self::track::{TRAIL_POINTS_MAX, TrackState};

/// Most tracks followed at a time, confirmed or not; more detections than that begin none.
pub const TRACKS_MAX: usize = 512;

/// A track about which inference has said nothing for so long ends: what is
/// drawn and decided on must rest on something seen.
pub const COAST_NS_MAX: u64 = 10_000_000_000;

/// Two tracks overlapping more are one object (`remove_duplicate_stracks`: 0.85).
const DUPLICATE_IOU: f32 = 0.85;

/// A confirmed track in a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackedObject {
    /// Given at confirmation, from 1 up, never again.
    pub id: u64,
    /// Class of its detections; a track never changes it.
    pub class: u16,
    /// The detection's own box when seen, else the predicted one, inside the picture.
    pub bounds: BoundingBox,
    /// Seen, coasting or lost.
    pub state: TrackState,
    /// Index into this frame's detections of the one it was matched with.
    pub detection: Option<usize>,
    /// Score of that detection.
    pub score: Option<f32>,
    /// Median of the last [`crate::SCORES_MAX`] scores.
    pub median_score: f32,
    /// Event time since it was first seen.
    pub age_ns: u64,
    /// Detections matched with it so far.
    pub hits: u32,
}

/// A confirmed track that is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedTrack {
    /// Its id.
    pub id: u64,
    /// Its class.
    pub class: u16,
    /// Event time at which it was first seen.
    pub first_pts_ns: u64,
    /// Event time at which it was last seen.
    pub seen_pts_ns: u64,
    /// Detections matched with it.
    pub hits: u32,
}

/// What the tracker makes of a frame.
#[derive(Debug, Clone, Copy)]
pub struct Tracks<'a> {
    /// All confirmed tracks, oldest first.
    pub objects: &'a [TrackedObject],
    /// Those that ended with this frame.
    pub ended: &'a [EndedTrack],
}

/// Follows the objects that one model sees in one stream.
#[derive(Debug)]
pub struct Tracker {
    spec: TrackerSpec,
    next_id: u64,
    id_step: u64,
    pts_ns: Option<u64>,
    /// An update has been seen since the stream began.
    updated: bool,
    tracks: Vec<Track>,
    objects: Vec<TrackedObject>,
    ended: Vec<EndedTrack>,
    association: Association,
}

impl Tracker {
    /// A tracker whose ids are 1, 2, 3, ...
    #[must_use]
    pub fn new(spec: &TrackerSpec) -> Self {
        Self::interleaved(spec, 0, 1, 0)
    }

    /// The tracker of model `index` of a stream with `count` models.
    ///
    /// Ids are `index + 1`, `index + 1 + count`, ..., so that those of the stream's
    /// trackers never meet. `begun` tracks have begun in the stream before, under a tracker
    /// that is no more; their ids are not given again.
    #[must_use]
    pub fn interleaved(spec: &TrackerSpec, index: u16, count: u16, begun: u64) -> Self {
        let id_step = u64::from(count.max(1));
        Self {
            spec: spec.clone(),
            next_id: u64::from(index) + 1 + begun * id_step,
            id_step,
            pts_ns: None,
            updated: false,
            tracks: Vec::new(),
            objects: Vec::new(),
            ended: Vec::new(),
            association: Association::default(),
        }
    }

    /// Other settings from the next frame on; tracks go on.
    pub fn set_spec(&mut self, spec: &TrackerSpec) {
        self.spec.clone_from(spec);
    }

    /// The picture has moved since the last frame: what is known of places moves with it.
    ///
    /// To be told before the frame itself, whether that is an update or coasted.
    pub fn compensate(&mut self, motion: &CameraMotion) {
        if self.spec.algorithm == TrackerAlgorithm::Botsort && !motion.is_identity() {
            for track in &mut self.tracks {
                track.compensate(motion);
            }
        }
    }

    /// Takes in a frame that inference answered for.
    ///
    /// When PTS goes back, the stream has begun anew: all tracks end first.
    pub fn update(&mut self, pts_ns: u64, size: PixelSize, detections: &[Detection]) -> Tracks<'_> {
        self.update_with_appearance(pts_ns, size, detections, &Embeddings::NONE)
    }

    /// The same, of detections of which some or all have an embedding.
    pub fn update_with_appearance(
        &mut self,
        pts_ns: u64,
        size: PixelSize,
        detections: &[Detection],
        embeddings: &Embeddings<'_>,
    ) -> Tracks<'_> {
        self.begin_frame(pts_ns, size);
        self.association
            .run(&self.spec, pts_ns, &mut self.tracks, detections, embeddings);
        self.begin_tracks(pts_ns, detections, embeddings);
        self.end_tracks(pts_ns);
        self.end_duplicates();
        self.finish_frame()
    }

    /// Takes in a frame that inference did not answer for: tracks move on as predicted.
    pub fn coast(&mut self, pts_ns: u64, size: PixelSize) -> Tracks<'_> {
        self.begin_frame(pts_ns, size);
        for track in &mut self.tracks {
            track.coast();
        }
        self.end_tracks(pts_ns);
        self.finish_frame()
    }

    /// Recent places of a track, oldest first: bottom centre of its box, in pixels.
    #[must_use]
    pub fn trail(&self, id: u64) -> &[[f32; 2]] {
        self.tracks
            .iter()
            .find(|track| track.id == id && track.is_confirmed())
            .map_or(&[], |track| &track.trail)
    }

    fn begin_frame(&mut self, pts_ns: u64, size: PixelSize) {
        self.ended.clear();
        if self.pts_ns.is_some_and(|last| pts_ns < last) {
            self.ended.extend(self.tracks.iter().filter_map(end_of));
            self.tracks.clear();
            self.updated = false;
        }
        self.pts_ns = Some(pts_ns);
        for track in &mut self.tracks {
            track.predict(pts_ns, size);
        }
    }

    /// Confirms what was seen a second time, and begins a track for each strong
    /// detection that is left.
    fn begin_tracks(&mut self, pts_ns: u64, detections: &[Detection], embeddings: &Embeddings<'_>) {
        for track in &mut self.tracks {
            if !track.is_confirmed() && track.state == TrackState::Seen {
                confirm(track, &mut self.next_id, self.id_step);
            }
        }
        // What is there when the stream begins has been there before.
        let at_begin = !std::mem::replace(&mut self.updated, true);
        for &index in self.association.unmatched() {
            let detection = &detections[index];
            if detection.score < self.spec.new_track_score || self.tracks.len() == TRACKS_MAX {
                continue;
            }
            let mut track = Track::new(pts_ns, index, detection);
            if self.spec.algorithm == TrackerAlgorithm::Botsort {
                track.appearance.learn(embeddings, index);
            }
            if at_begin {
                confirm(&mut track, &mut self.next_id, self.id_step);
            }
            self.tracks.push(track);
        }
    }

    fn end_tracks(&mut self, pts_ns: u64) {
        let lost_timeout_ns = self.spec.lost_timeout_ms.saturating_mul(1_000_000);
        let ended = &mut self.ended;
        self.tracks.retain(|track| {
            let unseen_ns = pts_ns.saturating_sub(track.seen_pts_ns);
            let ends = match track.state {
                TrackState::Seen => false,
                TrackState::Coasting => unseen_ns > COAST_NS_MAX || has_left(track),
                TrackState::Lost => {
                    !track.is_confirmed() || unseen_ns > lost_timeout_ns || has_left(track)
                }
            };
            if ends {
                ended.extend(end_of(track));
            }
            !ends
        });
    }

    /// Ends a track that began upon an object whose own track was just lost, once the
    /// two meet; the older one goes on.
    ///
    /// Overlap alone says nothing: two who were ever seen side by side are not one,
    /// but people who pass each other.
    fn end_duplicates(&mut self) {
        for younger in (1..self.tracks.len()).rev() {
            let track = &self.tracks[younger];
            // In the order of their beginning, so the older ones stand in front.
            let is_duplicate = self.tracks[..younger].iter().any(|older| {
                older.class == track.class
                    && older.was_away_for(track)
                    && older.bounds.iou(&track.bounds) > DUPLICATE_IOU
            });
            if is_duplicate {
                self.ended.extend(end_of(track));
                self.tracks.remove(younger);
            }
        }
    }

    fn finish_frame(&mut self) -> Tracks<'_> {
        let pts_ns = self.pts_ns.unwrap_or_default();
        self.objects.clear();
        for track in &mut self.tracks {
            track.extend_trail();
            if track.is_confirmed() {
                self.objects.push(TrackedObject {
                    id: track.id,
                    class: track.class,
                    bounds: track.bounds,
                    state: track.state,
                    detection: track.detection,
                    score: track.score,
                    median_score: track.median_score(),
                    age_ns: pts_ns.saturating_sub(track.first_pts_ns),
                    hits: track.hits,
                });
            }
        }
        Tracks {
            objects: &self.objects,
            ended: &self.ended,
        }
    }
}

fn confirm(track: &mut Track, next_id: &mut u64, id_step: u64) {
    track.id = *next_id;
    *next_id += id_step;
}

/// Nothing of the predicted box is inside the picture.
fn has_left(track: &Track) -> bool {
    track.bounds.area() <= 0.0
}

/// What is told of a track that ends; nothing when it was never told to be there.
fn end_of(track: &Track) -> Option<EndedTrack> {
    track.is_confirmed().then_some(EndedTrack {
        id: track.id,
        class: track.class,
        first_pts_ns: track.first_pts_ns,
        seen_pts_ns: track.seen_pts_ns,
        hits: track.hits,
    })
}
