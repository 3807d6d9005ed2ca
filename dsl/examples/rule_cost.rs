//! What rules cost: time an evaluation, bytes a key, time to compile a thousand.
//!
//!     cargo run -p dsl --example rule_cost

#![expect(clippy::print_stdout, reason = "it prints its figures")]

#[path = "../tests/support/mod.rs"]
#[expect(dead_code, reason = "each user of it uses its part")]
mod support;

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use dsl::{RuleFile, Subject, TrackFacts};
use support::{DOCK, Frame, PLACES, film, rule, track};

/// Each with the number of tracks in the frame.
const RULES: &[(&str, Subject, &str, u64)] = &[
    (
        "label, score, zone",
        Subject::Track,
        "label == \"person\" and score > 60% and in_zone(dock)",
        20,
    ),
    (
        "... and dwell",
        Subject::Track,
        "label == \"person\" and score > 60% and in_zone(dock) and dwell(dock) > 10s",
        20,
    ),
    (
        "... and another near",
        Subject::Track,
        "label == \"person\" and not exists(label == \"car\" and distance(track) < 0.1)",
        20,
    ),
    (
        "... and a count of all",
        Subject::Track,
        "in_zone(dock) and count(label == \"person\" and in_zone(dock)) > 3",
        20,
    ),
    (
        "sequence of two zones",
        Subject::Track,
        "in_zone(street) -> in_zone(dock) within 8s",
        20,
    ),
    (
        "count over 20 tracks",
        Subject::Frame,
        "count(label == \"person\" and in_zone(dock)) > 20",
        20,
    ),
    (
        "count within 2s",
        Subject::Frame,
        "count(in_zone(dock)) > 30 within 2s",
        20,
    ),
    (
        "hour in a time zone",
        Subject::Stream,
        "clock(\"Europe/Berlin\").hour in 8..17",
        20,
    ),
];

const EVALUATIONS: u64 = 1_000_000;

fn main() {
    println!(
        "{:<24} {:>10} {:>12} {:>12} {:>9}",
        "rule", "ns", "bytes a key", "bytes shared", "cost"
    );
    for (name, on, when, tracks) in RULES {
        measure(name, *on, when, *tracks);
    }
    compile();
}

fn measure(name: &str, on: Subject, when: &str, tracks: u64) {
    let rule = rule(on, when);
    let mut frame = crowd(tracks);
    let mut shared = rule.when.shared();
    let subjects = if on == Subject::Track { tracks } else { 1 };
    let mut memories: Vec<_> = (0..subjects).map(|_| rule.when.memory()).collect();
    let frames = EVALUATIONS / subjects;
    let started = Instant::now();
    let mut held = 0_u64;
    for _ in 0..frames {
        frame.pts_ns += 40_000_000;
        let scene = frame.scene();
        rule.when.begin_frame(&scene, &mut shared);
        for (index, memory) in memories.iter_mut().enumerate() {
            let subject = (on == Subject::Track).then_some(index);
            held += u64::from(
                rule.when
                    .evaluate(black_box(&scene), subject, &mut shared, memory),
            );
        }
    }
    black_box(held);
    let each_ns = started.elapsed().as_secs_f64() * 1e9 / (frames * subjects) as f64;
    let cost = rule.cost();
    println!(
        "{name:<24} {each_ns:>10.1} {:>12} {:>12} {:>5}+{}T",
        memories[0].bytes(),
        shared.bytes(),
        cost.per_evaluation,
        cost.per_track
    );
}

/// Persons in the dock, for whom all tests are made.
fn crowd(tracks: u64) -> Frame {
    let mut frame = film().swap_remove(0);
    frame.tracks = (0..tracks)
        .map(|id| TrackFacts {
            score: 0.9,
            zones: DOCK,
            foot: [id as f32, 0.9],
            ..track(id, 0)
        })
        .collect();
    frame.dwell_ns = vec![1; frame.tracks.len() * frame.zones.len()];
    frame
}

fn compile() {
    let rules: String = (0..1000)
        .map(|index| {
            format!("  r{index}: {{on: track, when: 'label == \"person\" and score > 60% and in_zone(dock)', for: 10s, message: 'person {{track.id}}'}}\n")
        })
        .collect();
    let text = format!("{PLACES}rules:\n{rules}");
    let started = Instant::now();
    let file = RuleFile::parse_checked(&text, Path::new("rules.yaml"));
    let took = started.elapsed();
    let count = file.map_or(0, |file| file.rules.len());
    println!(
        "{count} rules of {} bytes compiled in {:.1} ms",
        text.len(),
        took.as_secs_f64() * 1e3
    );
}
