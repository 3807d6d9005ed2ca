use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sandbox::{Launch, Limits};

use super::*;
use crate::supervision::spawner::Spawner;

const PATIENCE: Duration = Duration::from_secs(10);

/// A worker in shell: standard input is its control channel, both ways.
fn script(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join("worker");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("executable");
    path
}

fn launch(program: PathBuf) -> (Launch, std::os::unix::net::UnixStream) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let launch = Launch {
        program,
        environment: Vec::new(),
        control: theirs.into(),
        log: File::create("/dev/null").expect("null"),
        limits: Limits::default(),
    };
    (launch, ours)
}

struct Watched {
    process: Process,
    reports: mpsc::Receiver<Report>,
    spawner: Spawner,
}

impl Watched {
    async fn start(program: PathBuf) -> Self {
        let spawner = Spawner::start().expect("a thread");
        let (launch, channel) = launch(program);
        let child = spawner
            .spawn(launch)
            .await
            .expect("answered")
            .expect("started");
        let (sender, reports) = mpsc::channel(16);
        Self {
            process: Process::watch(child, channel, 3, 7, sender).expect("watched"),
            reports,
            spawner,
        }
    }

    async fn next(&mut self) -> ProcessEvent {
        let report = tokio::time::timeout(PATIENCE, self.reports.recv()).await;
        let report = report.expect("in time").expect("the task lives");
        assert_eq!((report.member, report.incarnation), (3, 7));
        report.what
    }
}

#[tokio::test]
async fn what_is_said_last_comes_before_the_death() {
    let directory = tempfile::tempdir().expect("a directory");
    // Two messages, {"warming":"x"} and {"ready":"y"}, and an exit at once.
    let text =
        r#"printf '\017\000\000\000{"warming":"x"}\015\000\000\000{"ready":"y"}' >&0; exit 65"#;
    let mut watched = Watched::start(script(directory.path(), text)).await;
    let mut said = Vec::new();
    loop {
        match watched.next().await {
            ProcessEvent::Message(message) => said.push(format!("{message:?}")),
            ProcessEvent::Exited(report) => {
                assert_eq!(report.code, Some(65));
                break;
            }
            ProcessEvent::Deaf(why) => panic!("{why}"),
        }
    }
    assert_eq!(said, [r#"Warming("x")"#, r#"Ready("y")"#]);
}

#[tokio::test]
async fn orders_arrive_and_signals_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    // Exits with 5 when the four bytes of a length have come.
    let text = "dd bs=1 count=4 >/dev/null 2>&1; exit 5";
    let mut watched = Watched::start(script(directory.path(), text)).await;
    assert!(watched.process.send(&ToWorker::Drain));
    match watched.next().await {
        ProcessEvent::Exited(report) => assert_eq!(report.code, Some(5)),
        other => panic!("{other:?}"),
    }

    let mut watched = Watched::start(PathBuf::from("/bin/cat")).await;
    assert!(watched.process.pid() > 0);
    assert!(watched.process.signal(Signal::SIGKILL));
    match watched.next().await {
        ProcessEvent::Exited(report) => assert_eq!(report.signal, Some(9)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_worker_that_talks_nonsense_or_does_not_listen_is_deaf() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = "printf '\\002\\000\\000\\000{!' >&0; exec sleep 60";
    let mut watched = Watched::start(script(directory.path(), text)).await;
    assert!(matches!(watched.next().await, ProcessEvent::Deaf(_)));
    assert!(watched.process.signal(Signal::SIGKILL));

    let mut watched = Watched::start(script(directory.path(), "exec sleep 60")).await;
    let long = ToWorker::EventCommitted("x".repeat(4 << 20));
    for _ in 0..6 {
        assert!(watched.process.send(&long));
    }
    assert!(matches!(watched.next().await, ProcessEvent::Deaf(_)));
    assert!(watched.process.signal(Signal::SIGKILL));
}

#[tokio::test]
async fn children_end_with_thespawner() {
    let mut watched = Watched::start(PathBuf::from("/bin/cat")).await;
    drop(std::mem::replace(
        &mut watched.spawner,
        Spawner::start().expect("another"),
    ));
    match watched.next().await {
        ProcessEvent::Exited(report) => assert_eq!(report.signal, Some(15)),
        other => panic!("{other:?}"),
    }
}
