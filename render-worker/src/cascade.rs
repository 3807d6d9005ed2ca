//! Cascades: which tracks a second model is shown, and when. Pure; time is event time.
//!
//! A track is shown first as soon as the cascade's condition holds for it, and then again and
//! again, with at least `every` between two times. Where more are due than may be, those go
//! first that have waited longest since they were last shown, or, when they never were, since
//! the condition first held. So each track's turn comes, however many there are.

use std::collections::BTreeMap;

use contract::spec::CascadeSpec;

use crate::crops::Subject;
use dsl::{RuleFile, When};

/// A track that may be shown: it is seen in this frame, and the cascade's condition holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate<'a> {
    /// What would be cut out.
    pub(crate) subject: Subject,
    /// Its class name.
    pub(crate) label: &'a str,
}

/// A track whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Due {
    /// It has waited since this event time.
    pub(crate) since_pts_ns: u64,
    /// What is cut out.
    pub(crate) subject: Subject,
}

/// One cascade of a stream, with what it knows of each track.
#[derive(Debug)]
pub(crate) struct Cascade {
    spec: CascadeSpec,
    /// As many as the trackers follow, who bound their number.
    tracks: BTreeMap<u64, Asking>,
}

/// A track of a cascade.
#[derive(Debug, Clone, Copy)]
struct Asking {
    /// When it was last shown; or, when it never was, when the condition first held.
    since_pts_ns: u64,
    shown: bool,
    /// The model has found something on it.
    found: bool,
}

impl Cascade {
    pub(crate) fn new(spec: CascadeSpec) -> Self {
        Self {
            spec,
            tracks: BTreeMap::new(),
        }
    }

    pub(crate) fn spec(&self) -> &CascadeSpec {
        &self.spec
    }

    /// How long an answer is shown in the picture: until the next one should have come, and
    /// once more as long, for it may be late.
    pub(crate) fn shown_ns(&self) -> u64 {
        self.every_ns().saturating_mul(2)
    }

    /// Goes on by another spec of the same model.
    pub(crate) fn change(&mut self, spec: CascadeSpec) {
        self.tracks
            .retain(|_, asking| asking.shown || spec.when == self.spec.when);
        self.spec = spec;
    }

    /// Forgets the tracks that have ended.
    pub(crate) fn retain(&mut self, lives: impl Fn(u64) -> bool) {
        self.tracks.retain(|track, _| lives(*track));
    }

    /// Whose turn it is among the candidates of a frame; those for whom `waits` says so are
    /// unanswered still.
    pub(crate) fn due<'a>(
        &mut self,
        pts_ns: u64,
        candidates: impl Iterator<Item = Candidate<'a>>,
        waits: impl Fn(u64) -> bool,
    ) -> Vec<Due> {
        let (every_ns, until_found) = (self.every_ns(), self.spec.until_found);
        let mut due = Vec::new();
        for candidate in candidates {
            if !self.is_of(candidate.label) {
                continue;
            }
            let track = candidate.subject.track;
            let asking = *self.tracks.entry(track).or_insert(Asking {
                since_pts_ns: pts_ns,
                shown: false,
                found: false,
            });
            let since_ns = pts_ns.saturating_sub(asking.since_pts_ns);
            let rests = asking.shown && since_ns < every_ns;
            if rests || (until_found && asking.found) || waits(track) {
                continue;
            }
            due.push(Due {
                since_pts_ns: asking.since_pts_ns,
                subject: candidate.subject,
            });
        }
        due
    }

    /// The track was shown, or was to be and could not.
    pub(crate) fn shown(&mut self, track: u64, pts_ns: u64) {
        if let Some(asking) = self.tracks.get_mut(&track) {
            asking.since_pts_ns = pts_ns;
            asking.shown = true;
        }
    }

    /// The model has answered.
    pub(crate) fn answered(&mut self, track: u64, found: bool) {
        if let Some(asking) = self.tracks.get_mut(&track) {
            asking.found |= found;
        }
    }

    fn is_of(&self, label: &str) -> bool {
        self.spec.of.iter().any(|own| own == label)
    }

    fn every_ns(&self) -> u64 {
        self.spec.every_ms.saturating_mul(1_000_000)
    }
}

/// The conditions of the cascades, in their order; `None`: whenever a track is seen.
#[derive(Debug, Default)]
pub(crate) struct Conditions(Vec<Option<When>>);

impl Conditions {
    /// Reads them with the zones and lines of `rules`.
    ///
    /// # Errors
    /// The first mistake; the supervisor has checked them, so it is a defect.
    pub(crate) fn read(cascades: &[CascadeSpec], rules: &RuleFile) -> Result<Self, String> {
        let read = |cascade: &CascadeSpec| {
            let text = cascade.when.as_deref();
            text.map(|text| When::parse_checked(text, rules))
                .transpose()
        };
        cascades
            .iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// All there are, for the rules' engine to ask.
    pub(crate) fn all(&self) -> impl Iterator<Item = When> {
        self.0.iter().flatten().cloned()
    }

    /// Where the condition of a cascade stands among those that the rules' engine asks.
    pub(crate) fn place(&self, cascade: usize) -> Option<usize> {
        let (before, from) = self.0.split_at_checked(cascade)?;
        from.first()?.as_ref()?;
        Some(before.iter().flatten().count())
    }
}

#[cfg(test)]
mod tests {
    use contract::detection::Landmarks;
    use contract::geometry::BoundingBox;
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn spec() -> CascadeSpec {
        CascadeSpec {
            model: "faces".parse().expect("a name"),
            of: vec!["person".to_owned()],
            every_ms: 1000,
            when: None,
            until_found: false,
        }
    }

    fn candidate(track: u64) -> Candidate<'static> {
        Candidate {
            subject: Subject {
                track,
                bounds: BoundingBox::default(),
                landmarks: Landmarks::NONE,
            },
            label: "person",
        }
    }

    fn due(cascade: &mut Cascade, pts_ns: u64, tracks: &[u64]) -> Vec<u64> {
        let candidates = tracks.iter().map(|track| candidate(*track));
        let due = cascade.due(pts_ns, candidates, |_| false);
        due.iter().map(|due| due.subject.track).collect()
    }

    #[test]
    fn at_once_and_then_every_second() {
        let mut cascade = Cascade::new(spec());
        assert_eq!(due(&mut cascade, 5, &[7]), [7]);
        assert_eq!(due(&mut cascade, 6, &[7]), [7], "it was not shown yet");
        cascade.shown(7, 6);
        assert!(due(&mut cascade, 6 + SECOND - 1, &[7]).is_empty());
        assert_eq!(due(&mut cascade, 6 + SECOND, &[7, 8]), [7, 8]);
        // An answer does not come: it waits for it, and no longer than it must.
        cascade.shown(7, 6 + SECOND);
        let waiting = cascade.due(9 * SECOND, [candidate(7)].into_iter(), |track| track == 7);
        assert_eq!(waiting, []);
        assert_eq!(due(&mut cascade, 9 * SECOND, &[7]), [7]);
        // One that has ended is forgotten, and would begin anew.
        cascade.shown(7, 9 * SECOND);
        cascade.retain(|track| track != 7);
        assert_eq!(due(&mut cascade, 9 * SECOND, &[7]), [7]);
        let car = Candidate {
            label: "car",
            ..candidate(3)
        };
        assert_eq!(cascade.due(0, [car].into_iter(), |_| false), []);
    }

    #[test]
    fn each_cascade_has_its_own_condition_or_none() {
        let when = |when: Option<&str>| CascadeSpec {
            when: when.map(str::to_owned),
            ..spec()
        };
        let specs = [
            when(Some("score > 0.5")),
            when(None),
            when(Some("box.x > 0")),
        ];
        let rules = RuleFile::default();
        let conditions = Conditions::read(&specs, &rules).expect("right");
        let places = [0, 1, 2, 3].map(|cascade| conditions.place(cascade));
        assert_eq!(places, [Some(0), None, Some(1), None]);
        assert_eq!(conditions.all().count(), 2);
        let error = Conditions::read(&[when(Some("in_zone(door)"))], &rules);
        assert!(error.expect_err("there is no door").contains("door"));
    }

    #[test]
    fn until_something_is_found() {
        let mut cascade = Cascade::new(CascadeSpec {
            until_found: true,
            ..spec()
        });
        due(&mut cascade, 0, &[7]);
        cascade.shown(7, 0);
        cascade.answered(7, false);
        assert_eq!(due(&mut cascade, SECOND, &[7]), [7]);
        cascade.shown(7, SECOND);
        cascade.answered(7, true);
        cascade.answered(7, false);
        assert_eq!(due(&mut cascade, 9 * SECOND, &[7, 8]), [8]);
        // And when the config thinks better of it, it goes on.
        cascade.change(spec());
        assert_eq!(due(&mut cascade, 9 * SECOND, &[7]), [7]);
    }

    proptest! {
        /// With room for fewer than there are, no track is shown twice inside of `every`, and
        /// none waits for more turns than there are tracks.
        #[test]
        fn each_turn_comes(
            tracks in 1_u64..40, room in 1_usize..8, interval_ms in 1_u64..400,
        ) {
            let mut cascade = Cascade::new(spec());
            let all: Vec<u64> = (0..tracks).collect();
            let mut shown: BTreeMap<u64, u64> = BTreeMap::new();
            let mut longest = 0;
            let frames = 3 * (tracks / room as u64 + 1) + 6 * 1000 / interval_ms;
            for frame in 0..frames {
                let pts_ns = frame * interval_ms * 1_000_000;
                let candidates = all.iter().map(|track| candidate(*track));
                let mut due = cascade.due(pts_ns, candidates, |_| false);
                due.sort_by_key(|due| due.since_pts_ns);
                for Due { subject, .. } in due.into_iter().take(room) {
                    let track = subject.track;
                    if let Some(before) = shown.insert(track, pts_ns) {
                        prop_assert!(pts_ns - before >= SECOND);
                        longest = longest.max(pts_ns - before);
                    }
                    cascade.shown(track, pts_ns);
                }
            }
            prop_assert_eq!(shown.len() as u64, tracks);
            // Rounds that it takes to come to all, each a frame, and the frame after `every`.
            let rounds = tracks.div_ceil(room as u64) + 1;
            let most = (rounds * interval_ms).max(1000 + rounds * interval_ms);
            prop_assert!(longest <= most * 1_000_000, "{longest} ns");
        }
    }
}
