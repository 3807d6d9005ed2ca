//! Many streams in one picture: each in its place, the dead one empty, the others alive.

use std::path::Path;

use nix::sys::signal::Signal;
use testkit::free_port;
use testkit::process::{Launch, send_signal};
use testkit::wait_until;

use crate::site::{RUN_TIMEOUT, STATE_TIMEOUT, Site, assert_nothing_left, workers};

const SIZE: [usize; 2] = [640, 368];
/// Columns and rows of two tiles each way, with a gap of four pixels.
const TILE: [usize; 2] = [318, 182];

/// One picture of the mosaic, as RGB.
struct Shot(Vec<u8>);

impl Shot {
    /// The mean colour around a point of the tile in this column and row, in parts of its sides.
    fn colour(&self, [column, row]: [usize; 2], [x, y]: [f64; 2]) -> [u8; 3] {
        let at =
            |cell: usize, side: usize, part: f64| cell * (side + 4) + (side as f64 * part) as usize;
        let (left, top) = (at(column, TILE[0], x) - 2, at(row, TILE[1], y) - 2);
        [0, 1, 2].map(|channel| {
            let pixels = (0..4).flat_map(|dy| (0..4).map(move |dx| (left + dx, top + dy)));
            let sum: usize = pixels
                .map(|(x, y)| usize::from(self.0[(y * SIZE[0] + x) * 3 + channel]))
                .sum();
            u8::try_from(sum / 16).expect("a mean")
        })
    }
}

/// What a viewer sees now.
fn look(site: &Site, url: &str) -> Option<Shot> {
    let path = site.path().join("shot.rgb");
    let _ = std::fs::remove_file(&path);
    let mut viewer = Launch::new(Path::new("ffmpeg"))
        .arguments(["-nostdin", "-v", "error", "-y", "-rtsp_transport", "tcp"])
        .arguments(["-i", url, "-frames:v", "1"])
        .arguments(["-f", "rawvideo", "-pix_fmt", "rgb24"])
        .arguments([&path.display().to_string()])
        .start();
    viewer.exit_code(STATE_TIMEOUT);
    let bytes = std::fs::read(path).ok()?;
    (bytes.len() == SIZE[0] * SIZE[1] * 3).then_some(Shot(bytes))
}

fn near(found: [u8; 3], wanted: [u8; 3]) -> bool {
    let pairs = found.into_iter().zip(wanted);
    pairs
        .into_iter()
        .all(|(found, wanted)| found.abs_diff(wanted) <= 24)
}

/// An empty tile: dark beside its cross, bright in the middle of it.
fn is_empty(shot: &Shot, cell: [usize; 2]) -> bool {
    near(shot.colour(cell, [0.5, 0.15]), [33, 33, 33])
        && near(shot.colour(cell, [0.5, 0.5]), [110, 110, 110])
}

fn number_of(site: &Site, worker: &str) -> i64 {
    let ready = "SELECT count(ready_wall_ms) FROM workers WHERE worker = ?1";
    site.database().number(ready, [worker])
}

fn pid_of(site: &Site, worker: &str) -> u32 {
    let pid = "SELECT pid FROM workers WHERE worker = ?1 ORDER BY incarnation DESC LIMIT 1";
    u32::try_from(site.database().number(pid, [worker])).expect("a pid")
}

#[test]
fn each_stream_is_in_its_place_and_a_dead_one_harms_none() {
    let site = Site::new();
    let (rtsp, srt) = (free_port(), free_port());
    let config = site.config(&format!(
        "
run: wall
gateway: {{rtsp_port: {rtsp}}}
defaults: {{overlay: {{status: false}}}}
streams:
  wall:
    source: {{mosaic: [white, bars, absent, ball], fps: 10, stale_after: 1s}}
    size: {}x{}
    outputs: [{{rtsp: wall}}]
  white: {{source: 'test:white?size=320x180'}}
  bars: {{source: 'test:smpte?size=318x182', outputs: [{{rtsp: bars}}]}}
  absent: {{source: 'srt://127.0.0.1:{srt}?mode=listener'}}
  ball: {{source: 'test:ball?size=320x240'}}
",
        SIZE[0], SIZE[1]
    ));
    let mut run = site.run(&config, &[]);
    site.wait_state("wall", "live");
    let mut children = workers(run.id());
    let url = format!("rtsp://127.0.0.1:{rtsp}/wall");
    let all_there = || {
        look(&site, &url).is_some_and(|shot| {
            near(shot.colour([0, 0], [0.5, 0.5]), [255, 255, 255])
                // Yellow and green of the bars.
                && near(shot.colour([1, 0], [0.21, 0.3]), [255, 255, 0])
                && near(shot.colour([1, 0], [0.5, 0.3]), [0, 255, 0])
                && is_empty(&shot, [0, 1])
                // A picture of 4:3 has bars at its sides.
                && near(shot.colour([1, 1], [0.05, 0.5]), [0, 0, 0])
        })
    };
    assert!(
        wait_until(STATE_TIMEOUT, all_there),
        "the picture is another"
    );

    // One whose render worker hangs has an empty tile; the others go on.
    let white = pid_of(&site, "render-white");
    send_signal(white, Signal::SIGSTOP).expect("it lives");
    let white_gone = || {
        look(&site, &url).is_some_and(|shot| {
            is_empty(&shot, [0, 0]) && near(shot.colour([1, 0], [0.5, 0.3]), [0, 255, 0])
        })
    };
    assert!(
        wait_until(STATE_TIMEOUT, white_gone),
        "a frozen picture stays"
    );
    send_signal(white, Signal::SIGCONT).expect("it lives");
    assert!(
        wait_until(STATE_TIMEOUT, all_there),
        "it does not come back"
    );

    // Killed ones come back: a member, and the mosaic itself.
    for worker in ["render-bars", "ingest-wall"] {
        let before = number_of(&site, worker);
        send_signal(pid_of(&site, worker), Signal::SIGKILL).expect("it lives");
        let again = || number_of(&site, worker) > before;
        assert!(
            wait_until(STATE_TIMEOUT, again),
            "{worker} is not started again"
        );
        children.extend(workers(run.id()));
        assert!(wait_until(STATE_TIMEOUT, all_there), "after {worker}");
    }

    let supervisor = run.id();
    run.signal(Signal::SIGINT);
    assert_eq!(run.exit_code(RUN_TIMEOUT), 0, "{}", run.stderr());
    let database = site.database();
    database.assert_closed();
    for member in ["white", "bars", "ball"] {
        let ledger = database.ledger(member);
        assert!(ledger["mosaic:wall.shown"] > 10, "{member}: {ledger:?}");
        assert_eq!(ledger["mosaic:wall.invalid"], 0, "{member}: {ledger:?}");
    }
    assert_eq!(database.ledger("absent")["tiles:wall.due"], 0);
    assert_nothing_left(supervisor, &children);
}

#[test]
fn a_mosaic_of_files_ends_with_them_and_members_change_live() {
    let site = Site::new();
    let config = |members: &str| {
        site.config(&format!(
            "
run: files
streams:
  wall: {{source: {{mosaic: [{members}], fps: 10}}, size: 640x368, outputs: [{{record: wall}}]}}
  short: {{source: 'test:ball?size=320x240&fps=25&frames=100'}}
  long: {{source: 'test:smpte?size=320x240&fps=25&frames=300'}}
"
        ))
    };
    let path = config("short");
    let mut run = site.run(&path, &[]);
    site.wait_state("wall", "live");
    config("short, long");
    let applied = "SELECT count(*) FROM generations WHERE outcome = 'applied'";
    let is_applied = || site.database().number(applied, []) == 2;
    run.signal(Signal::SIGHUP);
    assert!(wait_until(STATE_TIMEOUT, is_applied), "{}", run.stderr());
    assert_eq!(run.exit_code(RUN_TIMEOUT), 0, "{}", run.stderr());
    let database = site.database();
    database.assert_closed();
    for member in ["short", "long"] {
        let ledger = database.ledger(member);
        assert_eq!(ledger["ingest.sessions"], 1, "{member} was touched");
        assert!(ledger["tiles:wall.published"] > 10, "{member}: {ledger:?}");
    }
    assert!(database.ledger("long")["mosaic:wall.shown"] > 10);
    let restarts = "SELECT count(*) FROM workers WHERE worker LIKE 'render-%' AND incarnation > 0";
    assert_eq!(
        database.number(restarts, []),
        0,
        "render workers change live"
    );
    let wall = database.ledger("wall");
    // Ten a second, for the twelve seconds of the longer one, less what the reload took.
    assert!(wall["ingest.captured"] > 60, "{wall:?}");
}
