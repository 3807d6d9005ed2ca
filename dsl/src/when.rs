//! The condition of a rule, checked and compiled: what the rest of Sluice evaluates.

use crate::cost::Cost;
use crate::explain::{self, Explanation};
use crate::memory::{Memory, Shared};
use crate::needs::Needs;
use crate::program::Program;
use crate::rule_file::Subject;
use crate::scene::Scene;
use crate::typed::Sequence;

/// The condition of a rule, ready to be evaluated.
///
/// It is never changed. What it remembers of one key (a track, or the stream) lies in a
/// [`Memory`]; what its evaluations of one frame share, in a [`Shared`].
#[derive(Debug, Clone)]
pub struct When {
    text: String,
    subject: Subject,
    sequence: Sequence,
    program: Program,
}

/// Conditions of the same text, about the same kind of subject. Zones and lines are part of
/// the rule file that they stand in.
impl PartialEq for When {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.subject == other.subject
    }
}

impl When {
    pub(crate) fn new(text: &str, subject: Subject, sequence: Sequence) -> Self {
        Self {
            text: text.to_owned(),
            subject,
            program: Program::new(&sequence, Some(subject)),
            sequence,
        }
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What this condition remembers of one key, at its beginning. All of it is allocated here.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.program.memory()
    }

    /// What all evaluations of this condition in one stream share. One a rule and stream.
    #[must_use]
    pub fn shared(&self) -> Shared {
        self.program.shared()
    }

    /// Tells `shared` of a new frame. To be called once for each frame in which the rule is
    /// evaluated, before its evaluations; also where no track is there to evaluate it for.
    /// Allocates nothing.
    pub fn begin_frame(&self, scene: &Scene<'_>, shared: &mut Shared) {
        self.program.begin_frame(scene, shared);
    }

    /// Evaluates the condition for one key in one frame and advances what it remembers.
    ///
    /// `subject` is the index of the track in [`Scene::tracks`]; `None` in rules `on: frame`
    /// and `on: stream`. Allocates nothing. When event time goes back, all that was
    /// remembered is forgotten.
    pub fn evaluate(
        &self,
        scene: &Scene<'_>,
        subject: Option<usize>,
        shared: &mut Shared,
        memory: &mut Memory,
    ) -> bool {
        self.program.evaluate(scene, subject, shared, memory)
    }

    /// As [`When::evaluate`], to be called instead of it; says also what each part said.
    pub fn explain(
        &self,
        scene: &Scene<'_>,
        subject: Option<usize>,
        shared: &mut Shared,
        memory: &mut Memory,
    ) -> Explanation {
        let holds = self.evaluate(scene, subject, shared, memory);
        explain::explain(self, holds, scene, subject, shared, memory)
    }

    /// What must be measured for this condition.
    pub(crate) fn needs(&self) -> Needs {
        Needs::of_sequence(&self.sequence)
    }

    /// An upper bound of the work of one evaluation.
    #[must_use]
    pub fn cost(&self) -> Cost {
        Cost::of_sequence(&self.sequence, self.subject)
    }

    pub(crate) fn sequence(&self) -> &Sequence {
        &self.sequence
    }
}
