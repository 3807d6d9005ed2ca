//! Devices that send to us: streams that are written, and streams that are accepted.

use std::path::Path;

use nix::sys::signal::Signal;
use testkit::browser::Browser;
use testkit::free_port;
use testkit::process::{Launch, Process, kill_worker, send_signal};
use testkit::wait_until;
use testkit::whep::ask;

use crate::site::{RUN_TIMEOUT, STATE_TIMEOUT, Site, assert_nothing_left, workers};

/// A camera by `ffmpeg`: it ends when it is refused, and tries no second time.
fn sender(port: u16, name: &str) -> Process {
    let location = format!("srt://127.0.0.1:{port}?streamid=publish:{name}&pkt_size=1316");
    let source = "testsrc=size=320x240:rate=25";
    Launch::new(Path::new("ffmpeg"))
        .arguments([
            "-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", source,
        ])
        .arguments(["-c:v", "libx264", "-preset", "ultrafast", "-g", "25"])
        .arguments(["-f", "mpegts", &location])
        .start()
}

fn lost(site: &Site, stream: &str) -> i64 {
    let ledger = site.database().ledger(stream);
    ledger["ingest.captured"] - ledger["ingest.published"]
}

#[test]
fn senders_are_waited_for_accepted_and_turned_away() {
    let site = Site::new();
    let port = free_port();
    let config = site.config(&format!(
        "
run: senders
gateway: {{srt_port: {port}}}
streams:
  pattern: {{source: 'test:ball?size=320x240&fps=25', pace: live}}
  yard: {{source: 'publish:yard', outputs: [{{srt: yard}}]}}
templates:
  camera: {{outputs: [{{srt: '{{name}}'}}]}}
accept: [{{prefix: cam-, template: camera, max: 1, linger: 5s}}]
"
    ));
    let mut run = site.run(&config, &[]);
    let (supervisor, mut children) = (run.id(), workers(run.id()));
    site.wait_state("yard", "connecting");
    site.wait_state("pattern", "live");
    let _yard = sender(port, "yard");
    site.wait_state("yard", "live");

    let mut camera = sender(port, "cam-7");
    site.wait_state("cam-7", "live");
    children.extend(workers(supervisor));
    let mut refused = sender(port, "cam-8");
    assert_ne!(refused.exit_code(STATE_TIMEOUT), 0, "there may be one only");
    let mut twice = sender(port, "yard");
    assert_ne!(twice.exit_code(STATE_TIMEOUT), 0, "one sender at a time");

    // What a sender sends goes on where it was: on through a new ingest worker at once.
    let ingest = "SELECT pid FROM workers WHERE worker = 'ingest-yard'";
    let ingest = site.database().number(ingest, []);
    let ingest = u32::try_from(ingest).expect("a pid");
    send_signal(ingest, Signal::SIGKILL).expect("it lives");
    let lives = "SELECT count(ready_wall_ms) FROM workers WHERE worker = 'ingest-yard'";
    let again = || site.database().number(lives, []) == 2;
    assert!(wait_until(STATE_TIMEOUT, again), "it is not started again");
    site.wait_state("yard", "live");

    camera.kill();
    site.wait_state("cam-7", "lost");
    site.wait_state("cam-7", "removed");
    // Its place is free for another.
    let _other = sender(port, "cam-9");
    site.wait_state("cam-9", "live");
    children.extend(workers(supervisor));

    run.signal(Signal::SIGINT);
    assert_eq!(run.exit_code(RUN_TIMEOUT), 0, "{}", run.stderr());
    let said = format!("{}{}", run.stdout(), run.stderr());
    assert!(
        said.contains("`accept` takes 1 streams `cam-...` at most"),
        "{said}"
    );
    let database = site.database();
    database.assert_closed();
    assert_eq!(database.number("SELECT count(*) FROM streams", []), 4);
    let asked =
        "SELECT count(*) FROM generations WHERE asked_by = 'sender' AND outcome = 'applied'";
    assert_eq!(
        database.number(asked, []),
        3,
        "one came, it left, another came"
    );
    for stream in ["cam-7", "cam-9", "yard"] {
        let ledger = database.ledger(stream);
        assert!(ledger["intake.bytes"] > 0, "{stream}: {ledger:?}");
        assert_eq!(ledger["intake.missed"], 0, "{stream}: {ledger:?}");
        assert_eq!(
            ledger["ingest.chunks_overflowed"], 0,
            "{stream}: {ledger:?}"
        );
        assert!(ledger["gateway.next_sequence"] > 0, "{stream}: {ledger:?}");
    }
    assert_eq!(
        lost(&site, "pattern"),
        0,
        "who comes and goes harms no other"
    );
    assert_nothing_left(supervisor, &children);
}

#[test]
fn a_gateway_that_dies_is_sent_to_again() {
    let site = Site::new();
    let port = free_port();
    let config = site.config(&format!(
        "
run: senders
gateway: {{srt_port: {port}}}
streams: {{yard: {{source: 'publish:yard', no_frame_timeout: 2s}}}}
"
    ));
    let mut run = site.run(&config, &[]);
    site.wait_state("yard", "connecting");
    let mut camera = sender(port, "yard");
    site.wait_state("yard", "live");
    kill_worker(run.id(), "gateway");
    site.wait_state("yard", "stalled");
    // ffmpeg finds out and ends; a device would call again.
    camera.exit_code(STATE_TIMEOUT);
    site.wait_state("yard", "connecting");
    let _again = sender(port, "yard");
    site.wait_state("yard", "live");
    run.signal(Signal::SIGINT);
    assert_eq!(run.exit_code(RUN_TIMEOUT), 0, "{}", run.stderr());
    let database = site.database();
    database.assert_closed();
    assert_eq!(database.ledger("yard")["intake.senders_total"], 2);
}

/// Red, green and blue in the middle of a picture that a player shows of `url`.
fn colour(url: &str) -> [u8; 3] {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("picture.rgb");
    let mut player = Launch::new(Path::new("ffmpeg"))
        .arguments([
            "-nostdin",
            "-v",
            "error",
            "-rtsp_transport",
            "tcp",
            "-i",
            url,
        ])
        .arguments(["-frames:v", "1", "-vf", "crop=2:2", "-f", "rawvideo"])
        .arguments(["-pix_fmt", "rgb24", &file.display().to_string()])
        .start();
    assert_eq!(player.exit_code(STATE_TIMEOUT), 0, "{}", player.stderr());
    let pixels = std::fs::read(file).expect("a picture");
    [pixels[0], pixels[1], pixels[2]]
}

#[test]
fn a_browser_publishes_where_a_sender_by_srt_was() {
    const CANVAS: &str = include_str!("publish_canvas.js");
    let site = Site::new();
    let (srt, webrtc, rtsp) = (free_port(), free_port(), free_port());
    let config = site.config(&format!(
        "
run: browser
gateway: {{srt_port: {srt}, webrtc_port: {webrtc}, rtsp_port: {rtsp}, publish: [srt, webrtc]}}
streams: {{yard: {{source: 'publish:yard', size: 320x240, outputs: [{{rtsp: yard}}]}}}}
"
    ));
    let mut run = site.run(&config, &[]);
    site.wait_state("yard", "connecting");
    let mut camera = sender(srt, "yard");
    site.wait_state("yard", "live");

    // Any page of the gateway, so that the browser asks where the page is from.
    let mut browser = Browser::open(&format!("http://127.0.0.1:{webrtc}/"), 320, 240);
    let loaded = "String(location.port)";
    let page = wait_until(STATE_TIMEOUT, || {
        browser.evaluate(loaded) == webrtc.to_string()
    });
    assert!(page, "{}", browser.evaluate("location.href"));
    let publish =
        |browser: &mut Browser, path: &str| browser.evaluate(&CANVAS.replace("PATH", path));
    let taken = publish(&mut browser, "/yard");
    assert!(taken.starts_with("409 "), "{taken}");
    camera.kill();
    site.wait_state("yard", "lost");
    let mut said = String::new();
    let published = wait_until(STATE_TIMEOUT, || {
        said = publish(&mut browser, "/yard");
        said == "published"
    });
    assert!(published, "{said}");
    site.wait_state("yard", "live");
    let mut twice = sender(srt, "yard");
    assert_ne!(twice.exit_code(STATE_TIMEOUT), 0, "one sender at a time");

    let url = format!("rtsp://127.0.0.1:{rtsp}/yard");
    let mut seen = [0; 3];
    let right = wait_until(STATE_TIMEOUT, || {
        seen = colour(&url);
        let near = |(seen, wanted): (u8, u8)| seen.abs_diff(wanted) <= 20;
        seen.into_iter().zip([200, 40, 40]).all(near)
    });
    assert!(right, "{seen:?}");
    assert_eq!(browser.evaluate("leave()"), "200");
    site.wait_state("yard", "lost");
    assert_eq!(ask(webrtc, "GET", "/yard/whip", None).status, 405);

    run.signal(Signal::SIGINT);
    assert_eq!(run.exit_code(RUN_TIMEOUT), 0, "{}", run.stderr());
    let database = site.database();
    database.assert_closed();
    let ledger = database.ledger("yard");
    assert_eq!(ledger["intake.senders_total"], 2, "{ledger:?}");
    assert_eq!(ledger["ingest.chunks_overflowed"], 0, "{ledger:?}");
}
