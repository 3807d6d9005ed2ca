//! Streams whose outputs get what the source itself has coded.

use std::path::Path;

use nix::sys::signal::Signal;
use testkit::camera::{CameraOptions, Media, RtspCamera};
use testkit::free_port;
use testkit::process::{Launch, kill_worker};
use testkit::wait_until;

use crate::site::{RUN_TIMEOUT, STATE_TIMEOUT, Site, repository};

/// MD5 sums of the pictures that a viewer decodes. Who comes in the middle of a group of pictures
/// makes up those before the next key frame.
fn seen_by_viewer(url: &str, frames: u32) -> Vec<String> {
    let mut viewer = Launch::new(Path::new("/usr/bin/ffmpeg"))
        .arguments(["-v", "error", "-rtsp_transport", "tcp", "-i", url])
        .arguments(["-map", "0:v", "-fps_mode", "passthrough"])
        .arguments(["-frames:v", &frames.to_string()])
        .arguments(["-f", "framemd5", "-"])
        .start();
    assert_eq!(viewer.exit_code(STATE_TIMEOUT), 0, "{}", viewer.stderr());
    let text = viewer.stdout();
    let pictures = text.lines().filter(|line| !line.starts_with('#'));
    let sum = |line: &str| {
        line.rsplit(',')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    pictures.map(sum).collect()
}

/// The longest run of pictures that two viewers, who came at different times, have seen alike.
fn longest_common_run(one: &[String], other: &[String]) -> usize {
    let run = |a: &[String], b: &[String]| {
        let alike = a.iter().zip(b).map(|(a, b)| a == b);
        let (longest, _) = alike.fold((0, 0), |(longest, run), alike| {
            let run = if alike { run + 1 } else { 0 };
            (longest.max(run), run)
        });
        longest
    };
    let from = |early: &[String], late: &[String]| {
        let runs = (0..early.len()).map(|skipped| run(&early[skipped..], late));
        runs.max().unwrap_or(0)
    };
    from(one, other).max(from(other, one))
}

/// A counter of a stream as it is now.
fn now(site: &Site, stream: &str, counter: &str) -> i64 {
    let ledger = site.database().ledger(stream);
    ledger.get(counter).copied().unwrap_or(0)
}

#[test]
fn access_units_go_on_as_they_came_and_nothing_is_decoded() {
    let site = Site::new();
    let camera = RtspCamera::start(CameraOptions::default());
    let (rtsp, source) = (free_port(), camera.location());
    let config = site.config(&format!(
        "
run: passthrough
gateway: {{rtsp_port: {rtsp}}}
streams:
  yard:
    source: '{source}'
    passthrough: true
    outputs: [{{rtsp: yard}}, {{record: recordings}}]
"
    ));
    let mut run = site.run(&config, &[]);
    site.wait_state("yard", "live");
    let url = format!("rtsp://127.0.0.1:{rtsp}/yard");
    // Both at the same time: what the camera sends to all its viewers is the same.
    let (direct, passed) = std::thread::scope(|scope| {
        let direct = scope.spawn(|| seen_by_viewer(&source, 150));
        let passed = seen_by_viewer(&url, 150);
        (direct.join().expect("taken"), passed)
    });
    let same = longest_common_run(&direct, &passed);
    // A group of pictures has 25, and of this camera FFmpeg makes one up at each of its key frames.
    assert!(same >= 20, "{same} of {} are the same", passed.len());

    // Both ends may die, and what follows begins with a key frame.
    for program in ["ingest-worker", "render-worker"] {
        let before = now(&site, "yard", "render.units_passed");
        kill_worker(run.id(), program);
        let grows = || now(&site, "yard", "render.units_passed") > before + 50;
        assert!(wait_until(STATE_TIMEOUT, grows), "{program} is not back");
        assert_eq!(seen_by_viewer(&url, 5).len(), 5, "{program}");
    }
    run.signal(Signal::SIGINT);
    assert_eq!(run.exit_code(RUN_TIMEOUT), 0, "{}", run.stderr());

    let database = site.database();
    database.assert_closed();
    let ledger = database.ledger("yard");
    assert_eq!(ledger["ingest.captured"], 0, "{ledger:?}");
    assert_eq!(ledger["ingest.published"], 0, "{ledger:?}");
    let passed = ledger["render.units_passed"];
    assert!(passed > 100, "{ledger:?}");
    assert_eq!(ledger["render.encoded"], passed, "{ledger:?}");
    assert!(ledger["render.recorded"] > 100, "{ledger:?}");
    assert_eq!(
        ledger["ingest.units"],
        ledger["render.units_received"]
            + ledger["render.units_overflowed"]
            + ledger["render.units_lost"],
        "{ledger:?}"
    );
    assert_eq!(ledger["render.units_overflowed"], 0, "{ledger:?}");
}

#[test]
fn models_look_at_what_goes_on_undrawn_and_a_reload_draws_it() {
    let site = Site::new();
    let camera = RtspCamera::start(CameraOptions::default());
    let (rtsp, source) = (free_port(), camera.location());
    let root = repository();
    let text = format!(
        "
run: looked-at
gateway: {{rtsp_port: {rtsp}}}
models:
  people: {{file: '{root}/.deps/models/nanodet-416-fp32.onnx', family: nanodet, labels: coco}}
streams:
  yard: {{source: '{source}', infer: [people], passthrough: true, outputs: [{{rtsp: yard}}]}}
",
        root = root.display()
    );
    let config = site.config(&text);
    let mut run = site.run(&config, &[]);
    site.wait_state("yard", "live");
    let url = format!("rtsp://127.0.0.1:{rtsp}/yard");
    assert_eq!(seen_by_viewer(&url, 20).len(), 20);
    let looks = || {
        now(&site, "yard", "infer:people.inferred") > 10
            && now(&site, "yard", "render.units_passed") > 20
    };
    assert!(
        wait_until(STATE_TIMEOUT, looks),
        "{:?}",
        site.database().ledger("yard")
    );

    site.config(&text.replace("passthrough: true", "passthrough: false"));
    let reload = site.ask(&["reload", "last"]);
    assert_eq!(reload.code, 0, "{}", reload.stderr);
    let passed = now(&site, "yard", "render.units_passed");
    let encodes = || now(&site, "yard", "render.encoded") > passed + 20;
    assert!(
        wait_until(STATE_TIMEOUT, encodes),
        "{:?}",
        site.database().ledger("yard")
    );
    assert_eq!(seen_by_viewer(&url, 5).len(), 5);
    run.signal(Signal::SIGINT);
    assert_eq!(run.exit_code(RUN_TIMEOUT), 0, "{}", run.stderr());
    site.database().assert_closed();
    let ledger = site.database().ledger("yard");
    assert!(ledger["ingest.captured"] > 20, "{ledger:?}");
    assert!(
        ledger["render.encoded"] > ledger["render.units_passed"],
        "{ledger:?}"
    );
}

#[test]
fn what_cannot_be_handed_on_is_said() {
    let site = Site::new();
    let h265 = RtspCamera::start(CameraOptions {
        media: Media::H265,
        ..CameraOptions::default()
    });
    let clip = repository().join(".deps/clips/walking.mp4");
    let config = site.config(&format!(
        "
run: refused
gateway: {{rtsp_port: {rtsp}}}
streams:
  steady: {{source: 'test:ball', outputs: [{{rtsp: steady}}]}}
  other: {{source: '{h265}', passthrough: true, outputs: [{{rtsp: other}}]}}
  reordered: {{source: '{clip}', passthrough: true, outputs: [{{rtsp: reordered}}]}}
",
        rtsp = free_port(),
        h265 = h265.location(),
        clip = clip.display(),
    ));
    let mut run = site.run(&config, &[]);
    let detail = |stream: &str| {
        site.database()
            .text("SELECT detail FROM streams WHERE name = ?1", [stream])
    };
    for (stream, said) in [("other", "is not H.264"), ("reordered", "B frames")] {
        site.wait_state(stream, "failed");
        let detail = detail(stream);
        assert!(
            detail.contains(said) && detail.contains("remove `passthrough`"),
            "{detail}"
        );
    }
    site.wait_state("steady", "live");
    run.signal(Signal::SIGINT);
    run.exit_code(RUN_TIMEOUT);
    site.database().assert_closed();
}
