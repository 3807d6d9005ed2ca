//! `sluice export --format mp4`: a clip out of the recordings of a stream.

use std::io::Write;
use std::path::Path;

use contract::exit::Exit;

use super::{CommandError, ExportArguments};
use crate::recordings::cut::{self, Clip, CutError, Span, seconds};
use crate::recordings::moment::{Moment, Utc};
use crate::store::{EventRow, Reader, RunRow, StreamRow};

/// An event's clip begins so long before it, and ends so long after it.
const AROUND_EVENT_NS: u64 = 5_000_000_000;

/// The event of this id.
pub(super) fn event(store: &Reader, run: &RunRow, id: &str) -> Result<EventRow, CommandError> {
    let mut events = store.events(&run.id)?.into_iter();
    events.find(|event| event.id == id).ok_or_else(|| {
        let text = format!(
            "run {} has no event `{id}`: `sluice events {}` lists them",
            run.id, run.id
        );
        CommandError::other(Exit::NotFound, text)
    })
}

pub(super) fn export(
    store: &Reader,
    run: &RunRow,
    stream: &StreamRow,
    arguments: &ExportArguments,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let Some(output) = &arguments.output else {
        let text = "video is cut into a file: name it with --output";
        return Err(CommandError::other(Exit::Usage, text));
    };
    let span = match &arguments.event {
        Some(id) => around(&event(store, run, id)?),
        None => Span {
            from: arguments.from,
            to: arguments.to,
        },
    };
    let recordings = store.recordings_of(&run.id, &stream.name)?;
    if recordings.is_empty() {
        let text = format!(
            "run {} has no recording of stream `{}`: it needs an output `record`",
            run.id, stream.name
        );
        return Err(CommandError::other(Exit::NotFound, text));
    }
    let clip = cut::cut(&recordings, span, output)
        .map_err(|error| CommandError::other(exit_of(&error), error.to_string()))?;
    describe(output, &clip, out)?;
    Ok(Exit::Success)
}

fn exit_of(error: &CutError) -> Exit {
    match error {
        CutError::Nothing { .. } => Exit::NotFound,
        CutError::Changes { .. } | CutError::Fragment(_) => Exit::Failure,
        CutError::Recording { .. } | CutError::Clip { .. } => Exit::Environment,
    }
}

fn around(event: &EventRow) -> Span {
    let end_pts_ns = event.end_pts_ns.unwrap_or(event.begin_pts_ns);
    Span {
        from: Some(Moment::Event(
            event.begin_pts_ns.saturating_sub(AROUND_EVENT_NS),
        )),
        to: Some(Moment::Event(end_pts_ns.saturating_add(AROUND_EVENT_NS))),
    }
}

fn describe(output: &Path, clip: &Clip, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{}: {} frames, {}, from {} to {}",
        output.display(),
        clip.frames,
        seconds(clip.duration_ns),
        Utc(clip.begin_wall_ms),
        Utc(clip.last_wall_ms)
    )?;
    if clip.early_ms > 0 {
        let early = seconds(clip.early_ms * 1_000_000);
        writeln!(out, "  begins {early} early, at the key frame before")?;
    }
    for gap in &clip.gaps {
        writeln!(
            out,
            "  gap at {}: nothing was recorded from {} to {}",
            seconds(gap.at_ns),
            Utc(gap.begin_wall_ms),
            Utc(gap.end_wall_ms)
        )?;
    }
    for missing in &clip.missing {
        writeln!(out, "  {} is gone and not in it", missing.display())?;
    }
    Ok(())
}
