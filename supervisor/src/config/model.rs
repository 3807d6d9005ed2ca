//! Models: an ONNX file and how to talk to it.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;

use contract::spec::ModelFamily;

use super::Fraction;
use super::code;
use super::files::{FileKind, SourceFile};
use super::reader::Fields;
use super::table::{Absent, Key, Kind, Section};

/// Most classes of a model: a class is a `u16` on the bus.
const LABELS_MAX: usize = 1 << 16;

/// Most bytes of a file of labels.
const LABELS_BYTES_MAX: u64 = 4 << 20;

/// The classes of the COCO detection data set, one a line, in the order models are trained on.
const COCO: &str = include_str!("coco.txt");

/// The keys of a model.
pub(super) const MODEL: Section = Section {
    name: "model",
    doc: "An ONNX model. One process runs it for all streams that name it in `infer`.",
    keys: &[
        Key {
            name: "file",
            doc: "The ONNX file.",
            kind: Kind::Path,
            absent: Absent::Required,
        },
        Key {
            name: "family",
            doc: "How its input is made and its output read.",
            kind: Kind::Choice(&["nanodet"]),
            absent: Absent::Required,
        },
        Key {
            name: "labels",
            doc: "Class names, by class index: `coco`, a file with one name a line, or a list.",
            kind: Kind::TextOrList,
            absent: Absent::Required,
        },
        Key {
            name: "score",
            doc: "Detections below are not reported.",
            kind: Kind::Fraction,
            absent: Absent::Default("0.4"),
        },
        Key {
            name: "nms",
            doc: "Of two boxes of one class that overlap more (IoU), only the better stays.",
            kind: Kind::Fraction,
            absent: Absent::Default("0.6"),
        },
        Key {
            name: "sessions",
            doc: "Sessions run in parallel, each of one thread. `auto`: as many as measured best at start.",
            kind: Kind::IntegerOr(1, 256, "auto"),
            absent: Absent::Default("auto"),
        },
    ],
};

/// A checked model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Absolute path of an ONNX file that was there when the config was checked.
    pub file: PathBuf,
    /// How its input is made and its output read.
    pub family: ModelFamily,
    /// Class names, by class index; none twice.
    pub labels: Vec<String>,
    /// Detections below are not reported.
    pub score: Fraction,
    /// Class-wise non-maximum suppression: of two boxes overlapping more, the better stays.
    pub nms: Fraction,
    /// One-thread sessions run in parallel; `None`: as many as measured best at start.
    pub sessions: Option<u32>,
}

impl ModelConfig {
    pub(super) fn read(fields: &Fields<'_>) -> Option<Self> {
        let file = fields
            .text("file")
            .and_then(|path| fields.reader.file("model file", &path));
        let family = fields.choice("family");
        let labels = read_labels(fields);
        let score = fields.fraction("score");
        let nms = fields.fraction("nms");
        let sessions = fields.integer_or_word("sessions");
        Some(Self {
            file: file?,
            family: family.map(|_| ModelFamily::Nanodet)?,
            labels: labels?,
            score: score?,
            nms: nms?,
            sessions: sessions?,
        })
    }
}

fn read_labels(fields: &Fields<'_>) -> Option<Vec<String>> {
    let reader = fields.reader;
    let node = fields.node("labels")?;
    let placed: Vec<(String, Range<usize>)> = if let Some(items) = node.as_sequence() {
        items
            .iter()
            .map(|item| {
                let label = reader.text(item, "a label")?;
                Some((label.text.trim().to_owned(), item.span.clone()))
            })
            .collect::<Option<_>>()?
    } else {
        let path = reader.text(node, "`labels`")?;
        let lines = if path.text == "coco" {
            COCO.to_owned()
        } else {
            let file = reader.text_file(FileKind::Labels, "file of labels", &path)?;
            match super::load::read_text(&file, LABELS_BYTES_MAX) {
                Ok(text) => {
                    let named = reader.directory.join(path.text);
                    let (kind, bytes) = (FileKind::Labels, text.as_bytes());
                    reader.note(SourceFile::read(kind, &named, bytes, Some(text.clone())));
                    text
                }
                Err(reason) => {
                    let written = reader.as_written(&node.span);
                    let message = format!("the file of labels `{written}` {reason}");
                    reader.report(
                        reader
                            .problem(code::NO_FILE, &node.span, message)
                            .helped("give a text file with one label a line, in the order of the model's classes"),
                    );
                    return None;
                }
            }
        };
        lines
            .lines()
            .map(|line| (line.trim().to_owned(), node.span.clone()))
            .filter(|(label, _)| !label.is_empty())
            .collect()
    };
    if placed.is_empty() || placed.len() > LABELS_MAX {
        let message = format!(
            "a model has from 1 to {LABELS_MAX} labels, not {}",
            placed.len()
        );
        reader.report(reader.problem(code::WRONG_VALUE, &node.span, message));
        return None;
    }
    let mut indices = HashMap::new();
    for (index, (label, span)) in placed.iter().enumerate() {
        if let Some(first) = indices.insert(label.as_str(), index) {
            let message = format!("the label `{label}` stands twice: classes {first} and {index}");
            reader.report(
                reader
                    .problem(code::TWICE, span, message)
                    .helped("rules name classes by their labels: give each its own"),
            );
        }
    }
    Some(placed.into_iter().map(|(label, _)| label).collect())
}

#[cfg(test)]
mod tests {
    use super::COCO;

    #[test]
    fn coco_has_its_eighty_classes_in_order() {
        let labels: Vec<&str> = COCO.lines().collect();
        assert_eq!(labels.len(), 80);
        assert_eq!(
            (labels[0], labels[2], labels[79]),
            ("person", "car", "toothbrush")
        );
    }
}
