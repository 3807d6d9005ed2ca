//! How what a model says of a picture lies in the bytes of a result.

use contract::detection::{DETECTIONS_MAX, Detection, LANDMARKS_MAX, Landmarks};
use contract::findings::{CELLS_MAX, CellValues, EMBEDDING_MAX, Findings, Finds, PictureMap};
use contract::geometry::BoundingBox;

use crate::error::BusError;
use crate::header::ResultHeader;

/// Values of [`ResultHeader::outcome`]; the reasons why a model did not run are other ones.
pub(crate) const DETECTIONS: u32 = 0;
pub(crate) const EMBEDDING: u32 = 16;
pub(crate) const DEPTH: u32 = 17;
pub(crate) const CLASSES: u32 = 18;

/// One detection.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct RawDetection {
    edges: [f32; 4],
    score: f32,
    class: u16,
    landmark_count: u16,
    /// Those from `landmark_count` on mean nothing.
    landmarks: [[f32; 2]; LANDMARKS_MAX],
}

/// What comes before the cells of a map.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct RawMap {
    columns: u32,
    first: f32,
    last: f32,
}

/// Bytes of the largest result of a model of this kind.
pub(crate) fn bytes_max(finds: Finds) -> usize {
    match finds {
        Finds::Objects => DETECTIONS_MAX * size_of::<RawDetection>(),
        Finds::Embedding => EMBEDDING_MAX * size_of::<f32>(),
        Finds::Depth | Finds::Classes => size_of::<RawMap>() + CELLS_MAX * size_of::<u16>(),
    }
}

/// How many bytes [`write`] fills.
pub(crate) fn bytes(findings: &Findings) -> usize {
    match findings {
        Findings::Detections(detections) => {
            detections.len().min(DETECTIONS_MAX) * size_of::<RawDetection>()
        }
        Findings::Embedding(values) => size_of_val(&values[..]),
        Findings::Map(map) => size_of::<RawMap>() + size_of_val(map.cells()),
    }
}

/// The outcome and the count that a header has for these findings.
pub(crate) fn outcome(findings: &Findings) -> (u32, usize) {
    match findings {
        Findings::Detections(detections) => (DETECTIONS, detections.len().min(DETECTIONS_MAX)),
        Findings::Embedding(values) => (EMBEDDING, values.len()),
        Findings::Map(map) => match map.values() {
            CellValues::Depth { .. } => (DEPTH, map.cells().len()),
            CellValues::Classes => (CLASSES, map.cells().len()),
        },
    }
}

/// Fills a payload of [`bytes`] bytes.
pub(crate) fn write(findings: &Findings, payload: &mut [u8]) {
    match findings {
        Findings::Detections(detections) => {
            let rows = payload.chunks_exact_mut(size_of::<RawDetection>());
            for (row, detection) in rows.zip(detections) {
                row.copy_from_slice(bytemuck::bytes_of(&raw(detection)));
            }
        }
        Findings::Embedding(values) => payload.copy_from_slice(bytemuck::cast_slice(values)),
        Findings::Map(map) => {
            let (first, last) = match map.values() {
                CellValues::Depth { first, last } => (first, last),
                CellValues::Classes => (0.0, 0.0),
            };
            let head = RawMap {
                columns: u32::try_from(map.columns()).unwrap_or(0),
                first,
                last,
            };
            let (before, cells) = payload.split_at_mut(size_of::<RawMap>());
            before.copy_from_slice(bytemuck::bytes_of(&head));
            cells.copy_from_slice(bytemuck::cast_slice(map.cells()));
        }
    }
}

fn raw(detection: &Detection) -> RawDetection {
    let bounds = detection.bounds;
    let points = detection.landmarks.points();
    let mut landmarks = [[0.0; 2]; LANDMARKS_MAX];
    landmarks[..points.len()].copy_from_slice(points);
    RawDetection {
        edges: [bounds.x1, bounds.y1, bounds.x2, bounds.y2],
        score: detection.score,
        class: detection.class,
        landmark_count: detection.landmarks.count().into(),
        landmarks,
    }
}

/// Reads what [`write`] wrote, and trusts none of it.
///
/// # Errors
/// [`BusError::Invalid`] naming what does not hold together.
pub(crate) fn read(header: &ResultHeader, payload: &[u8]) -> Result<Findings, BusError> {
    let count = header.count as usize;
    if header.first_sequence != header.last_sequence {
        return Err(invalid("the range of a result", header.last_sequence));
    }
    match header.outcome {
        DETECTIONS => {
            let rows = part::<RawDetection>(payload, 0, count, DETECTIONS_MAX)?;
            let rows = rows.chunks_exact(size_of::<RawDetection>());
            let detections = rows.map(|row| detection(&bytemuck::pod_read_unaligned(row)));
            Ok(Findings::Detections(detections.collect::<Result<_, _>>()?))
        }
        EMBEDDING => {
            let bytes = part::<f32>(payload, 0, count, EMBEDDING_MAX)?;
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(bytes);
            if values.iter().all(|value| value.is_finite()) {
                Ok(Findings::Embedding(values))
            } else {
                Err(invalid("a value of an embedding", header.first_sequence))
            }
        }
        DEPTH | CLASSES => {
            let head = part::<RawMap>(payload, 0, 1, 1)?;
            let head: RawMap = bytemuck::pod_read_unaligned(head);
            let cells = part::<u16>(payload, size_of::<RawMap>(), count, CELLS_MAX)?;
            let values = if header.outcome == DEPTH {
                CellValues::Depth {
                    first: head.first,
                    last: head.last,
                }
            } else {
                CellValues::Classes
            };
            let cells = bytemuck::pod_collect_to_vec(cells);
            PictureMap::new(head.columns as usize, values, cells)
                .map(Findings::Map)
                .ok_or_else(|| invalid("the columns of a map", head.columns.into()))
        }
        other => Err(invalid("the outcome of a result", other.into())),
    }
}

/// So many items of a payload, from a byte on.
fn part<T>(payload: &[u8], from: usize, count: usize, most: usize) -> Result<&[u8], BusError> {
    let end = from + count.min(most) * size_of::<T>();
    let bytes = payload.get(from..end).filter(|_| count <= most);
    bytes.ok_or_else(|| invalid("the count of a result", count as u64))
}

fn detection(raw: &RawDetection) -> Result<Detection, BusError> {
    let [x1, y1, x2, y2] = raw.edges;
    let points = raw.landmarks.get(..raw.landmark_count.into());
    let landmarks = points.and_then(Landmarks::new);
    let detection = Detection {
        bounds: BoundingBox { x1, y1, x2, y2 },
        score: raw.score,
        class: raw.class,
        landmarks: landmarks
            .filter(Landmarks::is_valid)
            .ok_or_else(|| invalid("the landmarks of a detection", raw.landmark_count.into()))?,
    };
    if !detection.bounds.is_valid() || !(0.0..=1.0).contains(&detection.score) {
        return Err(invalid("a detection", raw.class.into()));
    }
    Ok(detection)
}

fn invalid(what: &'static str, value: u64) -> BusError {
    BusError::Invalid { what, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes and reads back, as the two ends of the bus do.
    fn passed(
        findings: &Findings,
        change: impl FnOnce(&mut ResultHeader, &mut [u8]),
    ) -> Result<Findings, BusError> {
        let (code, count) = outcome(findings);
        let mut header = ResultHeader::new(7, 7, code, u32::try_from(count).expect("few"));
        let mut payload = vec![0; bytes(findings)];
        write(findings, &mut payload);
        change(&mut header, &mut payload);
        read(&header, &payload)
    }

    fn map(values: CellValues) -> Findings {
        Findings::Map(PictureMap::new(3, values, vec![0, 1, 65535, 9, 8, 7]).expect("a map"))
    }

    const DEPTHS: CellValues = CellValues::Depth {
        first: -1.5,
        last: 80.0,
    };

    #[test]
    fn what_is_written_is_read() {
        let landmarks = Landmarks::new(&[[1.0, 2.0], [3.0, 4.0]]).expect("two");
        let found = Detection {
            bounds: BoundingBox {
                x1: 1.0,
                y1: 2.0,
                x2: 3.5,
                y2: 4.5,
            },
            score: 0.75,
            class: 300,
            landmarks,
        };
        for findings in [
            Findings::Detections(vec![found; 3]),
            Findings::Detections(Vec::new()),
            Findings::Embedding(vec![0.6, -0.8, 0.0]),
            map(DEPTHS),
            map(CellValues::Classes),
        ] {
            let read = passed(&findings, |_, _| ()).expect("it is sound");
            assert_eq!(read, findings);
        }
    }

    #[test]
    fn no_more_than_the_most_is_sent() {
        let findings = map(CellValues::Classes);
        assert!(bytes(&findings) <= bytes_max(Finds::Classes));
        let none = Detection {
            bounds: BoundingBox::default(),
            score: 0.5,
            class: 0,
            landmarks: Landmarks::NONE,
        };
        let many = Findings::Detections(vec![none; DETECTIONS_MAX + 5]);
        assert_eq!(bytes(&many), bytes_max(Finds::Objects));
        let read = passed(&many, |_, _| ()).expect("it is sound");
        assert_eq!(read.detections().len(), DETECTIONS_MAX);
    }

    #[test]
    fn what_does_not_hold_together_is_refused_by_name() {
        let refused = |findings: &Findings, change: fn(&mut ResultHeader, &mut [u8])| {
            passed(findings, change).expect_err("refused").to_string()
        };
        let embedding = Findings::Embedding(vec![1.0, 0.0]);
        for (error, what) in [
            (
                refused(&embedding, |header, _| header.count = 3),
                "the count of a result",
            ),
            (
                refused(&embedding, |header, _| header.count = u32::MAX),
                "the count of a result",
            ),
            (
                refused(&embedding, |header, _| header.outcome = 99),
                "the outcome of a result",
            ),
            (
                refused(&embedding, |header, _| header.last_sequence = 8),
                "the range of a result",
            ),
            (
                refused(&embedding, |_, payload| payload[..4].fill(0xff)),
                "a value of an embedding",
            ),
            (
                refused(&map(DEPTHS), |_, payload| payload[0] = 4),
                "the columns of a map",
            ),
            (
                refused(&map(DEPTHS), |_, payload| payload[4..8].fill(0xff)),
                "the columns of a map",
            ),
        ] {
            assert!(error.contains(what), "{error} instead of {what}");
        }
    }
}
