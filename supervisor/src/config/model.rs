//! Models: an ONNX file and how to talk to it.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;

use contract::spec::{
    Backend, BackendSpec, BatchSpec, ColourOrder, InputSpec, ModelFamily, Precision,
};

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
            kind: Kind::Choice(&FAMILIES),
            absent: Absent::Required,
        },
        Key {
            name: "input",
            doc: "What the file leaves open of its input, and how pixels become its values.",
            kind: Kind::Section(&INPUT),
            absent: Absent::Optional,
        },
        Key {
            name: "labels",
            doc: "Class names, by class index: `coco`, a file with one name a line, or a list. \
                  A family that finds faces only, depth or embeddings needs none.",
            kind: Kind::TextOrList,
            absent: Absent::Optional,
        },
        Key {
            name: "score",
            doc: "Detections below are not reported.",
            kind: Kind::Fraction,
            absent: Absent::Default("0.4"),
        },
        Key {
            name: "nms",
            doc: "Of two boxes of one class that overlap more (IoU), only the better stays. \
                  When absent: what the authors of the family use.",
            kind: Kind::Fraction,
            absent: Absent::Optional,
        },
        Key {
            name: "sessions",
            doc: "Sessions run in parallel, each of one thread. `auto`: as many as measured best at start.",
            kind: Kind::IntegerOr(1, 256, "auto"),
            absent: Absent::Default("auto"),
        },
        Key {
            name: "batch",
            doc: "How many pictures, of any streams, share a run.",
            kind: Kind::Section(&BATCH),
            absent: Absent::Optional,
        },
        Key {
            name: "backend",
            doc: "What runs it. `auto`: the first that can be used of tensorrt, cuda and cpu, and                   openvino where `precision` asks for it; any other is used or is an error.",
            kind: Kind::Choice(&BACKENDS),
            absent: Absent::Default(AUTO),
        },
        Key {
            name: "device",
            doc: "Which GPU, from 0, as CUDA counts them.",
            kind: Kind::Integer(0, 63),
            absent: Absent::Default("0"),
        },
        Key {
            name: "precision",
            doc: "What it calculates in. `auto`: fp16 with tensorrt, else what the file's values are.",
            kind: Kind::Choice(&PRECISIONS),
            absent: Absent::Default(AUTO),
        },
    ],
};

/// The keys of a model's batches.
const BATCH: Section = Section {
    name: "batch",
    doc: "How many pictures share a run of a model, and how long one waits for others.",
    keys: &[
        Key {
            name: "max",
            doc: "Most pictures of a run. `auto`: as many as the file fixes; else 1 on a CPU, where more                   gain nothing, and 8 on a GPU.",
            kind: Kind::IntegerOr(1, 64, AUTO),
            absent: Absent::Default(AUTO),
        },
        Key {
            name: "delay",
            doc: "Under load a picture waits for others so long at most, where fuller batches were                   measured to be quicker. Nothing waits on an idle model.",
            kind: Kind::Duration(0, 1000),
            absent: Absent::Default("5ms"),
        },
    ],
};

/// Stands for what is found out at start.
const AUTO: &str = "auto";

/// The keys of a model's input.
const INPUT: Section = Section {
    name: "input",
    doc: "A model's input, where the file or the family leave it open.",
    keys: &[
        Key {
            name: "size",
            doc: "The size to run at, for a file that takes any. When absent: what is usual for the family.",
            kind: Kind::Size,
            absent: Absent::Optional,
        },
        Key {
            name: "color",
            doc: "Order of the channels. When absent: the family's.",
            kind: Kind::Choice(&COLOURS),
            absent: Absent::Optional,
        },
        Key {
            name: "mean",
            doc: "Subtracted from each channel, on the scale 0 to 255, in the order of the channels. \
                  When absent: the family's.",
            kind: Kind::Channels(0.0, 255.0),
            absent: Absent::Optional,
        },
        Key {
            name: "std",
            doc: "What each channel is divided by after that. When absent: the family's.",
            kind: Kind::Channels(0.01, 1000.0),
            absent: Absent::Optional,
        },
    ],
};

/// The families by name, for the table of keys.
const FAMILIES: [&str; ModelFamily::ALL.len()] = {
    let mut names = [""; ModelFamily::ALL.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = ModelFamily::ALL[index].as_str();
        index += 1;
    }
    names
};

/// The back ends by name, for the table of keys.
const BACKENDS: [&str; 1 + Backend::ALL.len()] = {
    let mut names = [AUTO; 1 + Backend::ALL.len()];
    let mut index = 0;
    while index < Backend::ALL.len() {
        names[1 + index] = Backend::ALL[index].as_str();
        index += 1;
    }
    names
};

/// The precisions by name, for the table of keys.
const PRECISIONS: [&str; 1 + Precision::ALL.len()] = {
    let mut names = [AUTO; 1 + Precision::ALL.len()];
    let mut index = 0;
    while index < Precision::ALL.len() {
        names[1 + index] = Precision::ALL[index].as_str();
        index += 1;
    }
    names
};

/// The orders of colours by name, for the table of keys.
const COLOURS: [&str; 2] = [ColourOrder::ALL[0].as_str(), ColourOrder::ALL[1].as_str()];

/// A checked model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Absolute path of an ONNX file that was there when the config was checked.
    pub file: PathBuf,
    /// How its input is made and its output read.
    pub family: ModelFamily,
    /// What is said of its input.
    pub input: InputSpec,
    /// Class names, by class index; none twice.
    pub labels: Vec<String>,
    /// Detections below are not reported.
    pub score: Fraction,
    /// Class-wise non-maximum suppression: of two boxes overlapping more, the better stays.
    pub nms: Fraction,
    /// One-thread sessions run in parallel; `None`: as many as measured best at start.
    pub sessions: Option<u32>,
    /// How many pictures share a run.
    pub batch: BatchSpec,
    /// What runs it; `None`: the best that is there.
    pub backend: Option<Backend>,
    /// Which GPU, from 0.
    pub device: u32,
    /// What it calculates in; `None`: what is usual for the back end.
    pub precision: Option<Precision>,
}

impl ModelConfig {
    pub(super) fn read(fields: &Fields<'_>) -> Option<Self> {
        let file = fields
            .text("file")
            .and_then(|path| fields.reader.file("model file", &path));
        let named = |name| ModelFamily::ALL.into_iter().find(|f| f.as_str() == name);
        let family = fields.choice("family").and_then(named);
        let input = fields.section("input").map(|input| read_input(&input));
        let labels = read_labels(fields, family);
        let score = fields.fraction("score");
        let nms = match fields.node("nms") {
            Some(_) => fields.fraction("nms"),
            None => family.and_then(nms_default),
        };
        let sessions = fields.integer_or_word("sessions");
        let batch = fields.section("batch").map(|batch| read_batch(&batch));
        let named = |name| Backend::ALL.into_iter().find(|b| b.as_str() == name);
        let backend = fields.choice("backend").and_then(named);
        let named = |name| Precision::ALL.into_iter().find(|p| p.as_str() == name);
        let precision = fields.choice("precision").and_then(named);
        check_backend(fields, backend, precision);
        let device = fields.integer("device");
        Some(Self {
            file: file?,
            family: family?,
            input: input?,
            labels: labels?,
            score: score?,
            nms: nms?,
            sessions: sessions?,
            batch: batch??,
            backend,
            device: device?,
            precision,
        })
    }

    /// What an infer worker is told of what runs it. `cache`: where engines are kept.
    #[must_use]
    pub fn backend_spec(&self, cache: Option<PathBuf>) -> BackendSpec {
        BackendSpec {
            backend: self.backend,
            device: self.device,
            precision: self.precision,
            cache,
        }
    }
}

fn read_batch(fields: &Fields<'_>) -> Option<BatchSpec> {
    let (max, delay) = (fields.integer_or_word("max"), fields.duration("delay"));
    let delay_us = u64::try_from(delay?.as_micros()).unwrap_or(u64::MAX);
    Some(BatchSpec {
        max: max?,
        delay_us,
    })
}

/// Reports what would have no meaning for a back end.
fn check_backend(fields: &Fields<'_>, backend: Option<Backend>, precision: Option<Precision>) {
    let Some(backend) = backend else { return };
    let (reader, name) = (fields.reader, backend.as_str());
    let report = |key: &str, message: String, help: String| {
        let problem = reader.problem(code::WRONG_VALUE, &fields.span(key), message);
        reader.report(problem.helped(help));
    };
    let precision = precision.filter(|asked| !backend.precisions().contains(asked));
    if let Some(precision) = precision {
        let possible = backend
            .precisions()
            .iter()
            .map(|p| format!("`{}`", p.as_str()));
        let possible = possible.collect::<Vec<_>>().join(", ");
        let message = format!(
            "`backend: {name}` cannot be told to use {}",
            precision.as_str()
        );
        let help = format!("leave `precision` out, or write one of {possible}");
        report("precision", message, help);
    }
    if fields.node("device").is_some() && !backend.is_gpu() {
        let message = format!("`device` is a GPU, and `backend: {name}` uses none");
        report("device", message, "leave `device` out".to_owned());
    }
}

/// What is absent stays open; what is wrong is reported.
fn read_input(fields: &Fields<'_>) -> InputSpec {
    let named = |name| ColourOrder::ALL.into_iter().find(|o| o.as_str() == name);
    InputSpec {
        size: fields.size("size"),
        colour: fields.choice("color").and_then(named),
        mean: fields.channels("mean"),
        deviation: fields.channels("std"),
    }
}

/// The overlap that the authors of a family allow in their own programs.
fn nms_default(family: ModelFamily) -> Option<Fraction> {
    Fraction::new(match family {
        // Its outputs are final, or there is nothing to overlap.
        ModelFamily::Ssd
        | ModelFamily::Classifier
        | ModelFamily::Embedding
        | ModelFamily::Depth
        | ModelFamily::Segmentation => 1.0,
        ModelFamily::Yolov8 => 0.7,
        ModelFamily::Nanodet => 0.6,
        ModelFamily::Yolox => 0.45,
        ModelFamily::Scrfd => 0.4,
        ModelFamily::Centerface | ModelFamily::Blazeface => 0.3,
    })
}

fn read_labels(fields: &Fields<'_>, family: Option<ModelFamily>) -> Option<Vec<String>> {
    let reader = fields.reader;
    let only_label = family.and_then(ModelFamily::only_label);
    let takes_no_labels = family.is_some_and(|family| !family.finds().has_classes());
    let Some(node) = fields.node("labels") else {
        if takes_no_labels {
            return Some(Vec::new());
        }
        // Of a family that is not known it cannot be said whether it needs labels.
        if family.is_some() && only_label.is_none() {
            fields.report_missing("labels");
        }
        return only_label.map(|label| vec![label.to_owned()]);
    };
    if takes_no_labels {
        let message = "this family has no classes";
        let problem = reader.problem(code::WRONG_VALUE, &node.span, message);
        reader.report(problem.helped("leave `labels` out"));
        return None;
    }
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
    if let (Some(label), [_, (_, span), ..]) = (only_label, &placed[..]) {
        let message = format!("this family finds one class only, not {}", placed.len());
        let problem = reader.problem(code::WRONG_VALUE, span, message);
        reader.report(problem.helped(format!("leave `labels` out: the class is `{label}`")));
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
