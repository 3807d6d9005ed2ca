//! Writing frames.

use std::collections::HashMap;
use std::sync::Arc;

use contract::control::ObjectRecord;
use contract::geometry::{BoundingBox, PixelSize};
use contract::spec::RenderModelSpec;
use rusqlite::{Connection, params};

use super::{
    FrameRecord, MOTION_STEPS, PIXEL_STEPS, SCORE_STEPS, pack_cells, skip_number, to_steps,
};
use crate::store::pen::WriteError;

const NANOS_PER_MILLI: i64 = 1_000_000;

/// The segment that each stream writes to, by the stream's id.
#[derive(Debug, Default)]
pub(in crate::store) struct OpenSegments(HashMap<i64, OpenSegment>);

#[derive(Debug)]
struct OpenSegment {
    id: i64,
    incarnation: u32,
    size: PixelSize,
    models: Arc<[RenderModelSpec]>,
    begin_pts_ns: u64,
    begin_wall_ms: i64,
}

impl OpenSegments {
    /// Forgets all, because the transaction that began one was not committed. The next
    /// frame of each stream begins another.
    pub(in crate::store) fn clear(&mut self) {
        self.0.clear();
    }

    /// Writes frames of one stream, inside the caller's transaction.
    pub(in crate::store) fn write(
        &mut self,
        connection: &Connection,
        stream_id: i64,
        incarnation: u32,
        models: &Arc<[RenderModelSpec]>,
        records: &[FrameRecord],
    ) -> Result<(), WriteError> {
        for record in records {
            let goes_on = self.0.get(&stream_id).is_some_and(|open| {
                open.incarnation == incarnation
                    && open.size == record.size
                    && (Arc::ptr_eq(&open.models, models) || open.models == *models)
            });
            if !goes_on {
                let open = begin_segment(connection, stream_id, incarnation, models, record)?;
                self.0.insert(stream_id, open);
            }
            let open = &self.0[&stream_id];
            write_frame(connection, open, record)?;
        }
        Ok(())
    }
}

fn begin_segment(
    connection: &Connection,
    stream_id: i64,
    incarnation: u32,
    models: &Arc<[RenderModelSpec]>,
    first: &FrameRecord,
) -> Result<OpenSegment, WriteError> {
    connection
        .prepare_cached(
            "INSERT INTO segments (stream_id, incarnation, first_sequence, begin_pts_ns,
             begin_wall_ms, width, height) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            stream_id,
            incarnation,
            first.sequence_number,
            first.pts_ns,
            first.wall_ms,
            first.size.width,
            first.size.height,
        ])?;
    let id = connection.last_insert_rowid();
    let mut insert = connection.prepare_cached(
        "INSERT INTO classes (segment_id, class, model_index, class_index, model, label)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let mut class = 0_u32;
    for (model_index, model) in models.iter().enumerate() {
        for (class_index, label) in model.labels.iter().enumerate() {
            insert.execute(params![
                id,
                class,
                model_index as u64,
                class_index as u64,
                model.model.as_str(),
                label,
            ])?;
            class += 1;
        }
    }
    Ok(OpenSegment {
        id,
        incarnation,
        size: first.size,
        models: Arc::clone(models),
        begin_pts_ns: first.pts_ns,
        begin_wall_ms: first.wall_ms,
    })
}

fn write_frame(
    connection: &Connection,
    segment: &OpenSegment,
    record: &FrameRecord,
) -> Result<(), WriteError> {
    // Before anything is written: a frame is stored whole or not at all.
    let classes = record
        .objects
        .iter()
        .map(|object| class_number(&segment.models, object))
        .collect::<Result<Vec<_>, _>>()?;
    let far = || WriteError::Unusable(format!("frame {} has no sane time", record.sequence_number));
    // PTS may go back: a file that is repeated, a camera that was set anew.
    let offset_pts_ns = i128::from(record.pts_ns) - i128::from(segment.begin_pts_ns);
    let offset_pts_ns = i64::try_from(offset_pts_ns).map_err(|_| far())?;
    let drift_ms = record
        .wall_ms
        .checked_sub(segment.begin_wall_ms)
        .and_then(|since| since.checked_sub(offset_pts_ns / NANOS_PER_MILLI))
        .ok_or_else(far)?;
    connection
        .prepare_cached(
            "INSERT INTO frames (segment_id, sequence_number, offset_pts_ns, drift_ms, motion_ppm,
             moved, skip) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            segment.id,
            record.sequence_number,
            offset_pts_ns,
            drift_ms,
            to_steps(record.motion, MOTION_STEPS),
            pack_cells(&record.moved),
            record.skip.map(skip_number),
        ])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO detections (segment_id, sequence_number, ordinal, class, track, score,
         x1, y1, x2, y2, sharpness, brightness, landmarks, depth)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?;
    for (ordinal, (object, class)) in record.objects.iter().zip(classes).enumerate() {
        let bounds = object.bounds;
        insert.execute(params![
            segment.id,
            record.sequence_number,
            ordinal as u64,
            class,
            object.track,
            object.score.map(|score| to_steps(score, SCORE_STEPS)),
            to_steps(bounds.x1, PIXEL_STEPS),
            to_steps(bounds.y1, PIXEL_STEPS),
            to_steps(bounds.x2, PIXEL_STEPS),
            to_steps(bounds.y2, PIXEL_STEPS),
            object.quality.map(|quality| quality.sharpness),
            object.quality.map(|quality| quality.brightness),
            object.landmarks,
            object.depth,
        ])?;
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO attributes (segment_id, sequence_number, ordinal, track, name, value,
         asked_sequence, count, score, x1, y1, x2, y2, landmarks, embedding)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?;
    for (ordinal, attribute) in record.attributes.iter().enumerate() {
        let found = attribute.found.as_ref();
        let edge = |of: fn(&BoundingBox) -> f32| {
            found.map(|found| to_steps(of(&found.bounds), PIXEL_STEPS))
        };
        insert.execute(params![
            segment.id,
            record.sequence_number,
            ordinal as u64,
            attribute.track,
            attribute.name,
            attribute.value,
            attribute.asked_sequence,
            found.map_or(0, |found| found.count),
            found.map(|found| to_steps(found.score, SCORE_STEPS)),
            edge(|bounds| bounds.x1),
            edge(|bounds| bounds.y1),
            edge(|bounds| bounds.x2),
            edge(|bounds| bounds.y2),
            found.map(|found| found.landmarks),
            attribute.embedding.as_deref().map(to_bytes),
        ])?;
    }
    Ok(())
}

/// A vector as it is stored: little-endian `f32`, one after the other.
fn to_bytes(vector: &[f32]) -> Vec<u8> {
    vector
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// The number that stands for an object's model and class, as [`begin_segment`] counts them.
fn class_number(models: &[RenderModelSpec], object: &ObjectRecord) -> Result<u64, WriteError> {
    let index = usize::from(object.model);
    let class = usize::from(object.class);
    match models.get(index) {
        Some(model) if class < model.labels.len() => {
            let before: usize = models[..index].iter().map(|model| model.labels.len()).sum();
            Ok((before + class) as u64)
        }
        _ => Err(WriteError::Unusable(format!(
            "an object is of model {index}, class {class}, which the stream does not have"
        ))),
    }
}
