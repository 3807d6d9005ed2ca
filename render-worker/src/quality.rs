//! How good a picture of an object is: its sharpness and its brightness.
//!
//! Sharpness is the mean magnitude of the gradient by Sobel's operator (the 3 x 3
//! kernels with weights 1, 2, 1, not divided by anything), divided by the mean
//! brightness, so that the same object in half the light is as sharp. Blur takes
//! away texture, and with it gradients; it is a measure to compare pictures of one
//! object with each other, not objects with objects.
//!
//! Gradients are taken between neighbouring pixels of the frame, at most
//! [`SAMPLES_MAX`] times [`SAMPLES_MAX`] of them spread evenly over the box, so that
//! a large object costs no more than a small one and none of its detail is averaged
//! away before it is measured.

use contract::control::Quality;
use contract::geometry::{BoundingBox, I420Layout};

/// Columns and rows of pixels that are looked at.
pub const SAMPLES_MAX: usize = 64;
/// What sharpness is stored in, from 0 up.
const SHARPNESS_STEPS: f32 = 100.0;
/// Luma of black; 219 steps above is white (ITU-R BT.601, limited range).
const BLACK: f32 = 16.0;

/// Measures the part of an I420 picture inside `bounds`. `None` where too little of it is
/// inside the picture, or `pixels` is shorter than the layout says.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "at most 4096 samples of bytes")]
pub fn measure(layout: &I420Layout, pixels: &[u8], bounds: &BoundingBox) -> Option<Quality> {
    let luma = pixels.get(layout.offsets[0]..layout.offsets[1])?;
    let inside = bounds.clipped(layout.size);
    let columns = samples(inside.x1, inside.x2)?;
    let rows = samples(inside.y1, inside.y2)?;
    let stride = layout.strides[0];
    let (mut gradients, mut brightness, mut count) = (0.0_f32, 0_u32, 0_u32);
    for row in rows {
        let line = |row: usize| luma.get(row * stride..(row + 1) * stride);
        let (above, here, below) = (line(row - 1)?, line(row)?, line(row + 1)?);
        for column in columns.clone() {
            gradients += gradient(
                above.get(column - 1..column + 2)?,
                here.get(column - 1..column + 2)?,
                below.get(column - 1..column + 2)?,
            );
            brightness += u32::from(here[column]);
            count += 1;
        }
    }
    let samples = count.max(1) as f32;
    let to_full_range = 255.0 / 219.0;
    let brightness = ((brightness as f32 / samples - BLACK) * to_full_range).clamp(0.0, 255.0);
    let sharpness = gradients / samples * to_full_range / brightness.max(1.0);
    Some(Quality {
        sharpness: saturating(sharpness * SHARPNESS_STEPS, u16::MAX),
        brightness: saturating(brightness, u8::MAX),
    })
}

/// Pixels with a neighbour on both sides inside `from..to`, evenly spread, at most
/// [`SAMPLES_MAX`]; `None` where there are none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "both ends are inside the picture"
)]
fn samples(from: f32, to: f32) -> Option<impl Iterator<Item = usize> + Clone> {
    let (first, end) = (
        from.ceil() as usize + 1,
        (to.floor() as usize).checked_sub(1)?,
    );
    let count = end.checked_sub(first).filter(|count| *count > 0)?;
    Some((first..end).step_by(count.div_ceil(SAMPLES_MAX)))
}

fn gradient(above: &[u8], here: &[u8], below: &[u8]) -> f32 {
    let at = |line: &[u8], column: usize| f32::from(line[column]);
    let edge = |line: &[u8]| at(line, 0) + 2.0 * at(line, 1) + at(line, 2);
    let side = |column| at(above, column) + 2.0 * at(here, column) + at(below, column);
    f32::hypot(side(2) - side(0), edge(below) - edge(above))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped before"
)]
fn saturating<T: TryFrom<u32> + Into<f32> + Copy>(value: f32, most: T) -> T {
    let rounded = value.round().clamp(0.0, most.into()) as u32;
    T::try_from(rounded).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::geometry::PixelSize;

    const SIZE: PixelSize = PixelSize {
        width: 321,
        height: 241,
    };
    const ALL: BoundingBox = BoundingBox {
        x1: 0.0,
        y1: 0.0,
        x2: 321.0,
        y2: 241.0,
    };

    /// A picture whose luma is `of(column, row)`.
    fn picture(of: impl Fn(usize, usize) -> u8) -> (I420Layout, Vec<u8>) {
        let layout = I420Layout::of(SIZE);
        let mut pixels = vec![128; layout.bytes];
        for row in 0..SIZE.height as usize {
            for column in 0..SIZE.width as usize {
                pixels[row * layout.strides[0] + column] = of(column, row);
            }
        }
        (layout, pixels)
    }

    fn quality(of: impl Fn(usize, usize) -> u8, bounds: &BoundingBox) -> Quality {
        let (layout, pixels) = picture(of);
        measure(&layout, &pixels, bounds).expect("large enough")
    }

    /// Texture without a pattern that sampling could fall in step with.
    fn texture(column: usize, row: usize) -> u8 {
        let mut bits = (column / 2 * 73_856_093) ^ (row / 2 * 19_349_663);
        bits = (bits ^ (bits >> 13)).wrapping_mul(0x5bd1_e995);
        if (bits >> 15) & 1 == 0 { 56 } else { 216 }
    }

    fn blurred(column: usize, row: usize) -> u8 {
        let (columns, rows) = (column..column + 7, row..row + 7);
        let all = rows.flat_map(|row| columns.clone().map(move |column| texture(column, row)));
        u8::try_from(all.map(usize::from).sum::<usize>() / 49).expect("a mean of bytes")
    }

    #[test]
    fn sharp_blurred_and_dark() {
        let sharp = quality(texture, &ALL);
        let soft = quality(blurred, &ALL);
        let dark = quality(|column, row| (texture(column, row) - 16) / 4 + 16, &ALL);
        assert!(soft.sharpness * 3 < sharp.sharpness, "{soft:?}, {sharp:?}");
        assert!(soft.brightness.abs_diff(sharp.brightness) <= 6, "{soft:?}");
        // A quarter of the light changes the brightness, and the sharpness not.
        assert!(
            dark.sharpness.abs_diff(sharp.sharpness) <= 2,
            "{dark:?}, {sharp:?}"
        );
        assert!(
            dark.brightness.abs_diff(sharp.brightness / 4) <= 1,
            "{dark:?}"
        );
    }

    /// A ramp of 2 a pixel has the gradient 2 * 2 * 4 everywhere.
    #[test]
    fn a_known_gradient() {
        let ramp = |column: usize, _| u8::try_from(16 + column % 100 * 2).expect("a byte");
        let hundred = BoundingBox { x2: 100.0, ..ALL };
        let ramp = quality(ramp, &hundred);
        assert!(ramp.brightness.abs_diff(115) <= 2, "{ramp:?}");
        assert!(ramp.sharpness.abs_diff(16) <= 1, "{ramp:?}");
    }

    #[test]
    fn only_the_box_is_looked_at_and_nothing_of_it_is_no_picture() {
        let left_is_busy = |column: usize, row: usize| {
            if column < 160 && (column + row) % 4 < 2 {
                200
            } else {
                100
            }
        };
        let half = |x1, x2| BoundingBox { x1, x2, ..ALL };
        let busy = quality(left_is_busy, &half(0.0, 160.0));
        let calm = quality(left_is_busy, &half(161.0, 321.0));
        assert!(busy.sharpness > 50, "{busy:?}");
        assert_eq!(calm.sharpness, 0, "{calm:?}");
        let (layout, pixels) = picture(left_is_busy);
        for (x1, x2) in [(400.0, 500.0), (10.0, 12.0), (-50.0, 1.0), (20.0, 20.0)] {
            assert_eq!(
                measure(&layout, &pixels, &half(x1, x2)),
                None,
                "{x1} to {x2}"
            );
        }
        assert_eq!(measure(&layout, &pixels[..100], &ALL), None);
    }
}
