//! Which parts of a picture are hidden: pure, from what models have seen and trackers carry on.
//!
//! It errs on the side of hiding. Weak detections that begin no track count too; a
//! track that is out of sight stays hidden where it was last for a while; while a
//! gate says that nothing moves nothing is forgotten; and while no model looks at
//! all, the whole picture is hidden, unless the config says otherwise. What no
//! model has ever found cannot be hidden.

use std::collections::BTreeMap;

use contract::detection::Skip;
use contract::geometry::{BoundingBox, PixelSize};
use contract::spec::{Hiding, PrivacySpec};

use crate::join::Answer;

/// Boxes that are kept of tracks out of sight; of more the oldest go.
const HELD_MAX: usize = 512;

/// What is hidden in one stream.
#[derive(Debug, Default)]
pub(crate) struct Privacy {
    spec: Option<PrivacySpec>,
    /// Event time in which models look or a gate watches for them: it stands still while the
    /// picture does.
    clock_ns: u64,
    last_pts_ns: Option<u64>,
    /// Event time in which no model has looked, and no gate.
    unseen_ns: u64,
    /// Where each track was last, and what was found on it.
    tracks: BTreeMap<Place, Held>,
    /// What the models found last and follow nowhere.
    untracked: Vec<BoundingBox>,
    /// What is hidden in this frame.
    areas: Vec<BoundingBox>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    bounds: BoundingBox,
    seen_ns: u64,
}

/// A track, and which of the things that were found on it; 0 is the track itself.
pub(crate) type Place = (u64, usize);

/// Something that a model has found or a tracker carries on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight<'a> {
    /// `None`: it is not followed.
    pub(crate) place: Option<Place>,
    pub(crate) label: &'a str,
    pub(crate) bounds: BoundingBox,
}

/// What is to be hidden in a picture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hidden<'a> {
    /// In pixels of the frame.
    pub(crate) areas: &'a [BoundingBox],
    pub(crate) method: Hiding,
}

impl Hidden<'_> {
    /// Nothing.
    pub(crate) const NOTHING: Self = Self {
        areas: &[],
        method: Hiding::Fill,
    };
}

impl Privacy {
    /// Other settings from the next frame on; what is held stays held.
    pub(crate) fn configure(&mut self, spec: Option<&PrivacySpec>) {
        self.spec = spec.cloned();
        if self.spec.is_none() {
            *self = Self::default();
        }
    }

    /// Takes in a frame of `size`. `skip`: why no model has run on it.
    pub(crate) fn observe<'a>(
        &mut self,
        pts_ns: u64,
        size: PixelSize,
        skip: Option<Skip>,
        sights: impl Iterator<Item = Sight<'a>>,
    ) {
        let Some(spec) = &self.spec else {
            return;
        };
        let first = self.last_pts_ns.is_none();
        let last_ns = self.last_pts_ns.replace(pts_ns).unwrap_or(pts_ns);
        let passed_ns = pts_ns.saturating_sub(last_ns);
        let hold_ns = spec.hold_ms.saturating_mul(1_000_000);
        match skip {
            None => {
                self.clock_ns += passed_ns;
                self.unseen_ns = 0;
                self.untracked.clear();
            }
            Some(Skip::Gated) => self.unseen_ns = 0,
            Some(_) if first => self.unseen_ns = hold_ns.saturating_add(1),
            Some(_) => self.unseen_ns = self.unseen_ns.saturating_add(passed_ns),
        }
        for sight in sights.filter(|sight| spec.labels.iter().any(|label| label == sight.label)) {
            match sight.place {
                Some(place) => {
                    let held = Held {
                        bounds: sight.bounds,
                        seen_ns: self.clock_ns,
                    };
                    self.tracks.insert(place, held);
                }
                // Of a frame that no model has looked at there is nothing new.
                None if skip.is_none() => self.untracked.push(sight.bounds),
                None => {}
            }
        }
        let clock_ns = self.clock_ns;
        self.tracks
            .retain(|_, held| clock_ns.saturating_sub(held.seen_ns) <= hold_ns);
        while self.tracks.len() > HELD_MAX {
            let oldest = self.tracks.iter().min_by_key(|(_, held)| held.seen_ns);
            let Some(oldest) = oldest.map(|(place, _)| *place) else {
                break;
            };
            self.tracks.remove(&oldest);
        }
        self.untracked.truncate(HELD_MAX);
        self.areas.clear();
        if spec.hide_unseen && self.unseen_ns > hold_ns {
            self.areas.push(whole(size));
            return;
        }
        let boxes = self.tracks.values().map(|held| &held.bounds);
        let grown = boxes
            .chain(&self.untracked)
            .map(|bounds| grown(bounds, spec.margin));
        self.areas.extend(grown);
    }

    /// One of these labels is hidden.
    pub(crate) fn hides_one_of(&self, labels: &[String]) -> bool {
        let spec = self.spec.as_ref();
        spec.is_some_and(|spec| spec.labels.iter().any(|label| labels.contains(label)))
    }

    /// What is hidden in the frame that was taken in last.
    pub(crate) fn hidden(&self) -> Hidden<'_> {
        match &self.spec {
            Some(spec) => Hidden {
                areas: &self.areas,
                method: spec.method,
            },
            None => Hidden::NOTHING,
        }
    }
}

/// Why a frame counts as not looked at, from the answers of all models that can find what is
/// hidden: one that has not run leaves a gap, whatever the others say. Without any nobody looks.
pub(crate) fn unseen<'a>(answers: impl Iterator<Item = Option<&'a Answer>>) -> Option<Skip> {
    let mut gated = false;
    let mut any = false;
    for answer in answers {
        any = true;
        match answer {
            Some(Answer::Found(_)) => {}
            Some(Answer::Skipped(Skip::Gated)) => gated = true,
            Some(Answer::Skipped(skip)) => return Some(*skip),
            None => return Some(Skip::Failed),
        }
    }
    match (any, gated) {
        (false, _) => Some(Skip::Failed),
        (true, true) => Some(Skip::Gated),
        (true, false) => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "sides are at most SIDE_MAX")]
fn whole(size: PixelSize) -> BoundingBox {
    BoundingBox {
        x1: 0.0,
        y1: 0.0,
        x2: size.width as f32,
        y2: size.height as f32,
    }
}

fn grown(bounds: &BoundingBox, margin: f32) -> BoundingBox {
    let (x, y) = (bounds.width() * margin, bounds.height() * margin);
    BoundingBox {
        x1: bounds.x1 - x,
        y1: bounds.y1 - y,
        x2: bounds.x2 + x,
        y2: bounds.y2 + y,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use contract::findings::Findings;

    use super::*;

    const SIZE: PixelSize = PixelSize {
        width: 640,
        height: 360,
    };
    const FRAME_NS: u64 = 100_000_000;

    struct Stream {
        privacy: Privacy,
        frame: u64,
    }

    impl Stream {
        fn new(hide_unseen: bool) -> Self {
            let mut privacy = Privacy::default();
            privacy.configure(Some(&PrivacySpec {
                labels: vec!["face".to_owned()],
                method: Hiding::Pixelate,
                margin: 0.1,
                hold_ms: 1000,
                hide_unseen,
            }));
            Self { privacy, frame: 0 }
        }

        /// The left edges of what is hidden, after a frame.
        fn frame(&mut self, skip: Option<Skip>, sights: &[(Option<u64>, &str, f32)]) -> Vec<f32> {
            let sights = sights.iter().map(|(track, label, x)| Sight {
                place: track.map(|track| (track, 0)),
                label,
                bounds: BoundingBox {
                    x1: *x,
                    y1: 0.0,
                    x2: x + 100.0,
                    y2: 50.0,
                },
            });
            self.frame += 1;
            self.privacy
                .observe(self.frame * FRAME_NS, SIZE, skip, sights);
            let hidden = self.privacy.hidden();
            hidden.areas.iter().map(|area| area.x1).collect()
        }
    }

    const NOTHING: [f32; 0] = [];

    #[test]
    fn what_has_a_label_is_hidden_with_a_margin_tracked_or_not() {
        let mut stream = Stream::new(false);
        let seen = [
            (Some(1), "face", 100.0),
            (None, "face", 300.0),
            (Some(2), "person", 500.0),
        ];
        assert_eq!(stream.frame(None, &seen), [90.0, 290.0]);
        let area = stream.privacy.hidden().areas[0];
        assert_eq!((area.x2, area.y1, area.y2), (210.0, -5.0, 55.0));
        // It moves, and the other is found no more.
        assert_eq!(stream.frame(None, &[(Some(1), "face", 120.0)]), [110.0]);
    }

    #[test]
    fn what_is_out_of_sight_stays_hidden_for_a_while() {
        let mut stream = Stream::new(false);
        stream.frame(None, &[(Some(1), "face", 100.0)]);
        for _ in 0..10 {
            assert_eq!(stream.frame(None, &[]), [90.0]);
        }
        assert_eq!(stream.frame(None, &[]), NOTHING);
    }

    #[test]
    fn nothing_is_forgotten_while_nobody_looks_or_nothing_moves() {
        let mut stream = Stream::new(false);
        stream.frame(None, &[(Some(1), "face", 100.0), (None, "face", 300.0)]);
        for skip in [Skip::Gated, Skip::Shed, Skip::Failed] {
            for _ in 0..100 {
                assert_eq!(stream.frame(Some(skip), &[]), [90.0, 290.0]);
            }
        }
    }

    #[test]
    fn everything_is_hidden_while_nobody_looks() {
        let mut stream = Stream::new(true);
        assert_eq!(stream.frame(Some(Skip::Failed), &[]), [0.0]);
        assert_eq!(stream.privacy.hidden().areas, [whole(SIZE)]);
        assert_eq!(stream.frame(None, &[]), NOTHING);
        for _ in 0..10 {
            assert_eq!(stream.frame(Some(Skip::Stale), &[]), NOTHING);
        }
        assert_eq!(stream.frame(Some(Skip::Stale), &[]), [0.0]);
        // A gate that watches is somebody who looks.
        assert_eq!(stream.frame(Some(Skip::Gated), &[]), NOTHING);
    }

    #[test]
    fn a_model_that_is_missing_is_not_made_up_for_by_another() {
        let found = Answer::Found(Arc::new(Findings::Detections(Vec::new())));
        let skipped = |skip| Answer::Skipped(skip);
        let (gated, shed) = (skipped(Skip::Gated), skipped(Skip::Shed));
        for (answers, expected) in [
            (vec![], Some(Skip::Failed)),
            (vec![Some(&found)], None),
            (vec![Some(&found), Some(&found)], None),
            (vec![Some(&found), None], Some(Skip::Failed)),
            (vec![Some(&found), Some(&shed)], Some(Skip::Shed)),
            (vec![Some(&gated), Some(&shed)], Some(Skip::Shed)),
            (vec![Some(&found), Some(&gated)], Some(Skip::Gated)),
        ] {
            assert_eq!(unseen(answers.into_iter()), expected);
        }
    }

    #[test]
    fn what_is_held_has_a_bound() {
        let mut stream = Stream::new(false);
        for track in 0..2000 {
            stream.frame(None, &[(Some(track), "face", 0.0)]);
            stream.frame -= 1;
        }
        assert_eq!(stream.privacy.tracks.len(), HELD_MAX);
    }
}
