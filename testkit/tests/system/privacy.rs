//! Faces that are hidden are hidden: what leaves is shown to the very model that found them.

use std::path::Path;

use crate::cascade::finish;
use crate::site::Site;

const HIDING: &str = "
run: hiding
models:
  faces: {file: '{root}/.deps/models/centerface.onnx', family: centerface, input: {size: 320x256}, score: 0.5}
streams:
  car:
    source: '{root}/.deps/clips/carphone.mp4'
    pace: fast
    queue: {policy: wait}
    infer: [faces]
    best_shots: {}
    PRIVACY
    overlay: {boxes: false, trails: false, status: false}
    outputs: [{record: car}]
rules: hiding.rules.yaml
";

const RULES: &str = r#"
rules:
  face: {on: track, when: track.hits > 5, do: [alert, snapshot]}
"#;

/// How many of the 120 frames of a video a face is found in.
fn faces_in(video: &Path) -> i64 {
    let site = Site::new();
    let config = format!(
        "
run: looking
models:
  faces: {{file: '{{root}}/.deps/models/centerface.onnx', family: centerface, input: {{size: 320x256}}, score: 0.5}}
streams:
  video: {{source: '{}', pace: fast, queue: {{policy: wait}}, infer: [faces]}}
",
        video.display()
    );
    finish(&mut site.run(&site.config(&config), &[]));
    let database = site.database();
    database.assert_closed();
    let frames = database.ledger("video")["render.rendered"];
    assert!(frames >= 1, "nothing was looked at");
    let found = "SELECT count(DISTINCT sequence_number) FROM detections WHERE score IS NOT NULL";
    database.number(found, [])
}

/// The recording, and all pictures, copied to where they outlive the site.
fn pictures(privacy: &str, to: &Path) -> (std::path::PathBuf, Vec<std::path::PathBuf>) {
    let site = Site::new();
    site.file("hiding.rules.yaml", RULES);
    let config = HIDING.replace("PRIVACY", privacy);
    finish(&mut site.run(&site.config(&config), &[]));
    let database = site.database();
    database.assert_closed();
    assert_eq!(database.ledger("car")["render.rendered"], 120);
    let of = |paths: &str| {
        let query = format!(
            "SELECT DISTINCT data_directory || '/' || path FROM ({paths}) JOIN runs ON runs.id = run"
        );
        database.rows(&query, |row| row.get::<_, String>(0))
    };
    let copied = |path: &String, name: String| {
        let copy = to.join(name);
        std::fs::copy(path, &copy).expect("it is there");
        copy
    };
    let recordings = of("SELECT run, path FROM files WHERE kind = 'recording'");
    assert_eq!(recordings.len(), 1, "{recordings:?}");
    let stills: Vec<_> = of(
        "SELECT run, path FROM files WHERE kind != 'recording' UNION SELECT run, path FROM best_shots",
    )
        .iter()
        .enumerate()
        .map(|(index, path)| copied(path, format!("{index}.jpg")))
        .collect();
    assert!(stills.len() >= 2, "a best shot and a snapshot: {stills:?}");
    (copied(&recordings[0], "recording.mp4".to_owned()), stills)
}

#[test]
fn what_is_hidden_is_found_by_nobody_in_what_leaves() {
    let kept = tempfile::tempdir().expect("a directory");
    let (shown, _) = pictures("privacy: off", kept.path());
    let shown = faces_in(&shown);
    assert!(shown >= 100, "a face in {shown} frames only");
    for method in ["pixelate", "blur", "fill"] {
        let privacy = format!("privacy: {{labels: face, method: {method}}}");
        let (video, stills) = pictures(&privacy, kept.path());
        let found = faces_in(&video);
        // A blurred head over a collar still looks like one now and then.
        assert!(found <= 6, "{method}: a face in {found} frames");
        for still in stills {
            assert_eq!(faces_in(&still), 0, "{method}: {}", still.display());
        }
    }
}
