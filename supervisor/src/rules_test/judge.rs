//! What fires in a case, and how that differs from what must.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use analytics::{EngineSpec, Firing, Phase, RuleEngine};
use dsl::RuleFile;
use serde::Serialize;

use super::{Case, Expected};
use crate::event_time::at_frame;

/// Something that fired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fired {
    /// The rule.
    pub rule: String,
    /// The track, where the rule is about tracks.
    pub track: Option<u64>,
    /// When it fired.
    pub begin_pts_ns: u64,
    /// The frame at which it fired, from 0.
    pub frame: u64,
    /// When it ended.
    pub end_pts_ns: Option<u64>,
    /// What it said.
    pub message: String,
    /// The labels it carried.
    pub labels: BTreeMap<String, String>,
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The case.
    pub case: String,
    /// What differs; nothing when all is as it must be.
    pub differences: Vec<Difference>,
    /// All that fired.
    pub fired: Vec<Fired>,
}

impl Outcome {
    /// Whether all is as it must be.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.differences.is_empty()
    }
}

/// One firing that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The rule.
    pub rule: String,
    /// The track.
    pub track: Option<u64>,
    /// What differs; at least one.
    pub fields: Vec<Field>,
}

/// One value that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Which: `begin`, `end`, `message`, `labels`.
    pub name: &'static str,
    /// What must be; `None` where nothing must.
    pub expected: Option<String>,
    /// What is; `None` where nothing is.
    pub got: Option<String>,
}

impl Case {
    /// Evaluates the rules over the case's frames, as a render worker does.
    #[must_use]
    pub fn run(&self, rules: &Arc<RuleFile>) -> Vec<Fired> {
        let setting = &self.setting;
        let spec = EngineSpec {
            generation: 0,
            stream: setting.stream.clone(),
            stream_labels: setting.labels.clone(),
            class_names: vec![self.class_names()],
            forget_after_ns: setting.lost_timeout_ns,
        };
        let mut engine = RuleEngine::new(Arc::clone(rules), &spec);
        let mut fired = BTreeMap::new();
        for frame in self.frames() {
            note(&mut fired, engine.observe(&frame));
        }
        note(&mut fired, engine.finish());
        let mut fired: Vec<_> = fired.into_values().collect();
        fired.retain(|fired| self.looks_at(&fired.rule));
        fired.sort_by(|one, other| {
            let key = |fired: &Fired| (fired.begin_pts_ns, fired.track);
            key(one).cmp(&key(other)).then(one.rule.cmp(&other.rule))
        });
        fired
    }

    /// Runs it and compares.
    #[must_use]
    pub fn judge(&self, rules: &Arc<RuleFile>) -> Outcome {
        let fired = self.run(rules);
        Outcome {
            case: self.name.clone(),
            differences: self.differences(&fired),
            fired,
        }
    }

    /// What differs from what must fire, rule by rule and track by track.
    #[must_use]
    pub fn differences(&self, fired: &[Fired]) -> Vec<Difference> {
        let keys = self
            .expected
            .iter()
            .map(|expected| (expected.rule.text.as_str(), expected.track));
        let keys = keys.chain(fired.iter().map(|fired| (fired.rule.as_str(), fired.track)));
        let keys: BTreeSet<_> = keys.collect();
        let mut differences = Vec::new();
        for (rule, track) in keys {
            let mut expected: Vec<_> = self
                .expected
                .iter()
                .filter(|expected| expected.rule.text == rule && expected.track == track)
                .collect();
            expected.sort_by_key(|expected| expected.begin_ns);
            let fired: Vec<_> = fired
                .iter()
                .filter(|fired| fired.rule == rule && fired.track == track)
                .collect();
            for (expected, fired) in self.pairs(&expected, &fired) {
                let fields = self.fields(expected, fired);
                if !fields.is_empty() {
                    differences.push(Difference {
                        rule: rule.to_owned(),
                        track,
                        fields,
                    });
                }
            }
        }
        differences
    }

    fn looks_at(&self, rule: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only.text == rule)
    }

    /// Who belongs to whom, both in order of time: first those that begin together,
    /// then the others one by one, so that a late firing is told as late and not as
    /// one too few and one too many.
    fn pairs<'a>(
        &self,
        expected: &[&'a Expected],
        fired: &[&'a Fired],
    ) -> Vec<(Option<&'a Expected>, Option<&'a Fired>)> {
        let mut pairs = Vec::new();
        let mut strangers: Vec<&Fired> = Vec::new();
        let mut missed: Vec<&Expected> = Vec::new();
        let mut waiting = expected.iter().copied().peekable();
        for &fired in fired {
            while let Some(early) = waiting.next_if(|expected| {
                expected.begin_ns < fired.begin_pts_ns
                    && !self.is_near(expected.begin_ns, fired.begin_pts_ns)
            }) {
                missed.push(early);
            }
            let begins = |expected: &&Expected| self.is_near(expected.begin_ns, fired.begin_pts_ns);
            match waiting.next_if(begins) {
                Some(expected) => pairs.push((Some(expected), Some(fired))),
                None => strangers.push(fired),
            }
        }
        missed.extend(waiting);
        let count = missed.len().max(strangers.len());
        let rest = |index: usize| (missed.get(index).copied(), strangers.get(index).copied());
        pairs.extend((0..count).map(rest));
        pairs
    }

    fn fields(&self, expected: Option<&Expected>, fired: Option<&Fired>) -> Vec<Field> {
        let begin = |expected, got| Field {
            name: "begin",
            expected,
            got,
        };
        match (expected, fired) {
            (None, None) => Vec::new(),
            (Some(expected), None) => vec![begin(Some(self.moment(expected.begin_ns)), None)],
            (None, Some(fired)) => {
                let got = format!("{}, {:?}", self.moment(fired.begin_pts_ns), fired.message);
                vec![begin(None, Some(got))]
            }
            (Some(expected), Some(fired)) => self.differing(expected, fired),
        }
    }

    fn differing(&self, expected: &Expected, fired: &Fired) -> Vec<Field> {
        let mut fields = Vec::new();
        let mut note = |name, expected: String, got: Option<String>| {
            fields.push(Field {
                name,
                expected: Some(expected),
                got,
            });
        };
        if !self.is_near(expected.begin_ns, fired.begin_pts_ns) {
            let got = self.moment(fired.begin_pts_ns);
            note("begin", self.moment(expected.begin_ns), Some(got));
        }
        if let Some(end_ns) = expected.end_ns {
            let got = fired.end_pts_ns;
            if !got.is_some_and(|got| self.is_near(end_ns, got)) {
                let got = got.map(|got| self.moment(got));
                note("end", self.moment(end_ns), got);
            }
        }
        if let Some(message) = &expected.message
            && *message != fired.message
        {
            let got = format!("{:?}", fired.message);
            note("message", format!("{message:?}"), Some(got));
        }
        if let Some(labels) = &expected.labels
            && *labels != fired.labels
        {
            note("labels", shown(labels), Some(shown(&fired.labels)));
        }
        fields
    }

    /// Within one frame.
    fn is_near(&self, one_ns: u64, other_ns: u64) -> bool {
        one_ns.abs_diff(other_ns) <= self.setting.frame_ns()
    }

    fn moment(&self, pts_ns: u64) -> String {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "at most FRAMES_MAX frames"
        )]
        let frame = (pts_ns as f64 * self.setting.fps / 1e9).round() as u64;
        at_frame(pts_ns, frame)
    }
}

/// Notes begins, and ends with the begins they belong to.
fn note(fired: &mut BTreeMap<String, Fired>, firings: impl IntoIterator<Item = Firing>) {
    for Firing { phase, event, .. } in firings {
        match phase {
            Phase::Begin => {
                let begun = Fired {
                    rule: event.rule,
                    track: event.track,
                    begin_pts_ns: event.begin_pts_ns,
                    frame: event.sequence_number,
                    end_pts_ns: None,
                    message: event.message,
                    labels: event.labels,
                };
                fired.insert(event.id, begun);
            }
            Phase::End => {
                if let Some(begun) = fired.get_mut(&event.id) {
                    begun.end_pts_ns = event.end_pts_ns;
                }
            }
        }
    }
}

/// `{a: 1, b: 2}`
fn shown(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = labels
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}
