//! What viewers by WebRTC cost, and how late they are served.
//!
//! `cargo run --release -p gateway --example webrtc_viewers -- 1 10 50`
//!
//! One camera of 768x576 at 25 frames a second and 3 Mbit/s, and so many viewers on loopback, each
//! for ten seconds. The processor time is that of the gateway's network thread alone; viewers have
//! threads of their own, but share the machine. The latency is from capture to the last packet of
//! a picture at the viewer.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a measurement is a test that prints"
)]

#[expect(dead_code, reason = "tests use more of it")]
#[path = "../tests/rig/mod.rs"]
mod rig;
#[expect(dead_code, reason = "tests use more of it")]
#[path = "../tests/whep/mod.rs"]
mod whep;

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use contract::spec::Protocol;
use testkit::wait_until;

use crate::rig::{Camera, Picture, Rig, access_units};
use crate::whep::Whep;

const MEASURED: Duration = Duration::from_secs(10);

/// Clock ticks a second of the times in `/proc`: fixed for user space on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

fn main() {
    let counts = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok());
    let mut counts: Vec<usize> = counts.collect();
    if counts.is_empty() {
        counts = vec![1, 10, 50];
    }
    println!(
        "viewers  received/s  Mbit/s  skipped  CPU %  CPU % a viewer  latency ms: p50  p95  max"
    );
    for viewers in counts {
        measure(viewers);
    }
}

fn measure(count: usize) {
    let rig = Rig::serving(&[Protocol::Webrtc], &["yard"]);
    let port = rig.port(Protocol::Webrtc);
    let camera = Camera::start(&rig, "yard", Picture::Street);
    assert!(wait_until(MEASURED, || rig.book("yard").received > 5));
    let viewers: Vec<_> = (0..count).map(|_| Whep::watch(port, "yard")).collect();
    for viewer in &viewers {
        assert!(viewer.receives(25), "{viewer:?}");
    }

    let (begun, busy) = (Instant::now(), busy_s());
    let before: Vec<_> = viewers.iter().map(Whep::count).collect();
    wait_until(MEASURED, || false);
    let after: Vec<_> = viewers.iter().map(Whep::count).collect();
    let (passed, busy) = (begun.elapsed().as_secs_f64(), busy_s() - busy);

    let captured_ns = camera.captured_ns();
    let units: HashMap<_, _> = access_units(Picture::Street)
        .enumerate()
        .map(|(index, unit)| (rig::canonical(unit), index))
        .collect();
    let mut latencies_ms = Vec::new();
    let mut bytes = 0;
    for (viewer, (before, after)) in viewers.iter().zip(before.iter().zip(&after)) {
        for picture in &viewer.pictures()[*before..*after] {
            bytes += picture.data.len();
            let Some(index) = units.get(&rig::canonical(&picture.data)) else {
                continue;
            };
            // The camera shows the same again and again: the newest of those it can have been.
            let mut same = captured_ns.iter().skip(*index).step_by(units.len());
            let taken = same.rfind(|at| **at <= picture.received_ns);
            let taken = taken.expect("it was captured before it came");
            latencies_ms.push((picture.received_ns - taken) as f64 / 1e6);
        }
    }
    latencies_ms.sort_by(f64::total_cmp);
    let at = |part: f64| latencies_ms[((latencies_ms.len() - 1) as f64 * part) as usize];
    let received: usize = after.iter().sum::<usize>() - before.iter().sum::<usize>();
    let load = busy / passed * 100.0;
    println!(
        "{count:7}  {:10.1}  {:6.2}  {:7}  {load:5.1}  {:14.2}  {:15.1}  {:3.1}  {:3.1}",
        received as f64 / passed / count as f64,
        bytes as f64 * 8e-6 / passed / count as f64,
        rig.book("yard").skipped_by_viewers,
        load / count as f64,
        at(0.5),
        at(0.95),
        at(1.0),
    );
    camera.end();
}

/// Processor time of the gateway's network thread.
fn busy_s() -> f64 {
    let threads = fs::read_dir("/proc/self/task").expect("Linux");
    let stat = threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok())
        .find(|stat| stat.contains("(network)"))
        .expect("the thread runs");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let fields: Vec<f64> = fields
        .split(' ')
        .filter_map(|field| field.parse().ok())
        .collect();
    // Without the state, which is no number: fields 14 and 15 of proc(5).
    (fields[10] + fields[11]) / TICKS_PER_SECOND
}
