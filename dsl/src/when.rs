//! The condition of a rule, checked and compiled: what the rest of Sluice evaluates.

use std::path::Path;

use crate::check::{self, Names};
use crate::cost::Cost;
use crate::diagnostic::Diagnostic;
use crate::explain::{self, Explanation};
use crate::load::Reader;
use crate::memory::{Memory, Shared};
use crate::needs::Needs;
use crate::problem::Problem;
use crate::program::Program;
use crate::rule_file::{Context, RuleFile, Subject};
use crate::scene::Scene;
use crate::syntax;
use crate::typed::Sequence;
use crate::yaml::Node;

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
    /// A condition about tracks that stands in another file than the rules: the scalar `node`
    /// of the YAML `text` in `file`. It may name zones and lines of `rules`, and is to be
    /// evaluated on scenes of that file only.
    ///
    /// # Errors
    /// Every mistake in it, in the order of the text.
    pub fn parse(
        node: &Node,
        text: &str,
        file: &Path,
        rules: &RuleFile,
        context: Option<&Context>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut reader = Reader {
            text,
            file,
            diagnostics: Vec::new(),
        };
        let condition = reader
            .scalar(node, "a condition is an expression, like `score > 60%`")
            .and_then(|written| match about_tracks(written, rules, context) {
                Ok(when) => Some(when),
                Err(problems) => reader.problems(node, problems),
            });
        condition.ok_or(reader.diagnostics)
    }

    /// The same of a text that another process has already checked: labels are taken as they
    /// are.
    ///
    /// # Errors
    /// The first mistake in it.
    pub fn parse_checked(text: &str, rules: &RuleFile) -> Result<Self, String> {
        about_tracks(text, rules, None).map_err(|problems| {
            let first = problems.first();
            let what = first.map_or("it cannot be read", |problem| &problem.message);
            format!("the condition `{text}` is wrong: {what}")
        })
    }

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
    #[must_use]
    pub fn needs(&self) -> Needs {
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

fn about_tracks(
    text: &str,
    rules: &RuleFile,
    context: Option<&Context>,
) -> Result<When, Vec<Problem>> {
    let zones: Vec<String> = rules.zones.iter().map(|zone| zone.name.clone()).collect();
    let lines: Vec<String> = rules.lines.iter().map(|line| line.name.clone()).collect();
    let names = Names {
        zones: &zones,
        lines: &lines,
        labels: context.map(|context| &context.labels),
        landmarks: context.map(|context| context.landmarks),
        depth: context.map(|context| context.depth),
    };
    let tree = syntax::parse_sequence(text).map_err(|problem| vec![problem])?;
    check::compile_when(text, &tree, Subject::Track, &names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    const RULES: &str = "zones: {door: {polygon: [[0, 0], [1, 0], [1, 1]]}}";

    fn rules() -> RuleFile {
        RuleFile::parse_checked(RULES, Path::new("rules.yaml")).expect("right")
    }

    fn parse(text: &str) -> Result<When, Vec<Diagnostic>> {
        let root = yaml::parse(text).root.expect("YAML");
        let node = root.get("when").expect("it");
        let context = Context {
            labels: ["person".to_owned()].into(),
            ..Context::default()
        };
        When::parse(node, text, Path::new("run.yaml"), &rules(), Some(&context))
    }

    #[test]
    fn a_condition_elsewhere_knows_the_zones_of_the_rules() {
        let text = "when: in_zone(door) and score > 50%";
        let when = parse(text).expect("right");
        assert_eq!(when.text(), "in_zone(door) and score > 50%");
        assert!(when.needs() == Needs::default());
        assert_eq!(When::parse_checked(when.text(), &rules()), Ok(when));
        assert!(
            parse("when: quality.sharpness > 1")
                .expect("right")
                .needs()
                .quality
        );
    }

    #[test]
    fn what_is_wrong_with_it_is_told_at_its_place() {
        let problems = parse("when: in_zone(dor) and labl == \"person\"").expect_err("wrong");
        let told: Vec<_> = problems
            .iter()
            .map(|one| (one.line, one.column, one.help.clone().unwrap_or_default()))
            .collect();
        assert_eq!(told.len(), 2, "{problems:?}");
        assert_eq!((told[0].0, told[0].1), (1, 15), "{problems:?}");
        assert!(told[1].2.contains("label"), "{problems:?}");
        assert!(parse("when: [a, list]").is_err());
        let error = When::parse_checked("in_zone(dor)", &rules()).expect_err("wrong");
        assert!(
            error.starts_with("the condition `in_zone(dor)` is wrong"),
            "{error}"
        );
    }
}
