//! How far a command is, on standard error, when it takes longer than a second.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Nothing is shown before: most commands are done by then.
const PATIENCE: Duration = Duration::from_secs(1);
/// On a terminal, where a line is drawn over the last.
const INTERVAL_TERMINAL: Duration = Duration::from_millis(200);
/// Elsewhere, where lines add up.
const INTERVAL_LINES: Duration = Duration::from_secs(5);

/// Shown while it lives.
#[derive(Debug)]
pub(super) struct Progress {
    shown: Option<Instant>,
    begin: Instant,
    is_terminal: bool,
}

impl Progress {
    pub(super) fn begin() -> Self {
        Self {
            shown: None,
            begin: Instant::now(),
            is_terminal: io::stderr().is_terminal(),
        }
    }

    /// Shows `text`, if it is time.
    pub(super) fn show(&mut self, text: impl FnOnce() -> String) {
        let now = Instant::now();
        let interval = if self.is_terminal {
            INTERVAL_TERMINAL
        } else {
            INTERVAL_LINES
        };
        let is_due = match self.shown {
            Some(shown) => now - shown >= interval,
            None => now - self.begin >= PATIENCE,
        };
        if !is_due {
            return;
        }
        self.shown = Some(now);
        let text = text();
        // There is nowhere to complain.
        let _ = if self.is_terminal {
            write!(io::stderr(), "\r\x1b[K{text}")
        } else {
            writeln!(io::stderr(), "{text}")
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal && self.shown.is_some() {
            // There is nowhere to complain.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
