//! Running whole commands: their output, their time, their processor time.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A run that is not where it should be after so long never will be.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What a finished command took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    /// By the clock on the wall.
    pub(crate) wall: Duration,
    /// Processor time of the command and everything it started and waited for.
    pub(crate) cpu: Duration,
}

/// A command that is run from the repository's root.
#[expect(
    clippy::disallowed_methods,
    reason = "the bench measures whole programs from outside"
)]
pub(crate) fn command(root: &Path, program: impl AsRef<Path>) -> Command {
    let program = program.as_ref();
    // A path with a directory in it is inside the repository; a bare name is the system's.
    let program = if program.components().count() > 1 {
        root.join(program)
    } else {
        program.to_owned()
    };
    let mut command = Command::new(program);
    command.current_dir(root).stdin(Stdio::null());
    command
}

/// Runs a command to its end and times it.
///
/// # Errors
/// When it cannot be started or ends with an error; its standard error is then in the text.
pub(crate) fn timed(command: &mut Command) -> anyhow::Result<(Took, Output)> {
    let cpu_before = children_cpu()?;
    let begin = Instant::now();
    let output = command
        .output()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let wall = begin.elapsed();
    let cpu = children_cpu()?.saturating_sub(cpu_before);
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}: {text}", output.status);
    }
    Ok((Took { wall, cpu }, output))
}

fn children_cpu() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = |value: nix::sys::time::TimeVal| -> anyhow::Result<Duration> {
        let seconds = u64::try_from(value.tv_sec())?;
        let microseconds = u64::try_from(value.tv_usec())?;
        Ok(Duration::from_secs(seconds) + Duration::from_micros(microseconds))
    };
    Ok(time(usage.user_time())? + time(usage.system_time())?)
}

/// The middle of some figures; 0 of none.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

/// Milliseconds of processor time of one run of a model on a tensor that is ready, on one thread.
///
/// # Errors
/// When Python or what it says is not as it should be.
pub(crate) fn model_alone_ms(root: &Path, model: &str) -> anyhow::Result<f64> {
    let mut python = command(root, ".deps/venv/bin/python");
    python
        .arg("tools/bench/model_alone.py")
        .arg("--json")
        .arg(model);
    let (_, output) = timed(&mut python)?;
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    figures["cpu_ms"]
        .as_f64()
        .context("model_alone.py printed no figure")
}

/// Waits until a run is where it should be.
///
/// # Errors
/// When it does not come there.
pub(crate) fn wait(mut reached: impl FnMut() -> bool) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !reached() {
        if begin.elapsed() > WAIT_MAX {
            bail!("a run does not come where it should in {WAIT_MAX:?}");
        }
        pause(Duration::from_millis(10));
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a bench paces what it measures; nothing waits for it"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A program that is killed when it is dropped.
pub(crate) struct Run(Child);

impl Run {
    /// Starts `sluice run`; what it says goes nowhere.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(root: &Path, config: &Path, data: &Path) -> anyhow::Result<Self> {
        let mut command = command(root, "target/release/sluice");
        command.arg("run").arg(config).arg("--data").arg(data);
        Self::spawn(&mut command)
    }

    /// Starts any program; what it says goes nowhere.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Self(child))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Lets it end in order.
    ///
    /// # Errors
    /// When it ends with an error.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.0.id())?);
        kill(pid, Signal::SIGINT)?;
        let status = self.0.wait()?;
        if !status.success() {
            bail!("the run ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // It has ended already, or its supervisor's death ends its workers.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
