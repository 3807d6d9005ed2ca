//! One stream in two qualities, with ordinary players, and without one by reload.

use std::path::Path;

use nix::sys::signal::Signal;
use testkit::browser::Browser;
use testkit::free_port;
use testkit::process::Launch;
use testkit::wait_until;

use crate::site::{RUN_TIMEOUT, STATE_TIMEOUT, Site};

/// The sizes of all video streams that ffprobe finds there, in its order.
fn sizes(url: &str) -> Vec<String> {
    let mut probe = Launch::new(Path::new("/usr/bin/ffprobe"))
        .arguments(["-v", "error", "-select_streams", "v"])
        .arguments(["-show_entries", "stream=width,height", "-of", "csv=p=0"])
        .arguments([url])
        .start();
    assert_eq!(probe.exit_code(STATE_TIMEOUT), 0, "{}", probe.stderr());
    let text = probe.stdout();
    let mut sizes: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        // A multivariant playlist is listed twice, as its programs and as its streams.
        if !sizes.iter().any(|known| known == line) {
            sizes.push(line.to_owned());
        }
    }
    sizes
}

#[test]
fn players_see_two_qualities_and_the_books_balance() {
    let site = Site::new();
    let (rtsp, hls) = (free_port(), free_port());
    let text = format!(
        "
run: qualities
gateway: {{rtsp_port: {rtsp}, hls_port: {hls}}}
streams:
  yard:
    source: '{{root}}/.deps/clips/walking.mp4'
    pace: live
    loop: true
    size: 768x576
    encode: {{bitrate: 2M, qualities: [240p]}}
    outputs: [{{rtsp: yard}}, {{hls: yard}}, {{record: recordings}}]
"
    );
    let config = site.config(&text);
    let mut run = site.run(&config, &[]);
    site.wait_state("yard", "live");
    let rtsp = |path: &str| format!("rtsp://127.0.0.1:{rtsp}/{path}");
    assert_eq!(sizes(&rtsp("yard")), ["768,576"]);
    assert_eq!(sizes(&rtsp("yard/240p")), ["320,240"]);
    let page = format!("http://127.0.0.1:{hls}/yard");
    let mut both = sizes(&format!("{page}/index.m3u8"));
    both.sort();
    assert_eq!(both, ["320,240", "768,576"]);

    let mut browser = Browser::open(&page, 768, 576);
    let playing = "(() => {
        const shown = document.querySelector('video');
        return String(shown?.readyState === 4 && [240, 576].includes(shown.videoHeight)
            && shown.currentTime > 2);
    })()";
    let plays = wait_until(STATE_TIMEOUT, || browser.evaluate(playing) == "true");
    assert!(plays, "{}", browser.evaluate("document.body.innerText"));
    drop(browser);

    // Without it by reload: the camera and what is recorded go on.
    site.config(&text.replace(", qualities: [240p]", ""));
    let reload = site.ask(&["reload", "last"]);
    assert_eq!(reload.code, 0, "{}", reload.stderr);
    assert_eq!(sizes(&rtsp("yard")), ["768,576"]);
    run.signal(Signal::SIGINT);
    assert_eq!(run.exit_code(RUN_TIMEOUT), 0, "{}", run.stderr());

    site.database().assert_closed();
    let ledger = site.database().ledger("yard");
    let (rendered, encoded) = (ledger["render.rendered"], ledger["render.encoded"]);
    assert!(encoded > rendered && encoded < 2 * rendered, "{ledger:?}");
    assert_eq!(ledger["render.recorded"], rendered, "{ledger:?}");
    assert_eq!(ledger["ingest.lost"], 0, "{ledger:?}");
}
