//! What people see of a running run: one line a stream, and workers that need attention.
//!
//! The board is a plain value, made anew each second; [`table`] and [`progress_lines`]
//! turn it into text. Nothing here prints.

use std::time::Duration;

use contract::name::{RunId, StreamName};

use super::meter::{Progress, Rates};

/// The state of a run, as shown.
#[derive(Debug, Clone)]
pub struct Board {
    /// The run.
    pub run: RunId,
    /// How long it has been going on.
    pub elapsed: Duration,
    /// Its streams.
    pub streams: Vec<StreamLine>,
    /// Workers that are not as they should be.
    pub workers: Vec<WorkerLine>,
    /// What else is wrong: the store cannot write, the last text was refused, ...
    pub troubles: Vec<String>,
}

/// One stream, as shown.
#[derive(Debug, Clone)]
pub struct StreamLine {
    /// Its name.
    pub name: StreamName,
    /// Its state in one word.
    pub state: &'static str,
    /// Whether that state is as it should be.
    pub health: Health,
    /// What happened.
    pub detail: String,
    /// Rates of the last seconds.
    pub rates: Rates,
    /// Frames dropped, by reason, without those that are 0.
    pub drops: Vec<(&'static str, u64)>,
    /// Frames lost by crashes.
    pub lost: u64,
    /// Rule firings.
    pub events: u64,
    /// Restarts of its own workers and of its models'.
    pub restarts: u32,
    /// How far it is, where it has an end.
    pub progress: Option<Progress>,
}

/// Whether a stream is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It is.
    Sound,
    /// It goes on, with less than was asked for.
    Degraded,
    /// It does not go on.
    Wrong,
}

/// A worker that is not as it should be.
#[derive(Debug, Clone)]
pub struct WorkerLine {
    /// Which.
    pub name: String,
    /// Its phase in one word.
    pub phase: &'static str,
    /// It will not come back soon.
    pub grave: bool,
    /// What it said last.
    pub text: String,
}

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// The board as lines of at most `width` characters, with colours.
#[must_use]
pub fn table(board: &Board, width: usize) -> Vec<String> {
    let mut lines = vec![painted(
        BOLD,
        &format!("{}  {}", board.run, clock(board.elapsed)),
        width,
    )];
    let names = board
        .streams
        .iter()
        .map(|stream| stream.name.as_str().len());
    let name_width = names.max().unwrap_or(0).max("stream".len());
    let header = format!(
        "{:name_width$}  {:<11} {:>6} {:>8} {:>8} {:>8} {:>6} {:>8}  dropped, progress",
        "stream", "state", "fps in", "inferred", "p50 ms", "p99 ms", "events", "restarts"
    );
    lines.push(painted(DIM, &header, width));
    for stream in &board.streams {
        let row = format!(
            "{:name_width$}  {:<11} {:>6.1} {:>8.1} {:>8} {:>8} {:>6} {:>8}  {}",
            stream.name.as_str(),
            stream.state,
            stream.rates.captured_fps,
            stream.rates.inferred_fps,
            milliseconds(stream.rates.latency_p50_us),
            milliseconds(stream.rates.latency_p99_us),
            stream.events,
            stream.restarts,
            remarks(stream),
        );
        let colour = match stream.health {
            Health::Sound => GREEN,
            Health::Degraded => YELLOW,
            Health::Wrong => RED,
        };
        let state_begin = name_width + 2;
        lines.push(painted_part(
            colour,
            &row,
            state_begin,
            stream.state.len(),
            width,
        ));
    }
    for worker in &board.workers {
        let colour = if worker.grave { RED } else { YELLOW };
        let text = format!("{} {}: {}", worker.name, worker.phase, worker.text);
        lines.push(painted(colour, text.trim_end_matches(": "), width));
    }
    for trouble in &board.troubles {
        lines.push(painted(RED, trouble, width));
    }
    lines
}

/// The board as one plain line a stream, for logs.
#[must_use]
pub fn progress_lines(board: &Board) -> Vec<String> {
    let line = |stream: &StreamLine| {
        let rates = stream.rates;
        format!(
            "{}: {}, {:.1} fps in, {:.1} inferred, latency p50 {} ms p99 {} ms, {}",
            stream.name,
            stream.state,
            rates.captured_fps,
            rates.inferred_fps,
            milliseconds(rates.latency_p50_us),
            milliseconds(rates.latency_p99_us),
            remarks(stream),
        )
    };
    board.streams.iter().map(line).collect()
}

fn remarks(stream: &StreamLine) -> String {
    let mut remarks = Vec::new();
    if stream.drops.is_empty() {
        remarks.push("dropped 0".to_owned());
    } else {
        let total: u64 = stream.drops.iter().map(|(_, count)| count).sum();
        let reasons = stream.drops.iter();
        let reasons: Vec<_> = reasons
            .map(|(why, count)| format!("{why} {count}"))
            .collect();
        remarks.push(format!("dropped {total} ({})", reasons.join(", ")));
    }
    if stream.lost > 0 {
        remarks.push(format!("lost {}", stream.lost));
    }
    if let Some(progress) = stream.progress {
        let left = match progress.remaining {
            Some(left) => format!(", {} left", clock(left)),
            None => String::new(),
        };
        remarks.push(format!(
            "{}% of {} frames{left}",
            progress.percent(),
            progress.total
        ));
    }
    if stream.health != Health::Sound && !stream.detail.is_empty() {
        remarks.push(stream.detail.clone());
    }
    remarks.join(", ")
}

/// Microseconds as milliseconds, three digits long or more.
#[must_use]
pub fn milliseconds(microseconds: Option<u64>) -> String {
    let Some(microseconds) = microseconds else {
        return "-".to_owned();
    };
    if microseconds < 100_000 {
        format!("{}.{}", microseconds / 1000, microseconds % 1000 / 100)
    } else {
        format!("{}", microseconds / 1000)
    }
}

/// A duration as `0:07`, `12:34` or `1:02:03`.
#[must_use]
pub fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// A text that is safe to print: what a worker says may come from a camera, and a control
/// character would break the table or command the terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    let safe = |sign: char| if sign.is_control() { ' ' } else { sign };
    text.chars().map(safe).collect()
}

fn cut(text: &str, width: usize) -> String {
    printable(text).chars().take(width).collect()
}

fn painted(colour: &str, text: &str, width: usize) -> String {
    format!("{colour}{}{RESET}", cut(text, width))
}

fn painted_part(colour: &str, text: &str, begin: usize, length: usize, width: usize) -> String {
    let text = cut(text, width);
    // Names and states are ASCII, so these are borders of characters; a narrow terminal cuts them.
    match (
        text.get(..begin),
        text.get(begin..begin + length),
        text.get(begin + length..),
    ) {
        (Some(before), Some(part), Some(after)) => format!("{before}{colour}{part}{RESET}{after}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        Board {
            run: "yard-3".parse().expect("a name"),
            elapsed: Duration::from_secs(75),
            streams: vec![StreamLine {
                name: "yard".parse().expect("a name"),
                state: "live",
                health: Health::Sound,
                detail: String::new(),
                rates: Rates {
                    captured_fps: 10.0,
                    inferred_fps: 9.96,
                    rendered_fps: 10.0,
                    latency_p50_us: Some(41_260),
                    latency_p99_us: Some(123_456),
                },
                drops: vec![("overflow", 2), ("shed", 1)],
                lost: 4,
                events: 1,
                restarts: 2,
                progress: Some(Progress::of(400, 800, 10.0)),
            }],
            workers: vec![WorkerLine {
                name: "infer-people".to_owned(),
                phase: "quarantined",
                grave: true,
                text: "the model\x1b[2J failed".to_owned(),
            }],
            troubles: Vec::new(),
        }
    }

    fn plain(line: &str) -> String {
        let mut parts = line.split('\x1b');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            text.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
        }
        text
    }

    #[test]
    fn the_table_says_what_there_is_to_say() {
        let lines: Vec<_> = table(&board(), 200)
            .iter()
            .map(|line| plain(line))
            .collect();
        assert_eq!(lines[0], "yard-3  1:15");
        assert!(lines[2].starts_with("yard    live"), "{}", lines[2]);
        for part in [
            "10.0",
            "41.2",
            "123",
            "dropped 3 (overflow 2, shed 1)",
            "lost 4",
            "50% of 800 frames, 0:40 left",
        ] {
            assert!(lines[2].contains(part), "{part}: {}", lines[2]);
        }
        assert_eq!(lines[3], "infer-people quarantined: the model [2J failed");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [1, 7, 12, 40, 80] {
            for line in table(&board(), width) {
                assert!(plain(&line).chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_log_line_says_the_same_without_colours() {
        let lines = progress_lines(&board());
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].contains('\x1b'));
        assert!(
            lines[0].contains("10.0 fps in, 10.0 inferred"),
            "{}",
            lines[0]
        );
    }

    #[test]
    fn durations_and_latencies_read_well() {
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
        assert_eq!(milliseconds(Some(99_940)), "99.9");
        assert_eq!(milliseconds(None), "-");
    }
}
