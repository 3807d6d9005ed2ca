//! What measuring motion costs a frame: `cargo run --release -p ingest-worker --example motion_cost`.

use std::time::Instant;

use contract::geometry::PixelSize;
use contract::spec::MotionSpec;
use ingest_worker::motion::MotionDetector;

const ROUNDS: u32 = 1000;

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn main() {
    for (width, height) in [(640, 360), (768, 576), (1280, 720), (1920, 1080)] {
        let size = PixelSize { width, height };
        let mut detector = MotionDetector::new(&MotionSpec {
            threshold: 12,
            mask: Vec::new(),
        });
        // Several pictures, so that not every byte lies in the innermost cache.
        let pictures: Vec<Vec<u8>> = (0..8_u32)
            .map(|picture| {
                (0..width * height)
                    .map(|at| grain(at ^ (picture << 20)))
                    .collect()
            })
            .collect();
        let begin = Instant::now();
        let mut moved = 0.0;
        for (round, luma) in (0..ROUNDS).zip(pictures.iter().cycle()) {
            let pts_ns = u64::from(round) * 40_000_000;
            moved += detector
                .measure(luma, width as usize, size, pts_ns)
                .fraction;
        }
        let microseconds = begin.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS);
        println!(
            "{size}: {microseconds:.1} us a frame (mean motion {:.3})",
            moved / 1000.0
        );
    }
}

fn grain(at: u32) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 24) as u8
}
