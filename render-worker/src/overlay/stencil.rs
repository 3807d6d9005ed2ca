//! Shapes that stand still (zones, lines) are rasterised once and laid over each frame.
//!
//! Rasterising them as one shape also keeps their joints even: translucent
//! strokes drawn one by one would be darker wherever two of them meet.

use super::canvas::{Area, Canvas};
use super::colour::Yuv;
use super::shape::Stroke;

/// The covered pixels of a shape, a chroma sample's four at a time.
#[derive(Debug, Clone, Default)]
pub struct Stencil {
    cells: Vec<Cell>,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    column: i32,
    row: i32,
    coverage: [u8; 4],
}

impl Stencil {
    /// Rasterises strokes as one shape of a picture that fills `bound`; `opacity` is that of its inside.
    #[must_use]
    pub fn new(bound: &Area, strokes: &[Stroke], opacity: u8) -> Self {
        let width = bound.width().unsigned_abs() as usize;
        let height = bound.height().unsigned_abs() as usize;
        let mut mask = vec![0_u8; width * height];
        for stroke in strokes {
            stroke.strips(bound, |strip| {
                for row in strip.top..strip.bottom {
                    for column in strip.left..strip.right {
                        let at =
                            row.unsigned_abs() as usize * width + column.unsigned_abs() as usize;
                        mask[at] = mask[at].max(stroke.coverage(column, row));
                    }
                }
            });
        }
        let covered = |column: i32, row: i32| {
            let (x, y) = (column.unsigned_abs() as usize, row.unsigned_abs() as usize);
            if x < width && y < height {
                let alpha = u32::from(mask[y * width + x]) * u32::from(opacity) / 255;
                u8::try_from(alpha).unwrap_or(u8::MAX)
            } else {
                0
            }
        };
        let mut cells = Vec::new();
        for row in 0..(bound.bottom + 1) / 2 {
            for column in 0..(bound.right + 1) / 2 {
                let (x, y) = (column * 2, row * 2);
                let coverage = [
                    covered(x, y),
                    covered(x + 1, y),
                    covered(x, y + 1),
                    covered(x + 1, y + 1),
                ];
                if coverage != [0; 4] {
                    cells.push(Cell {
                        column,
                        row,
                        coverage,
                    });
                }
            }
        }
        cells.shrink_to_fit();
        Self { cells }
    }

    /// Lays it over the picture.
    pub fn draw(&self, canvas: &mut Canvas<'_>, colour: Yuv) {
        for cell in &self.cells {
            canvas.blend_cell((cell.column, cell.row), colour, cell.coverage);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::geometry::{I420Layout, PixelSize};

    const RED: Yuv = Yuv {
        y: 81,
        u: 90,
        v: 240,
    };

    #[test]
    fn an_opaque_stencil_equals_its_strokes_and_a_translucent_one_is_even() {
        let layout = I420Layout::of(PixelSize {
            width: 61,
            height: 45,
        });
        let strokes = [
            Stroke::new([5.0, 5.0], [50.0, 9.0], 3.0).expect("finite"),
            Stroke::new([50.0, 9.0], [30.0, 40.0], 3.0).expect("finite"),
        ];
        let picture = |opacity| {
            let mut bytes = vec![235; layout.bytes];
            let mut canvas = Canvas::new(&layout, &mut bytes).expect("whole");
            let stencil = Stencil::new(&canvas.area(), &strokes, opacity);
            stencil.draw(&mut canvas, RED);
            bytes
        };
        let opaque = picture(255);
        assert_eq!(opaque.iter().min(), Some(&RED.y));
        let half = picture(128);
        // No pixel is darker than one layer of the colour makes it.
        assert!(half[..layout.offsets[1]].iter().all(|luma| *luma >= 157));
        assert!(picture(0).iter().all(|byte| *byte == 235));
    }
}
