//! `sluice models list`

use std::io::Write;

use contract::exit::Exit;
use serde::Serialize;

use super::{CommandError, ListArguments, print_json};
use crate::cli::text::print_table;
use crate::models::directory::{self, Presence};
use crate::models::registry::{self, KnownModel};

#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    presence: Presence,
    /// Where it is, or would be.
    file: String,
    #[serde(flatten)]
    model: KnownModel,
}

pub(super) fn list(arguments: &ListArguments, out: &mut impl Write) -> Result<Exit, CommandError> {
    let directory = &arguments.place.directory;
    let models = registry::models().into_iter().map(|(name, model)| Listed {
        presence: directory::presence(directory, &name, &model),
        file: directory::model_file(directory, &name)
            .display()
            .to_string(),
        name,
        model,
    });
    let models: Vec<_> = models.collect();
    if arguments.format.json {
        print_json(out, &models)?;
        return Ok(Exit::Success);
    }
    let header = [
        "model", "here", "family", "input", "labels", "source", "licence", "finds",
    ];
    let cells = |listed: &Listed| {
        let model = &listed.model;
        let own_label = model.family.only_label().unwrap_or("-");
        vec![
            listed.name.clone(),
            listed.presence.as_str().to_owned(),
            model.family.as_str().to_owned(),
            model.input.to_string(),
            model.labels.as_deref().unwrap_or(own_label).to_owned(),
            model.source.to_string(),
            model.licence.clone(),
            model.about.clone(),
        ]
    };
    let rows: Vec<_> = models.iter().map(cells).collect();
    print_table(out, &header, &rows)?;
    Ok(Exit::Success)
}
