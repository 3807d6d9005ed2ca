//! Maps of a whole picture: depth in the colours of a heat map, classes as tints.

use contract::findings::{CellValues, NO_CLASS, PictureMap};
use contract::spec::NearValues;
use frame_bus::ColourMatrix;

use super::canvas::{Area, Canvas};
use super::colour::{Rgb, Yuv};

/// Opacity of a tint: what is below stays to be seen.
const TINT_OPACITY: u8 = 110;

/// The colours of depth, from far to near: `INFERNO` of matplotlib (van der Walt, Smith,
/// Firing), in which equal steps look equal, also in grey and to the colour-blind.
#[derive(Debug)]
struct DepthColours([Yuv; 256]);

/// Draws maps onto the pictures of one stream. What depends on sizes only is kept.
#[derive(Debug)]
pub(super) struct MapPainter {
    colours: DepthColours,
    columns: Taps,
    rows: Taps,
}

impl MapPainter {
    /// For pictures of this matrix.
    pub(super) fn new(matrix: ColourMatrix, near: NearValues) -> Self {
        let colour = |index: usize| {
            let nearness = match near {
                NearValues::Large => index,
                NearValues::Small => 255 - index,
            };
            let colorous::Color { r, g, b } = colorous::INFERNO.eval_rational(nearness, 256);
            Rgb(r, g, b).to_yuv(matrix)
        };
        Self {
            colours: DepthColours(std::array::from_fn(colour)),
            columns: Taps::default(),
            rows: Taps::default(),
        }
    }

    /// Covers `area` with a map of depth, bilinear between the middles of its cells. A map of
    /// classes is not drawn.
    pub(super) fn draw_depth(&mut self, canvas: &mut Canvas<'_>, area: Area, map: &PictureMap) {
        if map.values() == CellValues::Classes {
            return;
        }
        self.columns.fit(area.width(), map.columns());
        self.rows.fit(area.height(), map.rows());
        let (columns, rows) = (&self.columns.taps, &self.rows.taps);
        canvas.paint(area, |column, row| {
            let (across, down) = (columns[column], rows[row]);
            let line = |row: usize| {
                let cells = &map.cells()[row * map.columns()..];
                let (first, second) = (cells[across.first], cells[across.second]);
                u32::from(first) * (256 - across.weight) + u32::from(second) * across.weight
            };
            let depth = line(down.first) * (256 - down.weight) + line(down.second) * down.weight;
            // Two weights of 256 make 2^16 of each of the 2^16 steps of a cell.
            self.colours.0[(depth >> 24) as usize]
        });
    }

    /// Tints every place of the picture that has a class; `colour` gives a class its colour, or
    /// none. A map of depth is not drawn.
    pub(super) fn draw_classes(
        &mut self,
        canvas: &mut Canvas<'_>,
        map: &PictureMap,
        colour: impl Fn(u16) -> Option<Yuv>,
    ) {
        if map.values() != CellValues::Classes {
            return;
        }
        let area = canvas.area();
        self.columns.fit(area.width(), map.columns());
        self.rows.fit(area.height(), map.rows());
        let (columns, rows) = (&self.columns.taps, &self.rows.taps);
        canvas.tint(area, TINT_OPACITY, |column, row| {
            let class =
                map.cells()[rows[row].nearest() * map.columns() + columns[column].nearest()];
            (class != NO_CLASS).then(|| colour(class)).flatten()
        });
    }
}

/// For one row or column of pixels: two cells, and the weight of the second in 256ths.
#[derive(Debug, Clone, Copy)]
struct Tap {
    first: usize,
    second: usize,
    weight: u32,
}

impl Tap {
    fn nearest(self) -> usize {
        if self.weight < 128 {
            self.first
        } else {
            self.second
        }
    }
}

/// The taps of all rows or columns of an area.
#[derive(Debug, Default)]
struct Taps {
    pixels: i32,
    cells: usize,
    taps: Vec<Tap>,
}

impl Taps {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sides are at most SIDE_MAX, and positions are not negative"
    )]
    fn fit(&mut self, pixels: i32, cells: usize) {
        if (self.pixels, self.cells) == (pixels, cells) {
            return;
        }
        let scale = cells as f32 / pixels.max(1) as f32;
        let tap = |pixel: i32| {
            let at = ((pixel as f32 + 0.5) * scale - 0.5).clamp(0.0, (cells - 1) as f32);
            let first = at as usize;
            Tap {
                first,
                second: (first + 1).min(cells - 1),
                weight: ((at - first as f32) * 256.0) as u32,
            }
        };
        self.taps.clear();
        self.taps.extend((0..pixels).map(tap));
        (self.pixels, self.cells) = (pixels, cells);
    }
}
