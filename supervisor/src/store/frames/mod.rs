//! What was seen in each frame, stored in as few bytes as plain SQL columns allow and
//! read back exactly.
//!
//! A frame is offsets against its segment, an object is small integers: eighths of a
//! pixel, thousandths of a score, a number that stands for model and class. These are the
//! steps of [`FrameRecord::round`], on which rules are evaluated, so a replay evaluates the
//! very same values.

mod read;
mod write;

use contract::control::{FrameRecord, MOTION_STEPS, PIXEL_STEPS, SCORE_STEPS};
use contract::detection::Skip;
use contract::motion::Cells;

pub use read::{Completeness, Frames, Segment, StoredFrame};
pub(super) use read::{completeness, frames, segments};
pub(super) use write::OpenSegments;

/// A value in steps; `round` has made it a whole number of them already.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a value beyond the range is held at its end: no frame is that large"
)]
fn to_steps(value: f32, steps: f32) -> i32 {
    (value * steps).round() as i32
}

/// The value again, by the same division as in [`FrameRecord::round`].
#[expect(
    clippy::cast_precision_loss,
    reason = "below 2^24, as everything that `to_steps` is given, it is exact"
)]
fn from_steps(count: i32, steps: f32) -> f32 {
    count as f32 / steps
}

fn skip_number(skip: Skip) -> u8 {
    match skip {
        Skip::Gated => 0,
        Skip::Stale => 1,
        Skip::Shed => 2,
        Skip::Overflowed => 3,
        Skip::Failed => 4,
    }
}

fn skip_of(number: u8) -> Option<Skip> {
    [
        Skip::Gated,
        Skip::Stale,
        Skip::Shed,
        Skip::Overflowed,
        Skip::Failed,
    ]
    .into_iter()
    .find(|skip| skip_number(*skip) == number)
}

/// The cells without the zeros at both ends: what moves is mostly in one place. The first
/// byte counts the zeros left out in front. `None` for no cells.
fn pack_cells(cells: &Cells) -> Option<Vec<u8>> {
    let bytes = cells.to_bytes();
    let zeros = bytes.iter().position(|byte| *byte != 0)?;
    let mut packed = vec![u8::try_from(zeros).expect("a few dozen bytes")];
    packed.extend_from_slice(&bytes[zeros..]);
    Some(packed)
}

fn unpack_cells(packed: &[u8]) -> Cells {
    let Some((zeros, rest)) = packed.split_first() else {
        return Cells::default();
    };
    let mut bytes = vec![0; usize::from(*zeros)];
    bytes.extend_from_slice(rest);
    Cells::from_bytes(&bytes)
}

#[cfg(test)]
mod tests;
