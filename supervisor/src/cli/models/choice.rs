//! Which model a command is about, and how to talk to it.
//!
//! However it is named, its settings are read as those of a run config, with the same defaults
//! and the same mistakes shown: what is measured here is what a run would do.

use std::path::{Path, PathBuf};

use contract::exit::Exit;
use contract::name::{ModelName, NameError};
use contract::spec::InferSpec;
use serde_json::{Map, Value, json};

use super::{CommandError, ModelArguments, environment, load_config};
use crate::config::{self, RunConfig};
use crate::models::directory::{self, Presence};
use crate::models::registry::{self, KnownModel};

/// Names the model in the config that is made of the command line.
const NAME: &str = "model";

/// What an infer worker is told of the chosen model.
pub(super) fn choose(arguments: &ModelArguments) -> Result<InferSpec, CommandError> {
    let word = &arguments.model;
    if let Some(file) = &arguments.config {
        return spec(&load_config(file)?, word);
    }
    let models = registry::models();
    if let Some(model) = models.get(word) {
        let directory = &arguments.place.directory;
        let presence = directory::presence(directory, word, model);
        if presence != Presence::Present {
            let file = directory::model_file(directory, word);
            let state = match presence {
                Presence::Other => "is of another version",
                Presence::Damaged => "is damaged",
                Presence::Present | Presence::Absent => "is not there",
            };
            let text = format!(
                "{} {state}: run `sluice models fetch {word}`",
                file.display()
            );
            return Err(CommandError::other(Exit::Model, text));
        }
        return of_command_line(
            &directory::model_file(directory, word),
            arguments,
            Some(model),
        );
    }
    let file = PathBuf::from(word);
    if !file.is_file() {
        let text = format!(
            "`{word}` is no known model and no file: `sluice models list` shows what is known"
        );
        return Err(CommandError::other(Exit::Model, text));
    }
    // The bytes of a known model are known, wherever the file is.
    let digest = directory::sha256_of(&file)?;
    let is_known = |model: &&KnownModel| {
        let mut digests = model.files.values();
        model.convert.is_none() && digests.any(|known| known.as_str() == digest)
    };
    let known = models.values().find(is_known);
    if arguments.family.is_none() && known.is_none() {
        let text = format!(
            "{word} is no file of a known model: say how to talk to it with --family and --labels, or with --config"
        );
        return Err(CommandError::other(Exit::Usage, text));
    }
    of_command_line(&file, arguments, known)
}

/// Reads the settings of a file from options, and from what is known of it.
fn of_command_line(
    file: &Path,
    arguments: &ModelArguments,
    known: Option<&KnownModel>,
) -> Result<InferSpec, CommandError> {
    let mut model = Map::new();
    // In a config a dollar begins a variable; two are one.
    let text = |text: &str| Value::from(text.replace('$', "$$"));
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            model.insert(key.to_owned(), value);
        }
    };
    let absolute = std::path::absolute(file)?;
    set("file", Some(text(&absolute.to_string_lossy())));
    let family = known.map(|known| known.family.as_str());
    let family = arguments.family.as_deref().or(family);
    set("family", family.map(text));
    let labels = known.and_then(|known| known.labels.as_deref());
    let labels = arguments.labels.as_deref().or(labels);
    set("labels", labels.map(text));
    let size = arguments.size.map(|size| size.to_string());
    set("input", size.map(|size| json!({ "size": size })));
    // JSON is YAML.
    let config = json!({
        "run": "models",
        "models": { NAME: model },
        "streams": { "clip": { "source": "test:ball", "infer": [NAME] } },
    });
    let place = std::path::absolute("the command line")?;
    let config = config::parse(&config.to_string(), &place, &environment)
        .map_err(|problems| CommandError::Config(Box::new(problems)))?;
    spec(&config, NAME)
}

fn spec(config: &RunConfig, word: &str) -> Result<InferSpec, CommandError> {
    let name: ModelName = word
        .parse()
        .map_err(|error: NameError| CommandError::other(Exit::Usage, error.to_string()))?;
    let Some(model) = config.models.get(&name) else {
        let names = config.models.keys().map(ModelName::as_str);
        let text = format!(
            "the config has no model `{word}`: it has {}",
            names.collect::<Vec<_>>().join(", ")
        );
        return Err(CommandError::other(Exit::NotFound, text));
    };
    Ok(InferSpec {
        model: name,
        file: model.file.clone(),
        family: model.family,
        input: model.input,
        labels: model.labels.clone(),
        score_min: model.score.get(),
        nms_iou: model.nms.get(),
        sessions: model.sessions,
        batch: model.batch,
        backend: model.backend_spec(config.engine_cache.clone()),
        library: config.onnxruntime.clone(),
        streams: Vec::new(),
        standby: false,
    })
}
