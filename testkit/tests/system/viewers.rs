//! Two viewers of one stream at once, with ordinary players.

use std::path::Path;

use nix::sys::signal::Signal;
use testkit::browser::Browser;
use testkit::free_port;
use testkit::process::{Launch, Process, kill_worker};
use testkit::wait_until;

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

#[test]
fn a_browser_plays_on_after_the_death_of_the_gateway() {
    /// Counts the pictures that are shown, whatever they come from.
    const COUNT: &str = "
        globalThis.shown = 0;
        const show = () => { shown += 1; video.requestVideoFrameCallback(show); };
        video.requestVideoFrameCallback(show);
        shown";
    let site = Site::new();
    let port = free_port();
    let config = site.config(&format!(
        "
run: browser
gateway: {{hls_port: {port}}}
streams:
  yard:
    source: '{{root}}/.deps/clips/walking.mp4'
    pace: live
    loop: true
    size: 768x576
    outputs: [{{hls: yard}}]
"
    ));
    let mut run = site.run(&config, &[]);
    site.wait_state("yard", "live");
    let mut browser = Browser::open(&format!("http://127.0.0.1:{port}/yard"), 768, 576);
    let ready = "String(document.querySelector('video')?.readyState)";
    let plays = wait_until(STATE_TIMEOUT, || browser.evaluate(ready) == "4");
    assert!(plays, "{}", browser.evaluate("document.body.innerText"));
    browser.evaluate(COUNT);
    let shows = |browser: &mut Browser, pictures: u64| {
        wait_until(STATE_TIMEOUT, || {
            let shown = browser.evaluate("shown").parse::<u64>();
            shown.is_ok_and(|shown| shown >= pictures)
        })
    };
    assert!(shows(&mut browser, 20), "{}", browser.evaluate("shown"));
    kill_worker(run.id(), "gateway");
    // What it has in memory is less than two seconds, at ten pictures a second.
    let shown: u64 = browser.evaluate("shown").parse().expect("a number");
    let page = "document.body.innerText";
    assert!(
        shows(&mut browser, shown + 50),
        "{}",
        browser.evaluate(page)
    );
    run.signal(Signal::SIGINT);
    assert_eq!(run.exit_code(RUN_TIMEOUT), 0, "{}", run.stderr());
    site.database().assert_closed();
}
