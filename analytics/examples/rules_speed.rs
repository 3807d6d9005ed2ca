//! What five typical rules cost on twenty tracks: nanoseconds a rule and track, allocations a
//! frame, bytes a track.
//!
//! `cargo run --release -p analytics --example rules_speed`
#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::time::Instant;

use analytics::workload;

const TRACKS: u64 = 20;
const FRAMES: u64 = 20_000;

fn main() -> Result<(), workload::WorkloadError> {
    let mut engine = workload::engine()?;
    let rules = engine.file().rules.len() as u64;

    let empty = workload::record(0, 0);
    engine.observe(&empty);
    let full = workload::record(1, TRACKS);
    let taken = allocation_counter::measure(|| drop(engine.observe(&full)));

    let records: Vec<_> = (2..2 + FRAMES)
        .map(|number| workload::record(number, TRACKS))
        .collect();
    let mut fired = 0;
    let mut elapsed = std::time::Duration::ZERO;
    let allocated = allocation_counter::measure(|| {
        let begin = Instant::now();
        for record in &records {
            fired += engine.observe(record).len();
        }
        elapsed = begin.elapsed();
    });
    let a_frame = elapsed.as_nanos() / u128::from(FRAMES);
    println!("{TRACKS} tracks, {rules} rules, {FRAMES} frames, {fired} firings");
    println!("a frame: {a_frame} ns");
    println!(
        "a rule and track: {} ns, what is known of the track included",
        a_frame / u128::from(rules * TRACKS)
    );
    println!("allocations: {}", allocated.count_total);
    println!(
        "a track: {} bytes",
        taken.bytes_current / i64::try_from(TRACKS).unwrap_or(1)
    );
    Ok(())
}
