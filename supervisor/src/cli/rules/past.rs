//! What a past run was told of a stream, from the texts that the store has of it.
//!
//! The run config is not read by `config` again: its models may be gone, its variables
//! unset and its rule files edited since. Only the few keys that rules depend on are
//! looked up, in a text that was right when it was stored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use contract::exit::Exit;
use dsl::RuleFile;
use dsl::yaml::{self, Node};

use super::{CommandError, wrong};
use crate::rules_test::LOST_TIMEOUT_DEFAULT_NS;
use crate::store::{GenerationFileRow, GenerationRow, Reader, RunRow};

/// A past run: each text that was in force, in their order.
pub(super) struct Past {
    pub(super) run: RunRow,
    generations: Vec<Generation>,
}

struct Generation {
    row: GenerationRow,
    files: Vec<GenerationFileRow>,
}

/// What a stream's rules were, and all they depend on, from one time on.
#[derive(Debug, Clone)]
pub(super) struct Era {
    pub(super) generation: u64,
    /// From when on; the first one has no begin.
    pub(super) from_wall_ms: Option<i64>,
    /// The rules; `None` for a stream without.
    pub(super) rules: Option<Arc<RuleFile>>,
    pub(super) settings: Settings,
}

/// What rules depend on besides what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) lost_timeout_ns: u64,
    /// The rule file as the config names it.
    rules: Option<String>,
    /// What is not known any more, for people.
    pub(super) notes: Vec<String>,
}

impl Past {
    pub(super) fn read(store: &Reader, word: &str) -> Result<Self, CommandError> {
        let run = store.run(word)?;
        let mut generations = Vec::new();
        for row in store.generations(&run.id)? {
            if row.outcome == "applied" {
                let files = store.generation_files(&run.id, row.generation)?;
                generations.push(Generation { row, files });
            }
        }
        if generations.is_empty() {
            let text = format!("the store has no config of run {}", run.id);
            return Err(CommandError::other(Exit::NotFound, text));
        }
        Ok(Self { run, generations })
    }

    /// What was in force for a stream, one era after the other; never empty. Texts that
    /// changed nothing for its rules make no era of their own.
    pub(super) fn eras(
        &self,
        stream: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<Era>, CommandError> {
        let mut eras: Vec<(Era, Option<&str>)> = Vec::new();
        for generation in &self.generations {
            let (settings, rules) = generation.of_stream(stream, environment);
            let text = rules.map(|file| file.text.as_str());
            if let Some((last, last_text)) = eras.last()
                && *last_text == text
                && last.settings == settings
            {
                continue;
            }
            let rules = match rules {
                Some(file) => Some(Arc::new(parse(file)?)),
                None => None,
            };
            let era = Era {
                generation: generation.row.generation,
                from_wall_ms: generation.row.applied_wall_ms.filter(|_| !eras.is_empty()),
                rules,
                settings,
            };
            eras.push((era, text));
        }
        Ok(eras.into_iter().map(|(era, _)| era).collect())
    }
}

/// Rules that were in force only for a part of the run, a line each.
pub(super) fn passing_rules(eras: &[Era]) -> Vec<String> {
    let in_era = |era: &Era| -> BTreeSet<String> {
        let rules = era.rules.iter().flat_map(|file| &file.rules);
        rules.map(|rule| rule.name.clone()).collect()
    };
    let eras: Vec<_> = eras
        .iter()
        .map(|era| (era.generation, in_era(era)))
        .collect();
    let all: BTreeSet<_> = eras.iter().flat_map(|(_, rules)| rules).collect();
    let mut lines = Vec::new();
    for rule in all {
        let having = eras.iter().filter(|(_, rules)| rules.contains(rule));
        let having: Vec<_> = having
            .map(|(generation, _)| generation.to_string())
            .collect();
        if having.len() < eras.len() {
            let generations = having.join(", ");
            lines.push(format!(
                "rule {rule} was in force only in a part of the run: generation {generations}"
            ));
        }
    }
    lines
}

fn parse(file: &GenerationFileRow) -> Result<RuleFile, CommandError> {
    let path = Path::new(&file.path);
    RuleFile::parse_checked(&file.text, path)
        .map_err(|diagnostics| wrong(path, &file.text, diagnostics))
}

impl Generation {
    fn of_stream(
        &self,
        stream: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> (Settings, Option<&GenerationFileRow>) {
        let config = self.files.iter().find(|file| file.kind == "config");
        let settings = config.map_or_else(Settings::unknown, |config| {
            Settings::of_stream(&config.text, stream, environment)
        });
        let directory = config.and_then(|config| Path::new(&config.path).parent());
        let directory = directory.unwrap_or(Path::new(""));
        let rules = settings.rules.as_ref().and_then(|named| {
            let rules = || self.files.iter().filter(|file| file.kind == "rules");
            let path = directory.join(named);
            // The name may have been made absolute in another way, as through a link.
            rules()
                .find(|file| Path::new(&file.path) == path)
                .or_else(|| rules().find(|file| Path::new(&file.path).ends_with(named)))
        });
        (settings, rules)
    }
}

impl Settings {
    fn unknown() -> Self {
        Self {
            labels: BTreeMap::new(),
            lost_timeout_ns: LOST_TIMEOUT_DEFAULT_NS,
            rules: None,
            notes: vec!["the store has no config of this run".to_owned()],
        }
    }

    /// What the text of a run config says of a stream.
    fn of_stream(config: &str, stream: &str, environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let Some(root) = yaml::parse(config).root else {
            return Self::unknown();
        };
        let entries = root.get("streams").and_then(Node::as_mapping);
        let own = entries.unwrap_or_default().iter().find_map(|entry| {
            let digits = digits_of(&entry.key.text, stream)?;
            Some((&entry.value, digits))
        });
        let (own, digits) = own.map_or((None, ""), |(own, digits)| (Some(own), digits));
        let defaults = root.get("defaults");
        let text = |node: &Node| {
            let scalar = node.as_scalar().filter(|scalar| !scalar.is_null())?;
            Some(scalar.text.replace("{n}", digits))
        };
        let mut notes = Vec::new();
        let mut labels = BTreeMap::new();
        // The stream's own come last and win.
        for part in [defaults, own].into_iter().flatten() {
            let entries = part.get("labels").and_then(Node::as_mapping);
            for entry in entries.unwrap_or_default() {
                if let Some(value) = text(&entry.value) {
                    labels.insert(entry.key.text.clone(), value);
                }
            }
        }
        for (name, value) in &mut labels {
            match with_environment(value, environment) {
                Some(replaced) => *value = replaced,
                None => notes.push(format!(
                    "the label `{name}` came from `{value}`, which is not known any more"
                )),
            }
        }
        let timeout = [own, defaults].into_iter().flatten().find_map(|part| {
            let written = part.get("tracker")?.get("lost_timeout")?;
            crate::rules_test::read_duration(&text(written)?)
        });
        let rules = own.and_then(|own| own.get("rules")).and_then(text);
        let rules = rules.or_else(|| root.get("rules").and_then(text));
        Self {
            labels,
            lost_timeout_ns: timeout.unwrap_or(LOST_TIMEOUT_DEFAULT_NS),
            rules: rules.filter(|word| word != "off"),
            notes,
        }
    }
}

/// The digits that `gate-{01..24}` has for the stream `gate-07`; empty for the very name,
/// `None` for another stream.
fn digits_of<'s>(key: &str, stream: &'s str) -> Option<&'s str> {
    if key == stream {
        return Some("");
    }
    let (before, rest) = key.split_once('{')?;
    let (range, after) = rest.split_once('}')?;
    let (first, last) = range.split_once("..")?;
    let digits = stream.strip_prefix(before)?.strip_suffix(after)?;
    let padded = first.len() > 1 && first.starts_with('0');
    let width = if padded { first.len() } else { 0 };
    let number = digits.parse::<usize>().ok()?;
    let (low, high) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
    let is_it = (low..=high).contains(&number) && format!("{number:0width$}") == digits;
    is_it.then_some(digits)
}

/// A text with each `${NAME}` replaced; `None` when one has no value.
fn with_environment(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut replaced = String::new();
    let mut rest = text;
    while let Some((before, reference)) = rest.split_once("${") {
        let (name, after) = reference.split_once('}')?;
        replaced.push_str(before);
        replaced.push_str(&environment(name)?);
        rest = after;
    }
    replaced.push_str(rest);
    Some(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
run: yard
defaults:
  labels: {site: harbour, kind: camera}
  tracker: {lost_timeout: 3s}
streams:
  gate-{01..12}:
    source: rtsp://u:******@10.0.0.{n}/s
    labels: {site: 'gate {n}', key: '${KEY}'}
    rules: rules/{n}.yaml
  yard:
    source: test:ball
    tracker: {lost_timeout: 500ms}
  dark: {source: test:ball, rules: off}
rules: rules/yard.yaml
";

    fn settings(stream: &str, key: Option<&str>) -> Settings {
        let environment = |name: &str| {
            assert_eq!(name, "KEY");
            key.map(str::to_owned)
        };
        Settings::of_stream(CONFIG, stream, &environment)
    }

    #[test]
    fn what_rules_depend_on_is_found_in_a_stored_config() {
        let gate = settings("gate-07", Some("k"));
        let labels: Vec<_> = gate
            .labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            labels,
            [("key", "k"), ("kind", "camera"), ("site", "gate 07")]
        );
        assert_eq!(gate.rules.as_deref(), Some("rules/07.yaml"));
        assert_eq!(gate.lost_timeout_ns, 3_000_000_000);
        assert!(gate.notes.is_empty());

        let yard = settings("yard", None);
        assert_eq!(yard.rules.as_deref(), Some("rules/yard.yaml"));
        assert_eq!(yard.lost_timeout_ns, 500_000_000);
        assert_eq!(settings("dark", None).rules, None);
    }

    #[test]
    fn what_is_not_known_any_more_is_said() {
        let gate = settings("gate-12", None);
        assert_eq!(gate.labels["key"], "${KEY}");
        assert_eq!(
            gate.notes,
            ["the label `key` came from `${KEY}`, which is not known any more"]
        );
    }

    #[test]
    fn ranges_have_the_streams_they_spell_out() {
        for (key, stream, digits) in [
            ("gate-{01..12}", "gate-01", Some("01")),
            ("gate-{01..12}", "gate-1", None),
            ("gate-{01..12}", "gate-13", None),
            ("c{9..10}-in", "c10-in", Some("10")),
            ("yard", "yard", Some("")),
            ("yard", "yard2", None),
        ] {
            assert_eq!(digits_of(key, stream), digits, "{key} {stream}");
        }
    }
}
