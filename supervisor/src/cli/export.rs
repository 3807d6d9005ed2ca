//! `sluice export`: what was detected in a run, for other programs.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use contract::exit::Exit;
use serde::Serialize;

use super::{CommandError, ExportArguments, ExportFormat, open_store};
use crate::store::{DetectionRow, FrameRow, Reader, RunRow, StreamRow};

pub(super) fn export(
    data: &Path,
    arguments: &ExportArguments,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let store = open_store(data)?;
    let run = store.run(&arguments.run)?;
    let streams = chosen_streams(&store, &run, arguments)?;
    match &arguments.output {
        None => write_all(&store, &run, &streams, arguments.format, out)?,
        Some(path) => {
            let failed = |error: io::Error| {
                let text = format!("cannot write {}: {error}", path.display());
                CommandError::other(Exit::Environment, text)
            };
            let mut file = BufWriter::new(File::create(path).map_err(failed)?);
            write_all(&store, &run, &streams, arguments.format, &mut file)?;
            file.flush().map_err(failed)?;
        }
    }
    Ok(Exit::Success)
}

fn chosen_streams(
    store: &Reader,
    run: &RunRow,
    arguments: &ExportArguments,
) -> Result<Vec<StreamRow>, CommandError> {
    let mut streams = store.streams(&run.id)?;
    let names: Vec<_> = streams.iter().map(|stream| stream.name.clone()).collect();
    let names = names.join(", ");
    if let Some(wanted) = &arguments.stream {
        streams.retain(|stream| stream.name == *wanted);
        if streams.is_empty() {
            let text = format!("run {} has no stream `{wanted}`: it has {names}", run.id);
            return Err(CommandError::other(Exit::NotFound, text));
        }
    }
    if arguments.format == ExportFormat::Mot && streams.len() > 1 {
        let text = format!("a mot file holds one stream: choose one with --stream ({names})");
        return Err(CommandError::other(Exit::Usage, text));
    }
    Ok(streams)
}

fn write_all(
    store: &Reader,
    run: &RunRow,
    streams: &[StreamRow],
    format: ExportFormat,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    match format {
        ExportFormat::Mot => {
            for stream in streams {
                store.for_each_frame(&run.id, &stream.name, |_, objects| {
                    objects
                        .iter()
                        .try_for_each(|object| write_mot(out, object))?;
                    Ok::<_, CommandError>(())
                })?;
            }
            Ok(())
        }
        ExportFormat::Json => write_json(store, run, streams, out),
    }
}

/// One line of a `MOTChallenge` result: frame, track and box as in its ground truth, score -1 for
/// a box that was predicted and not seen, no position in the world. What belongs to no track
/// is no result.
fn write_mot(out: &mut impl Write, object: &DetectionRow) -> io::Result<()> {
    let [x1, y1, x2, y2] = object.bounds;
    let Some(track) = object.track else {
        return Ok(());
    };
    writeln!(
        out,
        "{},{track},{:.2},{:.2},{:.2},{:.2},{:.4},-1,-1,-1",
        object.sequence_number + 1,
        x1,
        y1,
        x2 - x1,
        y2 - y1,
        object.score.unwrap_or(-1.0)
    )
}

#[derive(Serialize)]
struct JsonFrame<'a> {
    sequence_number: u64,
    pts_ns: u64,
    /// Why no model ran on it; null when it did.
    skip: Option<&'a str>,
    detections: Vec<JsonDetection<'a>>,
}

#[derive(Serialize)]
struct JsonDetection<'a> {
    model: &'a str,
    label: &'a str,
    /// Null for a box that was predicted and not seen.
    score: Option<f32>,
    track: Option<u64>,
    /// `x1, y1, x2, y2` in pixels of the frame.
    #[serde(rename = "box")]
    bounds: [f32; 4],
}

/// Written frame by frame, one a line: a run may have more of them than fit into memory.
fn write_json(
    store: &Reader,
    run: &RunRow,
    streams: &[StreamRow],
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let number = |value: Option<u32>| value.map_or_else(|| "null".to_owned(), |it| it.to_string());
    write!(out, "{{\"run\": {}, \"streams\": [", quoted(&run.id))?;
    for (index, stream) in streams.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let fps = serde_json::Value::from(stream.fps);
        write!(
            out,
            "{comma}\n{{\"name\": {}, \"width\": {}, \"height\": {}, \"fps\": {fps}, \"frames\": [",
            quoted(&stream.name),
            number(stream.width),
            number(stream.height)
        )?;
        let mut comma = "";
        store.for_each_frame(&run.id, &stream.name, |frame, objects| {
            writeln!(out, "{comma}")?;
            comma = ",";
            serde_json::to_writer(&mut *out, &json_frame(frame, objects))
                .map_err(io::Error::from)?;
            Ok::<_, CommandError>(())
        })?;
        write!(out, "\n]}}")?;
    }
    writeln!(out, "\n]}}")?;
    Ok(())
}

fn json_frame<'a>(frame: &'a FrameRow, objects: &'a [DetectionRow]) -> JsonFrame<'a> {
    let detection = |object: &'a DetectionRow| JsonDetection {
        model: &object.model,
        label: &object.label,
        score: object.score,
        track: object.track,
        bounds: object.bounds,
    };
    JsonFrame {
        sequence_number: frame.sequence_number,
        pts_ns: frame.pts_ns,
        skip: frame.skip.as_deref(),
        detections: objects.iter().map(detection).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(track: Option<u64>, score: Option<f32>) -> DetectionRow {
        DetectionRow {
            sequence_number: 0,
            model: "people".to_owned(),
            label: "person".to_owned(),
            track,
            score,
            bounds: [1.0, 2.0, 11.5, 22.25],
        }
    }

    #[test]
    fn mot_counts_frames_from_one() {
        let mut out = Vec::new();
        write_mot(&mut out, &object(Some(7), Some(0.5))).expect("written");
        write_mot(&mut out, &object(Some(8), None)).expect("written");
        write_mot(&mut out, &object(None, Some(0.5))).expect("written");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "1,7,1.00,2.00,10.50,20.25,0.5000,-1,-1,-1\n1,8,1.00,2.00,10.50,20.25,-1.0000,-1,-1,-1\n"
        );
    }

    #[test]
    fn json_names_what_it_holds() {
        let frame = FrameRow {
            sequence_number: 3,
            pts_ns: 40,
            skip: None,
        };
        let objects = [object(Some(7), None)];
        let value = serde_json::to_value(json_frame(&frame, &objects)).expect("json");
        assert_eq!(value["sequence_number"], 3);
        assert!(value["skip"].is_null());
        assert_eq!(value["detections"][0]["box"][3], 22.25);
        assert_eq!(value["detections"][0]["track"], 7);
    }
}
