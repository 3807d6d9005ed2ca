//! Cameras that die, freeze or refuse the password.

use nix::sys::signal::Signal;
use testkit::camera::{Authentication, CameraOptions, RtspCamera};
use testkit::wait::wait_until;

use crate::site::{RUN_TIMEOUT, STATE_TIMEOUT, Site};

#[test]
fn a_faulty_camera_is_reported_and_harms_no_other() {
    let site = Site::new();
    let steady = RtspCamera::start(CameraOptions::default());
    let mut mortal = RtspCamera::start(CameraOptions::default());
    let frozen = RtspCamera::start(CameraOptions::default());
    let login = (
        "viewer".to_owned(),
        "right".to_owned(),
        Authentication::Digest,
    );
    let locked = RtspCamera::start(CameraOptions {
        login: Some(login),
        ..CameraOptions::default()
    });
    let config = site.config(&format!(
        "
run: cameras
defaults:
  size: 320x240
  no_frame_timeout: 2s
  retry: {{attempts: forever, interval: 1s}}
streams:
  steady: {{source: '{}'}}
  mortal: {{source: '{}'}}
  frozen: {{source: '{}'}}
  locked: {{source: '{}', retry: {{attempts: 2, interval: 1s, max_interval: 1s}}}}
",
        steady.location(),
        mortal.location(),
        frozen.location(),
        locked.location_as("viewer", "wrong-secret"),
    ));
    let mut run = site.run(&config, &[]);
    for stream in ["steady", "mortal", "frozen"] {
        site.wait_state(stream, "live");
    }
    // Refused, tried again as configured, then given up, without a word of the password.
    site.wait_state("locked", "gone");

    frozen.freeze();
    site.wait_state("frozen", "stalled");
    frozen.thaw();
    site.wait_state("frozen", "live");

    mortal.kill();
    let down = || ["lost", "connecting"].contains(&site.database().state("mortal").as_str());
    assert!(
        wait_until(STATE_TIMEOUT, down),
        "{}",
        site.database().state("mortal")
    );
    mortal.restart();
    site.wait_state("mortal", "live");

    run.signal(Signal::SIGINT);
    let code = run.exit_code(RUN_TIMEOUT);
    let output = format!("{}{}", run.stdout(), run.stderr());
    assert_eq!(
        code, 4,
        "a source that is gone is not passed over: {output}"
    );
    assert!(!output.contains("wrong-secret"), "{output}");
    let database = site.database();
    database.assert_closed();
    assert_eq!(database.ledger("locked")["ingest.captured"], 0);
    let sessions = |stream: &str| database.ledger(stream)["ingest.sessions"];
    assert_eq!(sessions("steady"), 1, "others are untouched");
    assert!(sessions("mortal") >= 2 && sessions("frozen") >= 2);
    let restarts = "SELECT count(*) FROM workers WHERE incarnation > 0";
    assert_eq!(database.number(restarts, []), 0, "a bad camera is no crash");
    assert_no_secret_in(&site.data(), "wrong-secret");
}

/// No file of a run holds a password: not the database, not a log.
fn assert_no_secret_in(directory: &std::path::Path, secret: &str) {
    for file in testkit::leftovers::files_below(directory) {
        let bytes = std::fs::read(directory.join(&file)).expect("a file");
        let found = bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!found, "{file} holds the password");
    }
}

#[test]
fn a_run_whose_only_camera_is_gone_ends_and_says_so() {
    let site = Site::new();
    let camera = RtspCamera::start(CameraOptions::default());
    let location = camera.location();
    drop(camera);
    let config = site.config(&format!(
        "
run: alone
streams:
  yard: {{source: '{location}', retry: {{attempts: 2, interval: 1s, max_interval: 1s}}}}
"
    ));
    let mut run = site.run(&config, &[]);
    assert_eq!(run.exit_code(RUN_TIMEOUT), 4, "{}", run.stderr());
    assert!(run.stderr().contains("yard"), "{}", run.stderr());
    site.database().assert_closed();
}
