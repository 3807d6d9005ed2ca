//! Replay and explanation of a past run.
//!
//! The run is made here: the frames of a test case and the events that its rules give go
//! through the store's own writer, as those of a render worker do.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use analytics::{EngineSpec, Firing, RuleEngine};
use contract::control::FrameRecord;
use contract::name::StreamName;
use contract::spec::RenderModelSpec;
use dsl::RuleFile;
use supervisor::rules_test::{self, Case};
use supervisor::store::{
    AskedBy, GenerationBegun, GenerationDone, GenerationFile, GenerationFileKind, NewRun,
    NewStream, Outcome, Row, RunEnd, RunState, Writer, begin_run, open_or_create,
};

use crate::{RULES, sluice};

/// A person who stays from 1 s to 9 s, and one who leaves the dock twice.
const SCENE: &str = "\
rules: rules.yaml
start: '2025-01-06 08:00:00Z'
cases:
  scene:
    tracks:
      1: {label: person, path: [{at: 1s, foot: [0.2, 0.8]}, {at: 9s, foot: [0.2, 0.8]}]}
      2:
        label: person
        path:
          - {at: 0s, foot: [0.3, 0.8]}
          - {at: 3s, foot: [0.3, 0.8]}
          - {at: 4s, foot: [0.6, 0.8]}
          - {at: 6s, foot: [0.6, 0.8]}
          - {at: 7s, foot: [0.3, 0.8]}
          - {at: 10s, foot: [0.3, 0.8]}
    expect: []
";

/// A finished run in the store of `directory/data`.
struct PastRun {
    rows: Vec<Row>,
    engine: RuleEngine,
    spec: EngineSpec,
}

fn yard() -> StreamName {
    "yard".parse().expect("a name")
}

fn rules(text: &str) -> Arc<RuleFile> {
    let parsed = RuleFile::parse_checked(text, Path::new("rules.yaml"));
    Arc::new(parsed.expect("right"))
}

fn scene() -> Case {
    let file = rules_test::parse(SCENE, Path::new("a.test.yaml")).expect("right");
    file.cases.into_iter().next().expect("one")
}

fn models() -> Arc<[RenderModelSpec]> {
    Arc::new([RenderModelSpec {
        model: "people".parse().expect("a name"),
        labels: vec!["person".to_owned()],
    }])
}

const CONFIG: &str = "\
run: yard
defaults: {tracker: {lost_timeout: 1s}}
streams: {yard: {source: 'test:ball'}}
rules: rules.yaml
";

fn files(directory: &Path, rules: &str) -> Vec<GenerationFile> {
    let file = |name: &str, kind, text: &str| GenerationFile {
        path: directory.join(name).display().to_string(),
        kind,
        text: text.to_owned(),
    };
    vec![
        file("run.yaml", GenerationFileKind::Config, CONFIG),
        file("rules.yaml", GenerationFileKind::Rules, rules),
    ]
}

impl PastRun {
    fn new() -> Self {
        let spec = EngineSpec {
            generation: 0,
            stream: yard(),
            stream_labels: Default::default(),
            class_names: vec![vec!["person".to_owned()]],
            forget_after_ns: 1_000_000_000,
        };
        Self {
            rows: Vec::new(),
            engine: RuleEngine::new(rules(RULES), &spec),
            spec,
        }
    }

    /// The render worker evaluates frames, and what it tells is stored.
    fn render(&mut self, incarnation: u32, records: Vec<FrameRecord>) {
        for record in &records {
            let firings = self.engine.observe(record);
            self.tell(firings);
        }
        self.rows.push(Row::Frames {
            stream: yard(),
            incarnation,
            models: models(),
            records,
        });
    }

    fn tell(&mut self, firings: Vec<Firing>) {
        let alerts = firings.into_iter().filter(|firing| firing.alerts);
        let rows = alerts.map(|firing| Row::Event(Box::new(firing.event)));
        self.rows.extend(rows);
    }

    /// The render worker ends and another one begins.
    fn restart(&mut self) {
        let ends = self.engine.finish();
        self.tell(ends);
        self.engine = RuleEngine::new(Arc::clone(self.engine.file()), &self.spec);
    }

    /// Other rules, in force from a time on.
    fn reload(&mut self, directory: &Path, text: &str, wall_ms: i64) {
        let reloaded = self.engine.reload(rules(text), 1);
        self.tell(reloaded.firings);
        self.rows.push(Row::GenerationBegun(GenerationBegun {
            generation: 1,
            asked_by: AskedBy::File,
            wall_ms: wall_ms - 100,
            files: files(directory, text),
            plan: Vec::new(),
        }));
        self.rows.push(Row::GenerationDone(GenerationDone {
            generation: 1,
            wall_ms,
            outcome: Outcome::Applied,
            notes: Vec::new(),
            diagnostics: Vec::new(),
        }));
    }

    /// Writes it all; the ledger says that so many frames were rendered.
    fn finish(mut self, directory: &Path, rendered: u64) {
        self.restart();
        self.rows.push(Row::Ledger {
            stream: yard(),
            book: "render".to_owned(),
            counters: vec![("rendered", rendered)],
        });
        self.rows.push(Row::RunEnded(RunEnd {
            state: RunState::Finished,
            exit_code: 0,
            detail: None,
            wall_ms: 2_000,
        }));
        let data = directory.join("data");
        let mut connection = open_or_create(&data).expect("made");
        let run = begin_run(
            &mut connection,
            &NewRun {
                name: "yard",
                config_path: &directory.join("run.yaml"),
                files: files(directory, RULES),
                pid: 1,
                root: &directory.join("root"),
                runs_directory: &data.join("runs"),
                wall_ms: 1_000,
                streams: vec![NewStream {
                    name: yard(),
                    source: "test:ball".to_owned(),
                }],
            },
        )
        .expect("begun");
        let writer = Writer::start(connection, run, |_| {}).expect("started");
        let handle = writer.handle();
        for row in self.rows {
            handle.offer(row);
        }
        drop(handle);
        let health = writer.finish();
        assert_eq!(health, Default::default(), "all is written");
    }
}

/// The scene, as it was rendered and stored.
fn past_scene(directory: &Path) {
    let records: Vec<_> = scene().frames().collect();
    let count = records.len() as u64;
    let mut run = PastRun::new();
    run.render(0, records);
    run.finish(directory, count);
}

#[test]
fn the_same_rules_give_the_same_events_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    past_scene(path);
    let output = sluice(path, &["rules", "replay"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(
        output.stdout,
        "\
run yard-1 with its own rules

stream yard: 101 frames, 0:00.000 to 0:10.000
   begins               ends      rule       track
=  0:05.000 (frame 50)  0:09.000  loitering  1

1 the same
"
    );
}

#[test]
fn other_rules_give_a_diff() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    past_scene(path);
    let quicker = RULES.replace("for: 4s", "for: 3s");
    fs::write(path.join("quicker.yaml"), quicker).expect("written");
    let output = sluice(path, &["rules", "replay", "quicker.yaml", "--run", "yard"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(
        output.stdout,
        "\
run yard-1 with quicker.yaml

stream yard: 101 frames, 0:00.000 to 0:10.000
   begins               ends      rule       track
+  0:03.000 (frame 30)  0:03.300  loitering  2      only now
~  0:05.000 (frame 50)  0:09.000  loitering  1      then
   0:04.000 (frame 40)  0:09.000  loitering  1      now: begins 1.000 s earlier
+  0:09.700 (frame 97)  0:10.000  loitering  2      only now

2 only now, 1 began otherwise
"
    );
    let words = ["rules", "replay", "quicker.yaml", "--run", "yard", "--json"];
    let report: serde_json::Value =
        serde_json::from_str(&sluice(path, &words).stdout).expect("JSON");
    assert_eq!(
        report["streams"][0]["only_now"].as_array().map(Vec::len),
        Some(2)
    );
}

#[test]
fn other_rules_may_fire_less_and_shorter() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    past_scene(path);
    let slower = RULES.replace("for: 4s", "for: 9s");
    fs::write(path.join("slower.yaml"), slower).expect("written");
    let output = sluice(path, &["rules", "replay", "slower.yaml"]);
    let line = "-  0:05.000 (frame 50)  0:09.000  loitering  1      only then";
    assert!(output.stdout.contains(line), "{}", output.stdout);
    assert!(
        output.stdout.ends_with("\n1 only then\n"),
        "{}",
        output.stdout
    );
    let output = sluice(path, &["rules", "replay", "--stream", "gate"]);
    assert_eq!(output.code, 9);
    let told = "run yard-1 has no stream `gate`: it has yard";
    assert!(output.stderr.contains(told), "{}", output.stderr);
}

#[test]
fn what_cannot_be_exact_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let scene = scene();
    let mut records: Vec<_> = scene.frames().collect();
    let later = records.split_off(60);
    let reloaded_at = later[0].wall_ms;
    let mut run = PastRun::new();
    run.render(0, records);
    let more = format!("{RULES}  here: {{on: track, when: in_zone(dock), for: 2s}}\n");
    run.reload(path, &more, reloaded_at);
    run.render(0, later);
    // The same people once more, before another render worker, whose tracks are others.
    run.restart();
    let again = scene.frames().map(|mut record| {
        record.sequence_number += 101;
        record.pts_ns += 20_000_000_000;
        record.wall_ms += 20_000;
        record
    });
    run.render(1, again.collect());
    run.finish(path, 210);
    let output = sluice(path, &["rules", "replay"]);
    assert_eq!(
        output.stdout,
        "\
run yard-1 with its own rules

stream yard: 202 frames, 0:00.000 to 0:30.000
note: of 210 frames 8 were never stored: what fires near them may differ from what fired then
note: its rules or settings changed while the run went on, at 2025-01-06 08:00:06Z (generation 1): \
events within a second of a change may differ
note: rule here was in force only in a part of the run: generation 1
   begins                ends      rule       track
=  0:05.000 (frame 50)   0:09.000  loitering  1
=  0:08.000 (frame 80)   0:09.000  here       1
=  0:08.700 (frame 87)   0:10.000  here       2
=  0:22.000 (frame 121)  0:23.300  here       2
=  0:23.000 (frame 131)  0:29.000  here       1
=  0:25.000 (frame 151)  0:29.000  loitering  1
=  0:28.700 (frame 188)  0:30.000  here       2

7 the same
"
    );
}

#[test]
fn a_run_without_stored_detections_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    PastRun::new().finish(path, 100);
    let output = sluice(path, &["rules", "replay"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let told = "note: nothing is stored of what was seen, so nothing can be replayed";
    assert!(output.stdout.contains(told), "{}", output.stdout);
}

#[test]
fn an_event_is_explained() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    past_scene(path);
    let output = sluice(path, &["rules", "explain", "yard", "loitering/1"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(
        output.stdout,
        "\
loitering fired for track 1 (person) in stream yard at 0:05.000 (frame 50)
  \"person 1 stays\"

0:01.000 (frame 10)  the condition began to hold
0:05.000 (frame 50)  it had held for 4s: it fired
0:09.000 (frame 90)  it held for the last time
0:09.100 (frame 91)  the track was not found

                                                         held since  at begin  when it fired
[x] label == \"person\" and score > 60% and in_zone(dock)  0:01.000
  [x] label == \"person\"                                  0:01.000    \"person\"  \"person\"
  [x] score > 60%                                        0:01.000    0.90      0.90
  [x] in_zone(dock)                                      0:01.000
"
    );
}

#[test]
fn what_did_not_fire_is_explained() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    past_scene(path);
    let ask = |words: &[&str]| {
        let words = [&["rules", "explain", "last", "--why-not"], words].concat();
        sluice(path, &words)
    };
    let output = ask(&["loitering", "--track", "2"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(
        output.stdout,
        "\
loitering did not fire for track 2 (person) in stream yard
the track is there from 0:00.000 (frame 0) to 0:10.000 (frame 100)
the condition held for 3.3s at most, and must hold for 4s (asked in 101 frames)

held from            for              until
0:00.000 (frame 0)   3.3s  too short  `in_zone(dock)` did not hold
0:06.700 (frame 67)  3.3s  too short  the last frame

                                                         held                 values
[~] label == \"person\" and score > 60% and in_zone(dock)  in 68 of 101 frames
  [x] label == \"person\"                                  always               \"person\"
  [x] score > 60%                                        always               0.90
  [~] in_zone(dock)                                      in 68 of 101 frames
"
    );

    for (words, code, told) in [
        (
            &["loitring", "--track", "2"][..],
            2,
            "did you mean `loitering`?",
        ),
        (
            &["loitering"],
            2,
            "rule `loitering` is about tracks: say which one with --track ID",
        ),
        (&["loitering", "--track", "9"], 9, "its tracks are 1 to 2"),
        (
            &["loitering", "--track", "2", "--stream", "x"],
            9,
            "has no stream `x`",
        ),
    ] {
        let output = ask(words);
        assert_eq!(output.code, code, "{words:?}: {}", output.stderr);
        assert!(output.stderr.contains(told), "{words:?}: {}", output.stderr);
    }
}

#[test]
fn events_are_listed_to_choose_from() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    past_scene(path);
    let output = sluice(path, &["rules", "explain", "yard"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(
        output.stdout.contains("yard/loitering/1/5000"),
        "{}",
        output.stdout
    );
    let output = sluice(path, &["rules", "explain", "yard", "crowd"]);
    assert_eq!(output.code, 9);
    assert!(
        output.stderr.contains("`sluice rules explain yard` lists"),
        "{}",
        output.stderr
    );
    let words = ["rules", "explain", "yard", "1", "--json"];
    let answer: serde_json::Value =
        serde_json::from_str(&sluice(path, &words).stdout).expect("JSON");
    assert_eq!(answer["event"]["id"], "yard/loitering/1/5000");
    assert_eq!(answer["holdings"][0]["outcome"], "fired");
    assert_eq!(answer["parts"][0]["depth"], 0);
}
