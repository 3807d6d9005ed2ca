//! Cascades: tracks that are shown to a second model again and again.

use std::time::Duration;

use contract::findings::Finds;
use contract::name::ModelName;
use contract::spec::CascadeSpec;
use dsl::yaml::Node;

use super::code;
use super::reader::{Fields, Reader};
use super::stream::{Around, StreamRules, read_model};
use super::table::{Absent, Key, Kind, Section};
use super::units::millis;

/// Most cascades of a stream.
const CASCADES_MAX: usize = 16;

/// The keys of one item of `cascades`.
pub(super) const CASCADE: Section = Section {
    name: "cascade",
    doc: "Tracks that are cut out and shown to a second model; what it finds on one is the \
          track's attribute of the model's name, and is drawn with it.",
    keys: &[
        Key {
            name: "model",
            doc: "The second model.",
            kind: Kind::Name(contract::name::NAME_BYTES_MAX),
            absent: Absent::Required,
        },
        Key {
            name: "of",
            doc: "Labels of the tracks, as the models in `infer` know them.",
            kind: Kind::TextOrList,
            absent: Absent::Required,
        },
        Key {
            name: "every",
            doc: "A track is shown at most so often.",
            kind: Kind::Duration(100, 3_600_000),
            absent: Absent::Default("1s"),
        },
        Key {
            name: "when",
            doc: "Only while this condition of the rule language holds for it, like \
                  `box.height > 0.1 and score > 0.5`; it may name zones and lines of the \
                  stream's rule file.",
            kind: Kind::Text,
            absent: Absent::Optional,
        },
        Key {
            name: "until",
            doc: "`end`: as long as the track lives. `found`: no more once the model has found \
                  something on it.",
            kind: Kind::Choice(&["end", "found"]),
            absent: Absent::Default("end"),
        },
    ],
};

/// A checked cascade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CascadeConfig {
    /// The second model.
    pub model: ModelName,
    /// Labels of the tracks.
    pub of: Vec<String>,
    /// A track is shown at most so often.
    pub every: Duration,
    /// Only while this holds for it.
    pub when: Option<String>,
    /// No more once something was found on it.
    pub until_found: bool,
}

impl CascadeConfig {
    /// Reads `cascades` of a stream that is looked at by the models `infer`; `None` when these
    /// could not be read.
    pub(super) fn read_all(
        fields: &Fields<'_>,
        infer: Option<&[ModelName]>,
        rules: &StreamRules,
        around: &Around<'_, '_>,
    ) -> Option<Vec<Self>> {
        let reader = fields.reader;
        let items = fields.list("cascades");
        let mut right = true;
        if let Some(item) = items.get(CASCADES_MAX) {
            let message = format!("a stream has {CASCADES_MAX} cascades at most");
            reader.report(reader.problem(code::WRONG_VALUE, &item.span, message));
            right = false;
        }
        let mut cascades: Vec<Self> = Vec::new();
        for item in items {
            let title = (&item.span, "a cascade");
            let cascade = Fields::open(reader, &CASCADE, item, title)
                .and_then(|fields| Self::read(&fields, infer, rules, around));
            let Some(cascade) = cascade else {
                right = false;
                continue;
            };
            right &= check_apart(reader, item, &cascade, &cascades);
            cascades.push(cascade);
        }
        right.then_some(cascades)
    }

    fn read(
        fields: &Fields<'_>,
        infer: Option<&[ModelName]>,
        rules: &StreamRules,
        around: &Around<'_, '_>,
    ) -> Option<Self> {
        let reader = fields.reader;
        let model = fields
            .node("model")
            .and_then(|node| read_second_model(reader, node, around));
        let classes = around.classes(infer);
        let of = fields
            .node("of")
            .and_then(|node| classes.read_labels(reader, "of", node));
        let every = fields.duration("every");
        let when = match fields.node("when") {
            Some(node) => read_condition(reader, node, rules, around).map(Some),
            None => Some(None),
        };
        let until = fields.choice("until");
        Some(Self {
            model: model?,
            of: of?,
            every: every?,
            when: when?,
            until_found: until? == "found",
        })
    }

    /// The cascade as the render worker is told.
    #[must_use]
    pub fn spec(&self) -> CascadeSpec {
        CascadeSpec {
            model: self.model.clone(),
            of: self.of.clone(),
            every_ms: millis(self.every),
            when: self.when.clone(),
            until_found: self.until_found,
        }
    }
}

/// A model that says something of a crop.
fn read_second_model(
    reader: &Reader<'_>,
    node: &Node,
    around: &Around<'_, '_>,
) -> Option<ModelName> {
    let (name, finds) = read_model(reader, node, &around.models)?;
    if !finds.is_some_and(Finds::is_map) {
        return Some(name);
    }
    let message = format!("the model `{name}` makes a map of a whole frame, and sees no tracks");
    let problem = reader.problem(code::CONTRADICTION, &node.span, message);
    reader.report(problem.helped("name it in the stream's `infer`"));
    None
}

/// Compiles a condition about tracks; its text, if it is right.
fn read_condition(
    reader: &Reader<'_>,
    node: &Node,
    rules: &StreamRules,
    around: &Around<'_, '_>,
) -> Option<String> {
    let text = reader.text(node, "`when`")?;
    // Without its zones every condition that names one would seem wrong.
    let rules = rules.file()?;
    let context = around.rule_files.context();
    match dsl::When::parse(node, reader.text, reader.file, rules, context) {
        Ok(_) => Some(text.text.to_owned()),
        Err(diagnostics) => {
            for diagnostic in diagnostics {
                reader.report(diagnostic);
            }
            None
        }
    }
}

/// An attribute has one source: no track is shown to one model by two cascades.
fn check_apart(
    reader: &Reader<'_>,
    item: &Node,
    cascade: &CascadeConfig,
    others: &[CascadeConfig],
) -> bool {
    let same = others.iter().filter(|other| other.model == cascade.model);
    let mut taken = same.flat_map(|other| &other.of);
    let Some(label) = taken.find(|label| cascade.of.contains(label)) else {
        return true;
    };
    let model = &cascade.model;
    let message = format!("two cascades show `{label}` to the model `{model}`");
    let span = item.get("of").map_or(&item.span, |node| &node.span);
    let problem = reader.problem(code::TWICE, span, message);
    reader.report(problem.helped("make one of the two, with `or` between their conditions"));
    false
}
