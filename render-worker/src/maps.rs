//! The newest maps of the whole picture, for rules and for the overlay.
//!
//! A model that makes maps is slow beside one that finds objects, and skips frames. Its last
//! map stands for the frames after it, but not for long.

use std::sync::Arc;

use contract::findings::{CellValues, Findings, PictureMap};

use crate::join::Answer;

/// A map stands for frames until so much event time later.
const HELD_NS: u64 = 1_000_000_000;

/// The newest map of each kind.
#[derive(Debug, Default)]
pub(crate) struct Maps {
    depth: Option<Held>,
    classes: Option<Held>,
}

#[derive(Debug)]
struct Held {
    findings: Arc<Findings>,
    model: usize,
    pts_ns: u64,
}

impl Maps {
    /// Takes what the models say of a frame.
    pub(crate) fn observe(&mut self, pts_ns: u64, answers: &[Option<Answer>]) {
        for held in [&mut self.depth, &mut self.classes] {
            // Event time goes back where a file is repeated: the map is of another scene then.
            held.take_if(|held| {
                pts_ns
                    .checked_sub(held.pts_ns)
                    .is_none_or(|age| age > HELD_NS)
            });
        }
        for (model, answer) in answers.iter().enumerate() {
            let Some(Answer::Found(findings)) = answer else {
                continue;
            };
            let Findings::Map(map) = &**findings else {
                continue;
            };
            let held = match map.values() {
                CellValues::Depth { .. } => &mut self.depth,
                CellValues::Classes => &mut self.classes,
            };
            *held = Some(Held {
                findings: Arc::clone(findings),
                model,
                pts_ns,
            });
        }
    }

    /// Depth, once there is a map of it.
    pub(crate) fn depth(&self) -> Option<&PictureMap> {
        self.depth.as_ref().and_then(Held::map)
    }

    /// Classes, once there is a map of them, and the index of the model.
    pub(crate) fn classes(&self) -> Option<(&PictureMap, usize)> {
        let held = self.classes.as_ref()?;
        Some((held.map()?, held.model))
    }
}

impl Held {
    fn map(&self) -> Option<&PictureMap> {
        match &*self.findings {
            Findings::Map(map) => Some(map),
            Findings::Detections(_) | Findings::Embedding(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::detection::Skip;

    use super::*;

    fn found(values: CellValues, cell: u16) -> Option<Answer> {
        let map = PictureMap::new(1, values, vec![cell]).expect("a map");
        Some(Answer::Found(Arc::new(Findings::Map(map))))
    }

    const DEPTH: CellValues = CellValues::Depth {
        first: 0.0,
        last: 1.0,
    };

    #[test]
    fn a_map_stands_until_the_next_and_not_for_long() {
        let mut maps = Maps::default();
        maps.observe(0, &[found(DEPTH, 7), found(CellValues::Classes, 3)]);
        let skipped = [Some(Answer::Skipped(Skip::Shed)), None];
        maps.observe(HELD_NS, &skipped);
        assert_eq!(maps.depth().map(PictureMap::cells), Some(&[7][..]));
        let classes = maps.classes().map(|(map, model)| (map.cells()[0], model));
        assert_eq!(classes, Some((3, 1)));
        maps.observe(HELD_NS, &[found(DEPTH, 8), None]);
        maps.observe(HELD_NS + 1, &skipped);
        assert_eq!(maps.depth().map(PictureMap::cells), Some(&[8][..]));
        assert!(maps.classes().is_none());
        maps.observe(0, &skipped);
        assert!(maps.depth().is_none(), "event time went back");
    }
}
