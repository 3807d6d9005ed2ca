//! Signals to the supervisor, and what they mean.
//!
//! SIGINT and SIGTERM end the run. SIGHUP reloads, unless it says that the
//! terminal the run was started on is gone: then it ends the run, too.
//! `sluice reload` leaves a note beside the lock before it sends SIGHUP, so that
//! its asking is told from a service manager's.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::dispatcher::{RunEvent, StopReason};

const NOTE: &str = "reload";

/// Hands every signal to the run's loop.
pub(super) fn listen(events: &mpsc::Sender<RunEvent>) -> io::Result<()> {
    type Meaning = fn() -> RunEvent;
    let stop: Meaning = || RunEvent::Stop(StopReason::Person);
    let kinds = [
        (SignalKind::interrupt(), stop),
        (SignalKind::terminate(), stop),
        (SignalKind::hangup(), || RunEvent::Hangup),
    ];
    for (kind, meaning) in kinds {
        let mut signals = signal(kind)?;
        let events = events.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if events.send(meaning()).await.is_err() {
                    break;
                }
            }
        });
    }
    Ok(())
}

/// The terminal that the run was started on, if there was one.
#[derive(Debug)]
pub(super) struct Terminal {
    was_there: [bool; 3],
}

impl Terminal {
    pub(super) fn now() -> Self {
        Self {
            was_there: terminals(),
        }
    }

    /// It was there, and is no more.
    pub(super) fn is_gone(&self) -> bool {
        let mut both = self.was_there.into_iter().zip(terminals());
        both.any(|(was, is)| was && !is)
    }
}

/// Which of standard input, output and error are terminals that still answer.
fn terminals() -> [bool; 3] {
    [
        io::stdin().is_terminal(),
        io::stdout().is_terminal(),
        io::stderr().is_terminal(),
    ]
}

/// Leaves the note in the root of the supervisor that is about to get SIGHUP.
pub(crate) fn leave_note(root: &Path) -> io::Result<()> {
    File::create(root.join(NOTE)).map(drop)
}

/// Takes the note away, if it is there.
pub(super) fn take_note(root: &Path) -> bool {
    std::fs::remove_file(root.join(NOTE)).is_ok()
}
