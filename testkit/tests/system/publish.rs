//! Devices that send to us: streams that are written, and streams that are accepted.

use std::net::UdpSocket;
use std::path::Path;

use nix::sys::signal::Signal;
use testkit::process::{Launch, Process, kill_worker, send_signal};
use testkit::wait_until;

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

fn free_udp_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("bound").port()
}

fn lost(site: &Site, stream: &str) -> i64 {
    let ledger = site.database().ledger(stream);
    ledger["ingest.captured"] - ledger["ingest.published"]
}

#[test]
fn senders_are_waited_for_accepted_and_turned_away() {
    let site = Site::new();
    let port = free_udp_port();
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
    let port = free_udp_port();
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
