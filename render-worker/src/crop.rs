//! Pictures that are kept beyond their frame: whole frames, and the objects cut out of them.

use contract::geometry::{BoundingBox, I420Layout, PixelSize};
use frame_bus::ColourMatrix;

use crate::encode::PictureFormat;
use crate::overlay;
use crate::privacy::Hidden;

/// Longest side of an object that is cut out, in pixels; a larger one is scaled down.
pub const CROP_SIDE_MAX: usize = 256;
/// What is cut out beside the box, as a part of its sides: a box is drawn tight.
const MARGIN: f32 = 0.1;

/// An I420 picture of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Still {
    /// How its bytes lie.
    pub layout: I420Layout,
    /// How to make colours of them.
    pub matrix: ColourMatrix,
    /// The pixels.
    pub bytes: Vec<u8>,
}

impl Still {
    /// All of a frame.
    #[must_use]
    pub fn whole(format: &PictureFormat, pixels: &[u8]) -> Self {
        Self {
            layout: format.layout,
            matrix: format.matrix,
            bytes: pixels.to_vec(),
        }
    }

    /// The object in `bounds`, with a margin, scaled down by a whole number where its longer
    /// side is over [`CROP_SIDE_MAX`], with what is to be hidden hidden. `None` where too little
    /// of it is inside the frame, or `pixels` is shorter than the format says.
    #[must_use]
    pub(crate) fn crop(
        format: &PictureFormat,
        pixels: &[u8],
        bounds: &BoundingBox,
        hidden: Hidden<'_>,
    ) -> Option<Self> {
        let cut = Cut::of(bounds, format, pixels, CROP_SIDE_MAX)?;
        let layout = I420Layout::of(cut.size());
        let mut bytes = vec![0; layout.bytes];
        cut.copy(format, pixels, &layout, &mut bytes);
        let areas = hidden.areas.iter().map(|area| cut.in_crop(area));
        overlay::hide(&layout, &mut bytes, areas, hidden.method);
        Some(Self {
            layout,
            matrix: format.matrix,
            bytes,
        })
    }
}

/// What is cut out of a frame: `width * factor` by `height * factor` pixels from `left`, `top`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    factor: usize,
}

impl Cut {
    /// The object in `bounds`, with a margin, with no side over `side_max`. `None` where too
    /// little of it is inside the frame, or `pixels` is shorter than the format says.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the box is inside the frame"
    )]
    pub(crate) fn of(
        bounds: &BoundingBox,
        format: &PictureFormat,
        pixels: &[u8],
        side_max: usize,
    ) -> Option<Self> {
        if pixels.len() < format.layout.bytes {
            return None;
        }
        let (x, y) = (bounds.width() * MARGIN, bounds.height() * MARGIN);
        let inside = BoundingBox {
            x1: bounds.x1 - x,
            y1: bounds.y1 - y,
            x2: bounds.x2 + x,
            y2: bounds.y2 + y,
        }
        .clipped(format.layout.size);
        let (left, top) = (inside.x1 as usize & !1, inside.y1 as usize & !1);
        let width = (inside.x2.ceil() as usize).checked_sub(left)?;
        let height = (inside.y2.ceil() as usize).checked_sub(top)?;
        let factor = width.max(height).div_ceil(side_max.max(1)).max(1);
        let (width, height) = ((width / factor) & !1, (height / factor) & !1);
        (width > 0 && height > 0).then_some(Self {
            left,
            top,
            width,
            height,
            factor,
        })
    }

    /// How large the picture is that it makes.
    pub(crate) fn size(&self) -> PixelSize {
        let side = |pixels| u32::try_from(pixels).unwrap_or(u32::MAX);
        PixelSize {
            width: side(self.width),
            height: side(self.height),
        }
    }

    /// Where a point of the picture that it makes lies in the frame.
    #[expect(clippy::cast_precision_loss, reason = "sides are at most SIDE_MAX")]
    pub(crate) fn in_frame(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let factor = self.factor as f32;
        [self.left as f32 + x * factor, self.top as f32 + y * factor]
    }

    /// Where a box of the frame lies in the picture that it makes.
    #[expect(clippy::cast_precision_loss, reason = "sides are at most SIDE_MAX")]
    fn in_crop(&self, bounds: &BoundingBox) -> BoundingBox {
        let factor = self.factor as f32;
        let (left, top) = (self.left as f32, self.top as f32);
        BoundingBox {
            x1: (bounds.x1 - left) / factor,
            y1: (bounds.y1 - top) / factor,
            x2: (bounds.x2 - left) / factor,
            y2: (bounds.y2 - top) / factor,
        }
    }

    /// Copies it out of the frame it was made for into `to`, which lies as `layout` says.
    pub(crate) fn copy(
        &self,
        format: &PictureFormat,
        pixels: &[u8],
        layout: &I420Layout,
        to: &mut [u8],
    ) {
        let source = &format.layout;
        for plane in 0..3 {
            // Chroma has half the rows and columns; everything of a cut is even.
            let half = if plane == 0 { 1 } else { 2 };
            let from = &pixels[source.offsets[plane]..];
            let to = &mut to[layout.offsets[plane]..];
            let (width, height) = (self.width / half, self.height / half);
            for row in 0..height {
                let top = self.top / half + row * self.factor;
                for column in 0..width {
                    let left = self.left / half + column * self.factor;
                    let corner = top * source.strides[plane] + left;
                    let block = &from[corner..];
                    to[row * layout.strides[plane] + column] =
                        mean(block, source.strides[plane], self.factor);
                }
            }
        }
    }
}

/// The mean of `side` by `side` bytes, from the first of `block`.
fn mean(block: &[u8], stride: usize, side: usize) -> u8 {
    let rows = block.chunks(stride).take(side);
    let sum: usize = rows
        .flat_map(|row| &row[..side])
        .map(|byte| usize::from(*byte))
        .sum();
    u8::try_from((sum + side * side / 2) / (side * side)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn format(width: u32, height: u32) -> PictureFormat {
        PictureFormat {
            layout: I420Layout::of(PixelSize { width, height }),
            matrix: ColourMatrix::Bt709,
        }
    }

    fn bounds([x1, y1, x2, y2]: [f32; 4]) -> BoundingBox {
        BoundingBox { x1, y1, x2, y2 }
    }

    /// Luma tells the column, blue the row, red is 7.
    fn pixels(format: &PictureFormat) -> Vec<u8> {
        let layout = &format.layout;
        let mut pixels = vec![7; layout.bytes];
        for row in 0..layout.rows[0] {
            for column in 0..layout.size.width as usize {
                pixels[row * layout.strides[0] + column] = u8::try_from(column / 8).expect("small");
            }
        }
        for row in 0..layout.rows[1] {
            let begin = layout.offsets[1] + row * layout.strides[1];
            pixels[begin..begin + layout.strides[1]].fill(u8::try_from(row / 4).expect("small"));
        }
        pixels
    }

    #[test]
    fn a_small_object_is_cut_out_with_a_margin_pixel_by_pixel() {
        let format = format(641, 361);
        let pixels = pixels(&format);
        let still = Still::crop(
            &format,
            &pixels,
            &bounds([100.0, 50.0, 140.0, 150.0]),
            Hidden::NOTHING,
        );
        let still = still.expect("inside");
        let size = still.layout.size;
        assert_eq!((size.width, size.height), (48, 120));
        assert_eq!(still.bytes[0], 96 / 8);
        assert_eq!(still.bytes[47], 143 / 8);
        assert_eq!(still.bytes[still.layout.offsets[1]], 40 / 8);
        assert_eq!(still.bytes[still.layout.offsets[2]], 7);
    }

    #[test]
    fn a_large_object_is_scaled_down_and_keeps_its_shape() {
        let format = format(1920, 1080);
        let pixels = pixels(&format);
        let all = bounds([0.0, 0.0, 1920.0, 1080.0]);
        let still = Still::crop(&format, &pixels, &all, Hidden::NOTHING).expect("inside");
        let size = still.layout.size;
        assert_eq!((size.width, size.height), (240, 134));
        // A pixel is 8 x 8 of the frame: its column.
        let row = &still.bytes[..240];
        assert!((0..240).all(|column: u8| row[usize::from(column)] == column));
    }

    #[test]
    fn places_in_a_crop_are_places_in_its_frame() {
        let format = format(1920, 1080);
        let pixels = pixels(&format);
        let large = bounds([100.0, 100.0, 700.0, 900.0]);
        let cut = Cut::of(&large, &format, &pixels, 512).expect("inside");
        // A margin of a tenth of 600 by 800, and half the size.
        assert_eq!(cut.in_frame([0.0, 0.0]), [40.0, 20.0]);
        assert_eq!(cut.in_frame([100.0, 7.5]), [240.0, 35.0]);
        let small = bounds([100.0, 100.0, 140.0, 200.0]);
        let cut = Cut::of(&small, &format, &pixels, 512).expect("inside");
        assert_eq!(cut.in_frame([4.0, 10.0]), [100.0, 100.0]);
    }

    proptest! {
        #[test]
        fn any_box_gives_a_bounded_picture_or_none(
            corners in prop::array::uniform4(-3000.0_f32..5000.0),
            (width, height) in (1_u32..700, 1_u32..500),
        ) {
            let format = format(width, height);
            let pixels = vec![9; format.layout.bytes];
            if let Some(still) = Still::crop(&format, &pixels, &bounds(corners), Hidden::NOTHING) {
                let size = still.layout.size;
                prop_assert!(size.width.max(size.height) as usize <= CROP_SIDE_MAX);
                prop_assert_eq!((size.width % 2, size.height % 2), (0, 0));
            }
            prop_assert_eq!(Still::crop(&format, &[], &bounds(corners), Hidden::NOTHING), None);
        }
    }
}
