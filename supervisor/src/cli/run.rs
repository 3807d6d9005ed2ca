//! `sluice run` and what `sluice check` prints.

use std::io::{self, Write};
use std::path::Path;

use contract::exit::Exit;
use contract::name::StreamName;

use super::{CommandError, RunArguments, environment, is_terminal, load_config};
use crate::config::{RunConfig, StreamConfig};
use crate::run::screen::Style;
use crate::run::{self, Options, shown_source};

pub(super) fn run(arguments: &RunArguments, data: &Path) -> Result<Exit, CommandError> {
    let config = load_config(&arguments.file)?;
    let style = if is_terminal() && !arguments.no_table {
        Style::Table
    } else {
        Style::Lines
    };
    let summary = run::execute(Options {
        config,
        file: arguments.file.clone(),
        environment: Box::new(environment),
        data: data.to_owned(),
        duration: arguments.duration,
        style,
    })?;
    let mut out = io::stdout();
    writeln!(out, "{summary}")?;
    if let Some(detail) = &summary.detail {
        let mut err = io::stderr();
        // There is nowhere left to complain.
        let _ = writeln!(err, "error: {detail}");
    }
    Ok(summary.exit)
}

/// A checked config in a few lines.
pub(super) fn describe(config: &RunConfig) -> String {
    let stream = |(name, stream): (&StreamName, &StreamConfig)| {
        let models: Vec<_> = stream.infer.iter().map(ToString::to_string).collect();
        let models = if models.is_empty() {
            "no model".to_owned()
        } else {
            models.join(", ")
        };
        format!("  {name}: {} -> {models}", shown_source(&stream.source))
    };
    let mut lines = vec![format!(
        "{} is right: run {}, streams {}, models {}",
        config.path.display(),
        config.run,
        config.streams.len(),
        config.models.len()
    )];
    lines.extend(config.streams.iter().map(stream));
    lines.join("\n")
}
