//! Where something moved of late: a glow over the cells that ingest has marked.

use contract::motion::{COLUMNS, Cells, ROWS};

use super::canvas::{Area, Canvas};
use super::colour::{Rgb, Yuv};

/// After so long without motion half of a cell's glow is left.
const HALF_LIFE_NS: f32 = 4e9;
/// Opacity of a cell that moves all the time: what is below stays to be seen.
const OPACITY_MAX: f32 = 130.0;
/// Less opacity is not drawn.
const OPACITY_MIN: f32 = 4.0;
/// A cell glows fully after moving for so long.
const FULL_NS: f32 = 1.5e9;
/// The colour of the glow.
pub(super) const GLOW: Rgb = Rgb(255, 96, 32);

/// The glow of one stream.
#[derive(Debug)]
pub(super) struct Heat {
    /// 0 to 1, by row and column.
    cells: [f32; COLUMNS * ROWS],
    last_pts_ns: Option<u64>,
}

impl Default for Heat {
    fn default() -> Self {
        Self {
            cells: [0.0; COLUMNS * ROWS],
            last_pts_ns: None,
        }
    }
}

impl Heat {
    /// Takes in what moved in a frame.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a difference of frames is short"
    )]
    pub(super) fn observe(&mut self, moved: &Cells, pts_ns: u64) {
        let last_ns = self.last_pts_ns.replace(pts_ns).unwrap_or(pts_ns);
        let passed_ns = pts_ns.saturating_sub(last_ns) as f32;
        let kept = f32::exp2(-passed_ns / HALF_LIFE_NS);
        let gained = (passed_ns / FULL_NS).min(1.0);
        for (index, cell) in self.cells.iter_mut().enumerate() {
            let moves = moved.contains(index % COLUMNS, index / COLUMNS);
            *cell = if moves {
                (*cell + gained).min(1.0)
            } else {
                *cell * kept
            };
        }
    }

    /// Covers the picture with the glow, bilinear between the middles of the cells.
    pub(super) fn draw(&self, canvas: &mut Canvas<'_>, colour: Yuv) {
        let picture = canvas.area();
        let (width, height) = (picture.width(), picture.height());
        let edge = |index: usize, count: usize, length: i32| {
            let part = i64::try_from(index).unwrap_or(0) * i64::from(length);
            i32::try_from(part / i64::try_from(count).unwrap_or(1)).unwrap_or(0)
        };
        for row in 0..ROWS {
            for column in 0..COLUMNS {
                if !self.glows_around(column, row) {
                    continue;
                }
                let area = Area {
                    left: edge(column, COLUMNS, width),
                    top: edge(row, ROWS, height),
                    right: edge(column + 1, COLUMNS, width),
                    bottom: edge(row + 1, ROWS, height),
                };
                canvas.blend(area, colour, |x, y| self.opacity(x, y, width, height));
            }
        }
    }

    /// This cell or one beside it glows.
    fn glows_around(&self, column: usize, row: usize) -> bool {
        let rows = row.saturating_sub(1)..=(row + 1).min(ROWS - 1);
        rows.into_iter().any(|row| {
            let mut columns = column.saturating_sub(1)..=(column + 1).min(COLUMNS - 1);
            columns.any(|column| self.at(column, row) * OPACITY_MAX >= OPACITY_MIN)
        })
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sides are at most SIDE_MAX, and opacity is at most OPACITY_MAX"
    )]
    fn opacity(&self, x: i32, y: i32, width: i32, height: i32) -> u8 {
        let tap = |pixel: i32, length: i32, count: usize| {
            let at = (pixel as f32 + 0.5) * count as f32 / length as f32 - 0.5;
            let at = at.clamp(0.0, (count - 1) as f32);
            let first = at as usize;
            (first, (first + 1).min(count - 1), at - first as f32)
        };
        let (left, right, across) = tap(x, width, COLUMNS);
        let (upper, lower, down) = tap(y, height, ROWS);
        let line = |row| self.at(left, row) * (1.0 - across) + self.at(right, row) * across;
        let heat = line(upper) * (1.0 - down) + line(lower) * down;
        (heat * OPACITY_MAX) as u8
    }

    fn at(&self, column: usize, row: usize) -> f32 {
        self.cells[row * COLUMNS + column]
    }
}

#[cfg(test)]
mod tests {
    use contract::geometry::{I420Layout, PixelSize};
    use frame_bus::ColourMatrix;

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn moved() -> Cells {
        let mut cells = Cells::default();
        cells.insert(10, 9);
        cells
    }

    #[test]
    fn what_moves_glows_and_cools() {
        let mut heat = Heat::default();
        for frame in 0..=75_u64 {
            heat.observe(&moved(), frame * SECOND_NS / 25);
        }
        assert!((heat.at(10, 9) - 1.0).abs() < 1e-6);
        assert!(heat.at(11, 9).abs() < 1e-6);
        heat.observe(&Cells::default(), 7 * SECOND_NS);
        assert!((heat.at(10, 9) - 0.5).abs() < 1e-3, "{}", heat.at(10, 9));
        // A clock that stands still or jumps back changes nothing.
        heat.observe(&Cells::default(), 2 * SECOND_NS);
        assert!((heat.at(10, 9) - 0.5).abs() < 1e-3);
    }

    #[test]
    fn the_glow_is_where_the_cell_is() {
        let layout = I420Layout::of(PixelSize {
            width: 320,
            height: 180,
        });
        let mut heat = Heat::default();
        for frame in 0..=75_u64 {
            heat.observe(&moved(), frame * SECOND_NS / 25);
        }
        let mut bytes = vec![128; layout.bytes];
        let colour = GLOW.to_yuv(ColourMatrix::Bt709);
        heat.draw(
            &mut Canvas::new(&layout, &mut bytes).expect("whole"),
            colour,
        );
        let red = |x: usize, y: usize| bytes[layout.offsets[2] + y / 2 * layout.strides[2] + x / 2];
        assert!(red(105, 95) > 160, "{}", red(105, 95));
        assert_eq!(red(135, 95), 128);
        assert_eq!(red(105, 125), 128);
    }
}
