//! `sluice reload`: has a run's text read again, and says what came of it.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use contract::exit::Exit;
use frame_bus::supervision::owner_lives;
use tokio::time::{Instant, interval};

use super::signal::Supervisor;
use super::{CommandError, Query, open_store, print_json};
use crate::run::signals;
use crate::store::{AskedBy, GenerationRow, Outcome, Reader};

/// A model is loaded and warmed in two minutes at most, and who leaves drains in half of one.
const PATIENCE: Duration = Duration::from_secs(240);

const LOOK_INTERVAL: Duration = Duration::from_millis(20);

pub(super) fn reload(
    data: &Path,
    query: &Query,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let store = open_store(data)?;
    let run = store.run(&query.run)?;
    let supervisor = Supervisor::of(&run)?;
    let known = store.generations(&run.id)?;
    let last = known.last().map(|row| row.generation);
    signals::leave_note(&run.root)
        .and_then(|()| supervisor.hang_up())
        .map_err(|error| {
            let text = format!("cannot ask run {} to reload: {error}", run.id);
            CommandError::other(Exit::Environment, text)
        })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let row = runtime.block_on(answer(&store, &run.id, &run.root, last))?;
    if query.format.json {
        print_json(out, &row)?;
    } else {
        print(out, &run.id, &row)?;
    }
    Ok(match row.outcome.as_str() {
        word if word == Outcome::Refused.as_str() => Exit::Config,
        word if word == Outcome::Failed.as_str() => Exit::Failure,
        _ => Exit::Success,
    })
}

/// Waits for what became of the first text after `last` that was asked for by command.
async fn answer(
    store: &Reader,
    run: &str,
    root: &Path,
    last: Option<u64>,
) -> Result<GenerationRow, CommandError> {
    let deadline = Instant::now() + PATIENCE;
    let mut look = interval(LOOK_INTERVAL);
    loop {
        look.tick().await;
        // Looked at first: what it wrote before it ended is read after it.
        let lives = owner_lives(root);
        let mut rows = store.generations(run)?.into_iter();
        let found = rows.find(|row| {
            let is_answer = row.asked_by == AskedBy::Command.as_str() && row.outcome != "pending";
            is_answer && Some(row.generation) > last
        });
        if let Some(row) = found {
            return Ok(row);
        }
        if !lives {
            let text = format!("run {run} ended meanwhile");
            return Err(CommandError::other(Exit::NotFound, text));
        }
        if Instant::now() >= deadline {
            let text = format!(
                "run {run} does not answer; its logs/sluice.log says what it is waiting for"
            );
            return Err(CommandError::other(Exit::Failure, text));
        }
    }
}

fn print(out: &mut impl Write, run: &str, row: &GenerationRow) -> io::Result<()> {
    let took = row.applied_wall_ms.map_or_else(String::new, |applied| {
        format!(" after {} ms", applied.saturating_sub(row.wall_ms))
    });
    writeln!(
        out,
        "reload {} of run {run}: {}{took}",
        row.generation, row.outcome
    )?;
    for line in row.plan.iter().chain(&row.notes).chain(&row.diagnostics) {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}
