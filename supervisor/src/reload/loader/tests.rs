use std::fs;
use std::os::unix::fs::symlink;
use std::sync::mpsc::{Receiver, sync_channel};

use super::*;

/// No test waits so long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);
/// Nothing more comes in this time.
const SILENCE: Duration = Duration::from_millis(700);

struct Rig {
    /// Keeps the directory.
    _root: tempfile::TempDir,
    root: PathBuf,
    loader: Option<Loader>,
    reports: Receiver<Report>,
    config: PathBuf,
}

fn text(name: &str) -> String {
    format!("run: {name}\nrules: rules.yaml\nstreams: {{s: {{source: 'test:ball'}}}}\n")
}

impl Rig {
    /// A run whose config was laid out by `lay`, which says where it is.
    fn new(lay: impl FnOnce(&Path) -> PathBuf) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("there");
        let config = lay(&root);
        let loaded = config::load(&config, &|_| None).expect("right");
        let (sender, reports) = sync_channel(64);
        let loader = Loader::start(
            config.clone(),
            &loaded.files,
            Box::new(|_| None),
            move |report| sender.send(report).expect("room"),
        );
        let rig = Self {
            _root: directory,
            root,
            loader: Some(loader.expect("started")),
            reports,
            config,
        };
        rig.expect_silence();
        rig
    }

    fn plain() -> Self {
        Self::new(|root| {
            fs::write(root.join("run.yaml"), text("first")).expect("written");
            fs::write(root.join("rules.yaml"), "zones: {}\n").expect("written");
            root.join("run.yaml")
        })
    }

    fn next(&self) -> Loaded {
        match self.reports.recv_timeout(PATIENCE).expect("in time") {
            Report::Loaded(loaded) => loaded,
            Report::Blind(why) => panic!("{why}"),
        }
    }

    fn expect_run(&self, name: &str) {
        let loaded = self.next();
        let config = loaded
            .result
            .unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.run.as_str(), name);
        assert_eq!(loaded.asked_by, AskedBy::File);
    }

    fn expect_silence(&self) {
        if let Ok(report) = self.reports.recv_timeout(SILENCE) {
            panic!("{report:?}");
        }
    }
}

#[test]
fn a_config_written_in_place_is_seen_once() {
    let rig = Rig::plain();
    fs::write(&rig.config, text("second")).expect("written");
    rig.expect_run("second");
    rig.expect_silence();
    fs::write(&rig.config, text("second")).expect("written");
    rig.expect_silence();
}

#[test]
fn a_file_renamed_over_it_is_seen_again_and_again() {
    let rig = Rig::plain();
    for name in ["second", "third", "fourth"] {
        let swap = rig.root.join(".run.yaml.swp");
        fs::write(&swap, text(name)).expect("written");
        fs::rename(&swap, &rig.config).expect("renamed");
        rig.expect_run(name);
    }
    rig.expect_silence();
}

#[test]
fn deleted_and_made_again_is_one_change_and_gone_is_another() {
    let rig = Rig::plain();
    fs::remove_file(&rig.config).expect("removed");
    fs::write(&rig.config, text("second")).expect("written");
    rig.expect_run("second");
    fs::remove_file(&rig.config).expect("removed");
    let problems = rig.next().result.expect_err("it is gone");
    assert_eq!(
        problems.diagnostics[0].message,
        "the run config is not there"
    );
    fs::write(&rig.config, text("second")).expect("written");
    rig.expect_run("second");
    rig.expect_silence();
}

#[test]
fn a_link_swapped_above_it_is_seen() {
    let rig = Rig::new(|root| {
        for (version, name) in [("..v1", "first"), ("..v2", "second")] {
            let directory = root.join(version);
            fs::create_dir(&directory).expect("made");
            fs::write(directory.join("run.yaml"), text(name)).expect("written");
            fs::write(directory.join("rules.yaml"), "zones: {}\n").expect("written");
        }
        symlink("..v1", root.join("..data")).expect("linked");
        for file in ["run.yaml", "rules.yaml"] {
            symlink(format!("..data/{file}"), root.join(file)).expect("linked");
        }
        root.join("run.yaml")
    });
    // As Kubernetes does.
    symlink("..v2", rig.root.join("..data_tmp")).expect("linked");
    fs::rename(rig.root.join("..data_tmp"), rig.root.join("..data")).expect("swapped");
    rig.expect_run("second");
    // What it points to now is watched, too.
    fs::write(rig.root.join("..v2/run.yaml"), text("third")).expect("written");
    rig.expect_run("third");
    rig.expect_silence();
}

#[test]
fn files_that_the_config_names_are_seen_also_when_they_are_wrong() {
    let rig = Rig::plain();
    let rules = rig.root.join("rules.yaml");
    fs::write(&rules, "zones: {a: nonsense}\n").expect("written");
    let problems = rig.next().result.expect_err("nonsense");
    assert!(problems.to_string().contains("rules.yaml:1:"), "{problems}");
    fs::write(&rules, "zones: {}\n# right again\n").expect("written");
    rig.expect_run("first");
    // A file that nothing names is nobody's business.
    fs::write(rig.root.join("other.yaml"), "x").expect("written");
    rig.expect_silence();
}

#[test]
fn who_asks_is_answered_also_when_nothing_has_changed() {
    let rig = Rig::plain();
    let loader = rig.loader.as_ref().expect("it runs");
    loader.ask(AskedBy::Signal);
    let loaded = rig.next();
    assert_eq!(loaded.asked_by, AskedBy::Signal);
    assert!(loaded.result.is_ok());
    rig.expect_silence();
}

#[test]
fn it_waits_for_who_writes_but_not_for_ever() {
    let begin = Instant::now();
    let at = |milliseconds: u64| begin + Duration::from_millis(milliseconds);
    let mut rest = Rest::default();
    rest.touched(false, at(0));
    assert_eq!(rest.due, Some(at(500)));
    rest.touched(true, at(10));
    assert_eq!(rest.due, Some(at(50)));
    for step in 2..100 {
        rest.touched(false, at(step * 10));
    }
    assert_eq!(rest.due, Some(at(1000)));
    rest.asked(AskedBy::Command, at(300));
    rest.asked(AskedBy::Signal, at(310));
    rest.touched(false, at(320));
    assert_eq!(
        (rest.due, rest.asked_by),
        (Some(at(310)), Some(AskedBy::Command))
    );
}
