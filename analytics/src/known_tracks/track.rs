//! What is remembered of one track, and what a frame makes of it.

use contract::best_shot::shot_value;
use contract::control::ObjectRecord;
use contract::geometry::{BoundingBox, PixelSize};
use dsl::{TrackFacts, Zone};

use crate::lines::{Crossing, Segment, Way};
use crate::movement::Movement;
use crate::scores::Scores;
use crate::zones::{self, Presence};

/// What is remembered of one track.
#[derive(Debug)]
pub(super) struct KnownTrack {
    pub(super) id: u64,
    /// Index into the tracks of this frame.
    pub(super) index: Option<usize>,
    /// The record has it.
    pub(super) is_in_record: bool,
    first_pts_ns: u64,
    pub(super) last_pts_ns: u64,
    /// Scores of the frames in which it was seen; their number is its hits.
    scores: Scores,
    best: Option<f32>,
    pub(super) bounds: BoundingBox,
    movement: Movement,
    presences: Box<[Presence]>,
    crossings: Box<[Crossing]>,
}

/// A frame as a track sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) pts_ns: u64,
    pub(super) size: PixelSize,
    pub(super) zones: &'a [Zone],
    pub(super) segments: &'a [Segment],
    pub(super) attributes: (u32, u32),
}

impl KnownTrack {
    pub(super) fn new(id: u64, pts_ns: u64, zones: usize, lines: usize) -> Self {
        Self {
            id,
            index: None,
            is_in_record: true,
            first_pts_ns: pts_ns,
            last_pts_ns: pts_ns,
            scores: Scores::default(),
            best: None,
            bounds: BoundingBox::default(),
            movement: Movement::default(),
            presences: vec![Presence::default(); zones].into(),
            crossings: vec![Crossing::default(); lines].into(),
        }
    }

    /// Becomes another track, in the same memory.
    pub(super) fn begin(&mut self, id: u64, pts_ns: u64) {
        let mut presences = std::mem::take(&mut self.presences);
        let mut crossings = std::mem::take(&mut self.crossings);
        presences.fill(Presence::default());
        crossings.fill(Crossing::default());
        *self = Self {
            presences,
            crossings,
            ..Self::new(id, pts_ns, 0, 0)
        };
    }

    /// Other zones and lines: for each the old one that it is, whose memory stays.
    pub(super) fn replace_geometry(&mut self, zones: &[Option<usize>], lines: &[Option<usize>]) {
        self.presences = rearranged(&self.presences, zones);
        self.crossings = rearranged(&self.crossings, lines);
    }

    /// Takes in the frame; the dwell in each zone goes behind `dwell_ns`.
    #[expect(clippy::cast_precision_loss, reason = "sides are at most SIDE_MAX")]
    pub(super) fn see(
        &mut self,
        object: &ObjectRecord,
        label: u16,
        view: View<'_>,
        dwell_ns: &mut Vec<u64>,
    ) -> TrackFacts {
        let View {
            pts_ns,
            size,
            zones,
            segments,
            attributes,
        } = view;
        let bounds = &object.bounds;
        self.last_pts_ns = pts_ns;
        self.bounds = *bounds;
        if let Some(score) = object.score {
            self.scores.add(score);
        }
        let sharpness = object
            .quality
            .map(|quality| f32::from(quality.sharpness) / 100.0);
        let shot = object.score.zip(object.quality);
        let shot = shot.map(|(score, quality)| shot_value(score, quality));
        self.best = match (self.best, shot) {
            (Some(best), Some(shot)) => Some(best.max(shot)),
            (best, shot) => best.or(shot),
        };

        let (width, height) = (size.width.max(1) as f32, size.height.max(1) as f32);
        let (foot_x, foot_y) = bounds.bottom_center();
        let foot = [foot_x / height, foot_y / height];
        let velocity = self.movement.observe(pts_ns, foot);

        let inside = zones::membership(zones, bounds, size);
        let (mut entered, mut left) = (0, 0);
        for (index, presence) in self.presences.iter_mut().enumerate() {
            let sight = presence.observe(pts_ns, inside >> index & 1 == 1);
            entered |= u64::from(sight.entered) << index;
            left |= u64::from(sight.left) << index;
            dwell_ns.push(sight.dwell_ns);
        }
        let (mut crossed_right, mut crossed_left) = (0, 0);
        for (index, (crossing, segment)) in self.crossings.iter_mut().zip(segments).enumerate() {
            match crossing.observe(segment, foot) {
                Some(Way::LeftToRight) => crossed_right |= 1 << index,
                Some(Way::RightToLeft) => crossed_left |= 1 << index,
                None => {}
            }
        }
        TrackFacts {
            id: self.id,
            label,
            score: self.scores.median(),
            raw_score: object.score,
            age_ns: pts_ns.saturating_sub(self.first_pts_ns),
            hits: self.scores.count(),
            x: bounds.x1 / width,
            y: bounds.y1 / height,
            width: bounds.width() / width,
            height: bounds.height() / height,
            aspect: if bounds.height() > 0.0 {
                bounds.width() / bounds.height()
            } else {
                0.0
            },
            foot,
            speed: velocity.speed,
            direction: velocity.direction,
            zones: inside,
            entered,
            left,
            crossed_right,
            crossed_left,
            sharpness,
            brightness: object
                .quality
                .map(|quality| f32::from(quality.brightness) / 255.0),
            best: self.best,
            landmarks: object.landmarks,
            depth: object.depth,
            attributes,
        }
    }
}

fn rearranged<T: Copy + Default>(old: &[T], from: &[Option<usize>]) -> Box<[T]> {
    from.iter()
        .map(|from| {
            from.and_then(|from| old.get(from).copied())
                .unwrap_or_default()
        })
        .collect()
}
