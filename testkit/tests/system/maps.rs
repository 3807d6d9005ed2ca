//! Models that speak of every place of the picture: depth under objects, and maps in the video.
//!
//! The depth model of these tests says how bright a place is, so that what it must say is
//! known from the picture itself.

use std::path::{Path, PathBuf};

use contract::geometry::{I420Layout, PixelSize};

use crate::site::{RUN_TIMEOUT, Site, repository};
use crate::whole_job::frames_of;

const CONFIG: &str = "
run: maps
models:
  faces: {file: '{root}/.deps/models/centerface.onnx', family: centerface, input: {size: 320x256}, score: 0.5}
  depth: {file: '{root}/infer-worker/tests/data/depth.onnx', family: depth, input: {size: 176x144}}
  classes: {file: '{root}/infer-worker/tests/data/segmentation.onnx', family: segmentation, input: {size: 176x144}, labels: [background, green, blue]}
streams:
  car:
    source: '{root}/.deps/clips/carphone.mp4'
    pace: fast
    queue: {policy: wait}
    infer: [faces, depth, classes]
    overlay: {depth: VIEW, boxes: false, trails: false, status: false, classes: false}
    outputs: [{record: car}]
rules: maps.rules.yaml
";

const RULES: &str = "
rules:
  dark: {on: track, when: depth < LIMIT, message: 'depth {depth}', do: [alert]}
";

const SIZE: PixelSize = PixelSize {
    width: 176,
    height: 144,
};
const FRAMES: usize = 120;

/// Raw I420 of a video file.
fn decoded(site: &Site, video: &Path) -> Vec<u8> {
    let raw = site.path().join("decoded.i420");
    testkit::clip::write(
        &raw,
        &format!(
            "filesrc location={} ! qtdemux ! h264parse ! avdec_h264 ! videoconvert \
             ! video/x-raw,format=I420 ! filesink name=file",
            video.display()
        ),
    );
    std::fs::read(raw).expect("it is decoded")
}

fn recording(site: &Site) -> PathBuf {
    let path = "SELECT data_directory || '/' || path FROM files JOIN runs ON runs.id = run WHERE kind = 'recording'";
    site.database().text(path, []).into()
}

fn run(site: &Site, view: &str, limit: &str) {
    site.file("maps.rules.yaml", &RULES.replace("LIMIT", limit));
    let config = site.config(&CONFIG.replace("VIEW", view));
    let mut run = site.run(&config, &[]);
    let code = run.exit_code(RUN_TIMEOUT);
    assert_eq!(code, 0, "{}{}", run.stdout(), run.stderr());
    site.database().assert_closed();
}

/// What the depth model says of a pixel of BT.601: the mean of its normalised channels.
fn brightness(frame: &[u8], layout: &I420Layout, column: usize, row: usize) -> f32 {
    let sample = |plane: usize, column: usize, row: usize| {
        f32::from(frame[layout.offsets[plane] + row * layout.strides[plane] + column])
    };
    let y = (sample(0, column, row) - 16.0) / 219.0;
    let blue = (sample(1, column / 2, row / 2) - 128.0) / 224.0;
    let red = (sample(2, column / 2, row / 2) - 128.0) / 224.0;
    let channels = [
        (y + 1.402 * red, 0.485, 0.229),
        (y - 0.344 * blue - 0.714 * red, 0.456, 0.224),
        (y + 1.772 * blue, 0.406, 0.225),
    ];
    let normalised =
        channels.map(|(value, mean, deviation)| (value.clamp(0.0, 1.0) - mean) / deviation);
    normalised.iter().sum::<f32>() / 3.0
}

#[test]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "pixels of a small picture"
)]
fn rules_and_queries_know_the_depth_under_each_object() {
    let site = Site::new();
    run(&site, "inset", "0.2");
    let clip = decoded(&site, &repository().join(".deps/clips/carphone.mp4"));
    let layout = I420Layout::of(SIZE);
    assert_eq!(clip.len(), FRAMES * layout.bytes);
    let database = site.database();
    let rows = database.rows(
        "SELECT sequence_number, x1, y1, x2, y2, depth FROM v_detections WHERE track IS NOT NULL",
        |row| {
            let sides: [f32; 4] = [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
            Ok((row.get::<_, u32>(0)? as usize, sides, row.get::<_, f32>(5)?))
        },
    );
    assert!(rows.len() > 100, "{} objects", rows.len());
    for (number, [x1, y1, x2, y2], depth) in &rows {
        let frame = &clip[number * layout.bytes..][..layout.bytes];
        let (width, height) = (x2 - x1, y2 - y1);
        let mut seen: Vec<f32> = Vec::new();
        for row in (y1 + height / 4.0) as usize..(y1 + height * 0.75) as usize {
            for column in (x1 + width / 4.0) as usize..(x1 + width * 0.75) as usize {
                seen.push(brightness(frame, &layout, column, row));
            }
        }
        seen.sort_by(f32::total_cmp);
        let median = seen[seen.len() / 2];
        // The model looks at 81 places, between pixels.
        assert!(
            (depth - median).abs() < 0.12,
            "frame {number}: {depth} is not {median}"
        );
    }
    // The rule fires where the stored depth says so, and a replay finds the same.
    let dark = rows.iter().filter(|(_, _, depth)| *depth < 0.2).count();
    let events = database.number("SELECT count(*) FROM events WHERE rule = 'dark'", []);
    assert_eq!(events > 0, dark > 0, "{events} events, {dark} dark objects");
    let rules = site.path().join("maps.rules.yaml").display().to_string();
    let replay = site.ask(&["rules", "replay", &rules, "--run", "last", "--json"]);
    assert_eq!(replay.code, 0, "{}", replay.stderr);
    let said: serde_json::Value = serde_json::from_str(&replay.stdout).expect("JSON");
    let same = said["streams"][0]["same"].as_array().map_or(0, Vec::len);
    assert_eq!(i64::try_from(same), Ok(events), "{said}");
}

#[test]
fn the_map_of_depth_is_shown_beside_the_picture() {
    let site = Site::new();
    run(&site, "side_by_side", "0");
    let video = recording(&site);
    assert_eq!(frames_of(&video), i64::try_from(FRAMES).expect("few"));
    let layout = I420Layout::of(PixelSize {
        width: 2 * SIZE.width,
        ..SIZE
    });
    let pixels = decoded(&site, &video);
    assert!(pixels.len() > FRAMES / 2 * layout.bytes && pixels.len().is_multiple_of(layout.bytes));
    // The colours grow brighter with what the model says: how bright the place is.
    let frame = &pixels[FRAMES / 2 * layout.bytes..];
    let rows = frame
        .chunks_exact(layout.strides[0])
        .take(SIZE.height as usize);
    let pairs: Vec<_> = rows
        .flat_map(|row| {
            let (left, right) = row.split_at(SIZE.width as usize);
            left.iter().zip(right)
        })
        .map(|(left, right)| (f64::from(*left), f64::from(*right)))
        .collect();
    let correlation = correlation(&pairs);
    assert!(correlation > 0.9, "{correlation}");
}

/// Pearson's.
#[expect(clippy::cast_precision_loss, reason = "a small picture")]
fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let count = pairs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / count;
    let (left, right) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let (mut both, mut lefts, mut rights) = (0.0, 0.0, 0.0);
    for pair in pairs {
        let (one, other) = (pair.0 - left, pair.1 - right);
        both += one * other;
        lefts += one * one;
        rights += other * other;
    }
    both / (lefts * rights).sqrt()
}
