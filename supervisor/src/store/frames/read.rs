//! Reading frames back.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use contract::control::{AttributeRecord, FoundRecord, ObjectRecord, Quality};
use contract::geometry::{BoundingBox, PixelSize};
use contract::name::ModelName;
use contract::spec::RenderModelSpec;
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};
use serde::Serialize;

use super::{
    FrameRecord, MOTION_STEPS, PIXEL_STEPS, SCORE_STEPS, from_steps, skip_of, unpack_cells,
};
use crate::store::StoreError;

/// Frames that are in memory at once.
const PAGE_FRAMES: usize = 512;

/// Frames of one stream that have a render worker's life, a size and the models in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    id: i64,
    /// The start of the render worker, from 0: with another one, tracks and rule state began anew.
    pub incarnation: u32,
    /// Sequence number of its first frame.
    pub first_sequence: u64,
    /// Size of its frames.
    pub size: PixelSize,
    /// Names of its models and their classes.
    pub models: Vec<RenderModelSpec>,
    begin_pts_ns: u64,
    begin_wall_ms: i64,
    /// Model and class by the number that stands for both.
    classes: Vec<(u16, u16)>,
}

impl Segment {
    /// The names of an object's model and class.
    #[must_use]
    pub fn names_of(&self, object: &ObjectRecord) -> Option<(&str, &str)> {
        let model = self.models.get(usize::from(object.model))?;
        let label = model.labels.get(usize::from(object.class))?;
        Some((model.model.as_str(), label))
    }
}

/// One frame, as it was stored.
#[derive(Debug, Clone)]
pub struct StoredFrame {
    /// Where it belongs.
    pub segment: Arc<Segment>,
    /// What was seen, rounded.
    pub record: FrameRecord,
}

/// How much of what a stream's rules saw is in the store. Only what is complete replays exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Completeness {
    /// Frames that were rendered, as far as the run's ledger says.
    pub rendered: u64,
    /// Frames that are stored.
    pub stored: u64,
    /// Frames that were stored and have been deleted by age or size.
    pub pruned: u64,
}

impl Completeness {
    /// Frames that were never stored: rows were given up, a worker died before it had sent
    /// them, or detections were not to be stored.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.rendered.saturating_sub(self.stored + self.pruned)
    }

    /// Nothing is missing, nothing has been deleted.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing() == 0 && self.pruned == 0
    }
}

/// The frames of one stream in order, a page at a time. A run that goes on may be read:
/// it ends with the last frame that is stored.
#[derive(Debug)]
pub struct Frames<'a> {
    connection: &'a Connection,
    path: &'a Path,
    segments: VecDeque<Arc<Segment>>,
    /// The last frame read of the first of `segments`.
    after: Option<u64>,
    page: VecDeque<FrameRecord>,
    has_failed: bool,
}

impl Iterator for Frames<'_> {
    type Item = Result<StoredFrame, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.has_failed {
            let segment = Arc::clone(self.segments.front()?);
            if let Some(record) = self.page.pop_front() {
                return Some(Ok(StoredFrame { segment, record }));
            }
            match read_page(self.connection, &segment, self.after) {
                Ok(page) => {
                    self.after = page.back().map(|record| record.sequence_number);
                    self.page = page;
                    if self.after.is_none() {
                        self.segments.pop_front();
                    }
                }
                Err(error) => {
                    self.has_failed = true;
                    return Some(Err(StoreError::database(self.path)(error)));
                }
            }
        }
        None
    }
}

pub(in crate::store) fn frames<'a>(
    connection: &'a Connection,
    path: &'a Path,
    segments: Vec<Segment>,
) -> Frames<'a> {
    Frames {
        connection,
        path,
        segments: segments.into_iter().map(Arc::new).collect(),
        after: None,
        page: VecDeque::new(),
        has_failed: false,
    }
}

pub(in crate::store) fn segments(
    connection: &Connection,
    run: &str,
    stream: &str,
) -> rusqlite::Result<Vec<Segment>> {
    let mut statement = connection.prepare(
        "SELECT segments.id, incarnation, first_sequence, segments.width, segments.height,
                begin_pts_ns, begin_wall_ms
         FROM segments JOIN streams ON streams.id = stream_id
         WHERE run = ?1 AND name = ?2 ORDER BY segments.id",
    )?;
    let rows = statement.query_map([run, stream], |row| {
        Ok(Segment {
            id: row.get(0)?,
            incarnation: row.get(1)?,
            first_sequence: row.get(2)?,
            size: PixelSize {
                width: row.get(3)?,
                height: row.get(4)?,
            },
            models: Vec::new(),
            begin_pts_ns: row.get(5)?,
            begin_wall_ms: row.get(6)?,
            classes: Vec::new(),
        })
    })?;
    let mut segments = rows.collect::<Result<Vec<_>, _>>()?;
    for segment in &mut segments {
        read_classes(connection, segment)?;
    }
    Ok(segments)
}

fn read_classes(connection: &Connection, segment: &mut Segment) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT model_index, class_index, model, label FROM classes
         WHERE segment_id = ?1 ORDER BY class",
    )?;
    let mut rows = statement.query([segment.id])?;
    while let Some(row) = rows.next()? {
        let (model_index, class_index): (u16, u16) = (row.get(0)?, row.get(1)?);
        let name: String = row.get(2)?;
        let name: ModelName = name.parse().map_err(|error| foreign(2, error))?;
        // A model without classes has no row; nothing is of it.
        while segment.models.len() <= usize::from(model_index) {
            segment.models.push(RenderModelSpec {
                model: name.clone(),
                labels: Vec::new(),
            });
        }
        let labels = &mut segment.models[usize::from(model_index)].labels;
        if labels.len() != usize::from(class_index) {
            return Err(foreign(1, "the classes of a segment have gaps"));
        }
        labels.push(row.get(3)?);
        segment.classes.push((model_index, class_index));
    }
    Ok(())
}

/// The next frames of a segment; none at its end.
fn read_page(
    connection: &Connection,
    segment: &Segment,
    after: Option<u64>,
) -> rusqlite::Result<VecDeque<FrameRecord>> {
    // One transaction, so that frames and objects are seen as of one instant.
    let transaction = connection.unchecked_transaction()?;
    let mut page = VecDeque::with_capacity(PAGE_FRAMES);
    {
        let mut statement = transaction.prepare_cached(
            "SELECT sequence_number, offset_pts_ns, drift_ms, motion_ppm, moved, skip FROM frames
             WHERE segment_id = ?1 AND sequence_number >= ?2
             ORDER BY sequence_number LIMIT ?3",
        )?;
        let from = after.map_or(0, |after| after + 1);
        let rows = statement.query_map(params![segment.id, from, PAGE_FRAMES as u64], |row| {
            read_frame(row, segment)
        })?;
        for record in rows {
            page.push_back(record?);
        }
    }
    if let (Some(first), Some(last)) = (page.front(), page.back()) {
        let range = params![segment.id, first.sequence_number, last.sequence_number];
        let mut statement = transaction.prepare_cached(
            "SELECT sequence_number, class, track, score, x1, y1, x2, y2, sharpness, brightness,
                    landmarks, depth
             FROM detections WHERE segment_id = ?1 AND sequence_number BETWEEN ?2 AND ?3
             ORDER BY sequence_number, ordinal",
        )?;
        let objects = collect(&mut statement, range, |row| read_object(row, segment))?;
        let mut statement = transaction.prepare_cached(
            "SELECT sequence_number, track, name, value, asked_sequence, count, score,
                    x1, y1, x2, y2, landmarks, embedding
             FROM attributes WHERE segment_id = ?1 AND sequence_number BETWEEN ?2 AND ?3
             ORDER BY sequence_number, ordinal",
        )?;
        let attributes = collect(&mut statement, range, read_attribute)?;
        hand_out(&mut page, objects, |record| &mut record.objects);
        hand_out(&mut page, attributes, |record| &mut record.attributes);
    }
    transaction.finish()?;
    Ok(page)
}

/// Rows of a page with the sequence number of their frame, in order.
fn collect<T>(
    statement: &mut Statement<'_>,
    range: &[&dyn rusqlite::ToSql],
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<VecDeque<(u64, T)>> {
    let rows = statement.query_map(range, |row| Ok((row.get(0)?, read(row)?)))?;
    rows.collect()
}

/// Gives each frame of a page what belongs to it.
fn hand_out<T>(
    page: &mut VecDeque<FrameRecord>,
    mut rows: VecDeque<(u64, T)>,
    place: impl Fn(&mut FrameRecord) -> &mut Vec<T>,
) {
    for record in page {
        while let Some((_, row)) =
            rows.pop_front_if(|(sequence_number, _)| *sequence_number <= record.sequence_number)
        {
            place(record).push(row);
        }
    }
}

fn read_frame(row: &Row<'_>, segment: &Segment) -> rusqlite::Result<FrameRecord> {
    let offset_pts_ns: i64 = row.get(1)?;
    let drift_ms: i64 = row.get(2)?;
    let moved: Option<Vec<u8>> = row.get(4)?;
    let skip: Option<u8> = row.get(5)?;
    Ok(FrameRecord {
        sequence_number: row.get(0)?,
        pts_ns: segment.begin_pts_ns.saturating_add_signed(offset_pts_ns),
        wall_ms: segment
            .begin_wall_ms
            .saturating_add(offset_pts_ns / 1_000_000)
            .saturating_add(drift_ms),
        size: segment.size,
        motion: from_steps(row.get(3)?, MOTION_STEPS),
        moved: moved.map_or_else(Default::default, |packed| unpack_cells(&packed)),
        skip: skip.and_then(skip_of),
        objects: Vec::new(),
        attributes: Vec::new(),
    })
}

fn read_object(row: &Row<'_>, segment: &Segment) -> rusqlite::Result<ObjectRecord> {
    let number: usize = row.get(1)?;
    let unknown = "an object is of a class that its segment does not have";
    let (model, class) = *segment
        .classes
        .get(number)
        .ok_or_else(|| foreign(1, unknown))?;
    let pixels = |index| Ok::<_, rusqlite::Error>(from_steps(row.get(index)?, PIXEL_STEPS));
    let score: Option<i32> = row.get(3)?;
    let sharpness: Option<u16> = row.get(8)?;
    let brightness: Option<u8> = row.get(9)?;
    Ok(ObjectRecord {
        track: row.get(2)?,
        model,
        class,
        score: score.map(|score| from_steps(score, SCORE_STEPS)),
        bounds: BoundingBox {
            x1: pixels(4)?,
            y1: pixels(5)?,
            x2: pixels(6)?,
            y2: pixels(7)?,
        },
        quality: sharpness
            .zip(brightness)
            .map(|(sharpness, brightness)| Quality {
                sharpness,
                brightness,
            }),
        landmarks: row.get(10)?,
        depth: row.get(11)?,
    })
}

fn read_attribute(row: &Row<'_>) -> rusqlite::Result<AttributeRecord> {
    let pixels = |index| Ok::<_, rusqlite::Error>(from_steps(row.get(index)?, PIXEL_STEPS));
    let score: Option<i32> = row.get(6)?;
    let found = score.map(|score| {
        Ok::<_, rusqlite::Error>(FoundRecord {
            count: row.get(5)?,
            score: from_steps(score, SCORE_STEPS),
            bounds: BoundingBox {
                x1: pixels(7)?,
                y1: pixels(8)?,
                x2: pixels(9)?,
                y2: pixels(10)?,
            },
            landmarks: row.get(11)?,
        })
    });
    Ok(AttributeRecord {
        track: row.get(1)?,
        name: row.get(2)?,
        value: row.get(3)?,
        asked_sequence: row.get(4)?,
        found: found.transpose()?,
        embedding: row
            .get::<_, Option<Vec<u8>>>(12)?
            .map(|bytes| of_bytes(&bytes)),
    })
}

/// A vector of what `to_bytes` made of it.
fn of_bytes(bytes: &[u8]) -> Vec<f32> {
    let values = bytes.as_chunks::<4>().0.iter();
    values.map(|value| f32::from_le_bytes(*value)).collect()
}

/// A value that Sluice never writes.
fn foreign(
    column: usize,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
}

pub(in crate::store) fn completeness(
    connection: &Connection,
    run: &str,
    stream: &str,
) -> rusqlite::Result<Option<Completeness>> {
    connection
        .query_row(
            "SELECT coalesce((SELECT value FROM ledgers WHERE ledgers.run = ?1 AND stream = ?2
                              AND book = 'render' AND counter = 'rendered'), 0),
                    (SELECT count(*) FROM frames JOIN segments ON segments.id = segment_id
                     WHERE stream_id = streams.id),
                    frames_pruned
             FROM streams WHERE run = ?1 AND name = ?2",
            [run, stream],
            |row| {
                Ok(Completeness {
                    rendered: row.get(0)?,
                    stored: row.get(1)?,
                    pruned: row.get(2)?,
                })
            },
        )
        .optional()
}
