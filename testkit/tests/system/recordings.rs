//! Recordings of whole runs: segments that add up, kills, a full disk, what is kept, clips.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;
use nix::sys::signal::Signal;
use rusqlite::params;
use testkit::process::{self, Launch, Process};
use testkit::wait::wait_until;

use crate::site::{RUN_TIMEOUT, STATE_TIMEOUT, Site};
use crate::whole_job::frames_of;

/// Frames that a GStreamer player shows.
fn shown_by_gstreamer(path: &Path) -> i64 {
    gst::init().expect("GStreamer starts");
    let text = format!(
        "filesrc location={} ! qtdemux ! h264parse ! avdec_h264 ! fakesink name=out sync=false",
        path.display()
    );
    let pipeline = gst::parse::launch(&text).expect("installed");
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("a pipeline");
    let sink = pipeline.by_name("out").expect("it is named");
    let count = Arc::new(AtomicI64::new(0));
    let counted = Arc::clone(&count);
    let pad = sink.static_pad("sink").expect("a sink has one");
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).expect("it starts");
    let bus = pipeline.bus().expect("a pipeline has one");
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(30), &kinds);
    pipeline.set_state(gst::State::Null).expect("it stops");
    assert!(end.is_some(), "{} does not end", path.display());
    count.load(Ordering::Relaxed)
}

/// The recordings of the index that are there: file, frames, state.
fn recordings(site: &Site) -> Vec<(PathBuf, i64, String)> {
    site.database().rows(
        "SELECT file, frames, state FROM v_recordings
         WHERE state IN ('open', 'closed', 'torn') ORDER BY begin_utc, file",
        |row| {
            Ok((
                PathBuf::from(row.get::<_, String>(0)?),
                row.get(1)?,
                row.get(2)?,
            ))
        },
    )
}

fn wait_recordings(site: &Site, count: usize) {
    // The database is there before its schema is.
    let schema = "SELECT name FROM sqlite_schema WHERE name = 'v_recordings'";
    let reached = || {
        site.data().join("runs.db").exists()
            && site.database().text(schema, []) == "v_recordings"
            && recordings(site).len() >= count
    };
    assert!(wait_until(STATE_TIMEOUT, reached), "{:?}", recordings(site));
}

fn stop(run: &mut Process) {
    run.signal(Signal::SIGINT);
    let code = run.exit_code(RUN_TIMEOUT);
    assert_eq!(code, 0, "{}{}", run.stdout(), run.stderr());
}

const SEGMENTS: &str = "
run: segments
streams:
  yard:
    source: 'test:ball?size=320x240&fps=20&frames=130'
    pace: live
    queue: {policy: wait}
    encode: {keyframe_interval: 700ms}
    outputs: [{record: {directory: video, segment: 2s}}]
";

#[test]
fn segments_add_up_to_every_frame_and_clips_are_cut_out_of_them() {
    let site = Site::new();
    let mut run = site.run(&site.config(SEGMENTS), &[]);
    // Out of the file that is being written, too.
    wait_recordings(&site, 2);
    let live = site.path().join("live.mp4");
    let live_text = live.display().to_string();
    let said = site.ask(&["export", "segments", "-o", &live_text, "--from", "-1s"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(frames_of(&live) > 0, "{}", said.stdout);

    let code = run.exit_code(RUN_TIMEOUT);
    assert_eq!(code, 0, "{}{}", run.stdout(), run.stderr());
    let database = site.database();
    database.assert_closed();
    let ledger = database.ledger("yard");
    assert_eq!(
        (ledger["render.encoded"], ledger["render.recorded"]),
        (130, 130)
    );
    let files = recordings(&site);
    let frames: Vec<i64> = files.iter().map(|(_, frames, _)| *frames).collect();
    assert_eq!(frames, [40, 40, 40, 10]);
    for (path, frames, state) in &files {
        assert_eq!(state, "closed");
        assert_eq!(frames_of(path), *frames);
        assert_eq!(shown_by_gstreamer(path), *frames);
    }
    let gaps = "SELECT count(*) FROM files AS a JOIN files AS b
                ON b.begin_pts_ns > a.begin_pts_ns AND a.kind = 'recording'
                WHERE abs(b.begin_pts_ns - a.end_pts_ns) < 1000000";
    assert_eq!(database.number(gaps, []), 3, "each begins where one ends");

    // A key frame every 0.7 s, and one with each file: 1.4 s is the one before 1.55 s.
    let clip = site.path().join("clip.mp4");
    let clip_text = clip.display().to_string();
    let begin = database.number("SELECT min(begin_pts_ns) FROM files", []);
    let moment = |at_ms: i64| format!("{}ms", begin / 1_000_000 + at_ms);
    let said = site.ask(&[
        "export",
        "segments",
        "--stream",
        "yard",
        "-o",
        &clip_text,
        "--from",
        &moment(1560),
        "--to",
        &moment(6210),
    ]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.contains("97 frames"), "{}", said.stdout);
    assert!(
        said.stdout.contains(" s early, at the key frame before"),
        "{}",
        said.stdout
    );
    assert!(!said.stdout.contains("gap"), "{}", said.stdout);
    assert_eq!((frames_of(&clip), shown_by_gstreamer(&clip)), (97, 97));
    let stats = site.ask(&["stats", "segments"]);
    assert!(
        stats
            .stdout
            .contains("recording of yard: 4 files, 130 frames"),
        "{}",
        stats.stdout
    );
}

const KILLED: &str = "
run: killed
gateway: {rtsp_port: {port}}
streams:
  yard:
    source: 'test:ball?size=320x240&fps=20'
    outputs: [{record: {directory: video, segment: 2s}}, {rtsp: yard}]
";

#[test]
fn kills_in_mid_segment_cost_a_second_and_the_index_tells_the_truth() {
    let site = Site::new();
    let config = KILLED.replace("{port}", &testkit::free_port().to_string());
    let mut run = site.run(&site.config(&config), &[]);
    let supervisor = run.id();
    let mut count = 2;
    for program in ["render-worker", "gateway", "ingest-worker"] {
        wait_recordings(&site, count);
        process::kill_worker(supervisor, program);
        count = recordings(&site).len() + 2;
    }
    wait_recordings(&site, count);
    let torn = || {
        recordings(&site)
            .iter()
            .filter(|(.., state)| state == "torn")
            .count()
            == 1
    };
    assert!(wait_until(STATE_TIMEOUT, torn), "{:?}", recordings(&site));
    let recorded = || {
        site.database()
            .ledger("yard")
            .get("render.recorded")
            .copied()
    };
    let before = recorded().unwrap_or(0);
    assert!(wait_until(STATE_TIMEOUT, || recorded() > Some(before)));
    run.kill();
    let runs = site.ask(&["runs"]);
    assert!(runs.stdout.contains("interrupted"), "{}", runs.stdout);

    let files = recordings(&site);
    let mut total = 0;
    for (path, frames, state) in &files {
        assert!(state == "closed" || state == "torn", "{state}");
        assert_eq!(frames_of(path), *frames, "{}", path.display());
        assert_eq!(shown_by_gstreamer(path), *frames, "{}", path.display());
        total += frames;
    }
    // All there is on the disk is in the index.
    let directory = files[0].0.parent().expect("a directory");
    let on_disk = fs::read_dir(directory).expect("there").count();
    assert_eq!(on_disk, files.len());
    let database = site.database();
    database.assert_closed();
    let ledger = database.ledger("yard");
    // A fragment may be on the disk whose writer died before it was counted.
    let ahead = total - ledger["render.recorded"];
    assert!((0..=40).contains(&ahead), "{total} in files, {ledger:?}");
    let lost = ledger["render.unrecorded_lost"];
    assert!(
        (0..=2 * 25).contains(&lost),
        "two kills, a second each: {lost}"
    );
}

const FULL: &str = "
run: full
streams:
  yard:
    source: 'test:ball?size=320x240&fps=20'
    encode: {bitrate: 200k}
    outputs: [{record: {directory: '{disk}', segment: 1s}}]
";

/// A disk of 3 MB that only this run sees, in a name space of its own.
#[test]
fn a_full_disk_stops_the_recording_and_nothing_else() {
    let site = Site::new();
    let disk = site.path().join("disk");
    fs::create_dir(&disk).expect("a directory");
    let config = site.config(&FULL.replace("{disk}", &disk.display().to_string()));
    let mount = "mount -t tmpfs -o size=3m tmpfs \"$1\" && shift && exec \"$@\"";
    let unshare = Path::new("/usr/bin/unshare");
    let in_name_space = |command: &[&str]| {
        let disk = disk.display().to_string();
        let mut arguments = vec!["-rm", "sh", "-c", mount, "sh", &disk];
        arguments.extend(command);
        Launch::new(unshare)
            .arguments(arguments)
            .directory(site.path())
            .start()
    };
    if in_name_space(&["true"]).exit_code(RUN_TIMEOUT) != 0 {
        eprintln!("skipped: this machine lets nobody make a mount name space");
        return;
    }
    let (program, data) = (process::program("sluice"), site.data());
    let [program, config, data] = [&program, &config, &data].map(|it| it.display().to_string());
    let mut run = in_name_space(&[&program, "run", &config, "--data", &data]);
    wait_recordings(&site, 2);
    // The same disk, as the run sees it.
    let seen = PathBuf::from(format!("/proc/{}/root{}", run.id(), disk.display()));
    let filler = seen.join("filler");
    let _ = fs::write(&filler, vec![0; 4 << 20]);
    let gap = |state: &str| {
        let query = format!("SELECT count(*) FROM recording_gaps WHERE end_wall_ms IS {state}");
        site.database().number(&query, [])
    };
    assert!(
        wait_until(STATE_TIMEOUT, || gap("NULL") == 1),
        "{}",
        run.stdout()
    );
    let counter = |name: &str| {
        site.database()
            .ledger("yard")
            .get(name)
            .copied()
            .unwrap_or(0)
    };
    let before = counter("render.encoded");
    assert!(
        wait_until(STATE_TIMEOUT, || counter("render.unrecorded_disk") > 0
            && counter("render.encoded") > before),
        "the video goes on and is counted: {:?}",
        site.database().ledger("yard")
    );
    let stats = site.ask(&["stats", "full"]);
    assert!(stats.stdout.contains("No space left"), "{}", stats.stdout);
    assert!(
        stats.stdout.contains("tried again every 10 s"),
        "{}",
        stats.stdout
    );
    let count = recordings(&site).len();
    fs::remove_file(&filler).expect("there");
    wait_recordings(&site, count + 2);
    assert_eq!((gap("NULL"), gap("NOT NULL")), (0, 1));

    for (path, frames, state) in recordings(&site) {
        if state == "open" {
            continue;
        }
        let name = path.file_name().expect("a name");
        let copy = site.path().join("copy.mp4");
        fs::copy(seen.join(name), &copy).expect("a copy");
        assert_eq!(frames_of(&copy), frames, "{}", path.display());
    }
    stop(&mut run);
    let database = site.database();
    database.assert_closed();
    let missing = "SELECT sum(frames) FROM recording_gaps";
    let ledger = database.ledger("yard");
    assert_eq!(
        database.number(missing, []),
        ledger["render.unrecorded_disk"]
    );
}

const KEPT: &str = "
run: kept
streams:
  yard:
    source: 'test:snow?size=640x480&fps=20&frames={frames}'
    pace: fast
    queue: {policy: wait}
    encode: {bitrate: 8M}
    outputs: [{record: {directory: video, segment: 1s{keep}}}]
";

#[test]
fn what_is_too_much_is_deleted_also_of_earlier_runs() {
    let site = Site::new();
    let config = |frames: &str, keep: &str| {
        site.config(&KEPT.replace("{frames}", frames).replace("{keep}", keep))
    };
    let mut first = site.run(&config("120", ""), &[]);
    assert_eq!(first.exit_code(RUN_TIMEOUT), 0, "{}", first.stderr());
    let bytes = "SELECT sum(bytes) FROM files WHERE state = 'closed'";
    assert!(site.database().number(bytes, []) > 3_000_000);
    let files = recordings(&site);
    let foreign = files[0].0.with_file_name("foreign.mp4");
    fs::write(&foreign, "not ours").expect("written");

    let mut second = site.run(&config("40", ", keep: {max_size: 2MB}"), &[]);
    assert_eq!(second.exit_code(RUN_TIMEOUT), 0, "{}", second.stderr());
    let database = site.database();
    let of_first =
        "SELECT coalesce(sum(bytes), 0) FROM files WHERE run = 'kept-1' AND state = 'closed'";
    assert!(database.number(of_first, []) <= 2_000_000);
    let gone = "SELECT count(*) FROM files WHERE state = 'deleted' AND gone_reason = 'size'";
    assert!(database.number(gone, []) > 0);
    assert!(!files[0].0.exists(), "the oldest is gone");
    assert!(foreign.exists(), "what is not ours stays");
    for (path, ..) in recordings(&site) {
        assert!(path.exists(), "{}", path.display());
    }
}

const TWO: &str = "
run: two
streams:
  yard:
    source: 'test:ball?size=320x240&fps=20'
    outputs: [{record: {directory: yard, segment: 1h}}]
  gate:
    source: 'test:ball?size=320x240&fps=20'
    outputs: [{record: {directory: gate, segment: 1h}}]
";

#[test]
fn other_settings_of_one_recording_touch_no_other() {
    let site = Site::new();
    let config = site.config(TWO);
    let mut run = site.run(&config, &[]);
    wait_recordings(&site, 2);
    site.config(&TWO.replacen("segment: 1h", "segment: 1s, keep: {max_age: 1h}", 1));
    let reload = site.ask(&["reload", "two"]);
    assert_eq!(reload.code, 0, "{}{}", reload.stdout, reload.stderr);
    wait_recordings(&site, 5);
    stop(&mut run);
    let database = site.database();
    database.assert_closed();
    let restarts = "SELECT max(incarnation) FROM workers";
    assert_eq!(database.number(restarts, []), 0);
    let of_gate = "SELECT count(*) FROM files WHERE stream = 'gate'";
    assert_eq!(
        database.number(of_gate, []),
        1,
        "one file from begin to end"
    );
    for stream in ["yard", "gate"] {
        let ledger = database.ledger(stream);
        assert_eq!(
            ledger["render.recorded"], ledger["render.encoded"],
            "{stream}"
        );
        let frames = "SELECT sum(frames) FROM files WHERE stream = ?1";
        let frames = database.number(frames, params![stream]);
        assert_eq!(frames, ledger["render.recorded"], "{stream}");
    }
}
