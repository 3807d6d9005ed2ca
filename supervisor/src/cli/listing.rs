//! `sluice runs` and `sluice events`.

use std::io::Write;
use std::path::Path;

use contract::clock;
use contract::exit::Exit;

use super::text::{print_table, pts_seconds, seconds_between, utc};
use super::{CommandError, Format, Query, open_store, print_json};
use crate::store::{EventRow, RunRow, StoreError};

pub(super) fn runs(
    data: &Path,
    format: Format,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let runs = match open_store(data) {
        Ok(store) => store.runs()?,
        // A list of none is a list.
        Err(CommandError::Store(StoreError::Missing { .. })) => Vec::new(),
        Err(error) => return Err(error),
    };
    if format.json {
        print_json(out, &runs)?;
    } else if runs.is_empty() {
        writeln!(
            out,
            "no run in {} yet: start one with `sluice run FILE`",
            data.display()
        )?;
    } else {
        let header = [
            "run", "state", "exit", "began", "took", "streams", "events", "restarts", "detail",
        ];
        let rows: Vec<_> = runs.iter().map(run_cells).collect();
        print_table(out, &header, &rows)?;
    }
    Ok(Exit::Success)
}

fn run_cells(run: &RunRow) -> Vec<String> {
    let end_wall_ms = run.end_wall_ms.unwrap_or_else(clock::wall_ms);
    vec![
        run.id.clone(),
        run.state.clone(),
        run.exit_code
            .map_or_else(|| "-".to_owned(), |code| code.to_string()),
        utc(run.begin_wall_ms),
        seconds_between(run.begin_wall_ms, end_wall_ms),
        run.streams.to_string(),
        run.events.to_string(),
        run.restarts.to_string(),
        run.detail.clone().unwrap_or_default(),
    ]
}

pub(super) fn events(
    data: &Path,
    query: &Query,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let store = open_store(data)?;
    let run = store.run(&query.run)?;
    let events = store.events(&run.id)?;
    if query.format.json {
        print_json(out, &events)?;
    } else if events.is_empty() {
        writeln!(out, "no events in run {}", run.id)?;
    } else {
        let header = [
            "stream", "rule", "at", "lasted", "track", "label", "began", "message", "snapshot",
        ];
        let rows: Vec<_> = events.iter().map(event_cells).collect();
        print_table(out, &header, &rows)?;
    }
    Ok(Exit::Success)
}

fn event_cells(event: &EventRow) -> Vec<String> {
    let lasted = event.end_pts_ns.map_or_else(
        || "-".to_owned(),
        |end| format!("{} s", pts_seconds(end.saturating_sub(event.begin_pts_ns))),
    );
    vec![
        event.stream.clone(),
        event.rule.clone(),
        format!("{} s", pts_seconds(event.begin_pts_ns)),
        lasted,
        event
            .track
            .map_or_else(|| "-".to_owned(), |track| track.to_string()),
        event.label.clone().unwrap_or_else(|| "-".to_owned()),
        utc(event.begin_wall_ms),
        event.message.clone(),
        event.snapshot.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}
