//! The best picture of each track so far, kept as pixels until a rule wants it.
//!
//! How good a picture is: ten times the score of its detection and its sharpness
//! together, so that among detections of about the same score the sharpest wins.
//! It is the `quality.best` of the rule language, computed from the same rounded values.

use std::collections::BTreeMap;

use contract::control::{FrameRecord, ObjectRecord};

use crate::crop::Still;
use crate::encode::PictureFormat;

/// Tracks whose picture is kept: at most 100 KB each. Of more at the same time the younger
/// ones have none, and a rule that wants it gets the object as it is when the rule fires.
pub(crate) const SHOTS_MAX: usize = 128;

/// Weight of the score, 0 to 1, beside sharpness.
const SCORE_WEIGHT: f32 = 10.0;

#[derive(Debug)]
struct Shot {
    value: f32,
    still: Still,
}

/// The best pictures of the tracks of one stream.
#[derive(Debug, Default)]
pub(crate) struct BestShots {
    by_track: BTreeMap<u64, Shot>,
}

impl BestShots {
    /// Looks at the tracks of a frame, undrawn; forgets those for which `lives` says no.
    pub(crate) fn observe(
        &mut self,
        record: &FrameRecord,
        format: &PictureFormat,
        pixels: &[u8],
        lives: impl Fn(u64) -> bool,
    ) {
        self.by_track.retain(|track, _| lives(*track));
        for object in &record.objects {
            let (Some(track), Some(value)) = (object.track, value(object)) else {
                continue;
            };
            let known = self.by_track.get(&track).map(|shot| shot.value);
            let room = known.is_some() || self.by_track.len() < SHOTS_MAX;
            if !room || known.is_some_and(|known| known >= value) {
                continue;
            }
            if let Some(still) = Still::crop(format, pixels, &object.bounds) {
                self.by_track.insert(track, Shot { value, still });
            }
        }
    }

    /// The best picture of a track.
    pub(crate) fn of(&self, track: u64) -> Option<&Still> {
        self.by_track.get(&track).map(|shot| &shot.still)
    }

    /// No rule wants pictures any more.
    pub(crate) fn clear(&mut self) {
        self.by_track.clear();
    }
}

fn value(object: &ObjectRecord) -> Option<f32> {
    let sharpness = f32::from(object.quality?.sharpness) / 100.0;
    Some(object.score? * SCORE_WEIGHT + sharpness)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::control::Quality;
    use contract::geometry::{BoundingBox, I420Layout, PixelSize};
    use contract::motion::Cells;
    use frame_bus::ColourMatrix;

    const SIZE: PixelSize = PixelSize {
        width: 64,
        height: 64,
    };

    fn record(objects: Vec<ObjectRecord>) -> FrameRecord {
        FrameRecord {
            sequence_number: 0,
            pts_ns: 0,
            wall_ms: 0,
            size: SIZE,
            motion: 0.0,
            moved: Cells::default(),
            skip: None,
            objects,
            attributes: Vec::new(),
        }
    }

    fn object(track: u64, score: f32, sharpness: u16) -> ObjectRecord {
        ObjectRecord {
            track: Some(track),
            model: 0,
            class: 0,
            score: Some(score),
            bounds: BoundingBox {
                x1: 10.0,
                y1: 10.0,
                x2: 40.0,
                y2: 40.0,
            },
            quality: Some(Quality {
                sharpness,
                brightness: 100,
            }),
            landmarks: 0,
            depth: None,
        }
    }

    #[test]
    fn the_best_stays_and_goes_with_its_track() {
        let format = PictureFormat {
            layout: I420Layout::of(SIZE),
            matrix: ColourMatrix::Bt601,
        };
        let mut shots = BestShots::default();
        let seen = [(0.8, 50), (0.8, 90), (0.8, 70), (0.75, 120), (0.5, 300)];
        for (number, (score, sharpness)) in (0..).zip(seen) {
            let pixels = vec![number; format.layout.bytes];
            let record = record(vec![object(7, score, sharpness)]);
            shots.observe(&record, &format, &pixels, |_| true);
        }
        assert_eq!(shots.of(7).map(|still| still.bytes[0]), Some(1));
        shots.observe(&record(Vec::new()), &format, &[], |track| track != 7);
        assert!(shots.of(7).is_none());
    }

    #[test]
    fn no_more_than_so_many_are_kept() {
        let format = PictureFormat {
            layout: I420Layout::of(SIZE),
            matrix: ColourMatrix::Bt601,
        };
        let pixels = vec![0; format.layout.bytes];
        let many = (0..2 * SHOTS_MAX as u64).map(|track| object(track, 0.9, 10));
        let mut shots = BestShots::default();
        shots.observe(&record(many.collect()), &format, &pixels, |_| true);
        assert_eq!(shots.by_track.len(), SHOTS_MAX);
    }
}
