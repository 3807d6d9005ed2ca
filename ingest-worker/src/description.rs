//! What is known of a source, in words and as the supervisor is told.

use std::time::Duration;

use contract::control::SourceInfo;
use contract::spec::SourceSpec;

use crate::location::Location;
use crate::pipeline::{Picture, Pipeline};

/// The source as it may be shown.
pub(crate) fn source_name(source: &SourceSpec) -> Result<String, String> {
    if let Some(location) = Location::of(source)? {
        return Ok(location.public().to_owned());
    }
    Ok(match source {
        SourceSpec::File { path, .. } => path.display().to_string(),
        SourceSpec::Images { directory, .. } => format!("images:{}", directory.display()),
        SourceSpec::Publish { path } => format!("publish:{path}"),
        SourceSpec::Device { path, .. } => format!("v4l2:{}", path.display()),
        SourceSpec::Test { pattern, .. } => format!("test:{pattern}"),
        SourceSpec::Mosaic(mosaic) => format!("a mosaic of {} streams", mosaic.members.len()),
        SourceSpec::Udp { address, port, .. } => {
            let address = address.map(|address| address.to_string());
            format!("udp://{}:{port}", address.unwrap_or_default())
        }
        SourceSpec::Rtsp { .. }
        | SourceSpec::Srt(_)
        | SourceSpec::Rtmp { .. }
        | SourceSpec::Http { .. } => return Err("the source has no location".to_owned()),
    })
}

/// What a session has made known; `None` before its first picture.
pub(crate) fn describe(
    source: &SourceSpec,
    pipeline: &Pipeline,
    transport: &str,
) -> Option<SourceInfo> {
    let Picture {
        source_size,
        size,
        fps,
    } = pipeline.picture()?;
    let decoder = pipeline.decoder();
    Some(SourceInfo {
        source_size,
        size,
        fps,
        frames_total: frames_total(source, pipeline, fps),
        decoder: decoder.name,
        hardware: decoder.hardware,
        transport: transport.to_owned(),
    })
}

/// Frames of a finite source: exact for patterns and for files of a constant rate. Other
/// files are estimated by their nominal rate; only their end says how many there were.
fn frames_total(source: &SourceSpec, pipeline: &Pipeline, fps: f64) -> Option<u64> {
    match source {
        SourceSpec::Test { frames, .. } => *frames,
        SourceSpec::File { repeat: false, .. } | SourceSpec::Images { repeat: false, .. } => {
            let frames = pipeline.duration()?.as_secs_f64() * fps;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a float saturates, and neither factor is negative"
            )]
            let frames = frames.round() as u64;
            (frames > 0).then_some(frames)
        }
        _ => None,
    }
}

/// What is ready, in one line.
pub(crate) fn description(name: &str, info: Option<&SourceInfo>) -> String {
    let Some(info) = info else {
        return name.to_owned();
    };
    let decoder = match (info.decoder.as_str(), info.hardware) {
        ("", _) => String::new(),
        (name, true) => format!(" by hardware decoder {name}"),
        (name, false) => format!(" by software decoder {name}"),
    };
    let frames = info
        .frames_total
        .map_or_else(String::new, |frames| format!(", {frames} frames"));
    format!(
        "{name}: {}{decoder}, {} fps{frames}",
        info.source_size,
        (info.fps * 100.0).round() / 100.0
    )
}

/// When frame `index` of a constant rate is due; `None` without a rate.
pub(crate) fn time_of_frame(index: u64, fps: f64) -> Option<u64> {
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 frames")]
    let seconds = index as f64 / fps;
    let time = Duration::try_from_secs_f64(seconds).ok()?;
    u64::try_from(time.as_nanos()).ok()
}
