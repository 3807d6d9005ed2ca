//! Hides a part of a picture, so that nobody can be made out in it.
//!
//! The area is cut into blocks, [`BLOCKS`] along its longer side, and of each only
//! the mean colour is kept. Finer blocks of a face can be matched with known
//! pictures of it (McPherson, Shokri and Shmatikov 2016), and a blur of a known
//! kernel can be undone; a few dozen means cannot.

use contract::spec::Hiding;

use super::canvas::{Area, Canvas};
use super::colour::Yuv;

/// Blocks along the longer side of what is hidden.
const BLOCKS: i32 = 8;
/// No block is smaller, in pixels: of something tiny one block is enough.
const BLOCK_MIN: i32 = 8;
/// Blocks on a side at most: one begins at each multiple of the block's side.
const SIDE_MAX: usize = BLOCKS as usize + 1;

/// Hides the pixels of `area` that lie in the picture, rounded outwards to whole chroma
/// samples; `ink` is the colour of [`Hiding::Fill`].
pub(crate) fn hide(canvas: &mut Canvas<'_>, area: Area, method: Hiding, ink: Yuv) {
    let even = Area {
        left: area.left & !1,
        top: area.top & !1,
        right: area.right.saturating_add(1) & !1,
        bottom: area.bottom.saturating_add(1) & !1,
    };
    let area = even.intersection(&canvas.area());
    if area.is_empty() {
        return;
    }
    match method {
        Hiding::Fill => canvas.fill(area, ink, 255),
        Hiding::Pixelate => {
            let blocks = Blocks::of(canvas, area);
            for row in 0..blocks.rows {
                for column in 0..blocks.columns {
                    canvas.fill(blocks.area(column, row), blocks.at(column, row), 255);
                }
            }
        }
        Hiding::Blur => {
            let blocks = Blocks::of(canvas, area);
            canvas.paint(area, |column, row| blocks.between(column, row));
        }
    }
}

/// The mean colours of an area.
struct Blocks {
    area: Area,
    side: i32,
    columns: usize,
    rows: usize,
    means: [Yuv; SIDE_MAX * SIDE_MAX],
}

impl Blocks {
    fn of(canvas: &Canvas<'_>, area: Area) -> Self {
        let longer = area.width().max(area.height());
        let side = (longer + BLOCKS - 1) / BLOCKS;
        let side = ((side + 1) & !1).max(BLOCK_MIN);
        let count = |length: i32| (length.unsigned_abs() as usize).div_ceil(side as usize);
        let mut blocks = Self {
            area,
            side,
            columns: count(area.width()).min(SIDE_MAX),
            rows: count(area.height()).min(SIDE_MAX),
            means: [Yuv { y: 0, u: 0, v: 0 }; SIDE_MAX * SIDE_MAX],
        };
        for row in 0..blocks.rows {
            for column in 0..blocks.columns {
                blocks.means[row * SIDE_MAX + column] = canvas.mean(blocks.area(column, row));
            }
        }
        blocks
    }

    fn area(&self, column: usize, row: usize) -> Area {
        let offset = |index: usize| i32::try_from(index).unwrap_or(0) * self.side;
        let (left, top) = (self.area.left + offset(column), self.area.top + offset(row));
        Area {
            left,
            top,
            right: left + self.side,
            bottom: top + self.side,
        }
        .intersection(&self.area)
    }

    fn at(&self, column: usize, row: usize) -> Yuv {
        self.means[row * SIDE_MAX + column]
    }

    /// Bilinear between the middles of the blocks; pixels are counted from the area's corner.
    fn between(&self, column: usize, row: usize) -> Yuv {
        let side = self.side.unsigned_abs();
        // In halves of a pixel, so that the middles are whole numbers.
        let tap = |pixel: usize, count: usize| {
            let pixel = u32::try_from(pixel).unwrap_or(0);
            let at = (2 * pixel + 1).saturating_sub(side);
            let first = (at / (2 * side)) as usize;
            let weight = at % (2 * side);
            (first.min(count - 1), (first + 1).min(count - 1), weight)
        };
        let (left, right, across) = tap(column, self.columns);
        let (upper, lower, down) = tap(row, self.rows);
        let whole = 2 * side;
        let mix = |of: fn(Yuv) -> u8| {
            let line = |row: usize| {
                let first = u32::from(of(self.at(left, row)));
                let second = u32::from(of(self.at(right, row)));
                first * (whole - across) + second * across
            };
            let sum = u64::from(line(upper)) * u64::from(whole - down)
                + u64::from(line(lower)) * u64::from(down);
            let parts = u64::from(whole) * u64::from(whole);
            u8::try_from((sum + parts / 2) / parts).unwrap_or(u8::MAX)
        };
        Yuv {
            y: mix(|colour| colour.y),
            u: mix(|colour| colour.u),
            v: mix(|colour| colour.v),
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::geometry::{I420Layout, PixelSize};
    use proptest::prelude::*;

    use super::*;

    const INK: Yuv = Yuv {
        y: 16,
        u: 128,
        v: 128,
    };

    /// A picture in which no two pixels beside each other are alike.
    fn picture(width: u32, height: u32) -> (I420Layout, Vec<u8>) {
        let layout = I420Layout::of(PixelSize { width, height });
        let bytes = (0..layout.bytes).map(|at| (at * 89 % 251) as u8).collect();
        (layout, bytes)
    }

    fn luma(layout: &I420Layout, bytes: &[u8], column: usize, row: usize) -> u8 {
        bytes[row * layout.strides[0] + column]
    }

    #[test]
    fn blocks_of_one_colour_are_what_is_left() {
        let (layout, mut bytes) = picture(200, 200);
        let area = Area {
            left: 21,
            top: 30,
            right: 121,
            bottom: 110,
        };
        let mut canvas = Canvas::new(&layout, &mut bytes).expect("whole");
        hide(&mut canvas, area, Hiding::Pixelate, INK);
        let mut seen = std::collections::BTreeSet::new();
        for row in 30..110 {
            for column in 20..122 {
                let block = ((column - 20) / 14, (row - 30) / 14);
                let first = (20 + block.0 * 14, 30 + block.1 * 14);
                let expected = luma(&layout, &bytes, first.0, first.1);
                assert_eq!(luma(&layout, &bytes, column, row), expected);
                seen.insert(block);
            }
        }
        assert_eq!(seen.len(), 8 * 6);
    }

    #[test]
    fn the_mean_stays_and_detail_goes_in_a_blur() {
        let (layout, mut bytes) = picture(160, 160);
        let all = Area::of(&layout);
        let before = Canvas::new(&layout, &mut bytes).expect("whole").mean(all);
        let mut canvas = Canvas::new(&layout, &mut bytes).expect("whole");
        hide(&mut canvas, all, Hiding::Blur, INK);
        let after = canvas.mean(all);
        assert!(before.y.abs_diff(after.y) <= 2, "{before:?} {after:?}");
        for row in 0..160 {
            for column in 1..160 {
                let step = luma(&layout, &bytes, column, row).abs_diff(luma(
                    &layout,
                    &bytes,
                    column - 1,
                    row,
                ));
                assert!(step <= 8, "{column},{row}: {step}");
            }
        }
    }

    proptest! {
        /// Nothing outside is touched but to whole chroma samples, and inside not one pixel of a
        /// large enough area is as it was, with blocks of a fixed number at most.
        #[test]
        fn outside_stays_and_inside_goes(
            left in -50_i32..200, top in -50_i32..200, width in 0_i32..260, height in 0_i32..260,
            method in 0_usize..3,
        ) {
            let (layout, before) = picture(161, 99);
            let mut after = before.clone();
            let area = Area { left, top, right: left + width, bottom: top + height };
            let mut canvas = Canvas::new(&layout, &mut after).expect("whole");
            hide(&mut canvas, area, Hiding::ALL[method], INK);
            let mut colours = std::collections::BTreeSet::new();
            for row in 0..99_i32 {
                for column in 0..161_i32 {
                    let at = row as usize * layout.strides[0] + column as usize;
                    let inside = column >= (left & !1) && column < ((left + width + 1) & !1)
                        && row >= (top & !1) && row < ((top + height + 1) & !1);
                    if inside {
                        colours.insert(after[at]);
                    } else {
                        prop_assert_eq!(after[at], before[at]);
                    }
                }
            }
            if Hiding::ALL[method] != Hiding::Blur {
                prop_assert!(colours.len() <= 81);
            }
        }
    }
}
