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
--
-- What comes for every frame (`frames`, `detections`, `attributes`) is stored as small
-- integers and only as far as it cannot be derived; `v_frames`, `v_detections` and
-- `v_attributes` show it in seconds, pixels and words. It is deleted by age and size
-- (`retention:` of the config), everything else stays.

PRAGMA user_version = 6;

-- One row: one execution of a run config.
CREATE TABLE runs (
    id             TEXT PRIMARY KEY,            -- the run's name and a count: demo-3
    name           TEXT NOT NULL,               -- `run:` of the config
    number         INTEGER NOT NULL,            -- that count, from 1
    config_path    TEXT NOT NULL,               -- its texts are in generation_files
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
    generation     INTEGER NOT NULL DEFAULT 0,  -- in force; see generations
    reload_error   TEXT,                        -- why the last text was not taken; NULL when it was
    UNIQUE (name, number)
) STRICT;

-- One row: one text that a run was given, from the one it began with (0), whether it was
-- taken or not.
CREATE TABLE generations (
    run             TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    generation      INTEGER NOT NULL,
    asked_by        TEXT NOT NULL CHECK (asked_by IN ('start', 'file', 'signal', 'command', 'sender')),
    wall_ms         INTEGER NOT NULL,           -- when it was read
    applied_wall_ms INTEGER,                    -- when the last worker went on with it; NULL when it was not applied
    outcome         TEXT NOT NULL               -- refused: wrong, nothing was changed; failed: a worker did not take it
                    CHECK (outcome IN ('pending', 'applied', 'unchanged', 'refused', 'failed')),
    plan            TEXT NOT NULL DEFAULT '',   -- what was to be done, a line each
    notes           TEXT NOT NULL DEFAULT '',   -- what the workers said, a line each
    diagnostics     TEXT NOT NULL DEFAULT '',   -- what is wrong with it, a line each, file:line:column first
    PRIMARY KEY (run, generation)
) STRICT, WITHOUT ROWID;

-- One row: one file of one generation.
CREATE TABLE generation_files (
    run             TEXT NOT NULL,
    generation      INTEGER NOT NULL,
    path            TEXT NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('config', 'rules', 'labels')),
    text            TEXT NOT NULL,              -- as read, passwords replaced by ***
    hash            TEXT NOT NULL,              -- SHA-256 of text as it stands here, hex: tells nothing of a password
    PRIMARY KEY (run, generation, path),
    FOREIGN KEY (run, generation) REFERENCES generations (run, generation) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- One row: one stream of a run.
CREATE TABLE streams (
    id             INTEGER PRIMARY KEY,         -- stands for (run, name) in the big tables
    run            TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name           TEXT NOT NULL,
    source         TEXT NOT NULL,               -- address or path, passwords replaced by ***
    state          TEXT NOT NULL,               -- waiting | idle | connecting | live | degraded | stalled | refused | lost | gone | drained | failed | removed
    detail         TEXT NOT NULL DEFAULT '',    -- what happened last, for people
    width          INTEGER,                     -- of processed frames, pixels
    height         INTEGER,
    source_width   INTEGER,                     -- as coded
    source_height  INTEGER,
    fps            REAL,                        -- nominal; NULL when the source does not say
    frames_total   INTEGER,                     -- where the source is finite and says so
    decoder        TEXT,
    hardware       INTEGER CHECK (hardware IN (0, 1)),
    frames_pruned  INTEGER NOT NULL DEFAULT 0,  -- rows of `frames` deleted by age or size
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
    generation       INTEGER NOT NULL,          -- of the rules in force when it began
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
    clip             TEXT,                      -- the same, of its recording
    PRIMARY KEY (run, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX events_by_time ON events (run, begin_wall_ms);

-- One row: one delivery that an event asked for; written with the event or not at all.
CREATE TABLE deliveries (
    id               INTEGER PRIMARY KEY,       -- in the order in which they are to be delivered
    run              TEXT NOT NULL,
    event            TEXT NOT NULL,
    kind             TEXT NOT NULL CHECK (kind IN ('publish', 'webhook')),
    target           TEXT NOT NULL,             -- topic, or address
    payload          TEXT NOT NULL,             -- the event as it began, a JSON object
    state            TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts         INTEGER NOT NULL DEFAULT 0,
    wall_ms          INTEGER NOT NULL,          -- when the event began
    UNIQUE (run, event, kind, target),
    FOREIGN KEY (run, event) REFERENCES events (run, id) ON DELETE CASCADE
) STRICT;

-- One row: frames of one stream that have a render worker's life, a size and the models in
-- common: what would else be repeated in each of them.
CREATE TABLE segments (
    id               INTEGER PRIMARY KEY,       -- stands for all of it in the big tables
    stream_id        INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    incarnation      INTEGER NOT NULL,          -- of the render worker: tracks and rule state began anew with it
    first_sequence   INTEGER NOT NULL,          -- of its first frame
    begin_pts_ns     INTEGER NOT NULL,          -- of that frame
    begin_wall_ms    INTEGER NOT NULL,
    width            INTEGER NOT NULL,          -- of processed frames, pixels
    height           INTEGER NOT NULL
) STRICT;

CREATE INDEX segments_by_stream ON segments (stream_id);

-- One row: one class that a model of a segment may report.
CREATE TABLE classes (
    segment_id       INTEGER NOT NULL REFERENCES segments (id) ON DELETE CASCADE,
    class            INTEGER NOT NULL,          -- counts over all models of the segment, from 0
    model_index      INTEGER NOT NULL,          -- among the stream's models
    class_index      INTEGER NOT NULL,          -- among the model's classes
    model            TEXT NOT NULL,
    label            TEXT NOT NULL,
    PRIMARY KEY (segment_id, class)
) STRICT, WITHOUT ROWID;

-- One row: one frame that was rendered while detections were stored.
CREATE TABLE frames (
    segment_id       INTEGER NOT NULL REFERENCES segments (id) ON DELETE CASCADE,
    sequence_number  INTEGER NOT NULL,
    offset_pts_ns    INTEGER NOT NULL,          -- since the segment's begin_pts_ns
    drift_ms         INTEGER NOT NULL,          -- of the wall clock at capture against event time, since the segment began
    motion_ppm       INTEGER NOT NULL,          -- part of the picture that moved
    moved            BLOB,                      -- where: how many bytes of contract::motion::Cells are zero, then the rest; NULL: nowhere
    skip             INTEGER CHECK (skip BETWEEN 0 AND 4), -- why no model ran: gated, stale, shed, overflowed, failed; NULL when one did
    PRIMARY KEY (segment_id, sequence_number)
) STRICT, WITHOUT ROWID;

-- One row: one object in one frame. Clustered in the order in which it is read.
CREATE TABLE detections (
    segment_id       INTEGER NOT NULL REFERENCES segments (id) ON DELETE CASCADE,
    sequence_number  INTEGER NOT NULL,
    ordinal          INTEGER NOT NULL,          -- of the object in its frame, from 0
    class            INTEGER NOT NULL,          -- of classes
    track            INTEGER,
    score            INTEGER,                   -- thousandths; NULL for a box that was predicted, not seen
    x1 INTEGER NOT NULL, y1 INTEGER NOT NULL, x2 INTEGER NOT NULL, y2 INTEGER NOT NULL, -- eighths of a pixel
    sharpness        INTEGER,                   -- gradient of the luma, hundredths; NULL where not measured
    brightness       INTEGER,                   -- mean luma, 0 to 255; NULL where not measured
    landmarks        INTEGER NOT NULL,          -- found on it
    depth            REAL,                      -- in the middle of the box, in the depth model's unit; NULL without a map
    PRIMARY KEY (segment_id, sequence_number, ordinal)
) STRICT, WITHOUT ROWID;

-- One row: what became known of a track at a frame by other means than that frame's models:
-- what a second model said of its picture, which a rule or a cascade had cut out of an earlier frame.
CREATE TABLE attributes (
    segment_id       INTEGER NOT NULL REFERENCES segments (id) ON DELETE CASCADE,
    sequence_number  INTEGER NOT NULL,
    ordinal          INTEGER NOT NULL,          -- in its frame, from 0
    track            INTEGER NOT NULL,
    name             TEXT NOT NULL,             -- the model
    value            TEXT NOT NULL,             -- label of the best thing it found; '': it found nothing
    asked_sequence   INTEGER NOT NULL,          -- of the frame it looked at
    count            INTEGER NOT NULL,          -- things it found
    score            INTEGER,                   -- of the best, thousandths; NULL with all below: it found nothing
    x1 INTEGER, y1 INTEGER, x2 INTEGER, y2 INTEGER, -- where that was in that frame, eighths of a pixel
    landmarks        INTEGER,                   -- found on it
    embedding        BLOB,                      -- the vector it made of the track: little-endian 32-bit floats, of length 1; NULL: it makes none
    PRIMARY KEY (segment_id, sequence_number, ordinal)
) STRICT, WITHOUT ROWID;

-- One row: a recording, a snapshot or an event's clip. A recording has a row from its first
-- second on, which grows while it is written.
CREATE TABLE files (
    run              TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    path             TEXT NOT NULL,             -- inside the run's data_directory, or absolute
    stream           TEXT NOT NULL,
    kind             TEXT NOT NULL CHECK (kind IN ('recording', 'snapshot', 'clip')),
    incarnation      INTEGER NOT NULL,          -- of the render worker that wrote it
    state            TEXT NOT NULL              -- torn: its writer died, what was written plays; missing: somebody else took it away
                     CHECK (state IN ('open', 'closed', 'torn', 'deleted', 'missing')),
    begin_wall_ms    INTEGER NOT NULL,          -- of its first frame
    end_wall_ms      INTEGER NOT NULL,          -- of the end of its last
    begin_pts_ns     INTEGER NOT NULL,
    end_pts_ns       INTEGER NOT NULL,
    frames           INTEGER NOT NULL,          -- by now; none is missing between begin and end
    bytes            INTEGER,                   -- NULL: not measured
    width            INTEGER,                   -- of its pictures, pixels; NULL: not known
    height           INTEGER,
    gone_wall_ms     INTEGER,                   -- when it was deleted, or found missing
    gone_reason      TEXT CHECK (gone_reason IN ('age', 'size')), -- why it was deleted
    PRIMARY KEY (run, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX files_by_path ON files (path);

-- One row: a time in which a stream that was to be recorded was not.
CREATE TABLE recording_gaps (
    run              TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    stream           TEXT NOT NULL,
    begin_wall_ms    INTEGER NOT NULL,          -- of the first frame that is missing
    end_wall_ms      INTEGER,                   -- of the first that was recorded again; NULL while it lasts
    reason           TEXT NOT NULL CHECK (reason IN ('disk', 'slow')), -- it refused; it did not follow
    text             TEXT NOT NULL,             -- what happened, where, and what to do
    frames           INTEGER NOT NULL,          -- missing so far
    PRIMARY KEY (run, stream, begin_wall_ms)
) STRICT, WITHOUT ROWID;

-- One row: the best picture of a track, a JPEG file. Written once the file is there.
CREATE TABLE best_shots (
    run              TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    path             TEXT NOT NULL,             -- inside the run's data_directory
    stream           TEXT NOT NULL,
    track            INTEGER NOT NULL,
    label            TEXT NOT NULL,             -- class name of the track
    cause            TEXT NOT NULL              -- the track has ended; or an event wanted it, and the track went on
                     CHECK (cause IN ('ended', 'event')),
    event            TEXT,                      -- which event; its snapshot is the same file
    sequence_number  INTEGER NOT NULL,          -- of the frame it was cut from
    pts_ns           INTEGER NOT NULL,          -- of that frame
    wall_ms          INTEGER NOT NULL,
    began_pts_ns     INTEGER NOT NULL,          -- when the track was first seen
    ended_pts_ns     INTEGER,                   -- when it was last seen; NULL when an event wanted the picture
    value            REAL NOT NULL,             -- score * 10 + sharpness: the greatest of the track
    score            REAL NOT NULL,             -- of the detection, 0 to 1
    sharpness        REAL NOT NULL,             -- mean gradient of the luma, brightness-normalised
    brightness       INTEGER NOT NULL,          -- mean luma, 0 to 255
    x1 REAL NOT NULL, y1 REAL NOT NULL, x2 REAL NOT NULL, y2 REAL NOT NULL, -- where the track was
    landmarks        TEXT,                      -- found on it, in pixels of the frame: [[x,y],...]; NULL: none
    width            INTEGER NOT NULL,          -- of the picture in the file, pixels
    height           INTEGER NOT NULL,
    PRIMARY KEY (run, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX best_shots_by_track ON best_shots (run, stream, track);

-- One row: one counter of one frame book, cumulative since the run began; what ends in
-- `_now` is the last value instead.
-- Names of counters are those of contract/src/ledger.
CREATE TABLE ledgers (
    run              TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    stream           TEXT NOT NULL,
    book             TEXT NOT NULL,             -- intake | ingest | infer:MODEL | render | crops:MODEL | infer-crops:MODEL | gateway | tiles:MOSAIC | mosaic:MOSAIC
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
SELECT id, state, exit_code, generation,
       datetime(begin_wall_ms / 1000, 'unixepoch') AS began_utc,
       round((coalesce(end_wall_ms, begin_wall_ms) - begin_wall_ms) / 1000.0, 1) AS seconds,
       (SELECT count(*) FROM streams WHERE run = runs.id) AS streams,
       (SELECT count(*) FROM events WHERE run = runs.id) AS events,
       (SELECT count(*)                            -- who follows one that drained took over by a reload
        FROM workers AS next
        JOIN workers AS last
          ON last.run = next.run AND last.worker = next.worker AND last.incarnation = next.incarnation - 1
        WHERE next.run = runs.id AND last.end_wall_ms IS NOT NULL AND last.reason <> 'drained') AS restarts,
       coalesce(detail, '') AS detail,
       reload_error
FROM runs
ORDER BY begin_wall_ms;

CREATE VIEW v_generations AS
SELECT run, generations.generation, asked_by, datetime(wall_ms / 1000, 'unixepoch') AS read_utc,
       outcome, applied_wall_ms - wall_ms AS took_ms,
       generations.generation = runs.generation AS in_force,
       plan, notes, diagnostics
FROM generations JOIN runs ON runs.id = run
ORDER BY run, generations.generation;

CREATE VIEW v_events AS
SELECT run, stream, rule, generation, track, label,
       datetime(begin_wall_ms / 1000, 'unixepoch') AS began_utc,
       round(begin_pts_ns / 1e9, 3) AS begin_s,
       round((end_pts_ns - begin_pts_ns) / 1e9, 3) AS lasted_s,
       message, snapshot, clip, id
FROM events
ORDER BY run, begin_wall_ms;

CREATE VIEW v_recordings AS
SELECT run, stream, files.state,
       strftime('%Y-%m-%dT%H:%M:%fZ', files.begin_wall_ms / 1e3, 'unixepoch') AS begin_utc,
       strftime('%Y-%m-%dT%H:%M:%fZ', files.end_wall_ms / 1e3, 'unixepoch') AS end_utc,
       round((end_pts_ns - begin_pts_ns) / 1e9, 3) AS seconds,
       round(begin_pts_ns / 1e9, 3) AS begin_s, round(end_pts_ns / 1e9, 3) AS end_s,
       frames, round(bytes / 1e6, 3) AS megabytes, width, height,
       iif(path LIKE '/%', path, data_directory || '/' || path) AS file,
       datetime(gone_wall_ms / 1000, 'unixepoch') AS gone_utc, gone_reason
FROM files JOIN runs ON runs.id = run
WHERE kind = 'recording'
ORDER BY run, stream, files.begin_wall_ms;

CREATE VIEW v_recording_gaps AS
SELECT run, stream, reason,
       strftime('%Y-%m-%dT%H:%M:%fZ', begin_wall_ms / 1e3, 'unixepoch') AS begin_utc,
       strftime('%Y-%m-%dT%H:%M:%fZ', end_wall_ms / 1e3, 'unixepoch') AS end_utc,
       round((end_wall_ms - begin_wall_ms) / 1e3, 3) AS seconds, frames, text
FROM recording_gaps
ORDER BY run, stream, begin_wall_ms;

CREATE VIEW v_best_shots AS
SELECT run, stream, track, label, cause,
       datetime(wall_ms / 1000, 'unixepoch') AS taken_utc,
       round(pts_ns / 1e9, 3) AS pts_s, sequence_number,
       round(began_pts_ns / 1e9, 3) AS began_s, round(ended_pts_ns / 1e9, 3) AS ended_s,
       round(value, 3) AS value, round(score, 3) AS score, sharpness, brightness,
       x1, y1, x2 - x1 AS box_width, y2 - y1 AS box_height, landmarks,
       width, height, path, event
FROM best_shots
ORDER BY run, stream, wall_ms;

CREATE VIEW v_frames AS
SELECT streams.run, streams.name AS stream, incarnation, sequence_number,
       begin_pts_ns + offset_pts_ns AS pts_ns,
       begin_wall_ms + offset_pts_ns / 1000000 + drift_ms AS wall_ms,
       segments.width, segments.height,
       motion_ppm / 1e6 AS motion,
       CASE skip WHEN 0 THEN 'gated' WHEN 1 THEN 'stale' WHEN 2 THEN 'shed'
                 WHEN 3 THEN 'overflowed' WHEN 4 THEN 'failed' END AS skip
FROM frames
JOIN segments ON segments.id = segment_id
JOIN streams ON streams.id = stream_id;

CREATE VIEW v_detections AS
SELECT streams.run, streams.name AS stream, sequence_number, ordinal,
       round((begin_pts_ns + offset_pts_ns) / 1e9, 3) AS pts_s,
       model, label, track, score / 1e3 AS score,
       x1 / 8.0 AS x1, y1 / 8.0 AS y1, x2 / 8.0 AS x2, y2 / 8.0 AS y2,
       sharpness / 100.0 AS sharpness, brightness, landmarks, depth
FROM detections
JOIN frames USING (segment_id, sequence_number)
JOIN classes USING (segment_id, class)
JOIN segments ON segments.id = segment_id
JOIN streams ON streams.id = stream_id;

CREATE VIEW v_attributes AS
SELECT streams.run, streams.name AS stream, track, attributes.name, value,
       attributes.sequence_number, round((begin_pts_ns + frames.offset_pts_ns) / 1e9, 3) AS pts_s,
       asked_sequence, round((begin_pts_ns + asked.offset_pts_ns) / 1e9, 3) AS asked_s,
       count, score / 1e3 AS score,
       x1 / 8.0 AS x1, y1 / 8.0 AS y1, x2 / 8.0 AS x2, y2 / 8.0 AS y2, landmarks, embedding
FROM attributes
JOIN frames USING (segment_id, sequence_number)
LEFT JOIN frames AS asked
       ON asked.segment_id = attributes.segment_id AND asked.sequence_number = asked_sequence
JOIN segments ON segments.id = attributes.segment_id
JOIN streams ON streams.id = stream_id;

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
    SELECT run, stream, book,
           'received = published + lost',
           sum(value) FILTER (WHERE counter = 'received'),
           sum(value) FILTER (WHERE counter IN ('published', 'lost_in_worker'))
    FROM ledgers WHERE book = 'intake' GROUP BY run, stream, book
    UNION ALL
    SELECT consumer.run, consumer.stream, consumer.book,
           'chunks_published = chunks_received + chunks_overflowed + chunks_passed_over',
           max(producer.value),
           sum(consumer.value)
    FROM ledgers AS consumer
    JOIN ledgers AS producer
      ON producer.run = consumer.run AND producer.stream = consumer.stream
     AND producer.book = 'intake' AND producer.counter = 'published'
    WHERE consumer.book = 'ingest'
      AND consumer.counter IN ('chunks_received', 'chunks_overflowed', 'chunks_passed_over')
    GROUP BY consumer.run, consumer.stream, consumer.book
    UNION ALL
    SELECT consumer.run, consumer.stream, consumer.book,
           'published = received + overflowed + lost_in_transit',
           max(producer.value),
           sum(consumer.value)
    FROM ledgers AS consumer
    JOIN ledgers AS producer
      ON producer.run = consumer.run AND producer.stream = consumer.stream
     AND producer.book = CASE
             WHEN consumer.book = 'gateway' THEN 'render'
             -- What is cut out for a model is in the book of the same model's crops.
             WHEN consumer.book LIKE 'infer-crops:%' THEN substr(consumer.book, length('infer-') + 1)
             ELSE 'ingest' END
     AND producer.counter = CASE consumer.book WHEN 'gateway' THEN 'encoded' ELSE 'published' END
    WHERE consumer.book NOT IN ('ingest', 'intake') AND consumer.book NOT LIKE 'mosaic:%'
      AND consumer.counter IN ('received', 'overflowed', 'lost_in_transit')
    GROUP BY consumer.run, consumer.stream, consumer.book
    UNION ALL
    SELECT consumer.run, consumer.stream, consumer.book,
           'units = units_received + units_overflowed + units_lost',
           max(producer.value),
           sum(consumer.value)
    FROM ledgers AS consumer
    JOIN ledgers AS producer
      ON producer.run = consumer.run AND producer.stream = consumer.stream
     AND producer.book = 'ingest' AND producer.counter = 'units'
    WHERE consumer.book = 'render'
      AND consumer.counter IN ('units_received', 'units_overflowed', 'units_lost')
    GROUP BY consumer.run, consumer.stream, consumer.book
    UNION ALL
    SELECT run, stream, book,
           'units_received = units_passed + units_resync',
           sum(value) FILTER (WHERE counter = 'units_received'),
           sum(value) FILTER (WHERE counter IN ('units_passed', 'units_resync'))
    FROM ledgers WHERE book = 'render' GROUP BY run, stream, book
    UNION ALL
    SELECT run, stream, book,
           'received = inferred + gated + stale + shed + failed + lost',
           sum(value) FILTER (WHERE counter = 'received'),
           sum(value) FILTER (WHERE counter IN
               ('inferred', 'gated', 'stale', 'shed', 'failed', 'lost_in_worker'))
    FROM ledgers WHERE book LIKE 'infer:%' OR book LIKE 'infer-crops:%' GROUP BY run, stream, book
    UNION ALL
    SELECT run, stream, book,
           'received = rendered + dropped + lost',
           sum(value) FILTER (WHERE counter = 'received'),
           sum(value) FILTER (WHERE counter IN
               ('rendered', 'dropped_encoder', 'dropped_invalid', 'lost_in_worker'))
    FROM ledgers WHERE book = 'render' GROUP BY run, stream, book
    UNION ALL
    SELECT run, stream, book,
           'encoded = recorded + unrecorded',
           sum(value) FILTER (WHERE counter = 'encoded'),
           sum(value) FILTER (WHERE counter IN
               ('recorded', 'unrecorded_off', 'unrecorded_disk', 'unrecorded_slow',
                'unrecorded_lost'))
    FROM ledgers WHERE book = 'render' GROUP BY run, stream, book
    UNION ALL
    SELECT run, stream, book,
           'shots_ended = written + poor + dropped + failed + lost',
           sum(value) FILTER (WHERE counter = 'shots_ended'),
           sum(value) FILTER (WHERE counter IN
               ('shots_written', 'shots_poor', 'shots_dropped', 'shots_failed', 'shots_lost'))
    FROM ledgers WHERE book = 'render' GROUP BY run, stream, book
    UNION ALL
    SELECT run, stream, book,
           'asked = published + dropped',
           sum(value) FILTER (WHERE counter = 'asked'),
           sum(value) FILTER (WHERE counter IN
               ('published', 'dropped_busy', 'dropped_no_slot', 'dropped_empty'))
    FROM ledgers WHERE book LIKE 'crops:%' GROUP BY run, stream, book
    UNION ALL
    SELECT run, stream, book,
           'published = answered + skipped + expired + lost',
           sum(value) FILTER (WHERE counter = 'published'),
           sum(value) FILTER (WHERE counter IN ('answered', 'skipped', 'expired', 'lost'))
    FROM ledgers WHERE book LIKE 'crops:%' GROUP BY run, stream, book
    UNION ALL
    SELECT run, stream, book,
           'due = published + dropped',
           sum(value) FILTER (WHERE counter = 'due'),
           sum(value) FILTER (WHERE counter IN ('published', 'dropped_no_slot', 'dropped_unscaled'))
    FROM ledgers WHERE book LIKE 'tiles:%' GROUP BY run, stream, book
    UNION ALL
    SELECT consumer.run, consumer.stream, consumer.book,
           'published = received + overflowed + passed_over',
           max(producer.value),
           sum(consumer.value)
    FROM ledgers AS consumer
    JOIN ledgers AS producer
      ON producer.run = consumer.run AND producer.stream = consumer.stream
     AND producer.book = 'tiles:' || substr(consumer.book, length('mosaic:') + 1)
     AND producer.counter = 'published'
    WHERE consumer.book LIKE 'mosaic:%'
      AND consumer.counter IN ('received', 'overflowed', 'passed_over')
    GROUP BY consumer.run, consumer.stream, consumer.book
    UNION ALL
    SELECT run, stream, book,
           'received = shown + overtaken + stale + invalid',
           sum(value) FILTER (WHERE counter = 'received'),
           sum(value) FILTER (WHERE counter IN ('shown', 'overtaken', 'stale', 'invalid'))
    FROM ledgers WHERE book LIKE 'mosaic:%' GROUP BY run, stream, book
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
