//! Why a rule fired for a key, and why it did not.
//!
//! An [`Explainer`] plays the records of a run through a [`RuleEngine`] as a replay does; only
//! that the condition of one rule is *explained* for one key instead of evaluated, which
//! gives the same answer and says what each part of it said. What comes of it is a
//! [`Timeline`]: when each part held and with which values, and each time that the whole held,
//! what became of it.

mod timeline;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use contract::control::FrameRecord;
use dsl::{Explanation, RuleFile, Subject};

pub use timeline::{
    Break, HOLDINGS_MAX, Holding, Moment, Outcome, PART_SPANS_MAX, PartTimeline, PartValue, Span,
    Timeline, ValueRange,
};

use self::timeline::Recorder;
use crate::rules::{self, Firing, HeldBack, Reloaded, RuleEngine};

/// What is to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The rule.
    pub rule: String,
    /// The track, for a rule `on: track`.
    pub track: Option<u64>,
    /// The event time that is looked at. What lies before is played too, for rules remember.
    pub pts_ns: RangeInclusive<u64>,
}

/// Why a question cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// There is no such rule.
    #[error("there is no rule `{rule}`{}", did_you_mean(.similar.as_deref()))]
    UnknownRule {
        /// The name asked for.
        rule: String,
        /// One that is like it.
        similar: Option<String>,
    },
    /// The rule is about tracks, and none is named.
    #[error("rule `{0}` is about tracks: say which one")]
    TrackMissing(String),
    /// The rule is not about tracks, and one is named.
    #[error("rule `{0}` is about the whole stream, not about a track")]
    TrackUnexpected(String),
}

fn did_you_mean(similar: Option<&str>) -> String {
    similar.map_or_else(String::new, |name| format!(": did you mean `{name}`?"))
}

/// Plays records through rules and watches one of them.
#[derive(Debug)]
pub struct Explainer {
    engine: RuleEngine,
    watch: Watch,
}

impl Explainer {
    /// Watches a rule of an engine that remembers nothing yet.
    ///
    /// # Errors
    /// [`QuestionError`] when the question is not one about these rules.
    pub fn new(engine: RuleEngine, question: Question) -> Result<Self, QuestionError> {
        let rules = &engine.file().rules;
        let Some(index) = rules.iter().position(|rule| rule.name == question.rule) else {
            let names = rules.iter().map(|rule| rule.name.as_str());
            let similar = dsl::suggest(&question.rule, names);
            return Err(QuestionError::UnknownRule {
                rule: question.rule,
                similar,
            });
        };
        let rule = &rules[index];
        match (rule.on, question.track) {
            (Subject::Track, None) => return Err(QuestionError::TrackMissing(question.rule)),
            (Subject::Frame | Subject::Stream, Some(_)) => {
                return Err(QuestionError::TrackUnexpected(question.rule));
            }
            _ => {}
        }
        let recorder = Recorder::new(rule, question.track, question.pts_ns);
        Ok(Self {
            watch: Watch {
                rule: index,
                track: question.track,
                recorder,
            },
            engine,
        })
    }

    /// Takes in the next record of the run; what the rules told then.
    pub fn observe(&mut self, record: &FrameRecord) -> Vec<Firing> {
        self.engine.observe_watched(record, Some(&mut self.watch))
    }

    /// Reloads the rules where the run did. A rule that is not among them is not watched on.
    pub fn reload(&mut self, file: impl Into<Arc<RuleFile>>, generation: u64) -> Reloaded {
        let file = file.into();
        let name = &self.watch.recorder.timeline.rule;
        let index = file.rules.iter().position(|rule| rule.name == *name);
        self.watch.rule = index.unwrap_or(usize::MAX);
        self.engine.reload(file, generation)
    }

    /// [`RuleEngine::set_stream_labels`], where the run did it.
    pub fn set_stream_labels(&mut self, labels: BTreeMap<String, String>) {
        self.engine.set_stream_labels(labels);
    }

    /// [`RuleEngine::set_forget_after_ns`], where the run did it.
    pub fn set_forget_after_ns(&mut self, forget_after_ns: u64) {
        self.engine.set_forget_after_ns(forget_after_ns);
    }

    /// The answer.
    #[must_use]
    pub fn finish(self) -> Timeline {
        self.watch.recorder.finish()
    }
}

/// The rule and the key that are watched, and what was seen of them.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Index of the rule.
    pub(crate) rule: usize,
    /// For a rule `on: track`.
    pub(crate) track: Option<u64>,
    recorder: Recorder,
}

impl Watch {
    /// Takes in what became of the key in one frame.
    pub(crate) fn see(&mut self, sight: &Sight) {
        self.recorder.see(sight);
    }
}

/// What became of the watched key in one frame.
#[derive(Debug)]
pub(crate) struct Sight {
    pub(crate) moment: Moment,
    /// Whether the condition holds; `None` when it was not asked.
    pub(crate) holds: Option<bool>,
    /// What its parts said; `None` when it was not asked, or the track was not seen.
    pub(crate) explanation: Option<Explanation>,
    /// The interval behind this frame.
    pub(crate) span: Option<rules::Span>,
    /// It has held for `for` with this frame.
    pub(crate) fires: bool,
    /// But was held back.
    pub(crate) held_back: Option<HeldBack>,
}
