//! Where a picture lies inside a square model input, and the way back.

use contract::geometry::{BoundingBox, PixelSize};

/// A picture scaled into a square with its aspect ratio kept, centred, the rest padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letterbox {
    /// The picture's own size.
    pub picture: PixelSize,
    /// Its width inside the square, in pixels of the square.
    pub width: usize,
    /// Its height inside the square.
    pub height: usize,
    /// Columns of padding at its left.
    pub left: usize,
    /// Rows of padding above it.
    pub top: usize,
}

impl Letterbox {
    /// Places a picture into a square of `side` pixels.
    ///
    /// Halves are rounded up, as in the reference (`tools/reference/nanodet_reference.py`).
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "sides are at most SIDE_MAX and a scaled side is at most `side`"
    )]
    pub fn new(picture: PixelSize, side: usize) -> Self {
        let (picture_width, picture_height) = (f64::from(picture.width), f64::from(picture.height));
        let ratio = f64::min(side as f64 / picture_width, side as f64 / picture_height);
        let scaled = |length: f64| ((length * ratio + 0.5).floor() as usize).clamp(1, side);
        let (width, height) = (scaled(picture_width), scaled(picture_height));
        Self {
            picture,
            width,
            height,
            left: (side - width) / 2,
            top: (side - height) / 2,
        }
    }

    /// Takes a box from pixels of the square to pixels of the picture; it is not clipped.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "sides are at most SIDE_MAX, far below 2^24"
    )]
    pub fn to_picture(&self, bounds: &BoundingBox) -> BoundingBox {
        let horizontal = self.picture.width as f32 / self.width as f32;
        let vertical = self.picture.height as f32 / self.height as f32;
        let (left, top) = (self.left as f32, self.top as f32);
        BoundingBox {
            x1: (bounds.x1 - left) * horizontal,
            y1: (bounds.y1 - top) * vertical,
            x2: (bounds.x2 - left) * horizontal,
            y2: (bounds.y2 - top) * vertical,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(width: u32, height: u32) -> Letterbox {
        Letterbox::new(PixelSize { width, height }, 416)
    }

    #[test]
    fn the_longer_side_fills_the_square() {
        let wide = place(768, 576);
        assert_eq!((wide.width, wide.height), (416, 312));
        assert_eq!((wide.left, wide.top), (0, 52));
        let high = place(272, 640);
        assert_eq!((high.width, high.height), (177, 416));
        assert_eq!((high.left, high.top), (119, 0));
        let small = place(16, 16);
        assert_eq!((small.width, small.height), (416, 416));
        let ribbon = place(8192, 2);
        assert_eq!((ribbon.width, ribbon.height), (416, 1));
    }

    #[test]
    fn halves_are_rounded_up() {
        assert_eq!(place(832, 601).height, 301);
        assert_eq!(place(832, 603).height, 302);
    }

    #[test]
    fn the_corners_of_the_content_are_the_corners_of_the_picture() {
        let letterbox = place(640, 272);
        let content = BoundingBox {
            x1: 0.0,
            y1: letterbox.top as f32,
            x2: 416.0,
            y2: (letterbox.top + letterbox.height) as f32,
        };
        let picture = letterbox.to_picture(&content);
        let whole = BoundingBox {
            x1: 0.0,
            y1: 0.0,
            x2: 640.0,
            y2: 272.0,
        };
        for (got, want) in [
            (picture.x1, whole.x1),
            (picture.y1, whole.y1),
            (picture.x2, whole.x2),
            (picture.y2, whole.y2),
        ] {
            assert!((got - want).abs() < 1e-3, "{picture:?}");
        }
    }
}
