//! What second models have found on tracks: kept relative to the track's box, so that it moves
//! with the track in the frames to come, and forgotten when it is old.

use std::collections::BTreeMap;

use contract::detection::{Detection, Landmarks};
use contract::geometry::BoundingBox;
use contract::name::ModelName;

/// Things kept of one answer, the surest first: a crowd on one track is a mistake.
pub(crate) const PARTS_MAX: usize = 8;

/// What one model found on one track.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub(crate) track: u64,
    pub(crate) model: ModelName,
    /// Where the track was in the frame that the model looked at.
    pub(crate) bounds: BoundingBox,
    /// What it found there, in pixels of that frame, the surest first.
    pub(crate) parts: Vec<Detection>,
    /// It is shown for so long, in event time.
    pub(crate) shown_ns: u64,
}

/// One thing on a track, relative to its box: 0 to 1 where it is inside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Part {
    from: [f32; 2],
    to: [f32; 2],
    landmarks: Landmarks,
    /// Class of its model.
    pub(crate) class: u16,
}

impl Part {
    fn of(detection: &Detection, on: &BoundingBox) -> Self {
        let relative = |[x, y]: [f32; 2]| {
            [
                (x - on.x1) / on.width().max(1.0),
                (y - on.y1) / on.height().max(1.0),
            ]
        };
        let BoundingBox { x1, y1, x2, y2 } = detection.bounds;
        Self {
            from: relative([x1, y1]),
            to: relative([x2, y2]),
            landmarks: detection.landmarks.map(relative),
            class: detection.class,
        }
    }

    /// Where it is while the track is there.
    pub(crate) fn on(&self, track: &BoundingBox) -> (BoundingBox, Landmarks) {
        let absolute =
            |[x, y]: [f32; 2]| [track.x1 + x * track.width(), track.y1 + y * track.height()];
        let ([x1, y1], [x2, y2]) = (absolute(self.from), absolute(self.to));
        let bounds = BoundingBox { x1, y1, x2, y2 };
        (bounds, self.landmarks.map(absolute))
    }
}

#[derive(Debug)]
struct Kept {
    until_pts_ns: u64,
    parts: Vec<Part>,
}

/// What is known of the tracks of one stream: of each track the last answer of each model.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    kept: BTreeMap<(u64, ModelName), Kept>,
}

impl Parts {
    /// A frame has come: forgets what is old, and what was found on tracks that have ended.
    pub(crate) fn advance(&mut self, pts_ns: u64, lives: impl Fn(u64) -> bool) {
        self.kept
            .retain(|(track, _), kept| pts_ns <= kept.until_pts_ns && lives(*track));
    }

    /// Takes in an answer that has come before this frame; one that found nothing takes the
    /// place of an earlier one, too.
    pub(crate) fn learn(&mut self, pts_ns: u64, finding: Finding) {
        let Finding {
            track,
            model,
            bounds,
            parts,
            shown_ns,
        } = finding;
        let parts: Vec<Part> = parts.iter().map(|part| Part::of(part, &bounds)).collect();
        if parts.is_empty() {
            self.kept.remove(&(track, model));
            return;
        }
        let until_pts_ns = pts_ns.saturating_add(shown_ns);
        let kept = Kept {
            until_pts_ns,
            parts,
        };
        self.kept.insert((track, model), kept);
    }

    /// What was found on a track, and the model that found it.
    pub(crate) fn on(&self, track: u64) -> impl Iterator<Item = (&ModelName, &Part)> {
        let kept = self.kept.iter();
        let own = kept.filter(move |((of, _), _)| *of == track);
        own.flat_map(|((_, model), kept)| kept.parts.iter().map(move |part| (model, part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds([x1, y1, x2, y2]: [f32; 4]) -> BoundingBox {
        BoundingBox { x1, y1, x2, y2 }
    }

    fn finding(track: u64, parts: &[[f32; 4]]) -> Finding {
        let part = |corners: &[f32; 4]| Detection {
            bounds: bounds(*corners),
            score: 0.9,
            class: 0,
            landmarks: Landmarks::new(&[[corners[0], corners[3]]]).expect("one"),
        };
        Finding {
            track,
            model: "faces".parse().expect("a name"),
            bounds: bounds([100.0, 50.0, 140.0, 150.0]),
            parts: parts.iter().map(part).collect(),
            shown_ns: 100,
        }
    }

    #[test]
    fn what_was_found_moves_and_grows_with_its_track() {
        let mut parts = Parts::default();
        parts.learn(10, finding(7, &[[110.0, 60.0, 130.0, 80.0]]));
        let on_track: Vec<_> = parts.on(7).collect();
        let there = bounds([200.0, 100.0, 280.0, 300.0]);
        let (bounds_there, landmarks) = on_track[0].1.on(&there);
        assert_eq!(bounds_there, bounds([220.0, 120.0, 260.0, 160.0]));
        assert_eq!(landmarks.points(), [[220.0, 160.0]]);
        assert_eq!(parts.on(8).count(), 0);
    }

    #[test]
    fn it_goes_when_it_is_old_or_found_no_more_or_its_track_has_ended() {
        let mut parts = Parts::default();
        let one = [[110.0, 60.0, 130.0, 80.0]];
        for track in [7, 8, 9] {
            parts.learn(10, finding(track, &one));
        }
        parts.learn(50, finding(8, &one));
        parts.learn(60, finding(9, &[]));
        assert_eq!(parts.on(9).count(), 0);
        parts.advance(110, |_| true);
        assert_eq!(parts.on(7).count(), 1);
        parts.advance(111, |_| true);
        assert_eq!((parts.on(7).count(), parts.on(8).count()), (0, 1));
        parts.advance(112, |track| track != 8);
        assert_eq!(parts.on(8).count(), 0);
    }
}
