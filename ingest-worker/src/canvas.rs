//! The picture of a mosaic: tiles in their places, and what a tile without a picture looks like.
//!
//! An empty tile is dark grey with a cross from corner to corner, on black: nothing that a camera
//! sees looks like it, nor does a camera in the dark.

use contract::geometry::{I420Layout, PixelSize};
use contract::mosaic::Grid;

/// Luma of what is nobody's, of an empty tile, and of its cross. Chroma is neutral.
const BLACK: u8 = 16;
const EMPTY: u8 = 44;
const CROSS: u8 = 110;
const NEUTRAL: u8 = 128;
/// The cross is as wide as one part in so many of the tile's height.
const CROSS_PART: i64 = 40;

/// An I420 picture that tiles are copied into.
#[derive(Debug)]
pub(crate) struct Canvas {
    layout: I420Layout,
    grid: Grid,
    bytes: Vec<u8>,
}

/// A rectangle of one plane, in its samples.
#[derive(Debug, Clone, Copy)]
struct Window {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Canvas {
    /// A black picture.
    pub(crate) fn new(size: PixelSize, grid: Grid) -> Self {
        let layout = I420Layout::of(size);
        let mut bytes = vec![NEUTRAL; layout.bytes];
        bytes[..layout.offsets[1]].fill(BLACK);
        Self {
            layout,
            grid,
            bytes,
        }
    }

    /// The picture.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A picture of this layout fits into a tile.
    pub(crate) fn holds(&self, layout: &I420Layout) -> bool {
        let (tile, size) = (self.grid.tile(), layout.size);
        size.width <= tile.width && size.height <= tile.height
    }

    /// Puts a picture that [`Canvas::holds`] has said yes to into the middle of its tile, on black.
    pub(crate) fn place(&mut self, index: usize, layout: &I420Layout, payload: &[u8]) {
        let (tile, size) = (self.grid.tile(), layout.size);
        if size != tile {
            self.fill(index, BLACK);
        }
        // Even, so that chroma lies where luma does.
        let inset = [
            ((tile.width - size.width) / 2) & !1,
            ((tile.height - size.height) / 2) & !1,
        ];
        for plane in 0..3 {
            let to = self.window(index, inset, size, plane);
            let from = payload[layout.offsets[plane]..].chunks(layout.strides[plane]);
            for (row, from) in from.take(to.height).enumerate() {
                self.row(plane, to, row).copy_from_slice(&from[..to.width]);
            }
        }
    }

    /// Shows that there is no picture.
    pub(crate) fn empty(&mut self, index: usize) {
        self.fill(index, EMPTY);
        let tile = self.grid.tile();
        let window = self.window(index, [0, 0], tile, 0);
        let (width, height) = (i64::from(tile.width), i64::from(tile.height));
        let half = (height / CROSS_PART).max(1) * width.max(height) / 2;
        for (y, row) in (0_i64..).zip(0..window.height) {
            let samples = self.row(0, window, row);
            for (x, sample) in (0_i64..).zip(samples.iter_mut()) {
                // The distances from both diagonals, times the length of a side.
                let falling = (x * height - y * width).abs();
                let rising = ((width - 1 - x) * height - y * width).abs();
                if falling.min(rising) <= half {
                    *sample = CROSS;
                }
            }
        }
    }

    fn fill(&mut self, index: usize, luma: u8) {
        for plane in 0..3 {
            let window = self.window(index, [0, 0], self.grid.tile(), plane);
            let value = if plane == 0 { luma } else { NEUTRAL };
            for row in 0..window.height {
                self.row(plane, window, row).fill(value);
            }
        }
    }

    /// Where a picture of `size`, `inset` into a tile, lies in a plane.
    fn window(&self, index: usize, inset: [u32; 2], size: PixelSize, plane: usize) -> Window {
        let place = self.grid.place(index);
        let part = if plane == 0 { 1 } else { 2 };
        Window {
            left: (place.left + inset[0]) as usize / part,
            top: (place.top + inset[1]) as usize / part,
            width: (size.width as usize).div_ceil(part),
            height: (size.height as usize).div_ceil(part),
        }
    }

    fn row(&mut self, plane: usize, window: Window, row: usize) -> &mut [u8] {
        let stride = self.layout.strides[plane];
        let begin = self.layout.offsets[plane] + (window.top + row) * stride + window.left;
        &mut self.bytes[begin..begin + window.width]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u32, height: u32) -> PixelSize {
        PixelSize { width, height }
    }

    /// Y, U and V of a pixel.
    fn at(canvas: &Canvas, x: usize, y: usize) -> [u8; 3] {
        let layout = &canvas.layout;
        [0, 1, 2].map(|plane| {
            let part = if plane == 0 { 1 } else { 2 };
            canvas.bytes[layout.offsets[plane] + y / part * layout.strides[plane] + x / part]
        })
    }

    fn flat(size: PixelSize, colour: [u8; 3]) -> (I420Layout, Vec<u8>) {
        let layout = I420Layout::of(size);
        let mut bytes = vec![0; layout.bytes];
        for plane in 0..3 {
            let end = layout
                .offsets
                .get(plane + 1)
                .copied()
                .unwrap_or(layout.bytes);
            bytes[layout.offsets[plane]..end].fill(colour[plane]);
        }
        (layout, bytes)
    }

    #[test]
    fn tiles_lie_in_their_places_with_bars_where_their_shape_differs() {
        let whole = size(204, 104);
        let grid = Grid::of(whole, 2, 4).expect("room");
        assert_eq!(grid.tile(), size(100, 50));
        let mut canvas = Canvas::new(whole, grid);
        let (layout, bytes) = flat(size(100, 50), [80, 90, 240]);
        assert!(canvas.holds(&layout));
        canvas.place(0, &layout, &bytes);
        let (layout, bytes) = flat(size(60, 50), [150, 40, 30]);
        canvas.place(3, &layout, &bytes);
        for (x, y, wanted) in [
            (0, 0, [80, 90, 240]),
            (99, 49, [80, 90, 240]),
            (101, 20, [BLACK, NEUTRAL, NEUTRAL]),
            (123, 80, [BLACK, NEUTRAL, NEUTRAL]),
            (124, 54, [150, 40, 30]),
            (183, 103, [150, 40, 30]),
            (184, 80, [BLACK, NEUTRAL, NEUTRAL]),
        ] {
            assert_eq!(at(&canvas, x, y), wanted, "{x},{y}");
        }
        assert!(!canvas.holds(&I420Layout::of(size(102, 50))));
    }

    #[test]
    fn an_empty_tile_is_a_cross_and_touches_no_other() {
        let whole = size(644, 184);
        let grid = Grid::of(whole, 2, 2).expect("room");
        let mut canvas = Canvas::new(whole, grid);
        let (layout, bytes) = flat(grid.tile(), [200, 60, 70]);
        canvas.place(0, &layout, &bytes);
        let before = canvas.bytes.clone();
        canvas.empty(1);
        let place = grid.place(1);
        let (left, width) = (place.left as usize, grid.tile().width as usize);
        let (top, height) = (place.top as usize, grid.tile().height as usize);
        for (x, y, luma) in [
            (left, top, CROSS),
            (left + width - 1, top, CROSS),
            (left + width / 2, top + height / 2, CROSS),
            (left + width / 2, top + 3, EMPTY),
            (left + 3, top + height / 2, EMPTY),
        ] {
            assert_eq!(at(&canvas, x, y), [luma, NEUTRAL, NEUTRAL], "{x},{y}");
        }
        for y in 0..184 {
            let row = y * canvas.layout.strides[0];
            assert_eq!(canvas.bytes[row..row + left], before[row..row + left]);
        }
    }
}
