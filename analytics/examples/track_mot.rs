//! Tracks the detections of a file in MOT Challenge text format, and says how long a frame took.
//!
//! `track_mot ALGORITHM FPS WIDTHxHEIGHT DETECTIONS RESULTS [PERIOD_S PHASE_S]`
//!
//! `ALGORITHM` is `sort`, `bytetrack` or `botsort`, with the settings that `sluice` has by
//! default. A line of `DETECTIONS` is `frame,id,left,top,width,height,score,...`, frames from 1 up
//! and in any order; the id is not looked at, and a score of -1 counts as 1. `RESULTS` gets
//! the same columns, of tracks that were seen or coasted. With `PERIOD_S`, inference is away for
//! the last half second of each such period, the first of which began `PHASE_S` before the
//! first frame. Standard output: microseconds a frame, the median of the means of some runs.
//!
//! `make eval` builds and runs it.
#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::error::Error;
use std::fmt::Write as _;
use std::time::Instant;

use analytics::{TrackState, Tracker, Tracks};
use contract::detection::{Detection, Landmarks};
use contract::geometry::{BoundingBox, PixelSize};
use contract::spec::{TrackerAlgorithm, TrackerSpec};

/// Each run is over the whole file, with a new tracker.
const RUNS: usize = 15;

/// Inference is away for so long at the end of each period.
const AWAY_NS: u64 = 500_000_000;

/// No clip of an evaluation has more; a higher number in the file is a mistake.
const FRAMES_MAX: usize = 1_000_000;

const USAGE: &str =
    "usage: track_mot ALGORITHM FPS WIDTHxHEIGHT DETECTIONS RESULTS [PERIOD_S PHASE_S]";

struct Sequence {
    frames: Vec<Vec<Detection>>,
    size: PixelSize,
    interval_ns: f64,
    /// Period and phase of the outages.
    outages_ns: Option<[u64; 2]>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [algorithm, fps, size, detections, results, rest @ ..] = &arguments[..] else {
        return Err(USAGE.into());
    };
    let spec = spec(algorithm)?;
    let outages_ns = match rest {
        [] => None,
        [period_s, phase_s] => Some([
            nanoseconds(period_s.parse::<f64>()? * 1e9).max(1),
            nanoseconds(phase_s.parse::<f64>()? * 1e9),
        ]),
        _ => return Err(USAGE.into()),
    };
    let sequence = Sequence {
        frames: read(&std::fs::read_to_string(detections)?)?,
        size: size.parse()?,
        interval_ns: 1e9 / fps.parse::<f64>()?,
        outages_ns,
    };
    let mut runs = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let begin = Instant::now();
        sequence.track(&spec, |_, _| ());
        runs.push(begin.elapsed());
    }
    runs.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "at most a million")]
    let frames = sequence.frames.len().max(1) as f64;
    println!("{:.2}", runs[RUNS / 2].as_secs_f64() * 1e6 / frames);

    let mut text = String::new();
    sequence.track(&spec, |number, tracks| {
        for object in tracks.objects {
            let bounds = &object.bounds;
            let (width, height) = (bounds.width(), bounds.height());
            if object.state != TrackState::Lost {
                // Writing to a string cannot fail.
                let _ = writeln!(
                    text,
                    "{number},{},{:.2},{:.2},{width:.2},{height:.2},1,-1,-1,-1",
                    object.id, bounds.x1, bounds.y1
                );
            }
        }
    });
    Ok(std::fs::write(results, text)?)
}

impl Sequence {
    fn track(&self, spec: &TrackerSpec, mut tell: impl FnMut(usize, &Tracks<'_>)) {
        let mut tracker = Tracker::new(spec);
        for (index, detections) in self.frames.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "at most a million")]
            let pts_ns = nanoseconds(index as f64 * self.interval_ns);
            let is_away = self.outages_ns.is_some_and(|[period_ns, phase_ns]| {
                (pts_ns + phase_ns) % period_ns + AWAY_NS >= period_ns
            });
            let tracks = if is_away {
                tracker.coast(pts_ns, self.size)
            } else {
                tracker.update(pts_ns, self.size, detections)
            };
            tell(index + 1, &tracks);
        }
    }
}

/// The defaults of a run config.
fn spec(algorithm: &str) -> Result<TrackerSpec, String> {
    let (algorithm, iou_min) = match algorithm {
        "sort" => (TrackerAlgorithm::Sort, 0.3),
        "bytetrack" => (TrackerAlgorithm::Bytetrack, 0.2),
        "botsort" => (TrackerAlgorithm::Botsort, 0.2),
        other => return Err(format!("`{other}` is none of sort, bytetrack and botsort")),
    };
    Ok(TrackerSpec {
        algorithm,
        high_score: 0.5,
        new_track_score: 0.5,
        iou_min,
        lost_timeout_ms: 2000,
        camera_motion: true,
    })
}

fn read(text: &str) -> Result<Vec<Vec<Detection>>, Box<dyn Error>> {
    let mut frames = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.trim().split(',').collect();
        let [number, _, left, top, width, height, score, ..] = fields[..] else {
            return Err(format!("`{line}` is no line of a MOT file").into());
        };
        let number: usize = number.parse()?;
        if !(1..=FRAMES_MAX).contains(&number) {
            return Err(format!("frame {number} is not from 1 to {FRAMES_MAX}").into());
        }
        let (left, top): (f32, f32) = (left.parse()?, top.parse()?);
        let score: f32 = score.parse()?;
        if frames.len() < number {
            frames.resize_with(number, Vec::new);
        }
        frames[number - 1].push(Detection {
            bounds: BoundingBox {
                x1: left,
                y1: top,
                x2: left + width.parse::<f32>()?,
                y2: top + height.parse::<f32>()?,
            },
            score: if score < 0.0 { 1.0 } else { score },
            class: 0,
            landmarks: Landmarks::NONE,
        });
    }
    Ok(frames)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "event times of a clip"
)]
fn nanoseconds(value: f64) -> u64 {
    value.round() as u64
}
