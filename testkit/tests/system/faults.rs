//! Cameras of every fault at once, again and again, beside two that have none.

use std::path::Path;
use std::time::{Duration, Instant};

use contract::geometry::PixelSize;
use nix::sys::signal::Signal;
use testkit::camera::{Authentication, CameraOptions, Media, RtspCamera};
use testkit::free_port;
use testkit::link::{Impairment, RtspLink};
use testkit::process::{Launch, Process};
use testkit::wait::wait_until;

use crate::site::{Holdings, RUN_TIMEOUT, STATE_TIMEOUT, Site, assert_nothing_left, workers};

/// What the camera that reboots sends after each of its reboots.
const SIZES: [(u32, u32); 3] = [(320, 240), (640, 360), (176, 144)];
const FPS: f64 = 25.0;
/// After so many rounds everything has been opened once, and memory is compared with this.
const SETTLED_ROUNDS: u32 = 3;

/// `SLUICE_FAULT_SECONDS=600` for `make faults`; a slice of it otherwise.
#[test]
fn cameras_of_every_fault_harm_no_other() {
    let seconds = std::env::var("SLUICE_FAULT_SECONDS")
        .map_or(15, |text| text.parse().expect("a number of seconds"));
    let time = Duration::from_secs(seconds);
    let site = Site::new();
    let steady = [0, 1].map(|_| RtspCamera::start(CameraOptions::default()));
    let mut reboots = RtspCamera::start(CameraOptions::default());
    let freezes = RtspCamera::start(CameraOptions::default());
    let locked = RtspCamera::start(CameraOptions {
        login: Some((
            "viewer".to_owned(),
            "right".to_owned(),
            Authentication::Digest,
        )),
        ..CameraOptions::default()
    });
    let silent = RtspCamera::start(CameraOptions {
        media: Media::Sound,
        ..CameraOptions::default()
    });
    let behind = RtspCamera::start(CameraOptions::default());
    let link = RtspLink::start(
        behind.port(),
        Impairment {
            loss: 0.02,
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis(30),
            seed: 1,
        },
    );
    let udp = free_port();
    let config = site.config(&format!(
        "
run: faults
defaults:
  size: 640x360
  no_frame_timeout: 2s
  retry: {{attempts: forever, interval: 500ms, max_interval: 1s}}
streams:
  steady-1: {{source: '{}'}}
  steady-2: {{source: '{}'}}
  reboots: {{source: '{}'}}
  freezes: {{source: '{}'}}
  locked: {{source: '{}'}}
  silent: {{source: '{}'}}
  lossy: {{source: 'rtsp://127.0.0.1:{}/stream', transport: udp}}
  jumps: {{source: 'udp://127.0.0.1:{udp}'}}
",
        steady[0].location(),
        steady[1].location(),
        reboots.location(),
        freezes.location(),
        locked.location_as("viewer", "wrong-secret"),
        silent.location(),
        link.port(),
    ));
    let mut run = site.run(&config, &[]);
    let supervisor = run.id();
    for stream in ["steady-1", "steady-2"] {
        site.wait_state(stream, "live");
    }
    let begin = Instant::now();
    let (mut rounds, mut settled) = (0, None);
    while begin.elapsed() < time {
        // A day back at each start, as a device whose clock is set.
        let sender = Sender::start(udp, 1_000_000 - 86_400 * i64::from(rounds % 10));
        site.wait_state("jumps", "live");

        reboots.kill();
        let down = || ["lost", "connecting"].contains(&site.database().state("reboots").as_str());
        assert!(
            wait_until(STATE_TIMEOUT, down),
            "{}",
            site.database().state("reboots")
        );
        let (width, height) = SIZES[rounds as usize % SIZES.len()];
        reboots.change(|options| options.size = PixelSize { width, height });
        reboots.restart();
        site.wait_state("reboots", "live");

        freezes.freeze();
        site.wait_state("freezes", "stalled");
        freezes.thaw();
        site.wait_state("freezes", "live");

        site.wait_state("locked", "refused");
        site.wait_state("silent", "lost");
        site.wait_state("lossy", "live");
        drop(sender);
        rounds += 1;
        if rounds == SETTLED_ROUNDS {
            settled = Some(Holdings::of(supervisor));
        }
        if rounds % 10 == 0 {
            println!("{rounds} rounds, {} s", begin.elapsed().as_secs());
        }
    }
    let elapsed = begin.elapsed().as_secs_f64();
    if let Some(settled) = settled {
        let now = Holdings::of(supervisor);
        println!("after {SETTLED_ROUNDS} rounds {settled:?}, after {rounds} {now:?}");
        // Some of the cameras are just being connected to.
        assert!(
            now.descriptors < settled.descriptors + 60,
            "descriptors leak"
        );
        let grown = now.resident_kib < settled.resident_kib + settled.resident_kib / 5;
        assert!(grown, "memory grows: {settled:?}, {now:?}");
    }

    let children = workers(supervisor);
    run.signal(Signal::SIGINT);
    assert_eq!(run.exit_code(RUN_TIMEOUT), 0, "{}", run.stderr());
    assert_nothing_left(supervisor, &children);
    let database = site.database();
    database.assert_closed();
    for stream in ["steady-1", "steady-2"] {
        let ledger = database.ledger(stream);
        let of = |counter: &str| ledger[counter];
        assert_eq!(of("ingest.sessions"), 1, "{stream}: {ledger:?}");
        assert_eq!(
            of("ingest.lost") + of("render.lost_in_worker"),
            0,
            "{stream}: {ledger:?}"
        );
        assert!(
            of("ingest.captured") as f64 > 0.9 * FPS * elapsed,
            "{stream} in {elapsed:.0} s: {ledger:?}"
        );
    }
    let sessions = |stream: &str| database.ledger(stream)["ingest.sessions"];
    assert!(
        sessions("reboots") > i64::from(rounds),
        "each round begins a session"
    );
    assert_eq!(
        sessions("lossy"),
        1,
        "what is lost on the way ends no session"
    );
    let (come, lost) = link.counts();
    assert!(lost > 0, "{lost} of {come} datagrams were lost");
    let restarts = "SELECT count(*) FROM workers WHERE incarnation > 0";
    assert_eq!(database.number(restarts, []), 0, "a bad camera is no crash");
    println!("{rounds} rounds in {elapsed:.0} s; {lost} of {come} datagrams lost");
}

/// Who sends an MPEG transport stream to a port, whose clock begins at a time in seconds.
struct Sender(Process);

impl Sender {
    fn start(port: u16, clock_s: i64) -> Self {
        let arguments = format!(
            "-nostdin -v error -re -f lavfi -i testsrc=size=320x240:rate=25 -pix_fmt yuv420p -c:v libx264 \
             -preset ultrafast -tune zerolatency -g 12 -bf 0 -output_ts_offset {clock_s} \
             -f mpegts udp://127.0.0.1:{port}?pkt_size=1316"
        );
        let launch = Launch::new(Path::new("/usr/bin/ffmpeg"));
        Self(launch.arguments(arguments.split_whitespace()).start())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.kill();
    }
}
