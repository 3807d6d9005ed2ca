//! Two viewers of one stream at once, with ordinary players.

use std::path::Path;

use nix::sys::signal::Signal;
use testkit::camera::free_port;
use testkit::process::{Launch, Process};

use crate::site::{RUN_TIMEOUT, STATE_TIMEOUT, Site};

fn viewer(url: &str, output: &str) -> Process {
    Launch::new(Path::new("/usr/bin/ffmpeg"))
        .arguments(["-v", "error", "-rtsp_transport", "tcp", "-i", url])
        .arguments(["-frames:v", "30", "-y", "-f", "null", output])
        .start()
}

#[test]
fn two_viewers_share_one_encode() {
    let site = Site::new();
    let port = free_port();
    let config = site.config(&format!(
        "
run: viewers
gateway: {{rtsp_port: {port}}}
streams:
  yard:
    source: '{{root}}/.deps/clips/walking.mp4'
    pace: live
    loop: true
    size: 768x576
    outputs: [{{rtsp: yard}}]
"
    ));
    let mut run = site.run(&config, &[]);
    site.wait_state("yard", "live");
    let url = format!("rtsp://127.0.0.1:{port}/yard");
    let mut viewers = [viewer(&url, "-"), viewer(&url, "-")];
    for viewer in &mut viewers {
        assert_eq!(viewer.exit_code(STATE_TIMEOUT), 0, "{}", viewer.stderr());
    }
    run.signal(Signal::SIGINT);
    assert_eq!(run.exit_code(RUN_TIMEOUT), 0, "{}", run.stderr());
    let ledger = site.database().ledger("yard");
    assert!(ledger["gateway.viewers_total"] >= 2, "{ledger:?}");
    // Handed on once, not once a viewer: each of the two has seen 30 pictures.
    assert!(ledger["gateway.forwarded"] > 0, "{ledger:?}");
    assert!(
        ledger["gateway.forwarded"] <= ledger["render.encoded"],
        "{ledger:?}"
    );
    assert_eq!(
        ledger["render.encoded"], ledger["render.rendered"],
        "{ledger:?}"
    );
    site.database().assert_closed();
}
