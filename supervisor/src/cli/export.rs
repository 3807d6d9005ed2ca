//! `sluice export`: what was detected in a run, for other programs. Clips are in `clip`.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use contract::control::{AttributeRecord, FrameRecord, ObjectRecord};
use contract::detection::Skip;
use contract::exit::Exit;
use contract::geometry::BoundingBox;
use serde::Serialize;

use super::{CommandError, ExportArguments, ExportFormat, clip, open_store};
use crate::store::{Reader, RunRow, StoredFrame, StreamRow};

pub(super) fn export(
    data: &Path,
    arguments: &ExportArguments,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let format = format_of(arguments)?;
    let store = open_store(data)?;
    let run = store.run(&arguments.run)?;
    let streams = chosen_streams(&store, &run, format, arguments)?;
    if format == ExportFormat::Mp4 {
        return clip::export(&store, &run, &streams[0], arguments, out);
    }
    match &arguments.output {
        None => write_all(&store, &run, &streams, format, out)?,
        Some(path) => {
            let failed = |error: io::Error| {
                let text = format!("cannot write {}: {error}", path.display());
                CommandError::other(Exit::Environment, text)
            };
            let mut file = BufWriter::new(File::create(path).map_err(failed)?);
            write_all(&store, &run, &streams, format, &mut file)?;
            file.flush().map_err(failed)?;
        }
    }
    Ok(Exit::Success)
}

/// What was asked for, or what the name of the file says.
fn format_of(arguments: &ExportArguments) -> Result<ExportFormat, CommandError> {
    let extension = arguments.output.as_deref().and_then(Path::extension);
    let by_name = match extension.and_then(|extension| extension.to_str()) {
        Some("mp4") => Some(ExportFormat::Mp4),
        Some("json") => Some(ExportFormat::Json),
        Some("csv") => Some(ExportFormat::Csv),
        _ => None,
    };
    let format = arguments.format.or(by_name).ok_or_else(|| {
        let text = "say in what form with --format mot, json, csv or mp4";
        CommandError::other(Exit::Usage, text)
    })?;
    let cuts = arguments.from.is_some() || arguments.to.is_some() || arguments.event.is_some();
    if cuts && format != ExportFormat::Mp4 {
        let text = "--from, --to and --event cut video: use them with --format mp4";
        return Err(CommandError::other(Exit::Usage, text));
    }
    Ok(format)
}

fn chosen_streams(
    store: &Reader,
    run: &RunRow,
    format: ExportFormat,
    arguments: &ExportArguments,
) -> Result<Vec<StreamRow>, CommandError> {
    let mut streams = store.streams(&run.id)?;
    let names: Vec<_> = streams.iter().map(|stream| stream.name.clone()).collect();
    let names = names.join(", ");
    let event = match &arguments.event {
        Some(id) => Some(clip::event(store, run, id)?),
        None => None,
    };
    let of_event = event.map(|event| event.stream);
    if let Some(wanted) = arguments.stream.as_ref().or(of_event.as_ref()) {
        streams.retain(|stream| stream.name == *wanted);
        if streams.is_empty() {
            let text = format!("run {} has no stream `{wanted}`: it has {names}", run.id);
            return Err(CommandError::other(Exit::NotFound, text));
        }
    }
    let holds_one = matches!(format, ExportFormat::Mot | ExportFormat::Mp4);
    if holds_one && streams.len() != 1 {
        let what = if format == ExportFormat::Mot {
            "a mot file"
        } else {
            "a clip"
        };
        let text = format!("{what} holds one stream: choose one with --stream ({names})");
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
                for frame in store.frames(&run.id, &stream.name)? {
                    write_mot(out, &frame?.record)?;
                }
            }
            Ok(())
        }
        ExportFormat::Json => write_json(store, run, streams, out),
        ExportFormat::Mp4 => {
            let text = "video is cut into a file: name it with --output";
            Err(CommandError::other(Exit::Usage, text))
        }
        ExportFormat::Csv => {
            writeln!(out, "{CSV_HEADER}")?;
            for stream in streams {
                for frame in store.frames(&run.id, &stream.name)? {
                    write_csv(out, &stream.name, &frame?)?;
                }
            }
            Ok(())
        }
    }
}

/// Lines of a `MOTChallenge` result: frame, track and box as in its ground truth, score -1 for
/// a box that was predicted and not seen, no position in the world. What belongs to no track
/// is no result.
fn write_mot(out: &mut impl Write, record: &FrameRecord) -> io::Result<()> {
    for object in &record.objects {
        let BoundingBox { x1, y1, x2, y2 } = object.bounds;
        let Some(track) = object.track else { continue };
        writeln!(
            out,
            "{},{track},{:.2},{:.2},{:.2},{:.2},{:.4},-1,-1,-1",
            record.sequence_number + 1,
            x1,
            y1,
            x2 - x1,
            y2 - y1,
            object.score.unwrap_or(-1.0)
        )?;
    }
    Ok(())
}

const CSV_HEADER: &str =
    "stream,sequence_number,pts_ns,wall_ms,model,label,track,score,x1,y1,x2,y2";

/// A line an object; nothing between two commas is what is not known.
fn write_csv(out: &mut impl Write, stream: &str, frame: &StoredFrame) -> io::Result<()> {
    let record = &frame.record;
    let text = |number: Option<String>| number.unwrap_or_default();
    for object in &record.objects {
        let (model, label) = names_of(frame, object);
        let BoundingBox { x1, y1, x2, y2 } = object.bounds;
        writeln!(
            out,
            "{stream},{},{},{},{model},{},{},{},{x1},{y1},{x2},{y2}",
            record.sequence_number,
            record.pts_ns,
            record.wall_ms,
            csv_cell(label),
            text(object.track.map(|track| track.to_string())),
            text(object.score.map(|score| score.to_string())),
        )?;
    }
    Ok(())
}

/// Class names are free text; names of streams and models need no quotes.
fn csv_cell(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

fn names_of<'a>(frame: &'a StoredFrame, object: &ObjectRecord) -> (&'a str, &'a str) {
    let names = frame.segment.names_of(object);
    names.expect("the store has the names of each class that it gives")
}

#[derive(Serialize)]
struct JsonFrame<'a> {
    sequence_number: u64,
    pts_ns: u64,
    wall_ms: i64,
    /// The part of the picture that moved, 0 to 1.
    motion: f32,
    /// Why no model ran on it; null when it did.
    skip: Option<Skip>,
    detections: Vec<JsonDetection<'a>>,
    attributes: &'a [AttributeRecord],
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
        for frame in store.frames(&run.id, &stream.name)? {
            writeln!(out, "{comma}")?;
            comma = ",";
            serde_json::to_writer(&mut *out, &json_frame(&frame?)).map_err(io::Error::from)?;
        }
        write!(out, "\n]}}")?;
    }
    writeln!(out, "\n]}}")?;
    Ok(())
}

fn json_frame(frame: &StoredFrame) -> JsonFrame<'_> {
    let record = &frame.record;
    let detection = |object: &ObjectRecord| {
        let ObjectRecord {
            score,
            track,
            bounds: BoundingBox { x1, y1, x2, y2 },
            ..
        } = *object;
        let (model, label) = names_of(frame, object);
        JsonDetection {
            model,
            label,
            score,
            track,
            bounds: [x1, y1, x2, y2],
        }
    };
    JsonFrame {
        sequence_number: record.sequence_number,
        pts_ns: record.pts_ns,
        wall_ms: record.wall_ms,
        motion: record.motion,
        skip: record.skip,
        detections: record.objects.iter().map(detection).collect(),
        attributes: &record.attributes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture;

    /// One frame with an object that was seen, one that was predicted, one without a track.
    fn store(directory: &Path) -> (Reader, RunRow) {
        let mut record = fixture::frame(3);
        record.objects = [(Some(7), Some(0.5)), (Some(8), None), (None, Some(0.25))]
            .map(|(track, score)| ObjectRecord {
                track,
                score,
                bounds: BoundingBox {
                    x1: 1.0,
                    y1: 2.0,
                    x2: 11.5,
                    y2: 22.25,
                },
                ..fixture::object()
            })
            .into();
        fixture::store(directory, vec![record]);
        let reader = Reader::open(directory).expect("readable");
        let run = reader.run("last").expect("there");
        (reader, run)
    }

    fn exported(format: ExportFormat) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let (reader, run) = store(directory.path());
        let streams = reader.streams(&run.id).expect("read");
        let mut out = Vec::new();
        write_all(&reader, &run, &streams, format, &mut out).expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn mot_counts_frames_from_one() {
        assert_eq!(
            exported(ExportFormat::Mot),
            "4,7,1.00,2.00,10.50,20.25,0.5000,-1,-1,-1\n4,8,1.00,2.00,10.50,20.25,-1.0000,-1,-1,-1\n"
        );
    }

    #[test]
    fn csv_has_a_line_an_object() {
        let text = exported(ExportFormat::Csv);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0], CSV_HEADER);
        assert_eq!(
            lines[1],
            "yard,3,300000000,1300,people,\"person, standing\",7,0.5,1,2,11.5,22.25"
        );
        assert!(lines[2].contains(",8,,1,"), "{}", lines[2]);
        assert!(lines[3].contains(",,0.25,"), "{}", lines[3]);
    }

    #[test]
    fn json_names_what_it_holds() {
        let value: serde_json::Value =
            serde_json::from_str(&exported(ExportFormat::Json)).expect("JSON");
        let frame = &value["streams"][0]["frames"][0];
        assert_eq!(frame["sequence_number"], 3);
        assert!(frame["skip"].is_null());
        assert_eq!(frame["detections"][1]["box"][3], 22.25);
        assert_eq!(frame["detections"][1]["track"], 8);
        assert_eq!(frame["detections"][1]["label"], "person, standing");
    }
}
