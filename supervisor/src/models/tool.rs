//! Programs of others that the model commands use: npm, pip, Python.
//!
//! They end by themselves, are waited for, and get a Ctrl-C at the terminal like this process.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::Progress;

/// Names a Python interpreter, ahead of all places.
pub const PYTHON_VARIABLE: &str = "SLUICE_PYTHON";
/// Where set-up puts its Python environment, under the repository's root.
const PYTHON_PLACE: &str = ".deps/venv/bin/python";
/// What is asked of the system when there is no other.
const PYTHON_NAME: &str = "python3";

/// Lines that wait to be looked at; a program that writes more waits.
const LINES_MAX: usize = 64;
/// Last lines of a program that are shown when it has failed.
const LAST_LINES_MAX: usize = 12;
/// Longest part of a line that is kept.
const LINE_BYTES_MAX: u64 = 4 << 10;
/// How often progress is shown while a program says nothing.
const TURN: Duration = Duration::from_millis(200);

/// Why a program did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not there.
    #[error("{program} is not installed: {advice}")]
    Missing {
        /// The program.
        program: String,
        /// What to install.
        advice: &'static str,
    },
    /// It cannot be started or listened to.
    #[error("cannot run {program}: {source}")]
    Io {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// It has failed.
    #[error("{what} failed ({status}):\n{said}")]
    Failed {
        /// What was being done.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// The last it said.
        said: String,
    },
}

/// A program, and what to install when it is not there.
#[derive(Debug, Clone)]
pub struct Tool {
    program: PathBuf,
    advice: &'static str,
}

impl Tool {
    /// npm.
    #[must_use]
    pub fn npm() -> Self {
        Self {
            program: "npm".into(),
            advice: "install Debian package npm, or Node.js",
        }
    }

    /// Python with pip, to fetch and unpack packages.
    ///
    /// # Errors
    /// When there is none.
    pub fn pip() -> Result<Self, ToolError> {
        Self::python(
            "pip",
            "pip",
            "install Debian packages python3 and python3-pip",
        )
    }

    /// Any Python.
    ///
    /// # Errors
    /// When there is none.
    pub fn any_python() -> Result<Self, ToolError> {
        Self::python("zipfile", "Python", "install Debian package python3")
    }

    /// Python with what converts models.
    ///
    /// # Errors
    /// When there is none.
    pub fn converting_python() -> Result<Self, ToolError> {
        Self::python(
            "numpy, onnx",
            "Python with the packages numpy and onnx",
            "run `scripts/setup test`, or name an interpreter that has them with SLUICE_PYTHON",
        )
    }

    /// Python with what quantises models.
    ///
    /// # Errors
    /// When there is none.
    pub fn quantizing_python() -> Result<Self, ToolError> {
        Self::python(
            "numpy, onnx, onnxruntime.quantization",
            "Python with the packages numpy, onnx and onnxruntime",
            "run `scripts/setup test`, or name an interpreter that has them with SLUICE_PYTHON",
        )
    }

    /// The first interpreter that can import `modules`.
    fn python(modules: &str, program: &str, advice: &'static str) -> Result<Self, ToolError> {
        let import = format!("import {modules}");
        let can_import = |path: &PathBuf| succeeds(path, &["-c", &import]);
        match pythons().into_iter().find(can_import) {
            Some(program) => Ok(Self { program, advice }),
            None => Err(ToolError::Missing {
                program: program.to_owned(),
                advice,
            }),
        }
    }

    /// The program as it is started.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs it in `directory` to its end. `what` names what is done, for people; each line it
    /// prints is progress.
    ///
    /// # Errors
    /// When it cannot be started, or fails; then with the last it said.
    #[expect(
        clippy::disallowed_methods,
        reason = "a tool that ends by itself and is waited for, not a worker"
    )]
    pub fn run<S: AsRef<OsStr>>(
        &self,
        what: &str,
        arguments: impl IntoIterator<Item = S>,
        directory: &Path,
        progress: Progress<'_>,
    ) -> Result<(), ToolError> {
        let name = self.program.display().to_string();
        let broken = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => ToolError::Missing {
                program: name.clone(),
                advice: self.advice,
            },
            _ => ToolError::Io {
                program: name.clone(),
                source,
            },
        };
        let mut child = Command::new(&self.program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(broken)?;
        let begin = Instant::now();
        let mut last_lines: Vec<String> = Vec::new();
        let (lines, said) = sync_channel(LINES_MAX);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        std::thread::scope(|scope| {
            if let Some(stdout) = stdout {
                let lines = lines.clone();
                scope.spawn(move || forward(stdout, &lines));
            }
            if let Some(stderr) = stderr {
                scope.spawn(move || forward(stderr, &lines));
            }
            // Ends when both have been closed.
            loop {
                match said.recv_timeout(TURN) {
                    Ok(line) => {
                        if last_lines.len() == LAST_LINES_MAX {
                            last_lines.remove(0);
                        }
                        last_lines.push(line);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                let seconds = begin.elapsed().as_secs();
                let newest = last_lines.last().map_or("", String::as_str);
                progress(&format!("{what}, {seconds} s  {newest}"));
            }
        });
        let status = child.wait().map_err(broken)?;
        if status.success() {
            return Ok(());
        }
        Err(ToolError::Failed {
            what: what.to_owned(),
            status,
            said: last_lines.join("\n"),
        })
    }
}

/// Sends each line, cut where it is too long.
fn forward(stream: impl Read, lines: &SyncSender<String>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        match (&mut reader)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if !text.is_empty() && lines.send(text).is_err() {
                    return;
                }
            }
        }
    }
}

/// Interpreters worth asking, the likeliest first.
fn pythons() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os(PYTHON_VARIABLE) {
        // Programs are run in directories of their own.
        return vec![std::path::absolute(&named).unwrap_or_else(|_| named.into())];
    }
    let set_up = find_upwards(PYTHON_PLACE);
    set_up.into_iter().chain([PYTHON_NAME.into()]).collect()
}

/// A path of Sluice's tree, looked for from the program and from the current directory upwards.
#[must_use]
pub fn find_upwards(place: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().unwrap_or_default();
    let current = std::env::current_dir().unwrap_or_default();
    let mut above = own.ancestors().chain(current.ancestors());
    above.find_map(|directory| {
        let path = directory.join(place);
        path.exists().then_some(path)
    })
}

/// Whether a program runs and succeeds.
#[expect(
    clippy::disallowed_methods,
    reason = "a tool that ends by itself and is waited for, not a worker"
)]
fn succeeds(program: &Path, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> (Result<(), ToolError>, Vec<String>) {
        let tool = Tool {
            program: "/bin/sh".into(),
            advice: "install a shell",
        };
        let mut said = Vec::new();
        let mut progress = |text: &str| said.push(text.to_owned());
        let ended = tool.run("trying", ["-c", text], Path::new("/"), &mut progress);
        (ended, said)
    }

    #[test]
    fn what_a_program_says_is_progress() {
        let (ended, said) = shell("echo one; echo two >&2");
        ended.expect("it succeeds");
        assert!(said.iter().any(|line| line.ends_with("one")), "{said:?}");
        assert!(said.iter().any(|line| line.ends_with("two")), "{said:?}");
    }

    #[test]
    fn a_failure_shows_the_last_lines() {
        let (ended, _) = shell("for i in $(seq 30); do echo line $i; done; exit 3");
        let text = ended.expect_err("it fails").to_string();
        assert!(
            text.starts_with("trying failed (exit status: 3):"),
            "{text}"
        );
        assert!(
            text.ends_with("line 30") && text.contains("line 19\n"),
            "{text}"
        );
        assert!(!text.contains("line 18\n"), "{text}");
    }

    #[test]
    fn a_missing_program_is_told_with_what_to_install() {
        let tool = Tool {
            program: "/nonexistent/npm".into(),
            advice: "install npm",
        };
        let ended = tool.run("trying", ["x"], Path::new("/"), &mut |_| ());
        let text = ended.expect_err("it is missing").to_string();
        assert_eq!(text, "/nonexistent/npm is not installed: install npm");
    }
}
