//! A started worker.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitReport {
    /// Its exit code, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
}

/// A started worker. It is not killed when this is dropped.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    descriptor: OwnedFd,
}

impl Child {
    pub(crate) fn new(mut process: std::process::Child) -> io::Result<Self> {
        // The pid cannot be another process' as long as the child is not reaped.
        let opened = i32::try_from(process.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::from(Errno::ESRCH))
            .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::NONBLOCK)?));
        match opened {
            Ok(descriptor) => Ok(Self {
                process,
                descriptor,
            }),
            Err(error) => {
                process.kill()?;
                process.wait()?;
                Err(error)
            }
        }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Becomes readable when the process has ended.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Takes the exit status if the process has ended, and lets go of the zombie.
    ///
    /// # Errors
    /// When the kernel does not know the child.
    pub fn try_reap(&mut self) -> io::Result<Option<ExitReport>> {
        let status = self.process.try_wait()?;
        Ok(status.map(|status| ExitReport {
            code: status.code(),
            signal: status.signal(),
        }))
    }

    /// Sends a signal; a process that has ended already is not an error.
    ///
    /// # Errors
    /// When the signal may not be sent.
    pub fn kill(&self, signal: Signal) -> io::Result<()> {
        let signal = rustix::process::Signal::from_named_raw(signal as i32)
            .ok_or_else(|| io::Error::from(Errno::EINVAL))?;
        match pidfd_send_signal(&self.descriptor, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Launch, Limits, spawn};
    use rustix::event::{PollFd, PollFlags, poll};
    use std::fs::File;
    use std::os::unix::net::UnixStream;

    fn start(program: &str) -> (Child, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let child = spawn(Launch {
            program: program.into(),
            environment: Vec::new(),
            control: theirs.into(),
            log: File::create("/dev/null").expect("null"),
            limits: Limits::default(),
        });
        (child.expect("started"), ours)
    }

    fn wait(child: &mut Child) -> ExitReport {
        let mut watched = [PollFd::from_borrowed_fd(child.pidfd(), PollFlags::IN)];
        let ready = poll(&mut watched, None).expect("polled");
        assert_eq!(ready, 1);
        child.try_reap().expect("known").expect("ended")
    }

    #[test]
    fn a_child_is_seen_to_end() {
        // `cat` ends by itself when its standard input, the control channel, is closed.
        let (mut child, control) = start("/bin/cat");
        assert_eq!(child.try_reap().expect("known"), None);
        drop(control);
        let report = wait(&mut child);
        assert_eq!((report.code, report.signal), (Some(0), None));
        child.kill(Signal::SIGKILL).expect("gone already is fine");
    }

    #[test]
    fn a_child_is_killed() {
        let (mut child, _control) = start("/bin/cat");
        child.kill(Signal::SIGKILL).expect("killed");
        let report = wait(&mut child);
        assert_eq!((report.code, report.signal), (None, Some(9)));
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let (_ours, theirs) = UnixStream::pair().expect("a pair");
        let error = spawn(Launch {
            program: "/nonexistent/worker".into(),
            environment: Vec::new(),
            control: theirs.into(),
            log: File::create("/dev/null").expect("null"),
            limits: Limits::default(),
        });
        assert_eq!(error.expect_err("missing").kind(), io::ErrorKind::NotFound);
    }
}
