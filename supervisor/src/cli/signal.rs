//! Signals from one `sluice` to the supervisor of a run.

use std::io;
use std::os::fd::OwnedFd;

use contract::exit::Exit;
use frame_bus::supervision::owner_lives;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::CommandError;
use crate::store::RunRow;

/// The process that runs a run. Held by its descriptor, so that a signal reaches it or nobody.
pub(super) struct Supervisor {
    process: OwnedFd,
}

impl Supervisor {
    /// The living supervisor of `run`.
    ///
    /// # Errors
    /// When the run does not run.
    pub(super) fn of(run: &RunRow) -> Result<Self, CommandError> {
        let pid = i32::try_from(run.pid).ok().and_then(Pid::from_raw);
        let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        // The lock is looked at last: whoever holds it is the process of this number, which
        // cannot have become another's since it was opened.
        match process {
            Some(process) if run.state == "running" && owner_lives(&run.root) => {
                Ok(Self { process })
            }
            _ => {
                let text = format!("run {} is not running: it is {}", run.id, run.state);
                Err(CommandError::other(Exit::NotFound, text))
            }
        }
    }

    /// SIGTERM: drain and end.
    pub(super) fn terminate(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.process, Signal::TERM)?)
    }

    /// SIGHUP: read the text again.
    pub(super) fn hang_up(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.process, Signal::HUP)?)
    }
}
