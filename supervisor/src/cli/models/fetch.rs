//! `sluice models fetch`

use std::io::Write;

use contract::exit::Exit;

use super::{CommandError, FetchArguments, Progress};
use crate::models::{fetch, registry};

pub(super) fn fetch(
    arguments: &FetchArguments,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let models = registry::models();
    let (name, directory) = (&arguments.name, &arguments.place.directory);
    let Some(model) = models.get(name) else {
        let known = models.keys().map(String::as_str);
        let text = match dsl::suggest(name, known) {
            Some(near) => format!("no model is known by the name `{name}`: did you mean `{near}`?"),
            None => format!(
                "no model is known by the name `{name}`: `sluice models list` shows those that are"
            ),
        };
        return Err(CommandError::other(Exit::Usage, text));
    };
    let mut progress = Progress::begin();
    let mut show = |text: &str| progress.show(|| text.to_owned());
    let fetched = fetch::fetch(directory, name, model, &mut show)
        .map_err(|error| CommandError::other(error.exit(), error.to_string()))?;
    drop(progress);
    let file = fetched.file.display();
    if fetched.was_there {
        writeln!(out, "{file} is there already, as the registry names it")?;
    } else {
        writeln!(out, "{file} made of {}", model.source)?;
    }
    let labels = model.labels.as_ref();
    let labels = labels.map_or_else(String::new, |labels| format!(", labels: {labels}"));
    writeln!(
        out,
        "in a run config: {{file: {file}, family: {}{labels}}}",
        model.family.as_str()
    )?;
    writeln!(out, "licence: {}", model.licence)?;
    Ok(Exit::Success)
}
