//! The programs of this workspace as child processes of a test.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::wait::wait_until;

/// Set by who has just built all programs, as `make test` has.
pub const BUILT_VARIABLE: &str = "SLUICE_PROGRAMS_BUILT";

/// A program of this workspace, built as the running test was built.
///
/// Cargo gives a test only the programs of its own package; for the others this
/// asks the same cargo, once, so that a test never runs a stale program. It asks for all of
/// the workspace, whose dependencies then have the same features as in `cargo build`. Where
/// [`BUILT_VARIABLE`] is set, and outside of cargo (a test binary started by hand), the program
/// beside the test is taken as it is.
///
/// # Panics
/// When the programs cannot be built or there is none of this name.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    let test = std::env::current_exe().expect("a process knows its program");
    // target/<profile>/deps/<test> for tests, target/<profile>/<name> for programs.
    let directory = test
        .ancestors()
        .skip(1)
        .find(|directory| !directory.ends_with("deps") && !directory.ends_with("examples"))
        .expect("a program lies in a directory");
    if let Some(cargo) = std::env::var_os("CARGO")
        && std::env::var_os(BUILT_VARIABLE).is_none()
    {
        BUILT.call_once(|| build_programs(&cargo, directory));
    }
    let path = directory.join(name);
    assert!(
        path.exists(),
        "{} is not built: run cargo build --workspace --bins",
        path.display()
    );
    path
}

/// The library of `testkit/fake-cuda`: a GPU for who loads it as its driver.
///
/// # Panics
/// As [`program`].
#[must_use]
pub fn fake_cuda() -> PathBuf {
    program("libfake_cuda.so")
}

fn build_programs(cargo: &OsStr, directory: &Path) {
    let mut build = command(cargo);
    build.args(["build", "--quiet", "--workspace", "--bins", "--lib"]);
    if let Some(target) = directory.parent() {
        build.arg("--target-dir").arg(target);
    }
    if directory.ends_with("release") {
        build.arg("--release");
    }
    let status = build.status().expect("cargo can be started");
    assert!(status.success(), "cargo cannot build the programs");
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests stand outside of the supervisor: they start it, and what it knows nothing of"
)]
fn command(program: &OsStr) -> Command {
    Command::new(program)
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    directory: Option<PathBuf>,
}

impl Launch {
    /// A program without arguments, in the directory and environment of the test.
    #[must_use]
    pub fn new(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<T: AsRef<str>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        let arguments = arguments.into_iter();
        self.arguments
            .extend(arguments.map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts in a directory.
    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Starts it, with everything it prints captured.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn start(self) -> Process {
        self.start_with(Stdio::piped())
    }

    /// Starts it with a socket as its standard input, as the supervisor starts workers.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn start_on(self, socket: UnixStream) -> Process {
        self.start_with(Stdio::from(OwnedFd::from(socket)))
    }

    fn start_with(self, stdin: Stdio) -> Process {
        let mut command = command(self.program.as_os_str());
        command
            .args(&self.arguments)
            .envs(self.environment)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()));
        let stdout = Capture::of(child.stdout.take().expect("stdout is a pipe"));
        let stderr = Capture::of(child.stderr.take().expect("stderr is a pipe"));
        Process {
            stdin: child.stdin.take(),
            child,
            stdout,
            stderr,
        }
    }
}

/// A running child process. It is killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Capture,
    stderr: Capture,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process has already been waited for.
    pub fn signal(&self, signal: Signal) {
        send_signal(self.id(), signal).expect("a child can be signalled until it is waited for");
    }

    /// Writes a line to its standard input; false when it no longer reads.
    pub fn write_line(&mut self, line: &str) -> bool {
        let stdin = self.stdin.as_mut();
        stdin.is_some_and(|stdin| writeln!(stdin, "{line}").is_ok())
    }

    /// Waits for its end, with all its output read; `None` when it goes on.
    ///
    /// # Panics
    /// When the process is not a child of this one.
    pub fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let mut status = None;
        wait_until(timeout, || {
            status = self.child.try_wait().expect("it is a child");
            status.is_some()
        });
        if status.is_some() {
            self.stdout.finish();
            self.stderr.finish();
        }
        status
    }

    /// Waits for its end and gives its exit code; 128 + the signal when one ended it, as a shell has it.
    ///
    /// # Panics
    /// When it does not end in time, with what it printed.
    pub fn exit_code(&mut self, timeout: Duration) -> i32 {
        let Some(status) = self.wait(timeout) else {
            panic!(
                "still running after {timeout:?}\n{}{}",
                self.stdout(),
                self.stderr()
            );
        };
        let signalled = || status.signal().map_or(-1, |signal| 128 + signal);
        status.code().unwrap_or_else(signalled)
    }

    /// Kills it with SIGKILL and reaps it.
    pub fn kill(&mut self) {
        // Fails only when it has ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What it has written to its standard output.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has written to its standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Output of a child, collected by a thread so that the child never waits for its reader.
#[derive(Debug)]
struct Capture {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Capture {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let reader = std::thread::spawn({
            let text = Arc::clone(&text);
            move || {
                let mut lines = BufReader::new(pipe);
                let mut line = Vec::new();
                while lines
                    .read_until(b'\n', &mut line)
                    .is_ok_and(|read| read > 0)
                {
                    let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
                    text.push_str(&String::from_utf8_lossy(&line));
                    line.clear();
                }
            }
        });
        Self {
            text,
            reader: Some(reader),
        }
    }

    fn text(&self) -> String {
        let text = self.text.lock();
        text.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads to the end, but never waits for a grandchild that holds the pipe open.
    fn finish(&mut self) {
        if let Some(reader) = self.reader.take()
            && wait_until(Duration::from_secs(2), || reader.is_finished())
        {
            let _ = reader.join();
        }
    }
}

/// A process as `/proc` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its id.
    pub pid: u32,
    /// Its parent's id.
    pub parent: u32,
    /// `R`, `S`, `D`, `T` (stopped), `Z` (dead, not reaped), ...
    pub state: char,
    /// File name of its program, from its command line.
    pub program: String,
    /// The rest of its command line.
    pub arguments: Vec<String>,
}

/// Every process of the machine.
#[must_use]
pub fn all() -> Vec<ProcessInfo> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(inspect).collect()
}

/// One process; `None` when there is none of this id.
#[must_use]
pub fn inspect(pid: u32) -> Option<ProcessInfo> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may itself hold spaces and parentheses.
    let (before, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = bytes
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .filter(|word| !word.is_empty());
    // A zombie has no command line; its name is cut to 15 characters.
    let name = || before.split_once('(').map(|(_, name)| name.to_owned());
    let program = words.next().or_else(name)?;
    Some(ProcessInfo {
        pid,
        parent,
        state,
        program: program.rsplit('/').next().unwrap_or_default().to_owned(),
        arguments: words.collect(),
    })
}

/// The living children of a process that run a program, in order of their ids.
#[must_use]
pub fn children(parent: u32, program: &str) -> Vec<ProcessInfo> {
    let mut children: Vec<_> = all()
        .into_iter()
        .filter(|process| process.parent == parent && process.state != 'Z')
        .filter(|process| process.program == program)
        .collect();
    children.sort_by_key(|process| process.pid);
    children
}

/// Sends a signal to any process.
///
/// # Errors
/// When there is no such process.
pub fn send_signal(pid: u32, signal: Signal) -> Result<(), nix::Error> {
    let pid = i32::try_from(pid).map_err(|_| nix::Error::ESRCH)?;
    signal::kill(Pid::from_raw(pid), signal)
}

/// Kills, with SIGKILL, one child of a supervisor that runs `program` (`ingest-worker`, ...)
/// and returns its id once it is gone.
///
/// # Panics
/// When there is none within 10 s, or it cannot be killed.
pub fn kill_worker(supervisor: u32, program: &str) -> u32 {
    let mut victim = None;
    wait_until(Duration::from_secs(10), || {
        victim = children(supervisor, program).first().map(|child| child.pid);
        victim.is_some()
    });
    let victim = victim.unwrap_or_else(|| panic!("process {supervisor} runs no {program}"));
    send_signal(victim, Signal::SIGKILL).expect("a child of our child can be killed");
    let gone = || inspect(victim).is_none_or(|process| process.state == 'Z');
    assert!(
        wait_until(Duration::from_secs(5), gone),
        "{program} {victim} survives SIGKILL"
    );
    victim
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Launch::new(Path::new("/bin/sh"))
            .arguments(["-c", script])
            .environment("GREETING", "hello")
            .start()
    }

    #[test]
    fn output_and_exit_code_are_captured() {
        let mut process = shell("echo $GREETING; echo oops >&2; exit 7");
        assert_eq!(process.exit_code(Duration::from_secs(5)), 7);
        assert_eq!(
            (process.stdout().as_str(), process.stderr().as_str()),
            ("hello\n", "oops\n")
        );
    }

    #[test]
    fn children_are_found_and_killed_by_their_program() {
        let mut parent = shell("sleep 60 & sleep 60 & wait; wait; echo done");
        let two = || children(parent.id(), "sleep").len() == 2;
        assert!(wait_until(Duration::from_secs(5), two));
        let first = kill_worker(parent.id(), "sleep");
        let second = kill_worker(parent.id(), "sleep");
        assert_ne!(first, second);
        assert_eq!(parent.exit_code(Duration::from_secs(5)), 0);
        assert_eq!(parent.stdout(), "done\n");
    }

    #[test]
    fn a_dropped_process_is_killed() {
        let process = shell("echo up; exec sleep 60");
        assert!(wait_until(Duration::from_secs(5), || process.stdout() == "up\n"));
        let pid = process.id();
        assert_eq!(
            inspect(pid).map(|process| process.parent),
            Some(std::process::id())
        );
        drop(process);
        assert_eq!(inspect(pid), None);
    }
}
