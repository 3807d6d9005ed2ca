//! Where a running run is shown: a live table on a terminal, plain lines elsewhere.
//!
//! A thread of its own prints, because a terminal that was paused (Ctrl-S) or a
//! pipe that nobody reads blocks its writer, and nothing may block the
//! supervisor: what the thread does not take in time is not shown.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::board::{Board, clock, printable, progress_lines, table};

/// What may wait to be shown.
const QUEUE_MAX: usize = 256;

/// Plain progress lines come so often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Columns when the terminal does not say.
const COLUMNS_DEFAULT: usize = 100;

/// How serious a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Something is wrong, and is being dealt with.
    Warning,
    /// Something is wrong and stays so.
    Error,
}

enum Message {
    Notice {
        at: Duration,
        severity: Severity,
        text: String,
    },
    Board(Box<Board>),
}

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A table, drawn over itself on standard output.
    Table,
    /// Lines on standard error.
    Lines,
}

/// The screen's thread. Dropping this shows what is still to be shown and gives the
/// terminal back.
#[derive(Debug)]
pub struct Screen {
    sender: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<()>>,
    begin: Instant,
}

impl Screen {
    /// Starts the thread. Every notice goes into the file `log` as well.
    ///
    /// # Errors
    /// When the log cannot be opened or no thread can be started.
    pub fn start(style: Style, log: &Path) -> io::Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || {
                // Nobody looks any more: the run goes on unseen, its log is complete as far
                // as it could be written.
                let _ = match style {
                    Style::Table => TableScreen::new(log).show(&receiver),
                    Style::Lines => LineScreen::new(log).show(&receiver),
                };
                drain(&receiver);
            })?;
        Ok(Self {
            sender: Some(sender),
            thread: Some(thread),
            begin: Instant::now(),
        })
    }

    /// Shows a line for good.
    pub fn notice(&self, severity: Severity, text: impl Into<String>) {
        let message = Message::Notice {
            at: self.begin.elapsed(),
            severity,
            text: printable(&text.into()),
        };
        self.offer(message);
    }

    /// Shows the state of the run in place of the one before.
    pub fn board(&self, board: Board) {
        self.offer(Message::Board(Box::new(board)));
    }

    fn offer(&self, message: Message) {
        if let Some(sender) = &self.sender {
            let _ = sender.try_send(message);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been printed already.
            let _ = thread.join();
        }
    }
}

/// The thread goes on taking messages, so that senders never see a closed queue as a full one.
fn drain(receiver: &Receiver<Message>) {
    while receiver.recv().is_ok() {}
}

fn log_line(log: &mut File, at: Duration, severity: Severity, text: &str) {
    let word = match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    // A full disk is reported by the store; the log is a convenience.
    let _ = writeln!(log, "{:>10.3} {word:<7} {text}", at.as_secs_f64());
}

struct LineScreen {
    log: File,
    next_progress: Instant,
}

impl LineScreen {
    fn new(log: File) -> Self {
        Self {
            log,
            next_progress: Instant::now() + PROGRESS_INTERVAL,
        }
    }

    fn show(mut self, receiver: &Receiver<Message>) -> io::Result<()> {
        let mut out = io::stderr();
        while let Ok(message) = receiver.recv() {
            match message {
                Message::Notice { at, severity, text } => {
                    log_line(&mut self.log, at, severity, &text);
                    writeln!(out, "{:>7} {text}", clock(at))?;
                }
                Message::Board(board) => {
                    if Instant::now() < self.next_progress {
                        continue;
                    }
                    self.next_progress = Instant::now() + PROGRESS_INTERVAL;
                    for line in progress_lines(&board) {
                        log_line(&mut self.log, board.elapsed, Severity::Info, &line);
                        writeln!(out, "{:>7} {line}", clock(board.elapsed))?;
                    }
                }
            }
        }
        Ok(())
    }
}

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const CLEAR_DOWN: &str = "\x1b[J";

struct TableScreen {
    log: File,
    board: Option<Box<Board>>,
    lines_drawn: usize,
}

impl TableScreen {
    fn new(log: File) -> Self {
        Self {
            log,
            board: None,
            lines_drawn: 0,
        }
    }

    fn show(mut self, receiver: &Receiver<Message>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        write!(out, "{HIDE_CURSOR}")?;
        let shown = self.draw_all(receiver, &mut out);
        write!(out, "{SHOW_CURSOR}")?;
        out.flush()?;
        shown
    }

    fn draw_all(&mut self, receiver: &Receiver<Message>, out: &mut impl Write) -> io::Result<()> {
        while let Ok(message) = receiver.recv() {
            let mut notices = Vec::new();
            // All that waits is shown at once, and only the newest board of it.
            for message in [message].into_iter().chain(receiver.try_iter()) {
                match message {
                    Message::Notice { at, severity, text } => {
                        log_line(&mut self.log, at, severity, &text);
                        notices.push((at, severity, text));
                    }
                    Message::Board(board) => self.board = Some(board),
                }
            }
            self.draw(&notices, out)?;
        }
        Ok(())
    }

    fn draw(
        &mut self,
        notices: &[(Duration, Severity, String)],
        out: &mut impl Write,
    ) -> io::Result<()> {
        let (columns, rows) = terminal_size::terminal_size_of(io::stdout())
            .map_or((COLUMNS_DEFAULT, usize::MAX), |(width, height)| {
                (usize::from(width.0), usize::from(height.0))
            });
        let mut frame = String::new();
        if self.lines_drawn > 0 {
            frame.push_str(&format!("\x1b[{}A", self.lines_drawn));
        }
        frame.push('\r');
        frame.push_str(CLEAR_DOWN);
        for (at, severity, text) in notices {
            let colour = match severity {
                Severity::Info => "",
                Severity::Warning => "\x1b[33m",
                Severity::Error => "\x1b[31m",
            };
            frame.push_str(&format!("{:>7} {colour}{text}\x1b[0m\r\n", clock(*at)));
        }
        let mut lines = match &self.board {
            Some(board) => table(board, columns),
            None => Vec::new(),
        };
        // What does not fit cannot be drawn over.
        lines.truncate(rows.saturating_sub(1));
        self.lines_drawn = lines.len();
        for line in lines {
            frame.push_str(&line);
            frame.push_str("\r\n");
        }
        out.write_all(frame.as_bytes())?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_printed_above_a_table_that_is_drawn_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("sluice.log");
        let mut screen = TableScreen::new(File::create(&log).expect("a file"));
        let board = Board {
            run: "yard-1".parse().expect("a name"),
            elapsed: Duration::ZERO,
            streams: Vec::new(),
            workers: Vec::new(),
            troubles: Vec::new(),
        };
        let (sender, receiver) = sync_channel(4);
        sender.send(Message::Board(Box::new(board))).expect("room");
        drop(sender);
        let mut out = Vec::new();
        screen.draw_all(&receiver, &mut out).expect("drawn");
        assert_eq!(screen.lines_drawn, 2);
        out.clear();
        let notice = (Duration::ZERO, Severity::Warning, "hello".to_owned());
        screen.draw(&[notice], &mut out).expect("drawn");
        let text = String::from_utf8(out).expect("text");
        assert!(text.starts_with("\x1b[2A\r\x1b[J"), "{text:?}");
        let hello = text.find("hello").expect("shown");
        assert!(hello < text.find("yard-1").expect("shown"));
    }

    #[test]
    fn notices_reach_the_log() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("sluice.log");
        let screen = Screen::start(Style::Lines, &log).expect("started");
        screen.notice(Severity::Error, "the sky is falling");
        drop(screen);
        let text = std::fs::read_to_string(&log).expect("written");
        assert!(text.contains("error   the sky is falling"), "{text:?}");
    }
}
