-- The store of Sluice: everything that outlives a run, in plain SQL.
--
-- `sluice` applies this file to an empty database and refuses one whose
-- `user_version` it does not know. One process writes for each run (WAL, group
-- commit); anybody may read at any time:
--
--     sqlite3 data/runs.db 'SELECT * FROM v_events'
--
-- Units stand at the end of names: `_ms` and `_us` are milliseconds and
-- microseconds, `_pts_ns` is event time (nanoseconds of presentation time: a file's own
-- time, or the machine's monotonic clock for live and repeated sources, which may be
-- interrupted), `_wall_ms` is wall-clock time since the Unix epoch.
-- Boxes are in pixels of the processed frame.

PRAGMA user_version = 1;

-- One row: one execution of a run config.
CREATE TABLE runs (
    id             TEXT PRIMARY KEY,            -- the run's name and a count: demo-3
    name           TEXT NOT NULL,               -- `run:` of the config
    number         INTEGER NOT NULL,            -- that count, from 1
    config_path    TEXT NOT NULL,
    config_text    TEXT NOT NULL,               -- as read, passwords replaced by ***
    config_hash    TEXT NOT NULL,               -- SHA-256 of config_text, hex
    state          TEXT NOT NULL                -- interrupted: its supervisor died; stopped: before its sources ended
                   CHECK (state IN ('running', 'finished', 'stopped', 'failed', 'interrupted')),
    exit_code      INTEGER,                     -- of `sluice run`; NULL while running and when interrupted
    detail         TEXT,                        -- why it failed, for people
    pid            INTEGER NOT NULL,            -- of the supervisor
    root           TEXT NOT NULL,               -- directory of the frame bus; its lock is held while the supervisor lives
    data_directory TEXT NOT NULL,               -- logs, snapshots and recordings of this run
    version        TEXT NOT NULL,               -- of sluice
    begin_wall_ms  INTEGER NOT NULL,
    end_wall_ms    INTEGER,
    rows_given_up  INTEGER NOT NULL DEFAULT 0,  -- rows that could not be written: full or locked disk
    UNIQUE (name, number)
) STRICT;

-- One row: one stream of a run.
CREATE TABLE streams (
    id             INTEGER PRIMARY KEY,         -- stands for (run, name) in the big tables
    run            TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name           TEXT NOT NULL,
    source         TEXT NOT NULL,               -- address or path, passwords replaced by ***
    state          TEXT NOT NULL,               -- waiting | connecting | live | stalled | refused | lost | gone | drained | failed
    detail         TEXT NOT NULL DEFAULT '',    -- what happened last, for people
    width          INTEGER,                     -- of processed frames, pixels
    height         INTEGER,
    source_width   INTEGER,                     -- as coded
    source_height  INTEGER,
    fps            REAL,                        -- nominal; NULL when the source does not say
    frames_total   INTEGER,                     -- where the source is finite and says so
    decoder        TEXT,
    hardware       INTEGER CHECK (hardware IN (0, 1)),
    UNIQUE (run, name)
) STRICT;

-- One row: one life of a worker process, from its start to its death.
CREATE TABLE workers (
    run            TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    worker         TEXT NOT NULL,               -- ingest-yard, infer-people, render-yard, gateway
    incarnation    INTEGER NOT NULL,            -- starts of this worker in this run, from 0
    kind           TEXT NOT NULL CHECK (kind IN ('ingest', 'infer', 'render', 'gateway')),
    pid            INTEGER,                     -- NULL when it could not be started
    begin_wall_ms  INTEGER NOT NULL,
    ready_wall_ms  INTEGER,
    ready_text     TEXT,                        -- what it said it works with
    end_wall_ms    INTEGER,
    exit_code      INTEGER,                     -- of contract::exit::WorkerExit
    signal         INTEGER,                     -- that killed it
    reason         TEXT CHECK (reason IN        -- why it ended
                   ('drained', 'failed', 'bad_config', 'source_gone', 'orphaned', 'killed', 'hung', 'stopped', 'not_started')),
    text           TEXT,                        -- its last words
    PRIMARY KEY (run, worker, incarnation)
) STRICT, WITHOUT ROWID;

-- One row: one firing of a rule; written when it begins and again when it ends.
CREATE TABLE events (
    run              TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    id               TEXT NOT NULL,             -- unique in the run, so that a repeat changes nothing
    stream           TEXT NOT NULL,
    rule             TEXT NOT NULL,
    track            INTEGER,
    label            TEXT,                      -- class name of the track
    sequence_number  INTEGER NOT NULL,          -- of the frame at which it fired
    begin_pts_ns     INTEGER NOT NULL,
    end_pts_ns       INTEGER,                   -- NULL while it lasts
    begin_wall_ms    INTEGER NOT NULL,
    score            REAL,                      -- median over the track's recent frames, 0 to 1
    x1 REAL, y1 REAL, x2 REAL, y2 REAL,
    message          TEXT NOT NULL,
    labels           TEXT NOT NULL,             -- the rule's labels, a JSON object
    snapshot         TEXT,                      -- file name, inside the run's data_directory
    PRIMARY KEY (run, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX events_by_time ON events (run, begin_wall_ms);

-- One row: one frame that was rendered while detections were stored.
CREATE TABLE frames (
    stream_id        INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    sequence_number  INTEGER NOT NULL,
    pts_ns           INTEGER NOT NULL,
    skip             TEXT CHECK (skip IN ('gated', 'stale', 'shed', 'overflowed', 'failed')), -- why no model ran; NULL when it did
    PRIMARY KEY (stream_id, sequence_number)
) STRICT, WITHOUT ROWID;

-- One row: one object in one frame. Clustered in the order in which it is exported.
CREATE TABLE detections (
    stream_id        INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    sequence_number  INTEGER NOT NULL,
    ordinal          INTEGER NOT NULL,          -- of the object in its frame, from 0
    pts_ns           INTEGER NOT NULL,
    model            TEXT NOT NULL,
    label            TEXT NOT NULL,
    track            INTEGER,
    score            REAL,                      -- 0 to 1; NULL for a box that was predicted, not seen
    x1 REAL NOT NULL, y1 REAL NOT NULL, x2 REAL NOT NULL, y2 REAL NOT NULL,
    PRIMARY KEY (stream_id, sequence_number, ordinal)
) STRICT, WITHOUT ROWID;

-- One row: a recording or a snapshot.
CREATE TABLE files (
    run              TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    path             TEXT NOT NULL,             -- inside the run's data_directory, or absolute
    stream           TEXT NOT NULL,
    kind             TEXT NOT NULL CHECK (kind IN ('recording', 'snapshot')),
    begin_wall_ms    INTEGER NOT NULL,
    begin_pts_ns     INTEGER NOT NULL,
    frames           INTEGER,                   -- NULL while it is being written
    PRIMARY KEY (run, path)
) STRICT, WITHOUT ROWID;

-- One row: one counter of one frame book, cumulative since the run began.
-- Names of counters are those of contract/src/ledger.rs.
CREATE TABLE ledgers (
    run              TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    stream           TEXT NOT NULL,
    book             TEXT NOT NULL,             -- ingest | infer:MODEL | render | gateway
    counter          TEXT NOT NULL,
    value            INTEGER NOT NULL,
    PRIMARY KEY (run, stream, book, counter)
) STRICT, WITHOUT ROWID;

-- One row: the latency histogram of one frame book over the whole run.
-- Latency is the age of a frame, since its capture, when the stage was done with it.
CREATE TABLE latencies (
    run              TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    stream           TEXT NOT NULL,
    book             TEXT NOT NULL,
    frames           INTEGER NOT NULL,          -- measured
    p50_us           INTEGER NOT NULL,
    p90_us           INTEGER NOT NULL,
    p99_us           INTEGER NOT NULL,
    max_us           INTEGER NOT NULL,
    PRIMARY KEY (run, stream, book)
) STRICT, WITHOUT ROWID;

-- One row: one stream over the second or so before `wall_ms`. Kept for a week.
CREATE TABLE metric_samples (
    stream_id        INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    wall_ms          INTEGER NOT NULL,
    captured_fps     REAL NOT NULL,
    inferred_fps     REAL NOT NULL,             -- of its first model
    rendered_fps     REAL NOT NULL,
    latency_p50_us   INTEGER,                   -- capture to rendered; NULL when nothing was rendered
    latency_p99_us   INTEGER,
    dropped          INTEGER NOT NULL,          -- frames dropped in this interval, all books and reasons, gates aside
    lost             INTEGER NOT NULL,          -- frames lost by crashes in this interval
    PRIMARY KEY (stream_id, wall_ms)
) STRICT, WITHOUT ROWID;

-- ---------------------------------------------------------------------------
-- Views for people.

CREATE VIEW v_runs AS
SELECT id, state, exit_code,
       datetime(begin_wall_ms / 1000, 'unixepoch') AS began_utc,
       round((coalesce(end_wall_ms, begin_wall_ms) - begin_wall_ms) / 1000.0, 1) AS seconds,
       (SELECT count(*) FROM streams WHERE run = runs.id) AS streams,
       (SELECT count(*) FROM events WHERE run = runs.id) AS events,
       (SELECT max(0, count(*) - count(DISTINCT worker)) FROM workers WHERE run = runs.id) AS restarts,
       coalesce(detail, '') AS detail
FROM runs
ORDER BY begin_wall_ms;

CREATE VIEW v_events AS
SELECT run, stream, rule, track, label,
       datetime(begin_wall_ms / 1000, 'unixepoch') AS began_utc,
       round(begin_pts_ns / 1e9, 3) AS begin_s,
       round((end_pts_ns - begin_pts_ns) / 1e9, 3) AS lasted_s,
       message, snapshot, id
FROM events
ORDER BY run, begin_wall_ms;

CREATE VIEW v_detections AS
SELECT streams.run, streams.name AS stream, sequence_number, round(pts_ns / 1e9, 3) AS pts_s,
       model, label, track, score, x1, y1, x2, y2
FROM detections JOIN streams ON streams.id = stream_id;

CREATE VIEW v_metrics AS
SELECT streams.run, streams.name AS stream, datetime(wall_ms / 1000, 'unixepoch') AS at_utc,
       captured_fps, inferred_fps, rendered_fps,
       latency_p50_us / 1e3 AS latency_p50_ms, latency_p99_us / 1e3 AS latency_p99_ms, dropped, lost
FROM metric_samples JOIN streams ON streams.id = stream_id;

CREATE VIEW v_latency AS
SELECT run, stream, book, frames,
       p50_us / 1e3 AS p50_ms, p90_us / 1e3 AS p90_ms, p99_us / 1e3 AS p99_ms, max_us / 1e3 AS max_ms
FROM latencies;

-- One row: one equation of the frame books. The run is over when `in_flight` is 0
-- everywhere; it is `balanced` when nothing went out that had not come in.
CREATE VIEW v_ledger AS
WITH
sides (run, stream, book, equation, come_in, gone_out) AS (
    SELECT run, stream, book,
           'captured = published + dropped + lost',
           sum(value) FILTER (WHERE counter = 'captured'),
           sum(value) FILTER (WHERE counter IN
               ('published', 'dropped_no_slot', 'dropped_invalid', 'dropped_stopping', 'lost'))
    FROM ledgers WHERE book = 'ingest' GROUP BY run, stream, book
    UNION ALL
    SELECT consumer.run, consumer.stream, consumer.book,
           'published = received + overflowed + lost_in_transit',
           max(producer.value),
           sum(consumer.value)
    FROM ledgers AS consumer
    JOIN ledgers AS producer
      ON producer.run = consumer.run AND producer.stream = consumer.stream
     AND producer.book = CASE consumer.book WHEN 'gateway' THEN 'render' ELSE 'ingest' END
     AND producer.counter = CASE consumer.book WHEN 'gateway' THEN 'encoded' ELSE 'published' END
    WHERE consumer.book <> 'ingest'
      AND consumer.counter IN ('received', 'overflowed', 'lost_in_transit')
    GROUP BY consumer.run, consumer.stream, consumer.book
    UNION ALL
    SELECT run, stream, book,
           'received = inferred + gated + stale + shed + failed + lost',
           sum(value) FILTER (WHERE counter = 'received'),
           sum(value) FILTER (WHERE counter IN
               ('inferred', 'gated', 'stale', 'shed', 'failed', 'lost_in_worker'))
    FROM ledgers WHERE book LIKE 'infer:%' GROUP BY run, stream, book
    UNION ALL
    SELECT run, stream, book,
           'received = rendered + dropped + lost',
           sum(value) FILTER (WHERE counter = 'received'),
           sum(value) FILTER (WHERE counter IN
               ('rendered', 'dropped_encoder', 'dropped_invalid', 'lost_in_worker'))
    FROM ledgers WHERE book = 'render' GROUP BY run, stream, book
    UNION ALL
    SELECT run, stream, book,
           'received = forwarded + unwatched + dropped + lost',
           sum(value) FILTER (WHERE counter = 'received'),
           sum(value) FILTER (WHERE counter IN
               ('forwarded', 'unwatched', 'dropped_resync', 'dropped_slow', 'lost_in_worker'))
    FROM ledgers WHERE book = 'gateway' GROUP BY run, stream, book
)
SELECT run, stream, book, equation, come_in, gone_out,
       come_in - gone_out AS in_flight,
       come_in >= gone_out AS balanced
FROM sides
ORDER BY run, stream, book = 'gateway', book = 'render', book LIKE 'infer:%', equation;
