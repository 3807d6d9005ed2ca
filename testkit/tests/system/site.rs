//! One installation of Sluice: a directory of its own, its database, its processes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, OpenFlags, params};
use testkit::process::{self, Launch, Process};
use testkit::{leftovers, wait::wait_until};

/// How long any run of a test may take, on a busy machine.
pub(crate) const RUN_TIMEOUT: Duration = Duration::from_secs(150);
/// How long any state may take to come about.
pub(crate) const STATE_TIMEOUT: Duration = Duration::from_secs(45);

/// A directory with configs and data. Only one site exists at a time, whatever runs the
/// tests: they measure, and two cores are not enough for two.
pub(crate) struct Site {
    directory: tempfile::TempDir,
    program: PathBuf,
    _turn: Flock<File>,
}

/// What a finished `sluice` command said.
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Site {
    pub(crate) fn new() -> Self {
        let turn = File::create(std::env::temp_dir().join("sluice-system-tests.lock"));
        let turn = Flock::lock(turn.expect("a lock file"), FlockArg::LockExclusive);
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            program: process::program("sluice"),
            _turn: turn.map_err(|(_, error)| error).expect("our turn"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Writes a config; `{root}` stands for the repository.
    pub(crate) fn config(&self, text: &str) -> PathBuf {
        self.file("run.yaml", text)
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        let text = text.replace("{root}", &repository().display().to_string());
        fs::write(&path, text).expect("a file");
        path
    }

    /// Starts `sluice run`.
    pub(crate) fn run(&self, config: &Path, more: &[&str]) -> Process {
        Launch::new(&self.program)
            .arguments(["run", &config.display().to_string()])
            .arguments(["--data", &self.data().display().to_string()])
            .arguments(more)
            .directory(self.path())
            .start()
    }

    /// Runs any command to its end.
    pub(crate) fn sluice(&self, arguments: &[&str]) -> Finished {
        let mut process = Launch::new(&self.program)
            .arguments(arguments)
            .directory(self.path())
            .start();
        Finished {
            code: process.exit_code(RUN_TIMEOUT),
            stdout: process.stdout(),
            stderr: process.stderr(),
        }
    }

    /// Runs a command that reads the database.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Finished {
        let data = self.data().display().to_string();
        let mut all = arguments.to_vec();
        all.extend(["--data", &data]);
        self.sluice(&all)
    }

    pub(crate) fn database(&self) -> Database {
        let path = self.data().join("runs.db");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).expect("a database");
        connection
            .busy_timeout(Duration::from_secs(5))
            .expect("a time-out");
        Database { connection }
    }

    /// Waits until a stream is in a state.
    pub(crate) fn wait_state(&self, stream: &str, state: &str) {
        self.wait_state_in(stream, &[state]);
    }

    /// Waits until a stream is in one of some states.
    pub(crate) fn wait_state_in(&self, stream: &str, states: &[&str]) {
        let reached = || {
            self.data().join("runs.db").exists()
                && states.contains(&self.database().state(stream).as_str())
        };
        assert!(
            wait_until(STATE_TIMEOUT, reached),
            "`{stream}` is {:?}, not {}",
            self.database().text(
                "SELECT state || ': ' || detail FROM streams WHERE name = ?1",
                params![stream]
            ),
            states.join(" or ")
        );
    }
}

/// Nothing of a supervisor may be left: no child, no shared memory, no socket.
pub(crate) fn assert_nothing_left(supervisor: u32, children: &[u32]) {
    let prefix = format!("sluice-{supervisor}-");
    assert!(
        wait_until(Duration::from_secs(3), || leftovers::alive(children)
            .is_empty()),
        "children live on: {:?}",
        leftovers::alive(children)
    );
    assert_eq!(leftovers::shared_memory(&prefix), Vec::<String>::new());
    let roots = fs::read_dir("/tmp").expect("a directory").flatten();
    let roots: Vec<_> = roots
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(&prefix))
        .collect();
    assert_eq!(roots, Vec::<String>::new());
}

/// The workers of a supervisor, by pid.
pub(crate) fn workers(supervisor: u32) -> Vec<u32> {
    process::all()
        .into_iter()
        .filter(|process| process.parent == supervisor)
        .map(|process| process.pid)
        .collect()
}

/// Resident memory of some processes together, without what they share.
pub(crate) fn resident_kib(pids: &[u32]) -> u64 {
    let of_process = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("RssAnon"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    pids.iter().filter_map(of_process).sum()
}

/// What a supervisor and its workers hold.
#[derive(Debug)]
pub(crate) struct Holdings {
    pub(crate) descriptors: usize,
    pub(crate) resident_kib: u64,
}

impl Holdings {
    pub(crate) fn of(supervisor: u32) -> Self {
        let mut all = workers(supervisor);
        all.push(supervisor);
        let descriptors = all
            .iter()
            .map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count));
        Self {
            descriptors: descriptors.sum(),
            resident_kib: resident_kib(&all),
        }
    }
}

pub(crate) fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("testkit lies in it").to_owned()
}

/// The store of a site, read as any user would read it.
pub(crate) struct Database {
    connection: Connection,
}

impl Database {
    pub(crate) fn number(&self, query: &str, parameters: impl rusqlite::Params) -> i64 {
        self.connection
            .query_row(query, parameters, |row| row.get(0))
            .unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    pub(crate) fn text(&self, query: &str, parameters: impl rusqlite::Params) -> String {
        self.connection
            .query_row(query, parameters, |row| row.get(0))
            .unwrap_or_else(|error| format!("{query}: {error}"))
    }

    pub(crate) fn rows<T>(
        &self,
        query: &str,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Vec<T> {
        let mut statement = self.connection.prepare(query).expect("a query");
        let rows = statement.query_map([], read).expect("rows");
        rows.map(|row| row.expect("a row")).collect()
    }

    pub(crate) fn state(&self, stream: &str) -> String {
        self.text(
            "SELECT state FROM streams WHERE name = ?1 ORDER BY id DESC LIMIT 1",
            params![stream],
        )
    }

    pub(crate) fn run_state(&self) -> String {
        self.text(
            "SELECT state FROM runs ORDER BY begin_wall_ms DESC LIMIT 1",
            [],
        )
    }

    /// Every counter of a stream: `book.counter` to its value.
    pub(crate) fn ledger(&self, stream: &str) -> BTreeMap<String, i64> {
        let mut statement = self
            .connection
            .prepare("SELECT book || '.' || counter, value FROM ledgers WHERE stream = ?1")
            .expect("a query");
        let rows = statement.query_map(params![stream], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.expect("rows").map(|row| row.expect("a row")).collect()
    }

    /// Every equation of every book holds and nothing is in flight.
    pub(crate) fn assert_closed(&self) {
        let mut statement = self
            .connection
            .prepare("SELECT stream, book, equation, come_in, gone_out, in_flight FROM v_ledger")
            .expect("a query");
        let mut rows = statement.query([]).expect("rows");
        let mut equations = 0;
        while let Some(row) = rows.next().expect("a row") {
            let text = |index| row.get::<_, String>(index).expect("text");
            let number = |index| row.get::<_, i64>(index).expect("a number");
            assert_eq!(
                (number(3), number(5)),
                (number(4), 0),
                "{} {}: {}",
                text(0),
                text(1),
                text(2)
            );
            equations += 1;
        }
        assert!(equations > 0, "there is a ledger");
    }

    pub(crate) fn latency_ms(&self, stream: &str, book: &str, percentile: &str) -> f64 {
        self.connection
            .query_row(
                &format!(
                    "SELECT {percentile}_us / 1e3 FROM latencies WHERE stream = ?1 AND book = ?2"
                ),
                params![stream, book],
                |row| row.get(0),
            )
            .expect("a latency")
    }
}
