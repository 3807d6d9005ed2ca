//! Rule files: what is checked of them together with the run config.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::findings::Finds;
use contract::name::ModelName;
use contract::spec::{ModelFamily, RuleSource};

use super::files::{FileKind, SourceFile};
use super::load::read_text;
use super::reader::{Reader, Text};
use super::{ModelConfig, code};

/// A checked rule file.
#[derive(Debug, Clone)]
pub struct RulesConfig {
    /// Its absolute path, and its text. The generation is 0 until a run gives it one.
    pub source: RuleSource,
    /// What the text says.
    pub file: dsl::RuleFile,
}

/// What the text says follows from the text and the models.
impl PartialEq for RulesConfig {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl RulesConfig {
    /// Some rule records clips: the stream must be encoded.
    #[must_use]
    pub fn records_clips(&self) -> bool {
        self.actions()
            .any(|action| matches!(action, dsl::Action::Record { .. }))
    }

    /// The models that rules run on what they have found.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.actions().filter_map(|action| match action {
            dsl::Action::Infer { model } => Some(model.as_str()),
            _ => None,
        })
    }

    fn actions(&self) -> impl Iterator<Item = &dsl::Action> {
        self.file.rules.iter().flat_map(|rule| &rule.actions)
    }
}

/// Reads rule files, each once, however many streams name it.
pub(super) struct RuleFiles<'a> {
    reader: &'a Reader<'a>,
    /// What rules are checked against; `None` when some model could not be read:
    /// then the models and labels that rules speak of are taken as they are.
    context: Option<dsl::Context>,
    read: HashMap<PathBuf, Option<Arc<RulesConfig>>>,
    /// Texts of the files with problems.
    texts: BTreeMap<PathBuf, String>,
}

impl<'a> RuleFiles<'a> {
    pub(super) fn new(
        reader: &'a Reader<'a>,
        models: Option<&BTreeMap<ModelName, ModelConfig>>,
    ) -> Self {
        Self {
            reader,
            context: models.map(context),
            read: HashMap::new(),
            texts: BTreeMap::new(),
        }
    }

    /// The file of a `rules` key; its problems join those of the run config.
    pub(super) fn get(&mut self, written: &Text<'_>) -> Option<Arc<RulesConfig>> {
        let path = self
            .reader
            .text_file(FileKind::Rules, "rule file", written)?;
        if let Some(rules) = self.read.get(&path) {
            return rules.clone();
        }
        let rules = self.read(written, &path).map(Arc::new);
        self.read.insert(path, rules.clone());
        rules
    }

    fn read(&mut self, written: &Text<'_>, path: &Path) -> Option<RulesConfig> {
        let reader = self.reader;
        let text = match read_text(path, dsl::FILE_BYTES_MAX as u64) {
            Ok(text) => text,
            Err(reason) => {
                let span = &written.node.span;
                let message = format!("the rule file `{}` {reason}", reader.as_written(span));
                reader.report(reader.problem(code::NO_FILE, span, message));
                return None;
            }
        };
        let named = reader.directory.join(written.text);
        let (kind, bytes) = (FileKind::Rules, text.as_bytes());
        reader.note(SourceFile::read(kind, &named, bytes, Some(text.clone())));
        // Named from where the user named the config, so that a terminal can jump to it.
        let directory = reader.file.parent().unwrap_or(Path::new(""));
        let shown = directory.join(written.text);
        let parsed = match &self.context {
            Some(context) => dsl::RuleFile::parse(&text, &shown, context),
            None => dsl::RuleFile::parse_checked(&text, &shown),
        };
        match parsed {
            Ok(file) => Some(RulesConfig {
                source: RuleSource {
                    generation: 0,
                    path: path.to_owned(),
                    text,
                },
                file,
            }),
            Err(diagnostics) => {
                self.texts.insert(shown, text);
                for diagnostic in diagnostics {
                    reader.report(diagnostic);
                }
                None
            }
        }
    }

    /// What rules are checked against; `None`: models and labels are taken as they are.
    pub(super) fn context(&self) -> Option<&dsl::Context> {
        self.context.as_ref()
    }

    /// The texts of the files with problems, by the names they are shown under.
    pub(super) fn into_texts(self) -> BTreeMap<PathBuf, String> {
        self.texts
    }
}

/// What the rules of a run with these models are checked against.
pub(crate) fn context(models: &BTreeMap<ModelName, ModelConfig>) -> dsl::Context {
    let families = || models.values().map(|model| model.family);
    dsl::Context {
        labels: models
            .values()
            .flat_map(|model| model.labels.iter().cloned())
            .collect(),
        models: models.keys().map(ToString::to_string).collect(),
        crop_models: models
            .iter()
            .filter(|(_, model)| !model.family.finds().is_map())
            .map(|(name, _)| name.to_string())
            .collect(),
        landmarks: families().any(ModelFamily::finds_landmarks),
        depth: families().any(|family| family.finds() == Finds::Depth),
    }
}
