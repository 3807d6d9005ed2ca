//! One execution of a run config, from checks to the closed ledger.
//!
//! [`execute`] checks what can be checked before anything is started, enters
//! the run into the store, lets `dispatcher` keep the workers going until the
//! run is over, then closes the books and says how it went.

pub mod board;
mod dispatcher;
mod finish;
pub mod meter;
pub mod screen;
pub(crate) mod signals;
mod state;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::clock;
use contract::exit::Exit;
use contract::name::RunId;
use frame_bus::supervision::{self, Root};
use frame_bus::{Bus, BusError, PoolKeeper, budget};

use crate::books::Books;
use crate::config::{FileKind, RetentionConfig, RunConfig, SourceConfig, SourceFile};
use crate::plan::{Plan, PortError};
use crate::recordings::keeper::Keeper;
use crate::recovery;
use crate::reload::Edition;
use crate::reload::loader::Environment;
use crate::store::{
    self, GenerationFile, GenerationFileKind, NewRun, NewStream, Retention, StoreError, Writer,
};
use dispatcher::{Dispatcher, RunEvent};
use screen::{Screen, Severity, Style};

pub use finish::Summary;

/// What runs, and how.
pub struct Options {
    /// The checked config.
    pub config: RunConfig,
    /// Its file as it was named; it is read again when it changes.
    pub file: PathBuf,
    /// The variables that it may name.
    pub environment: Environment,
    /// The data directory; made when missing.
    pub data: PathBuf,
    /// End the run when frames have flowed for so long.
    pub duration: Option<Duration>,
    /// How it is shown.
    pub style: Style,
}

/// Why a run could not be begun.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The frame bus cannot be made.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The RTSP port cannot be had.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A worker's program is not there.
    #[error(
        "the program {} is missing: build all of them with `cargo build --workspace --bins`", path.display()
    )]
    NoProgram {
        /// Where it should be.
        path: PathBuf,
    },
    /// A file, directory or thread cannot be made.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

impl RunError {
    /// The exit code of `sluice run` when it fails with this.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Store(error) => error.exit(),
            Self::Bus(_) | Self::Port(_) | Self::NoProgram { .. } | Self::Io { .. } => {
                Exit::Environment
            }
        }
    }

    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Directories of a run.
#[derive(Debug, Clone)]
pub struct Directories {
    /// The run's own.
    pub run: PathBuf,
    /// Of logs, inside it.
    pub logs: PathBuf,
}

impl Directories {
    fn create(runs: &Path, run: &RunId) -> Result<Self, RunError> {
        let run = runs.join(run.as_str());
        let logs = run.join("logs");
        for directory in [&logs, &run.join("snapshots")] {
            std::fs::create_dir_all(directory).map_err(RunError::io(format!(
                "make the directory {}",
                directory.display()
            )))?;
        }
        Ok(Self { run, logs })
    }
}

/// Runs a config until it ends, is told to end, or fails.
///
/// # Errors
/// When it cannot be begun. What goes wrong later is in the [`Summary`].
pub fn execute(options: Options) -> Result<Summary, RunError> {
    let config = options.config;
    let programs = programs_directory()?;
    let data = std::path::absolute(&options.data)
        .map_err(RunError::io(format!("find {}", options.data.display())))?;
    let mut database = store::open_or_create(&data)?;
    let recovered = recovery::recover(&mut database, &data)?;

    let note = data.to_string_lossy();
    let root = Root::create(Path::new(supervision::BASE), &note)?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = Plan::new(&config, &root.books(), cpus);
    for planned in &plan.workers {
        let path = programs.join(planned.worker.program());
        if !path.is_file() {
            return Err(RunError::NoProgram { path });
        }
    }
    plan.check_ports(None)?;
    budget::check_free(plan.shared_memory_bytes)?;
    let bus = Bus::open(&root.bus(), "supervisor")?;
    let pools = PoolKeeper::start(&root)?;
    let books = Books::create(&root.books(), plan.books.iter().cloned())?;

    let runs_directory = data.join("runs");
    let run_name = config.run.as_str().to_owned();
    let new_run = NewRun {
        name: config.run.as_str(),
        config_path: &config.path,
        files: generation_files(&config.files),
        pid: std::process::id(),
        root: root.path(),
        runs_directory: &runs_directory,
        wall_ms: clock::wall_ms(),
        streams: config
            .streams
            .iter()
            .map(|(name, stream)| NewStream {
                name: name.clone(),
                source: shown_source(&stream.source),
            })
            .collect(),
    };
    let run = store::begin_run(&mut database, &new_run)
        .map_err(StoreError::database(&data.join(store::FILE_NAME)))?;
    let directories = Directories::create(&runs_directory, &run)?;
    let screen = Screen::start(options.style, &directories.logs.join("sluice.log"))
        .map_err(RunError::io("open the run's log"))?;
    for report in recovered {
        screen.notice(Severity::Info, report);
    }

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(RunError::io("start the runtime"))?;
    let (events, incoming) = dispatcher::channel();
    let committed = events.clone();
    let writer = Writer::start(database, run.clone(), move |event| {
        // Without a receiver the run is over and nobody waits for an acknowledgement.
        let _ = committed.blocking_send(RunEvent::Committed(event));
    })
    .map_err(RunError::io("start the store's thread"))?;

    writer.handle().set_retention(kept(config.retention));
    let keeper = Keeper::start(data.clone(), run.clone(), writer.handle())
        .map_err(RunError::io("start the thread that deletes old recordings"))?;
    keeper.keep(run_name.clone(), config.kept_recordings());
    let setting = dispatcher::Setting {
        edition: Edition { config, plan },
        file: options.file,
        environment: options.environment,
        run: run.clone(),
        programs,
        directories,
        root: root.path().to_owned(),
        books_directory: root.books(),
        cpus,
        bus_spec: root.bus(),
        bus,
        pools,
        books,
        store: writer.handle(),
        keeper,
        screen,
        duration: options.duration,
    };
    let outcome = runtime.block_on(async {
        let dispatcher = Dispatcher::new(setting, events, incoming)?;
        Ok::<_, RunError>(dispatcher.run().await)
    });
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            // Its row says running, but its lock is about to go: the next command marks it.
            drop(writer.finish());
            return Err(error);
        }
    };
    let summary = finish::finish(outcome, writer);
    drop(root);
    Ok(summary)
}

/// Where the workers' programs lie: beside this one.
fn programs_directory() -> Result<PathBuf, RunError> {
    let own = std::env::current_exe().map_err(RunError::io("find the directory of sluice"))?;
    Ok(own.parent().map(Path::to_owned).unwrap_or_default())
}

/// The texts of a config, as the store keeps them. Secrets are none.
pub(crate) fn generation_files(files: &[SourceFile]) -> Vec<GenerationFile> {
    let stored = |file: &SourceFile| {
        let kind = match file.kind {
            FileKind::Config => GenerationFileKind::Config,
            FileKind::Rules => GenerationFileKind::Rules,
            FileKind::Labels => GenerationFileKind::Labels,
            FileKind::Secret => return None,
        };
        Some(GenerationFile {
            path: file.path.to_string_lossy().into_owned(),
            kind,
            text: file.text.clone()?,
        })
    };
    files.iter().filter_map(stored).collect()
}

/// How much is kept, as the store wants it.
fn kept(config: RetentionConfig) -> Retention {
    Retention {
        max_age: Some(config.max_age),
        max_bytes: Some(config.max_size.bytes()),
    }
}

/// The source as people and the database may see it.
pub(crate) fn shown_source(source: &SourceConfig) -> String {
    match source {
        SourceConfig::File { path, .. } => path.display().to_string(),
        SourceConfig::Images { directory, .. } => format!("images:{}", directory.display()),
        SourceConfig::Rtsp { location, .. }
        | SourceConfig::Rtmp { location, .. }
        | SourceConfig::Http { location, .. } => without_credentials(location.expose()),
        SourceConfig::Srt(srt) => format!("srt://{}:{}", srt.host, srt.port),
        SourceConfig::Udp { address, port, .. } => {
            let address = address.map(|address| address.to_string());
            format!("udp://{}:{port}", address.unwrap_or_default())
        }
        SourceConfig::Publish(path) => format!("publish:{path}"),
        SourceConfig::Mosaic(mosaic) => {
            let members: Vec<_> = mosaic.members.iter().map(|name| name.as_str()).collect();
            format!("mosaic:{}", members.join(","))
        }
        SourceConfig::Device { path, .. } => format!("v4l2:{}", path.display()),
        SourceConfig::Test { pattern, .. } => format!("test:{}", pattern.as_str()),
    }
}

/// An address without user, password and query: cameras take passwords in any of them.
fn without_credentials(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let (user, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    // Either the password has a question mark or the query an `@`: nothing is safe to show.
    let rest = if user.contains('?') { "***" } else { rest };
    let rest = rest.split_once('?').map_or(rest, |(path, _)| path);
    if scheme.is_empty() {
        rest.to_owned()
    } else {
        format!("{scheme}://{rest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_credentials() {
        for (address, shown) in [
            ("rtsp://10.0.0.7/stream1", "rtsp://10.0.0.7/stream1"),
            ("rtsp://u:p@10.0.0.7:554/s", "rtsp://10.0.0.7:554/s"),
            ("rtsp://u:p@ss/w@cam/s", "rtsp://cam/s"),
            ("rtsp://cam/s?user=u&password=p", "rtsp://cam/s"),
            ("rtsp://cam/s?token=p@ss", "rtsp://***"),
        ] {
            assert_eq!(without_credentials(address), shown);
        }
    }
}
