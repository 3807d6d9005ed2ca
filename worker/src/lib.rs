//! What every worker process shares: how it is configured, how it talks to its
//! supervisor, how it is stopped and how it ends.
//!
//! A worker's `main.rs` is one line: [`main`] with the worker's own `run`.

mod control;
mod failure;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contract::control::FromWorker;
use contract::exit::WorkerExit;
use contract::spec::WorkerSpec;
use nix::sys::signal::{SigSet, Signal};
use signal_hook::low_level::exit as end_process;
use tracing_subscriber::EnvFilter;

pub use control::Control;
pub use failure::Failure;

/// After the order to leave, a worker that has not left is ended by force.
const LEAVE_MAX: Duration = Duration::from_millis(900);

/// Runs a worker: reads its spec from the control channel, runs it, reports how it ended.
///
/// The process ends here, without the destructors of its libraries: threads of libsrt, of
/// `GStreamer` and of ONNX Runtime may still be closing a session that nobody waits for, and
/// would use what those destructors have freed. Everything of ours is closed by then.
pub fn main(run: impl FnOnce(WorkerSpec, Control) -> Result<(), Failure>) -> ! {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("SLUICE_LOG").unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let ended = leave_on_sigterm().and_then(|stop| {
        let (spec, control) = Control::from_stdin(stop)?;
        tracing::info!(worker = %spec.worker, incarnation = spec.incarnation, "configured");
        Ok((run(spec, control.clone()), control))
    });
    let (result, control) = match ended {
        Ok((result, control)) => (result, Some(control)),
        Err(failure) => (Err(failure), None),
    };
    let exit = match result {
        Ok(()) if control.as_ref().is_some_and(Control::orphaned) => WorkerExit::Orphaned,
        Ok(()) => WorkerExit::Drained,
        Err(failure) => {
            tracing::error!("{failure}");
            if let Some(control) = &control {
                control.send(FromWorker::Failing(failure.to_string()));
            }
            failure.exit()
        }
    };
    if let Some(control) = control {
        control.close();
    }
    tracing::info!(?exit, "ended");
    end_process(exit.code())
}

/// Whether this process has been told to leave; shared by the threads that can hear it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    flag: Arc<AtomicBool>,
}

impl Stop {
    pub(crate) fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Sets the flag, and ends the process by force if it has not ended by itself in time.
    pub(crate) fn set(&self, exit: WorkerExit) {
        let first = !self.flag.swap(true, Ordering::Relaxed);
        if !first {
            return;
        }
        let forced = std::thread::Builder::new()
            .name("leave".to_owned())
            .spawn(move || {
                std::thread::park_timeout(LEAVE_MAX);
                tracing::warn!("ended by force");
                end_process(exit.code());
            });
        if forced.is_err() {
            end_process(exit.code());
        }
    }
}

/// SIGTERM comes from the supervisor, or from the kernel when the supervisor has died.
/// It is blocked in every thread and taken by one of its own, so nothing is interrupted.
fn leave_on_sigterm() -> Result<Stop, Failure> {
    let stop = Stop::default();
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals
        .thread_block()
        .map_err(|error| Failure::failed(format!("cannot block SIGTERM: {error}")))?;
    let setter = stop.clone();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if signals.wait().is_ok() {
                tracing::info!("told to leave by SIGTERM");
                setter.set(WorkerExit::Failed);
            }
        })
        .map_err(|error| Failure::failed(format!("cannot start the signal thread: {error}")))?;
    Ok(stop)
}
