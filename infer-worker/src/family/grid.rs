//! From a grid laid over a model's input to one laid over the picture inside of it.

use contract::findings::CELLS_MAX;
use contract::geometry::PixelSize;

use crate::letterbox::Letterbox;

/// Where the cells of the picture's grid lie in the model's.
///
/// The picture's grid is as fine as the model's, or as [`CELLS_MAX`] allows, and has nothing
/// of the padding.
#[derive(Debug)]
pub(super) struct Window {
    /// Of the model's grid.
    columns: usize,
    rows: usize,
    /// Of the picture's grid.
    across: Axis,
    down: Axis,
}

#[derive(Debug)]
struct Axis {
    /// Where the picture begins, in cells of the model's grid.
    from: f32,
    /// Cells of the model's grid a cell of the picture's.
    step: f32,
    cells: usize,
}

impl Window {
    /// For a grid of `columns` and `rows` over an input of `input` pixels.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sides are at most SIDE_MAX"
    )]
    pub(super) fn new(
        columns: usize,
        rows: usize,
        input: PixelSize,
        letterbox: &Letterbox,
    ) -> Self {
        let scaled = |cells: usize, side: u32| cells as f32 / side as f32;
        let (horizontal, vertical) = (scaled(columns, input.width), scaled(rows, input.height));
        let width = letterbox.width as f32 * horizontal;
        let height = letterbox.height as f32 * vertical;
        let coarser = (width * height / CELLS_MAX as f32).sqrt().max(1.0);
        let axis = |from: usize, scale: f32, length: f32| {
            // Rounded down, so that both together never exceed CELLS_MAX.
            let cells = ((length / coarser) as usize).max(1);
            Axis {
                from: from as f32 * scale,
                step: length / cells as f32,
                cells,
            }
        };
        Self {
            columns,
            rows,
            across: axis(letterbox.left, horizontal, width),
            down: axis(letterbox.top, vertical, height),
        }
    }

    /// Cells across of the picture's grid.
    pub(super) fn columns(&self) -> usize {
        self.across.cells
    }

    /// The index of the nearest cell of the model's grid, for each cell of the picture's.
    pub(super) fn nearest(&self) -> impl Iterator<Item = usize> {
        let Self { columns, rows, .. } = *self;
        (0..self.down.cells).flat_map(move |row| {
            let row = self.down.cell(row, rows);
            (0..self.across.cells)
                .map(move |column| row * columns + self.across.cell(column, columns))
        })
    }

    /// The bilinear value of `values`, the model's grid, for each cell of the picture's.
    pub(super) fn blended(&self, values: &[f32]) -> impl Iterator<Item = f32> {
        let Self { columns, rows, .. } = *self;
        (0..self.down.cells).flat_map(move |row| {
            let (above, below, down) = self.down.pair(row, rows);
            (0..self.across.cells).map(move |column| {
                let (left, right, across) = self.across.pair(column, columns);
                let row = |row: usize| {
                    let (left, right) =
                        (values[row * columns + left], values[row * columns + right]);
                    left + (right - left) * across
                };
                let (above, below) = (row(above), row(below));
                above + (below - above) * down
            })
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sides are at most SIDE_MAX, and positions are not negative"
)]
impl Axis {
    /// The middle of a cell, in cells of the model's grid.
    fn middle(&self, cell: usize) -> f32 {
        self.from + (cell as f32 + 0.5) * self.step
    }

    fn cell(&self, cell: usize, most: usize) -> usize {
        (self.middle(cell) as usize).min(most - 1)
    }

    /// The two cells whose middles lie around it, and the weight of the second.
    fn pair(&self, cell: usize, most: usize) -> (usize, usize, f32) {
        let at = (self.middle(cell) - 0.5).clamp(0.0, (most - 1) as f32);
        let first = at as usize;
        (first, (first + 1).min(most - 1), at - first as f32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(width: u32, height: u32) -> PixelSize {
        PixelSize { width, height }
    }

    #[test]
    fn padding_is_left_out() {
        // 64 x 32 pixels in a square of 64: rows 16 to 48 are the picture, of 8 the rows 2 to 5.
        let letterbox = Letterbox::new(size(64, 32), size(64, 64));
        let window = Window::new(8, 8, size(64, 64), &letterbox);
        let nearest: Vec<_> = window.nearest().collect();
        assert_eq!(window.columns(), 8);
        assert_eq!(nearest, (16..48).collect::<Vec<_>>());
        let values: Vec<f32> = (0..64_u8).map(f32::from).collect();
        let blended: Vec<_> = window.blended(&values).collect();
        assert_eq!(blended, values[16..48]);
    }

    #[test]
    fn half_a_cell_is_blended_in() {
        // The picture's 4 rows lie in rows 2 to 6 of 8 pixels, which are half of each of the
        // outer cells and the whole of none: 4 cells of 2 pixels.
        let letterbox = Letterbox::new(size(16, 8), size(8, 8));
        let window = Window::new(1, 4, size(8, 8), &letterbox);
        let blended: Vec<_> = window.blended(&[0.0, 10.0, 20.0, 30.0]).collect();
        assert_eq!(blended, [10.0, 20.0]);
    }

    proptest! {
        #[test]
        fn every_cell_is_inside_and_there_are_never_too_many(
            picture in (16_u32..4000, 16_u32..4000),
            input in (16_u32..1500, 16_u32..1500),
            grid in (1_usize..700, 1_usize..700),
        ) {
            let (columns, rows) = grid;
            let input = size(input.0, input.1);
            let letterbox = Letterbox::new(size(picture.0, picture.1), input);
            let window = Window::new(columns, rows, input, &letterbox);
            let cells: Vec<_> = window.nearest().collect();
            prop_assert!(!cells.is_empty() && cells.len() <= CELLS_MAX);
            prop_assert!(cells.len().is_multiple_of(window.columns()));
            prop_assert!(cells.iter().all(|cell| *cell < columns * rows));
            let values = vec![3.0; columns * rows];
            let even = window.blended(&values).all(|value| (value - 3.0).abs() < 1e-5);
            prop_assert!(even);
        }
    }
}
