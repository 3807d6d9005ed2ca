//! Reading the store, also while a run writes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::event::{Delivery, DeliveryKind, Event};
use contract::geometry::BoundingBox;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::files::{self, FileRow, GapRow, Recording};
use super::frames::{self, Completeness, Frames, Segment};
use super::generations::{self, GenerationFileRow, GenerationRow};
use super::{BUSY_TIMEOUT, FILE_NAME, SCHEMA_VERSION, StoreError};

/// One run, as listed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `running`, `finished`, `stopped`, `failed`, `interrupted`.
    pub state: String,
    /// What `sluice run` exited with.
    pub exit_code: Option<u8>,
    /// Why it failed.
    pub detail: Option<String>,
    /// The supervisor's process.
    pub pid: u32,
    /// Directory of the frame bus.
    pub root: PathBuf,
    /// Its own directory.
    pub data_directory: PathBuf,
    /// The config file.
    pub config_path: PathBuf,
    /// When it began.
    pub begin_wall_ms: i64,
    /// When it ended.
    pub end_wall_ms: Option<i64>,
    /// Rows that could not be written.
    pub rows_given_up: u64,
    /// The generation in force.
    pub generation: u64,
    /// Why the last text was not taken; `None` when it was.
    pub reload_error: Option<String>,
    /// Streams it has.
    pub streams: u64,
    /// Rule firings.
    pub events: u64,
    /// Starts of workers after their first.
    pub restarts: u64,
}

/// One stream of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamRow {
    /// Its name.
    pub name: String,
    /// Its source, without secrets.
    pub source: String,
    /// Its last state.
    pub state: String,
    /// What happened last.
    pub detail: String,
    /// Width of its frames.
    pub width: Option<u32>,
    /// Their height.
    pub height: Option<u32>,
    /// Nominal frames a second.
    pub fps: Option<f64>,
    /// The decoder's element.
    pub decoder: Option<String>,
}

/// One life of a worker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkerRow {
    /// Which.
    pub worker: String,
    /// Its start, from 0.
    pub incarnation: u32,
    /// Its process.
    pub pid: Option<u32>,
    /// When it was started.
    pub begin_wall_ms: i64,
    /// When it was ready.
    pub ready_wall_ms: Option<i64>,
    /// What it said it works with.
    pub ready_text: Option<String>,
    /// When it ended.
    pub end_wall_ms: Option<i64>,
    /// What it exited with.
    pub exit_code: Option<i32>,
    /// What killed it.
    pub signal: Option<i32>,
    /// Why it ended, in one word.
    pub reason: Option<String>,
    /// Its last words.
    pub text: Option<String>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventRow {
    /// Unique in the run.
    pub id: String,
    /// The stream it was seen in.
    pub stream: String,
    /// The rule that fired.
    pub rule: String,
    /// The generation of the rules in force when it began.
    pub generation: u64,
    /// The track it is about.
    pub track: Option<u64>,
    /// That track's class.
    pub label: Option<String>,
    /// The frame at which it fired.
    pub sequence_number: u64,
    /// Event time at which it fired.
    pub begin_pts_ns: u64,
    /// Event time at which it ended.
    pub end_pts_ns: Option<u64>,
    /// Wall clock at which it fired.
    pub begin_wall_ms: i64,
    /// Median score of the track.
    pub score: Option<f32>,
    /// `x1, y1, x2, y2` in pixels.
    pub bounds: Option<[f32; 4]>,
    /// The rule's message.
    pub message: String,
    /// The rule's labels.
    pub labels: BTreeMap<String, String>,
    /// File name of the snapshot, inside the run's directory.
    pub snapshot: Option<String>,
    /// File name of its recording, inside the run's directory.
    pub clip: Option<String>,
    /// To whom it is to be delivered.
    pub deliveries: Vec<DeliveryRow>,
}

impl EventRow {
    /// The event as the rules gave it, for comparison with that of a replay.
    ///
    /// # Errors
    /// When the row was not written by Sluice.
    pub fn to_event(&self) -> Result<Event, StoreError> {
        let foreign = || StoreError::Foreign(self.id.clone());
        let delivery = |row: &DeliveryRow| {
            let kinds = [DeliveryKind::Publish, DeliveryKind::Webhook];
            let kind = kinds.into_iter().find(|kind| kind.as_str() == row.kind);
            Ok(Delivery {
                kind: kind.ok_or_else(foreign)?,
                target: row.target.clone(),
            })
        };
        Ok(Event {
            id: self.id.clone(),
            stream: self.stream.parse().map_err(|_| foreign())?,
            rule: self.rule.clone(),
            generation: self.generation,
            track: self.track,
            label: self.label.clone(),
            sequence_number: self.sequence_number,
            begin_pts_ns: self.begin_pts_ns,
            end_pts_ns: self.end_pts_ns,
            begin_wall_ms: self.begin_wall_ms,
            score: self.score,
            bounds: self
                .bounds
                .map(|[x1, y1, x2, y2]| BoundingBox { x1, y1, x2, y2 }),
            message: self.message.clone(),
            labels: self.labels.clone(),
            snapshot: self.snapshot.clone(),
            clip: self.clip.clone(),
            deliveries: self
                .deliveries
                .iter()
                .map(delivery)
                .collect::<Result<_, _>>()?,
        })
    }
}

/// One delivery of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// `publish` or `webhook`.
    pub kind: String,
    /// The topic, or the address.
    pub target: String,
    /// `pending`, `delivered`, `failed`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u64,
}

/// One counter of a book.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CounterRow {
    /// The stream it speaks of.
    pub stream: String,
    /// `ingest`, `infer:MODEL`, `render`, `gateway`.
    pub book: String,
    /// Its name.
    pub counter: String,
    /// Its value.
    pub value: u64,
}

/// The latencies of a book.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatencyRow {
    /// The stream it speaks of.
    pub stream: String,
    /// `ingest`, `infer:MODEL`, `render`, `gateway`.
    pub book: String,
    /// Frames measured.
    pub frames: u64,
    /// Median.
    pub p50_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// Longest.
    pub max_us: u64,
}

const RUN_COLUMNS: &str =
    "id, name, state, exit_code, detail, pid, root, data_directory, config_path,
    begin_wall_ms, end_wall_ms, rows_given_up, generation, reload_error,
    (SELECT count(*) FROM streams WHERE run = runs.id),
    (SELECT count(*) FROM events WHERE run = runs.id),
    (SELECT restarts FROM v_runs WHERE v_runs.id = runs.id)";

/// Reads one database.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

impl Reader {
    /// Opens the database in `directory` for reading.
    ///
    /// # Errors
    /// When there is none, or it is of another schema.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        if !path.exists() {
            return Err(StoreError::Missing {
                path: directory.to_owned(),
            });
        }
        let wrong = StoreError::database(&path);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(&wrong)?;
        let timeout: Duration = BUSY_TIMEOUT;
        connection.busy_timeout(timeout).map_err(&wrong)?;
        let found: i64 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(&wrong)?;
        if found != SCHEMA_VERSION {
            return Err(StoreError::Version { path, found });
        }
        Ok(Self { connection, path })
    }

    /// All runs, the oldest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn runs(&self) -> Result<Vec<RunRow>, StoreError> {
        self.list(
            &format!("SELECT {RUN_COLUMNS} FROM runs ORDER BY begin_wall_ms, rowid"),
            params![],
            run_row,
        )
    }

    /// The run that a person means: an id, a run name (its latest), or `last`.
    ///
    /// # Errors
    /// [`StoreError::NoRun`] when there is none.
    pub fn run(&self, word: &str) -> Result<RunRow, StoreError> {
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM runs WHERE id = ?1 OR name = ?1 OR ?1 = 'last'
             ORDER BY id = ?1 DESC, name = ?1 DESC, begin_wall_ms DESC, rowid DESC LIMIT 1"
        );
        self.connection
            .query_row(&sql, [word], run_row)
            .optional()
            .map_err(StoreError::database(&self.path))?
            .ok_or_else(|| StoreError::NoRun(word.to_owned()))
    }

    /// The streams of a run, by name.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn streams(&self, run: &str) -> Result<Vec<StreamRow>, StoreError> {
        self.list(
            "SELECT name, source, state, detail, width, height, fps, decoder
             FROM streams WHERE run = ?1 ORDER BY name",
            params![run],
            |row| {
                Ok(StreamRow {
                    name: row.get(0)?,
                    source: row.get(1)?,
                    state: row.get(2)?,
                    detail: row.get(3)?,
                    width: row.get(4)?,
                    height: row.get(5)?,
                    fps: row.get(6)?,
                    decoder: row.get(7)?,
                })
            },
        )
    }

    /// Every life of every worker of a run.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn workers(&self, run: &str) -> Result<Vec<WorkerRow>, StoreError> {
        self.list(
            "SELECT worker, incarnation, pid, begin_wall_ms, ready_wall_ms, ready_text, end_wall_ms,
             exit_code, signal, reason, text
             FROM workers WHERE run = ?1 ORDER BY worker, incarnation",
            params![run],
            |row| {
                Ok(WorkerRow {
                    worker: row.get(0)?,
                    incarnation: row.get(1)?,
                    pid: row.get(2)?,
                    begin_wall_ms: row.get(3)?,
                    ready_wall_ms: row.get(4)?,
                    ready_text: row.get(5)?,
                    end_wall_ms: row.get(6)?,
                    exit_code: row.get(7)?,
                    signal: row.get(8)?,
                    reason: row.get(9)?,
                    text: row.get(10)?,
                })
            },
        )
    }

    /// The texts that a run was given, in order.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn generations(&self, run: &str) -> Result<Vec<GenerationRow>, StoreError> {
        generations::read_all(&self.connection, run).map_err(StoreError::database(&self.path))
    }

    /// The files of a generation, the config first; none when the run has no such generation.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn generation_files(
        &self,
        run: &str,
        generation: u64,
    ) -> Result<Vec<GenerationFileRow>, StoreError> {
        generations::read_files(&self.connection, run, generation)
            .map_err(StoreError::database(&self.path))
    }

    /// The events of a run, in the order in which they began.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn events(&self, run: &str) -> Result<Vec<EventRow>, StoreError> {
        self.list(
            "SELECT id, stream, rule, track, label, sequence_number, begin_pts_ns, end_pts_ns,
             begin_wall_ms, score, x1, y1, x2, y2, message, labels, snapshot, generation, clip,
             (SELECT json_group_array(json_object('kind', kind, 'target', target, 'state', state,
                                                  'attempts', attempts) ORDER BY deliveries.id)
              FROM deliveries WHERE deliveries.run = events.run AND event = events.id)
             FROM events WHERE run = ?1 ORDER BY begin_wall_ms, stream, sequence_number, id",
            params![run],
            event_row,
        )
    }

    /// The counters of a run.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn counters(&self, run: &str) -> Result<Vec<CounterRow>, StoreError> {
        self.list(
            "SELECT stream, book, counter, value FROM ledgers WHERE run = ?1
             ORDER BY stream, book, counter",
            params![run],
            |row| {
                Ok(CounterRow {
                    stream: row.get(0)?,
                    book: row.get(1)?,
                    counter: row.get(2)?,
                    value: row.get(3)?,
                })
            },
        )
    }

    /// The latencies of a run.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn latencies(&self, run: &str) -> Result<Vec<LatencyRow>, StoreError> {
        self.list(
            "SELECT stream, book, frames, p50_us, p90_us, p99_us, max_us FROM latencies
             WHERE run = ?1 ORDER BY stream, book = 'render', book",
            params![run],
            |row| {
                Ok(LatencyRow {
                    stream: row.get(0)?,
                    book: row.get(1)?,
                    frames: row.get(2)?,
                    p50_us: row.get(3)?,
                    p90_us: row.get(4)?,
                    p99_us: row.get(5)?,
                    max_us: row.get(6)?,
                })
            },
        )
    }

    /// The recordings, clips and snapshots of a run, also those that are gone.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn files(&self, run: &str) -> Result<Vec<FileRow>, StoreError> {
        let columns = files::FILE_COLUMNS;
        self.list(
            &format!(
                "SELECT {columns} FROM files WHERE run = ?1
                 ORDER BY stream, kind, begin_wall_ms, path"
            ),
            params![run],
            files::file_row,
        )
    }

    /// The recordings of a stream that are there, in the order of event time.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn recordings_of(&self, run: &str, stream: &str) -> Result<Vec<Recording>, StoreError> {
        files::recordings_of(&self.connection, run, stream)
            .map_err(StoreError::database(&self.path))
    }

    /// The recordings in a directory as it is stored, of all runs, the oldest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn recordings_in(&self, directory: &str) -> Result<Vec<Recording>, StoreError> {
        files::recordings_in(&self.connection, directory).map_err(StoreError::database(&self.path))
    }

    /// The files of a run that are open as far as the database knows.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn open_files(&self, run: &str) -> Result<Vec<Recording>, StoreError> {
        files::open_files(&self.connection, Some(run)).map_err(StoreError::database(&self.path))
    }

    /// The times in which streams of a run were not recorded.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn recording_gaps(&self, run: &str) -> Result<Vec<GapRow>, StoreError> {
        self.list(
            "SELECT stream, begin_wall_ms, end_wall_ms, reason, text, frames
             FROM recording_gaps WHERE run = ?1 ORDER BY stream, begin_wall_ms",
            params![run],
            files::gap_row,
        )
    }

    /// What the stored frames of a stream have in common, in order; none when detections were
    /// not stored.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn segments(&self, run: &str, stream: &str) -> Result<Vec<Segment>, StoreError> {
        frames::segments(&self.connection, run, stream).map_err(StoreError::database(&self.path))
    }

    /// The stored frames of a stream in order, a page of them in memory.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn frames(&self, run: &str, stream: &str) -> Result<Frames<'_>, StoreError> {
        let segments = self.segments(run, stream)?;
        Ok(frames::frames(&self.connection, &self.path, segments))
    }

    /// How much of what a stream's rules saw is stored; `None` when the run has no such stream.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn completeness(
        &self,
        run: &str,
        stream: &str,
    ) -> Result<Option<Completeness>, StoreError> {
        frames::completeness(&self.connection, run, stream)
            .map_err(StoreError::database(&self.path))
    }

    fn list<T>(
        &self,
        sql: &str,
        values: &[&dyn rusqlite::ToSql],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let wrong = StoreError::database(&self.path);
        let mut statement = self.connection.prepare(sql).map_err(&wrong)?;
        let rows = statement.query_map(values, read).map_err(&wrong)?;
        rows.collect::<Result<_, _>>().map_err(&wrong)
    }
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let path = |index| Ok::<_, rusqlite::Error>(PathBuf::from(row.get::<_, String>(index)?));
    Ok(RunRow {
        id: row.get(0)?,
        name: row.get(1)?,
        state: row.get(2)?,
        exit_code: row.get(3)?,
        detail: row.get(4)?,
        pid: row.get(5)?,
        root: path(6)?,
        data_directory: path(7)?,
        config_path: path(8)?,
        begin_wall_ms: row.get(9)?,
        end_wall_ms: row.get(10)?,
        rows_given_up: row.get(11)?,
        generation: row.get(12)?,
        reload_error: row.get(13)?,
        streams: row.get(14)?,
        events: row.get(15)?,
        restarts: row.get(16)?,
    })
}

fn event_row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let edges: [Option<f32>; 4] = [row.get(10)?, row.get(11)?, row.get(12)?, row.get(13)?];
    let bounds = match edges {
        [Some(x1), Some(y1), Some(x2), Some(y2)] => Some([x1, y1, x2, y2]),
        _ => None,
    };
    let (labels, deliveries): (String, String) = (row.get(15)?, row.get(19)?);
    Ok(EventRow {
        id: row.get(0)?,
        stream: row.get(1)?,
        rule: row.get(2)?,
        track: row.get(3)?,
        label: row.get(4)?,
        sequence_number: row.get(5)?,
        begin_pts_ns: row.get(6)?,
        end_pts_ns: row.get(7)?,
        begin_wall_ms: row.get(8)?,
        score: row.get(9)?,
        bounds,
        message: row.get(14)?,
        labels: serde_json::from_str(&labels).unwrap_or_default(),
        snapshot: row.get(16)?,
        generation: row.get(17)?,
        clip: row.get(18)?,
        deliveries: serde_json::from_str(&deliveries).unwrap_or_default(),
    })
}
