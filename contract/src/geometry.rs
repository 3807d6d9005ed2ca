//! Sizes, boxes and points.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Widest and highest picture, in pixels, that any part of Sluice accepts.
pub const SIDE_MAX: u32 = 8192;

/// Width and height in pixels, written `768x576`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PixelSize {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
}

impl PixelSize {
    /// The largest even size of this aspect ratio inside `bound`, never larger than `self`.
    #[must_use]
    pub fn fit_inside(self, bound: Self) -> Self {
        let ratio = f64::min(
            1.0,
            f64::min(
                f64::from(bound.width) / f64::from(self.width.max(1)),
                f64::from(bound.height) / f64::from(self.height.max(1)),
            ),
        );
        let even = |side: u32, most: u32| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "sides are at most SIDE_MAX"
            )]
            let scaled = (f64::from(side) * ratio / 2.0).round() as u32 * 2;
            scaled.clamp(2, (most & !1).max(2))
        };
        Self {
            width: even(self.width, bound.width),
            height: even(self.height, bound.height),
        }
    }
}

/// How an I420 picture lies in one block of bytes: Y, U, V, rows padded to four bytes.
///
/// It is the default layout of `GStreamer`'s `GstVideoInfo`, so that a block can be
/// handed to an encoder as it is. Chroma planes of odd sizes are rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct I420Layout {
    /// The picture's size.
    pub size: PixelSize,
    /// Bytes from one row to the next, of Y, U and V.
    pub strides: [usize; 3],
    /// Byte at which each plane begins.
    pub offsets: [usize; 3],
    /// Rows of each plane.
    pub rows: [usize; 3],
    /// Bytes of the whole block.
    pub bytes: usize,
}

impl I420Layout {
    /// The layout of a picture of `size`.
    #[must_use]
    pub fn of(size: PixelSize) -> Self {
        let (width, height) = (size.width as usize, size.height as usize);
        let strides = [
            width.next_multiple_of(4),
            width.div_ceil(2).next_multiple_of(4),
            width.div_ceil(2).next_multiple_of(4),
        ];
        let luma_bytes = strides[0] * height.next_multiple_of(2);
        let chroma_rows = height.div_ceil(2);
        let chroma_bytes = strides[1] * chroma_rows;
        Self {
            size,
            strides,
            offsets: [0, luma_bytes, luma_bytes + chroma_bytes],
            rows: [height, chroma_rows, chroma_rows],
            bytes: luma_bytes + 2 * chroma_bytes,
        }
    }
}

impl fmt::Display for PixelSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}x{}", self.width, self.height)
    }
}

impl FromStr for PixelSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a size: write width x height in pixels, like 768x576, each from 16 to {SIDE_MAX}"
            )
        };
        let (width, height) = text.split_once('x').ok_or_else(wrong)?;
        let side = |part: &str| {
            part.parse::<u32>()
                .ok()
                .filter(|side| (16..=SIDE_MAX).contains(side))
        };
        match (side(width), side(height)) {
            (Some(width), Some(height)) => Ok(Self { width, height }),
            _ => Err(wrong()),
        }
    }
}

/// An axis-aligned box in pixels of the frame; `x1 <= x2`, `y1 <= y2`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct BoundingBox {
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge.
    pub x2: f32,
    /// Bottom edge.
    pub y2: f32,
}

impl BoundingBox {
    /// Right edge minus left edge.
    #[must_use]
    pub fn width(&self) -> f32 {
        self.x2 - self.x1
    }

    /// Bottom edge minus top edge.
    #[must_use]
    pub fn height(&self) -> f32 {
        self.y2 - self.y1
    }

    /// Square pixels; 0 for an inverted box.
    #[must_use]
    pub fn area(&self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// The middle of the bottom edge: where a standing object touches the ground.
    #[must_use]
    pub fn bottom_center(&self) -> (f32, f32) {
        (f32::midpoint(self.x1, self.x2), self.y2)
    }

    /// Intersection over union, 0 to 1 (Jaccard index of the two areas).
    #[must_use]
    pub fn iou(&self, other: &Self) -> f32 {
        let width = self.x2.min(other.x2) - self.x1.max(other.x1);
        let height = self.y2.min(other.y2) - self.y1.max(other.y1);
        if width <= 0.0 || height <= 0.0 {
            return 0.0;
        }
        let intersection = width * height;
        let union = self.area() + other.area() - intersection;
        if union > 0.0 {
            intersection / union
        } else {
            0.0
        }
    }

    /// The part of this box inside a picture of `size`.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "sides are at most SIDE_MAX")]
    pub fn clipped(&self, size: PixelSize) -> Self {
        let (width, height) = (size.width as f32, size.height as f32);
        Self {
            x1: self.x1.clamp(0.0, width),
            y1: self.y1.clamp(0.0, height),
            x2: self.x2.clamp(0.0, width),
            y2: self.y2.clamp(0.0, height),
        }
    }

    /// All four edges are finite and in order.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        [self.x1, self.y1, self.x2, self.y2]
            .iter()
            .all(|edge| edge.is_finite())
            && self.x1 <= self.x2
            && self.y1 <= self.y2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_and_fit() {
        let size: PixelSize = "768x576".parse().expect("a size");
        assert_eq!(I420Layout::of(size).bytes, 768 * 576 * 3 / 2);
        let odd = I420Layout::of(PixelSize {
            width: 33,
            height: 17,
        });
        assert_eq!(odd.strides, [36, 20, 20]);
        assert_eq!(odd.offsets, [0, 36 * 18, 36 * 18 + 20 * 9]);
        for bad in ["768", "0x10", "axb", "9000x20", "20x"] {
            assert!(bad.parse::<PixelSize>().is_err(), "{bad}");
        }
        let bound = PixelSize {
            width: 1280,
            height: 720,
        };
        let fit = |width, height| PixelSize { width, height }.fit_inside(bound);
        assert_eq!(fit(1920, 1080), bound);
        assert_eq!(
            fit(640, 272),
            PixelSize {
                width: 640,
                height: 272
            }
        );
        assert_eq!(
            fit(1080, 1920),
            PixelSize {
                width: 406,
                height: 720
            }
        );
        assert_eq!(
            fit(641, 271),
            PixelSize {
                width: 642,
                height: 272
            }
        );
    }

    #[test]
    fn iou_of_known_boxes() {
        let unit = BoundingBox {
            x1: 0.0,
            y1: 0.0,
            x2: 2.0,
            y2: 2.0,
        };
        let shifted = BoundingBox {
            x1: 1.0,
            y1: 0.0,
            x2: 3.0,
            y2: 2.0,
        };
        assert!((unit.iou(&shifted) - 1.0 / 3.0).abs() < 1e-6);
        assert!(
            unit.iou(&BoundingBox {
                x1: 5.0,
                y1: 5.0,
                x2: 6.0,
                y2: 6.0
            }) < f32::EPSILON
        );
        assert!(BoundingBox::default().iou(&BoundingBox::default()).abs() < f32::EPSILON);
    }
}
