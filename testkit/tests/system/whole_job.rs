//! Every frame of a clip is captured, inferred and rendered, and what is seen in it is right.

use std::collections::BTreeMap;
use std::path::Path;

use testkit::process::Launch;

use crate::site::{RUN_TIMEOUT, Site, assert_nothing_left, repository, workers};

const CLIP_FRAMES: i64 = 795;
const BOX_TOLERANCE_PX: f64 = 1.0;
const SCORE_TOLERANCE: f64 = 0.01;
/// A detection of one side this close to the threshold may be missing on the other.
const SCORE_MIN: f64 = 0.4;

const CONFIG: &str = "
run: whole
models:
  people: {file: '{root}/assets/models/nanodet-416-int8.onnx', family: nanodet, labels: coco, score: 0.4}
streams:
  yard:
    source: '{root}/.deps/clips/walking.mp4'
    pace: fast
    size: 768x576
    queue: {policy: wait}
    infer: [people]
    outputs: [{record: yard}]
";

#[test]
fn no_frame_of_a_clip_is_lost_and_detections_equal_the_reference() {
    let site = Site::new();
    let mut run = site.run(&site.config(CONFIG), &[]);
    let (supervisor, children) = (run.id(), workers(run.id()));
    let code = run.exit_code(RUN_TIMEOUT);
    assert_eq!(code, 0, "{}{}", run.stdout(), run.stderr());
    assert_nothing_left(supervisor, &children);

    let database = site.database();
    let ledger = database.ledger("yard");
    for counter in [
        "ingest.captured",
        "ingest.published",
        "infer:people.received",
        "infer:people.inferred",
        "render.received",
        "render.rendered",
        "render.with_results",
        "render.encoded",
    ] {
        assert_eq!(ledger[counter], CLIP_FRAMES, "{counter} of {ledger:?}");
    }
    database.assert_closed();
    assert_eq!(database.run_state(), "finished");

    the_recording_has_every_frame(&site);
    detections_equal_the_reference(&site);
    the_exports_read_well(&site);
    the_listings_read_well(&site);
}

fn the_recording_has_every_frame(site: &Site) {
    let path = site.database().text(
        "SELECT data_directory || '/' || path FROM files JOIN runs ON runs.id = run WHERE kind = 'recording'",
        [],
    );
    assert_eq!(frames_of(Path::new(&path)), CLIP_FRAMES);
}

/// Decodes a video file and counts its frames.
pub(crate) fn frames_of(path: &Path) -> i64 {
    let mut probe = Launch::new(Path::new("/usr/bin/ffprobe"))
        .arguments(["-v", "error", "-count_frames", "-select_streams", "v:0"])
        .arguments(["-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"])
        .arguments([path.display().to_string()])
        .start();
    assert_eq!(probe.exit_code(RUN_TIMEOUT), 0, "{}", probe.stderr());
    let text = probe.stdout();
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits
        .parse()
        .unwrap_or_else(|_| panic!("ffprobe said {text:?}"))
}

fn detections_equal_the_reference(site: &Site) {
    let root = repository();
    let output = site.path().join("reference.json");
    let mut reference = Launch::new(&root.join(".deps/venv/bin/python"))
        .arguments([root
            .join("tools/reference/nanodet_reference.py")
            .display()
            .to_string()])
        .arguments([root.join(".deps/clips/walking.mp4").display().to_string()])
        .arguments([root
            .join("assets/models/nanodet-416-int8.onnx")
            .display()
            .to_string()])
        .arguments(["--every", "50", "--output"])
        .arguments([output.display().to_string()])
        .start();
    let code = reference.exit_code(RUN_TIMEOUT);
    assert_eq!(code, 0, "{}", reference.stderr());
    let text = std::fs::read_to_string(output).expect("the reference's output");
    let reference: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let frames = reference["frames"].as_array().expect("frames");
    assert_eq!(frames.len(), 16, "every 50th of 795");
    let mut compared = 0;
    for frame in frames {
        let number = frame["sequence_number"].as_i64().expect("a number");
        let ours = seen_in(site, number);
        let theirs: Vec<Seen> = frame["detections"]
            .as_array()
            .expect("detections")
            .iter()
            .map(Seen::from_json)
            .collect();
        compared += found_on_both_sides(number, &ours, &theirs);
    }
    assert!(compared > 100, "{compared} detections were compared");
}

/// Each detection of a frame is on the other side too, or is so little sure that it may be missing
/// there; returns how many are.
pub(crate) fn found_on_both_sides(number: i64, ours: &[Seen], theirs: &[Seen]) -> usize {
    let mut found = 0;
    for (from, to) in [(ours, theirs), (theirs, ours)] {
        for seen in from {
            let is_there = to.iter().any(|other| seen.equals(other));
            let marginal = seen.score < SCORE_MIN + SCORE_TOLERANCE;
            assert!(
                is_there || marginal,
                "frame {number}: {seen:?} is not among {to:?}"
            );
            found += usize::from(is_there);
        }
    }
    found
}

#[derive(Debug)]
pub(crate) struct Seen {
    label: String,
    score: f64,
    edges: [f64; 4],
}

impl Seen {
    fn from_json(value: &serde_json::Value) -> Self {
        let number = |value: &serde_json::Value| value.as_f64().expect("a number");
        let edges: Vec<f64> = value["box"]
            .as_array()
            .expect("a box")
            .iter()
            .map(number)
            .collect();
        Self {
            label: value["label"].as_str().expect("a label").to_owned(),
            score: number(&value["score"]),
            edges: edges.try_into().expect("four edges"),
        }
    }

    fn equals(&self, other: &Self) -> bool {
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= BOX_TOLERANCE_PX;
        self.label == other.label
            && (self.score - other.score).abs() <= SCORE_TOLERANCE
            && self.edges.iter().zip(&other.edges).all(near)
    }
}

fn seen_in(site: &Site, sequence_number: i64) -> Vec<Seen> {
    let query = format!(
        "SELECT label, score, x1, y1, x2, y2 FROM v_detections
         WHERE sequence_number = {sequence_number} AND score IS NOT NULL"
    );
    site.database().rows(&query, |row| {
        Ok(Seen {
            label: row.get(0)?,
            score: row.get(1)?,
            edges: [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?],
        })
    })
}

/// What was detected in each frame of a stream.
pub(crate) fn seen_of(site: &Site, stream: &str) -> BTreeMap<i64, Vec<Seen>> {
    let query = format!(
        "SELECT label, score, x1, y1, x2, y2, sequence_number FROM v_detections
         WHERE stream = '{stream}' AND score IS NOT NULL"
    );
    let rows = site.database().rows(&query, |row| {
        let edges = [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
        let (label, score) = (row.get(0)?, row.get(1)?);
        let seen = Seen {
            label,
            score,
            edges,
        };
        Ok((row.get(6)?, seen))
    });
    let mut frames = BTreeMap::<_, Vec<_>>::new();
    for (number, seen) in rows {
        frames.entry(number).or_default().push(seen);
    }
    frames
}

fn the_exports_read_well(site: &Site) {
    let mot = site.ask(&["export", "whole", "--format", "mot"]);
    assert_eq!(mot.code, 0, "{}", mot.stderr);
    let mut frames = 0;
    for line in mot.stdout.lines() {
        let cells: Vec<f64> = line
            .split(',')
            .map(|cell| cell.trim().parse().expect("a number"))
            .collect();
        assert_eq!(cells.len(), 10, "{line}");
        assert!((1.0..=795.0).contains(&cells[0]), "{line}");
        assert!(cells[1] >= 1.0, "{line}");
        frames += 1;
    }
    assert!(frames > 2000, "{frames} rows");
    let json = site.ask(&["export", "whole", "--format", "json"]);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert!(value.to_string().contains("sequence_number"));
}

fn the_listings_read_well(site: &Site) {
    for (arguments, needed) in [
        (&["runs"][..], "finished"),
        (&["stats", "whole"], "795"),
        (&["stats", "last", "--json"], "\"captured\""),
        (&["events", "whole-1", "--json"], "["),
    ] {
        let listing = site.ask(arguments);
        assert_eq!(listing.code, 0, "{arguments:?}: {}", listing.stderr);
        assert!(
            listing.stdout.contains(needed),
            "{arguments:?} does not say {needed}: {}",
            listing.stdout
        );
    }
    let missing = site.ask(&["stats", "nowhere"]);
    assert_eq!(missing.code, 9, "{}", missing.stderr);
    assert!(missing.stderr.contains("nowhere"), "{}", missing.stderr);
}
