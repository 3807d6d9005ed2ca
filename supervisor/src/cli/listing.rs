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
            "run",
            "state",
            "exit",
            "began",
            "took",
            "streams",
            "events",
            "restarts",
            "generation",
            "detail",
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
        run.generation.to_string(),
        run_detail(run),
    ]
}

/// Why it failed, and that its files on the disk are not what runs.
fn run_detail(run: &RunRow) -> String {
    let failed = run
        .reload_error
        .as_ref()
        .map(|error| format!("last reload failed: {error}"));
    let parts: Vec<_> = run.detail.clone().into_iter().chain(failed).collect();
    parts.join("; ")
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
            "no.", "stream", "rule", "at", "lasted", "track", "label", "began", "message", "files",
        ];
        // The number is what `sluice rules explain` takes.
        let numbered = (1..).zip(&events).map(|(number, event): (usize, _)| {
            let number = std::iter::once(number.to_string());
            number.chain(event_cells(event)).collect()
        });
        let rows: Vec<Vec<String>> = numbered.collect();
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
        event_files(event),
    ]
}

fn event_files(event: &EventRow) -> String {
    let files: Vec<_> = [&event.snapshot, &event.clip]
        .into_iter()
        .flatten()
        .collect();
    match files[..] {
        [] => "-".to_owned(),
        [file] => file.clone(),
        [first, second, ..] => format!("{first} {second}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{AskedBy, GenerationBegun, GenerationDone, Outcome, Row, Writer, fixture};

    fn shown(directory: &Path, json: bool) -> String {
        let mut out = Vec::new();
        runs(directory, Format { json }, &mut out).expect("listed");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_refused_reload_is_seen_in_the_list_of_runs() {
        let directory = tempfile::tempdir().expect("a directory");
        let (connection, run) = fixture::begin(directory.path(), "yard");
        let writer = Writer::start(connection, run, |_| {}).expect("started");
        writer.handle().offer(Row::GenerationBegun(GenerationBegun {
            generation: 1,
            asked_by: AskedBy::Command,
            wall_ms: 2_000,
            files: Vec::new(),
            plan: Vec::new(),
        }));
        writer.handle().offer(Row::GenerationDone(GenerationDone {
            generation: 1,
            wall_ms: 2_000,
            outcome: Outcome::Refused,
            notes: Vec::new(),
            diagnostics: vec!["rules.yaml:3:5: unknown zone `dok`".to_owned()],
        }));
        assert_eq!(writer.finish().rows_given_up, 0);
        let text = shown(directory.path(), false);
        let failed = "last reload failed: rules.yaml:3:5: unknown zone `dok`";
        assert!(text.contains(failed), "{text}");
        let rows: serde_json::Value =
            serde_json::from_str(&shown(directory.path(), true)).expect("JSON");
        assert_eq!(rows[0]["generation"], 0);
        assert_eq!(
            rows[0]["reload_error"],
            "rules.yaml:3:5: unknown zone `dok`"
        );
    }
}
