//! The command line: what a person types, and what is printed for it.
//!
//! Results go to standard output, everything else to standard error. Every
//! listing can be had as JSON. Each command first recovers what a supervisor
//! that was killed left behind.

mod clip;
mod doctor;
mod export;
mod listing;
mod models;
mod progress;
mod reload;
mod rules;
mod run;
mod signal;
mod stats;
mod stop;
mod text;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use contract::exit::Exit;

use crate::config::{self, Problems, RunConfig};
use crate::diagnostics::{self, Look};
use crate::recordings::moment::Moment;
use crate::recovery;
use crate::run::RunError;
use crate::store::{self, Reader, StoreError};

const EXIT_CODES: &str = "\
Exit codes:
  0  everything asked for was done
  1  something failed that has no code of its own: a rule test, `rules fmt --check`
  2  the command line is wrong
  3  a run config or rule file is wrong; nothing was started, or changed by the reload
  4  a source cannot be had: no such file, not a video, refused, given up
  5  a model cannot be had: missing, corrupt, of the wrong shape
  6  the machine lacks something: shared memory, a port, a library, a writable directory
  7  the run ended, but its frame books do not balance: a defect of Sluice
  8  the run ended with a worker in quarantine
  9  there is no such run, stream, event or track

RUN is the id of a run (yard-3), a run's name (yard: its latest) or `last`.";

/// Turns live cameras into detections, tracks, events and annotated video.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// Directory of the database, recordings, snapshots and logs.
    #[arg(long, global = true, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a config until its sources end, its time is over, or Ctrl-C.
    Run(RunArguments),
    /// Say everything that is wrong with a config; start nothing.
    Check {
        /// The run config.
        file: PathBuf,
    },
    /// Have a running run read its config and rules again, and say what came of it.
    ///
    /// Saving a file is enough; this asks for it, and waits until it is done.
    Reload(Query),
    /// End a running run: drain, close the books.
    Stop {
        /// Which run.
        #[arg(default_value = LAST)]
        run: String,
    },
    /// List all runs.
    Runs(Format),
    /// Show what became of each frame of a run, latencies and workers.
    Stats(Query),
    /// List the events of a run.
    Events(Query),
    /// Write what was detected in a run, or cut a clip out of its recordings.
    Export(ExportArguments),
    /// Check, format, test, replay and explain rules.
    #[command(subcommand)]
    Rules(rules::RulesCommand),
    /// List, fetch, measure and quantise models.
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Check what this machine has and lacks.
    Doctor(Format),
    /// Print the JSON Schema of run configs.
    Schema,
}

/// What runs, and how.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The run config.
    pub file: PathBuf,
    /// End the run when frames have flowed for so long: 500ms, 30s, 5m, 1h.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Plain lines instead of the live table.
    #[arg(long)]
    pub no_table: bool,
}

/// In what form.
#[derive(Debug, Clone, Copy, Args)]
pub struct Format {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Which run, in what form.
#[derive(Debug, Args)]
pub struct Query {
    /// Which run.
    #[arg(default_value = LAST)]
    pub run: String,
    /// In what form.
    #[command(flatten)]
    pub format: Format,
}

/// What to export.
#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLES)]
pub struct ExportArguments {
    /// Which run.
    #[arg(default_value = LAST)]
    pub run: String,
    /// In what form; when absent, as the name of the output file ends.
    #[arg(long, required_unless_present = "output")]
    pub format: Option<ExportFormat>,
    /// Only this stream; `mot` and `mp4` hold one, and need it when there are several.
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// Write into this file; without it to standard output, but for `mp4`.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// `mp4`: begin here, or at the key frame before. A time with its zone, -5m for five
    /// minutes before the end of what is recorded, or 12.5s of event time.
    #[arg(long, value_name = "MOMENT", allow_hyphen_values = true)]
    pub from: Option<Moment>,
    /// `mp4`: end with the frame that is shown here.
    #[arg(long, value_name = "MOMENT", allow_hyphen_values = true)]
    pub to: Option<Moment>,
    /// `mp4`: this event, from 5 s before it until 5 s after it.
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "to"])]
    pub event: Option<String>,
}

const EXPORT_EXAMPLES: &str = "\
Examples:
  sluice export yard --stream gate --format csv > gate.csv
  sluice export yard --stream gate -o clip.mp4 --from 2026-11-21T20:45:10Z --to 2026-11-21T20:46:00Z
  sluice export yard --stream gate -o clip.mp4 --from -5m
  sluice export yard -o clip.mp4 --event yard/loitering/7/4800

A clip is cut out of the recordings without encoding anything anew, also while they are written.";

/// Form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// `MOTChallenge`: frame (from 1), track, left, top, width, height, score, -1, -1, -1.
    Mot,
    /// Every frame with its detections.
    Json,
    /// A line an object: stream, frame, times, model, label, track, score, box.
    Csv,
    /// Video, cut out of the recordings of a stream.
    Mp4,
}

const LAST: &str = "last";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("{} is wrong", .0.diagnostics.first().map_or_else(String::new, |first| first.file.display().to_string()))]
    Config(Box<Problems>),
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    #[error("{text}")]
    Other { exit: Exit, text: String },
}

impl CommandError {
    fn other(exit: Exit, text: impl Into<String>) -> Self {
        Self::Other {
            exit,
            text: text.into(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Store(error) => error.exit(),
            Self::Run(error) => error.exit(),
            Self::Config(_) => Exit::Config,
            // Whoever reads has had enough: `sluice events | head`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
            Self::Output(_) => Exit::Environment,
            Self::Other { exit, .. } => *exit,
        }
    }
}

/// Does what was asked for; prints results and errors.
#[must_use]
pub fn execute(arguments: Arguments) -> Exit {
    // Not locked: the live table is drawn by another thread.
    let mut out = BufWriter::new(io::stdout());
    let result = dispatch(arguments, &mut out);
    let result = result.and_then(|exit| out.flush().map(|()| exit).map_err(CommandError::from));
    match result {
        Ok(exit) => exit,
        Err(error) => {
            report(&error);
            error.exit()
        }
    }
}

fn dispatch(arguments: Arguments, out: &mut impl Write) -> Result<Exit, CommandError> {
    let data = &arguments.data;
    match arguments.command {
        Command::Run(run) => run::run(&run, data),
        Command::Check { file } => {
            let config = load_config(&file)?;
            writeln!(out, "{}", run::describe(&config))?;
            Ok(Exit::Success)
        }
        Command::Reload(query) => reload::reload(data, &query, out),
        Command::Stop { run } => stop::stop(data, &run, out),
        Command::Runs(format) => listing::runs(data, format, out),
        Command::Stats(query) => stats::stats(data, &query, out),
        Command::Events(query) => listing::events(data, &query, out),
        Command::Export(export) => export::export(data, &export, out),
        Command::Rules(command) => rules::rules(data, &command, out),
        Command::Models(command) => models::models(&command, out),
        Command::Doctor(format) => doctor::doctor(data, format, out),
        Command::Schema => {
            print_json(out, &config::schema())?;
            Ok(Exit::Success)
        }
    }
}

fn report(error: &CommandError) {
    let text = match error {
        CommandError::Config(problems) => {
            let look = Look::for_stderr(&environment);
            diagnostics::render(problems, look)
        }
        CommandError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return,
        error => format!("error: {error}\n"),
    };
    // There is nowhere left to complain.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// A variable of the environment, as configs may name it.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn load_config(file: &Path) -> Result<RunConfig, CommandError> {
    config::load(file, &environment).map_err(|problems| CommandError::Config(Box::new(problems)))
}

/// Opens the store for reading, after what dead supervisors left has been taken care of.
fn open_store(data: &Path) -> Result<Reader, CommandError> {
    let absolute = std::path::absolute(data)?;
    match store::open_existing(&absolute) {
        Ok(mut database) => {
            for line in recovery::recover(&mut database, &absolute)? {
                // There is nowhere left to complain.
                let _ = writeln!(io::stderr(), "note: {line}");
            }
        }
        // It may still be readable: another person's, or on a read-only disk.
        Err(StoreError::Database { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Reader::open(&absolute)?)
}

fn print_json(out: &mut impl Write, value: &impl serde::Serialize) -> Result<(), CommandError> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A duration with its unit: `500ms`, `30s`, `5m`, `1h`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write 500ms, 30s, 5m or 1h");
    let digits = text.trim_end_matches(|sign: char| sign.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let unit_s = match &text[digits.len()..] {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * unit_s)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn commands_are_understood() {
        let parse = |words: &str| Arguments::try_parse_from(words.split(' '));
        let run = parse("sluice run yard.yaml --for 1.5m --no-table --data /d").expect("right");
        assert_eq!(run.data, Path::new("/d"));
        match run.command {
            Command::Run(run) => {
                assert_eq!(run.duration, Some(Duration::from_secs(90)));
                assert!(run.no_table);
            }
            other => panic!("{other:?}"),
        }
        match parse("sluice stats --json").expect("right").command {
            Command::Stats(query) => assert!(query.run == LAST && query.format.json),
            other => panic!("{other:?}"),
        }
        let export = parse("sluice export yard-3 --format mot --stream gate").expect("right");
        assert!(matches!(
            export.command,
            Command::Export(ExportArguments {
                format: Some(ExportFormat::Mot),
                ..
            })
        ));
        let clip = parse("sluice export yard -o a.mp4 --from -5m --to 12.5s").expect("right");
        match clip.command {
            Command::Export(export) => {
                assert_eq!(export.from, Some(Moment::BeforeEnd(300_000)));
                assert_eq!(export.to, Some(Moment::Event(12_500_000_000)));
            }
            other => panic!("{other:?}"),
        }
        for wrong in [
            "sluice",
            "sluice run",
            "sluice export x",
            "sluice run a b",
            "sluice export x -o a.mp4 --from noon",
            "sluice export x -o a.mp4 --from 5s --event e",
        ] {
            let error = parse(wrong).expect_err(wrong);
            assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()), "{wrong}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_secs(3600)));
        for wrong in ["", "30", "s", "-1s", "0s", "1d", "1e99h", "NaNs", "1 s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_exit_code_is_documented() {
        for code in 0..=9 {
            assert!(EXIT_CODES.contains(&format!("\n  {code}  ")), "{code}");
        }
    }
}
