//! What tracking costs: microseconds and allocations a frame by the number of people, and
//! microseconds a frame of measuring the camera's motion.
//!
//! `cargo run --release -p analytics --example tracker_speed`
#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::time::Instant;

use analytics::{CameraMotionEstimator, Tracker};
use contract::detection::{Detection, Landmarks};
use contract::geometry::{BoundingBox, PixelSize};
use contract::spec::{TrackerAlgorithm, TrackerSpec};

const SIZE: PixelSize = PixelSize {
    width: 1920,
    height: 1080,
};
const FRAME_NS: u64 = 40_000_000;
const FRAMES: usize = 500;
const WARM_UP: usize = 100;

fn main() {
    println!("people  algorithm  us a frame  allocations a frame");
    for people in [10, 50, 200] {
        let frames: Vec<Vec<Detection>> = (0_u64..)
            .map(|frame| crowd(people, frame))
            .take(WARM_UP + FRAMES)
            .collect();
        for algorithm in [
            TrackerAlgorithm::Sort,
            TrackerAlgorithm::Bytetrack,
            TrackerAlgorithm::Botsort,
        ] {
            measure_tracker(algorithm, people, &frames);
        }
    }
    println!("\npicture    camera  us a frame");
    for (width, height) in [(768, 576), (1280, 720), (1920, 1080)] {
        let size = PixelSize { width, height };
        for step in [0, 3] {
            measure_camera(size, step);
        }
    }
}

/// People who walk to and fro over the picture, in front of and behind each other; their boxes
/// tremble, and each is missed now and then.
fn crowd(people: u16, frame: u64) -> Vec<Detection> {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let time_s = frame as f32 / 25.0;
    (0..people)
        .filter(|person| !(frame + u64::from(*person) * 7).is_multiple_of(23))
        .map(|person| {
            let number = f32::from(person);
            let phase = number * 2.4;
            let x = 960.0 + 900.0 * (phase + 0.08 * time_s).sin();
            let y = 200.0 + (number * 97.0) % 860.0;
            let tremble = (number * 3.1 + time_s * 40.0).sin();
            let height = 0.15 * y + 60.0 + tremble;
            Detection {
                bounds: BoundingBox {
                    x1: x - 0.2 * height + tremble,
                    y1: y - height,
                    x2: x + 0.2 * height + tremble,
                    y2: y,
                },
                score: 0.7 + 0.25 * tremble,
                class: 0,
                landmarks: Landmarks::NONE,
            }
        })
        .collect()
}

fn measure_tracker(algorithm: TrackerAlgorithm, people: u16, frames: &[Vec<Detection>]) {
    let mut tracker = Tracker::new(&TrackerSpec {
        algorithm,
        high_score: 0.5,
        new_track_score: 0.5,
        iou_min: 0.2,
        lost_timeout_ms: 2000,
        camera_motion: true,
    });
    let mut numbered = (0_u64..).zip(frames);
    for (number, detections) in numbered.by_ref().take(WARM_UP) {
        tracker.update(number * FRAME_NS, SIZE, detections);
    }
    let mut elapsed = std::time::Duration::ZERO;
    let allocated = allocation_counter::measure(|| {
        let begin = Instant::now();
        for (number, detections) in numbered {
            tracker.update(number * FRAME_NS, SIZE, detections);
        }
        elapsed = begin.elapsed();
    });
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (count, allocations) = (FRAMES as f64, allocated.count_total as f64);
    println!(
        "{people:6}  {:9}  {:10.1}  {:19.2}",
        format!("{algorithm:?}").to_lowercase(),
        elapsed.as_secs_f64() * 1e6 / count,
        allocations / count,
    );
}

/// A textured picture that moves `step` pixels a frame.
fn measure_camera(size: PixelSize, step: u32) {
    const PICTURES: u32 = 8;
    let pictures: Vec<Vec<u8>> = (0..PICTURES)
        .map(|picture| {
            let places = (0..size.height).flat_map(|y| (0..size.width).map(move |x| (x, y)));
            places
                .map(|(x, y)| {
                    // To and fro, so that the last picture comes before the first.
                    let shift = step * picture.min(PICTURES - picture);
                    #[expect(clippy::cast_precision_loss, reason = "pixels")]
                    let (x, y) = ((x + shift) as f32, y as f32);
                    let level = 128.0
                        + 60.0 * (0.021 * x + 0.013 * y).sin() * (0.017 * y - 0.011 * x).cos()
                        + 40.0 * (0.09 * x).sin() * (0.07 * y).cos();
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "28 to 228"
                    )]
                    let pixel = level as u8;
                    pixel
                })
                .collect()
        })
        .collect();
    let mut estimator = CameraMotionEstimator::new();
    let mut observe = |rounds: u32| {
        let begin = Instant::now();
        for luma in (0..rounds).flat_map(|_| &pictures) {
            estimator.observe(luma, size.width as usize, size);
        }
        begin.elapsed()
    };
    observe(2);
    let rounds = 40;
    let elapsed = observe(rounds);
    println!(
        "{:10} {:6} {:11.0}",
        size.to_string(),
        if step == 0 { "still" } else { "moves" },
        elapsed.as_secs_f64() * 1e6 / f64::from(rounds * PICTURES),
    );
}
