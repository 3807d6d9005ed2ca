//! Class names of models, where a stream's config speaks of them.

use std::collections::BTreeSet;

use contract::name::ModelName;
use dsl::yaml::Node;

use super::reader::Reader;
use super::{ModelConfig, code};

/// The class names that some models know.
pub(super) struct Classes<'a> {
    /// `None` when it is not known what models there are: then any name is taken.
    names: Option<BTreeSet<&'a str>>,
}

impl<'a> Classes<'a> {
    /// The class names of these models.
    pub(super) fn of(models: impl IntoIterator<Item = (&'a ModelName, &'a ModelConfig)>) -> Self {
        let labels = models.into_iter().flat_map(|(_, model)| &model.labels);
        Self {
            names: Some(labels.map(String::as_str).collect()),
        }
    }

    /// It is not known what models there are.
    pub(super) fn unknown() -> Self {
        Self { names: None }
    }

    /// Reads a label or a list of them; what is wrong is reported, and `None`.
    pub(super) fn read_labels(
        &self,
        reader: &Reader<'_>,
        key: &str,
        node: &Node,
    ) -> Option<Vec<String>> {
        let items = node.as_sequence().unwrap_or(std::slice::from_ref(node));
        if items.is_empty() {
            let message = format!("`{key}` names no label");
            let problem = reader.problem(code::WRONG_VALUE, &node.span, message);
            reader.report(problem.helped(format!("name some: `{key}: [person, car]`")));
            return None;
        }
        let mut labels: Vec<String> = Vec::new();
        let mut right = true;
        for item in items {
            let Some(label) = reader.text(item, "a label") else {
                right = false;
                continue;
            };
            let written = reader.as_written(&item.span);
            if !self.knows(label.text) {
                right = false;
                self.report_unknown(reader, item, label.text);
            } else if labels.iter().any(|known| known == label.text) {
                right = false;
                let message = format!("the label `{written}` is named twice");
                reader.report(reader.problem(code::TWICE, &item.span, message));
            } else {
                labels.push(label.text.to_owned());
            }
        }
        right.then_some(labels)
    }

    fn knows(&self, label: &str) -> bool {
        self.names
            .as_ref()
            .is_none_or(|names| names.contains(label))
    }

    fn report_unknown(&self, reader: &Reader<'_>, item: &Node, label: &str) {
        let written = reader.as_written(&item.span);
        let names = || self.names.iter().flatten().copied();
        // Some models know a thousand.
        const NAMED_MAX: usize = 8;
        let some: Vec<String> = names()
            .take(NAMED_MAX)
            .map(|name| format!("`{name}`"))
            .collect();
        let known = match names().count() {
            0 => "no model knows any label here: add `infer:`".to_owned(),
            1..=NAMED_MAX => format!("the labels are {}", some.join(", ")),
            count => format!("there are {count}, {} among them", some.join(", ")),
        };
        reader.report(
            reader
                .problem(
                    code::UNKNOWN_LABEL,
                    &item.span,
                    format!("no model has the label `{written}`"),
                )
                .suggesting(dsl::suggest(label, names()), known),
        );
    }
}
