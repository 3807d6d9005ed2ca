//! Where a picture lies inside a model's input, and the way back.

use contract::detection::Landmarks;
use contract::geometry::{BoundingBox, PixelSize};

/// A picture scaled into an input with its aspect ratio kept, centred, the rest padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letterbox {
    /// The picture's own size.
    pub picture: PixelSize,
    /// Its width inside the input, in pixels of the input.
    pub width: usize,
    /// Its height inside the input.
    pub height: usize,
    /// Columns of padding at its left.
    pub left: usize,
    /// Rows of padding above it.
    pub top: usize,
}

impl Letterbox {
    /// Places a picture into an input of `input` pixels.
    ///
    /// Halves are rounded up, as in the reference (`tools/reference/nanodet_reference.py`).
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sides are at most SIDE_MAX and a scaled side is at most the input's"
    )]
    pub fn new(picture: PixelSize, input: PixelSize) -> Self {
        let ratio = |of: u32, picture: u32| f64::from(of) / f64::from(picture);
        let ratio = f64::min(
            ratio(input.width, picture.width),
            ratio(input.height, picture.height),
        );
        let scaled = |length: u32, most: u32| {
            let length = (f64::from(length) * ratio + 0.5).floor() as usize;
            length.clamp(1, most as usize)
        };
        let width = scaled(picture.width, input.width);
        let height = scaled(picture.height, input.height);
        Self {
            picture,
            width,
            height,
            left: (input.width as usize - width) / 2,
            top: (input.height as usize - height) / 2,
        }
    }

    /// Takes a point from pixels of the input to pixels of the picture.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "sides are at most SIDE_MAX, far below 2^24"
    )]
    pub fn point_to_picture(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let horizontal = self.picture.width as f32 / self.width as f32;
        let vertical = self.picture.height as f32 / self.height as f32;
        let (left, top) = (self.left as f32, self.top as f32);
        [(x - left) * horizontal, (y - top) * vertical]
    }

    /// Takes a box from pixels of the input to pixels of the picture; it is not clipped.
    #[must_use]
    pub fn to_picture(&self, bounds: &BoundingBox) -> BoundingBox {
        let [x1, y1] = self.point_to_picture([bounds.x1, bounds.y1]);
        let [x2, y2] = self.point_to_picture([bounds.x2, bounds.y2]);
        BoundingBox { x1, y1, x2, y2 }
    }

    /// Takes landmarks from pixels of the input to pixels of the picture.
    #[must_use]
    pub fn landmarks_to_picture(&self, landmarks: Landmarks) -> Landmarks {
        landmarks.map(|point| self.point_to_picture(point))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(width: u32, height: u32) -> Letterbox {
        let input = PixelSize {
            width: 416,
            height: 416,
        };
        Letterbox::new(PixelSize { width, height }, input)
    }

    #[test]
    fn the_longer_side_fills_a_square_input() {
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
    fn the_tighter_side_fills_a_wide_input() {
        let input = PixelSize {
            width: 640,
            height: 352,
        };
        let place = |width, height| Letterbox::new(PixelSize { width, height }, input);
        let hd = place(1920, 1080);
        assert_eq!((hd.width, hd.height, hd.left, hd.top), (626, 352, 7, 0));
        let cinema = place(2048, 858);
        assert_eq!((cinema.width, cinema.height), (640, 268));
        assert_eq!((cinema.left, cinema.top), (0, 42));
        let [x, y] = cinema.point_to_picture([320.0, 42.0 + 134.0]);
        assert!((x - 1024.0).abs() < 1e-3 && (y - 429.0).abs() < 1e-3);
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
