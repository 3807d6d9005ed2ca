//! A picture that is drawn on where it lies: I420, luma at full and chroma at half resolution.
//!
//! Everything ends in [`Canvas::blend`]: it mixes a colour into the luma of each
//! pixel by that pixel's coverage, and into each chroma sample by the mean
//! coverage of the pixels that share it. Thin lines and small text thereby keep
//! their shape in luma and bleed no more colour than they cover.

use contract::geometry::I420Layout;

use super::colour::Yuv;

/// A rectangle of whole pixels; `right` and `bottom` are outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Area {
    /// First column.
    pub left: i32,
    /// First row.
    pub top: i32,
    /// Column after the last.
    pub right: i32,
    /// Row after the last.
    pub bottom: i32,
}

impl Area {
    /// The area of a picture of this layout.
    #[must_use]
    pub fn of(layout: &I420Layout) -> Self {
        let side = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
        Self {
            left: 0,
            top: 0,
            right: side(layout.size.width),
            bottom: side(layout.size.height),
        }
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> i32 {
        self.right.saturating_sub(self.left).max(0)
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> i32 {
        self.bottom.saturating_sub(self.top).max(0)
    }

    /// Has no pixel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left >= self.right || self.top >= self.bottom
    }

    /// How many pixels there are.
    #[must_use]
    pub fn pixels(&self) -> i64 {
        i64::from(self.width()) * i64::from(self.height())
    }

    /// The pixels of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        }
    }

    /// Larger by `margin` on every side, or smaller by a negative one.
    #[must_use]
    pub fn grown(&self, margin: i32) -> Self {
        Self {
            left: self.left.saturating_sub(margin),
            top: self.top.saturating_sub(margin),
            right: self.right.saturating_add(margin),
            bottom: self.bottom.saturating_add(margin),
        }
    }

    /// Moved by the least that brings it inside `bound`; what does not fit overhangs right and below.
    #[must_use]
    pub fn moved_inside(&self, bound: &Self) -> Self {
        let (width, height) = (self.width(), self.height());
        let left = self.left.min(bound.right - width).max(bound.left);
        let top = self.top.min(bound.bottom - height).max(bound.top);
        Self {
            left,
            top,
            right: left + width,
            bottom: top + height,
        }
    }
}

/// A picture being drawn on.
#[derive(Debug)]
pub struct Canvas<'a> {
    luma: &'a mut [u8],
    blue: &'a mut [u8],
    red: &'a mut [u8],
    strides: [usize; 3],
    area: Area,
}

impl<'a> Canvas<'a> {
    /// The picture that lies in `bytes` as `layout` says; `None` when `bytes` is shorter than that.
    #[must_use]
    pub fn new(layout: &I420Layout, bytes: &'a mut [u8]) -> Option<Self> {
        let bytes = bytes.get_mut(..layout.bytes)?;
        let (luma, chroma) = bytes.split_at_mut_checked(layout.offsets[1])?;
        let (blue, red) = chroma.split_at_mut_checked(layout.offsets[2] - layout.offsets[1])?;
        Some(Self {
            luma,
            blue,
            red,
            strides: layout.strides,
            area: Area::of(layout),
        })
    }

    /// All of its pixels.
    #[must_use]
    pub fn area(&self) -> Area {
        self.area
    }

    /// The mean colour of the pixels of `area` that lie in the picture, chroma of each sample
    /// that one of them shares. Black where there is none.
    #[must_use]
    pub fn mean(&self, area: Area) -> Yuv {
        let area = area.intersection(&self.area);
        let halved = Area {
            left: area.left / 2,
            top: area.top / 2,
            right: (area.right + 1) / 2,
            bottom: (area.bottom + 1) / 2,
        };
        if area.is_empty() {
            return Yuv {
                y: 16,
                u: 128,
                v: 128,
            };
        }
        Yuv {
            y: mean_of_plane(self.luma, self.strides[0], area),
            u: mean_of_plane(self.blue, self.strides[1], halved),
            v: mean_of_plane(self.red, self.strides[2], halved),
        }
    }

    /// Covers every pixel of `area` alike; 255 hides what was there.
    pub fn fill(&mut self, area: Area, colour: Yuv, alpha: u8) {
        let area = area.intersection(&self.area);
        // Whole chroma samples are filled row by row; what is left over at odd edges goes the general way.
        let whole = Area {
            left: (area.left + 1) & !1,
            top: (area.top + 1) & !1,
            right: area.right & !1,
            bottom: area.bottom & !1,
        };
        if whole.is_empty() {
            return self.blend(area, colour, |_, _| alpha);
        }
        let halved = Area {
            left: whole.left / 2,
            top: whole.top / 2,
            right: whole.right / 2,
            bottom: whole.bottom / 2,
        };
        fill_plane(self.luma, self.strides[0], whole, colour.y, alpha);
        fill_plane(self.blue, self.strides[1], halved, colour.u, alpha);
        fill_plane(self.red, self.strides[2], halved, colour.v, alpha);
        let edges = [
            Area {
                bottom: whole.top,
                ..area
            },
            Area {
                top: whole.bottom,
                ..area
            },
            Area {
                right: whole.left,
                top: whole.top,
                bottom: whole.bottom,
                ..area
            },
            Area {
                left: whole.right,
                top: whole.top,
                bottom: whole.bottom,
                ..area
            },
        ];
        for edge in edges {
            self.blend(edge, colour, |_, _| alpha);
        }
    }

    /// Mixes `colour` into the pixels of `area` that lie in the picture, by `coverage(column, row)`.
    pub fn blend(&mut self, area: Area, colour: Yuv, mut coverage: impl FnMut(i32, i32) -> u8) {
        let area = area.intersection(&self.area);
        if area.is_empty() {
            return;
        }
        // Plain counters: ranges in the innermost loop cost more than the mixing.
        for cell_row in area.top / 2..=(area.bottom - 1) / 2 {
            let (first_row, end_row) = cut(cell_row, area.top, area.bottom);
            let cell_height = (self.area.bottom - cell_row * 2).min(2);
            for cell_column in area.left / 2..=(area.right - 1) / 2 {
                let (first_column, end_column) = cut(cell_column, area.left, area.right);
                let mut sum = 0;
                let mut row = first_row;
                while row < end_row {
                    let mut column = first_column;
                    while column < end_column {
                        let alpha = coverage(column, row);
                        if alpha > 0 {
                            sum += u32::from(alpha);
                            let at = index(column, row, self.strides[0]);
                            self.luma[at] = mix(self.luma[at], colour.y, alpha);
                        }
                        column += 1;
                    }
                    row += 1;
                }
                if sum > 0 {
                    let cell_width = (self.area.right - cell_column * 2).min(2);
                    let pixels = (cell_width * cell_height).unsigned_abs();
                    self.blend_chroma(cell_column, cell_row, colour, sum / pixels.max(1));
                }
            }
        }
    }

    /// Replaces every pixel of `area` by `colour(column, row)`, counted from its corner, which
    /// must be even; a chroma sample takes that of its first pixel.
    pub fn paint(&mut self, area: Area, colour: impl Fn(usize, usize) -> Yuv) {
        let inside = area.intersection(&self.area);
        for row in inside.top..inside.bottom {
            for column in inside.left..inside.right {
                let [right, down] = [column - area.left, row - area.top];
                let colour = colour(right.unsigned_abs() as usize, down.unsigned_abs() as usize);
                self.luma[index(column, row, self.strides[0])] = colour.y;
                if column % 2 == 0 && row % 2 == 0 {
                    let (column, row) = (column / 2, row / 2);
                    self.blue[index(column, row, self.strides[1])] = colour.u;
                    self.red[index(column, row, self.strides[2])] = colour.v;
                }
            }
        }
    }

    /// Mixes `colour(column, row)` into the pixels of `area` for which there is one, counted
    /// from its corner, which must be even; the four pixels of a chroma sample have that of
    /// the first.
    pub fn tint(&mut self, area: Area, alpha: u8, colour: impl Fn(usize, usize) -> Option<Yuv>) {
        let inside = area.intersection(&self.area);
        for row in (inside.top..inside.bottom).step_by(2) {
            for column in (inside.left..inside.right).step_by(2) {
                let [right, down] = [column - area.left, row - area.top];
                let at = (right.unsigned_abs() as usize, down.unsigned_abs() as usize);
                if let Some(colour) = colour(at.0, at.1) {
                    self.blend_cell((column / 2, row / 2), colour, [alpha; 4]);
                }
            }
        }
    }

    /// Mixes `colour` into the four pixels of a chroma sample, given in reading order.
    pub(super) fn blend_cell(&mut self, cell: (i32, i32), colour: Yuv, coverage: [u8; 4]) {
        let (column, row) = (cell.0 * 2, cell.1 * 2);
        let mut sum = 0;
        for (alpha, (right, down)) in coverage.into_iter().zip([(0, 0), (1, 0), (0, 1), (1, 1)]) {
            let (column, row) = (column + right, row + down);
            if alpha > 0 && column < self.area.right && row < self.area.bottom {
                sum += u32::from(alpha);
                let at = index(column, row, self.strides[0]);
                self.luma[at] = mix(self.luma[at], colour.y, alpha);
            }
        }
        self.blend_chroma(cell.0, cell.1, colour, sum / 4);
    }

    fn blend_chroma(&mut self, column: i32, row: i32, colour: Yuv, alpha: u32) {
        let alpha = u8::try_from(alpha).unwrap_or(u8::MAX);
        let at = index(column, row, self.strides[1]);
        self.blue[at] = mix(self.blue[at], colour.u, alpha);
        let at = index(column, row, self.strides[2]);
        self.red[at] = mix(self.red[at], colour.v, alpha);
    }
}

/// The two rows or columns of a chroma sample, as far as they lie in `begin..end`.
fn cut(cell: i32, begin: i32, end: i32) -> (i32, i32) {
    ((cell * 2).max(begin), (cell * 2 + 2).min(end))
}

/// Of an area that is inside and not empty.
fn mean_of_plane(plane: &[u8], stride: usize, area: Area) -> u8 {
    let rows = (area.top..area.bottom)
        .map(|row| &plane[index(area.left, row, stride)..index(area.right, row, stride)]);
    // A row's sum fits 32 bits, and is quicker than one of 64.
    let sum: u64 = rows
        .map(|row| u64::from(row.iter().map(|sample| u32::from(*sample)).sum::<u32>()))
        .sum();
    let count = area.pixels().unsigned_abs();
    u8::try_from((sum + count / 2) / count).unwrap_or(u8::MAX)
}

fn fill_plane(plane: &mut [u8], stride: usize, area: Area, new: u8, alpha: u8) {
    for row in area.top..area.bottom {
        let samples = index(area.left, row, stride)..index(area.right, row, stride);
        let samples = &mut plane[samples];
        if alpha == 255 {
            samples.fill(new);
        } else {
            samples
                .iter_mut()
                .for_each(|old| *old = mix(*old, new, alpha));
        }
    }
}

/// Both are inside the picture, hence not negative.
fn index(column: i32, row: i32, stride: usize) -> usize {
    row.unsigned_abs() as usize * stride + column.unsigned_abs() as usize
}

/// `(1 - alpha / 255) * old + alpha / 255 * new`, rounded to nearest.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a mean of two bytes is a byte"
)]
fn mix(old: u8, new: u8, alpha: u8) -> u8 {
    let alpha = u32::from(alpha);
    let sum = u32::from(old) * (255 - alpha) + u32::from(new) * alpha + 128;
    // The exact quotient by 255 for every sum of two bytes' products.
    ((sum + (sum >> 8)) >> 8) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::geometry::PixelSize;

    const RED: Yuv = Yuv {
        y: 81,
        u: 90,
        v: 240,
    };

    fn picture(width: u32, height: u32) -> (I420Layout, Vec<u8>) {
        let layout = I420Layout::of(PixelSize { width, height });
        let bytes = vec![128; layout.bytes];
        (layout, bytes)
    }

    #[test]
    fn mixing_is_exact_at_the_ends_and_rounds_between() {
        for old in 0..=255 {
            for new in 0..=255 {
                assert_eq!(mix(old, new, 0), old);
                assert_eq!(mix(old, new, 255), new);
                let half = f64::from(old) + (f64::from(new) - f64::from(old)) * 128.0 / 255.0;
                assert!((f64::from(mix(old, new, 128)) - half).abs() <= 0.5);
            }
        }
    }

    #[test]
    fn a_fill_touches_its_pixels_and_no_others() {
        let (layout, mut bytes) = picture(10, 8);
        let area = Area {
            left: 2,
            top: 2,
            right: 6,
            bottom: 6,
        };
        Canvas::new(&layout, &mut bytes)
            .expect("whole")
            .fill(area, RED, 255);
        for row in 0..8 {
            for column in 0..10 {
                let inside = (2..6).contains(&row) && (2..6).contains(&column);
                let luma = bytes[row * layout.strides[0] + column];
                assert_eq!(luma, if inside { RED.y } else { 128 }, "{column},{row}");
                let chroma = row / 2 * layout.strides[1] + column / 2;
                assert_eq!(
                    bytes[layout.offsets[2] + chroma],
                    if inside { RED.v } else { 128 }
                );
            }
        }
    }

    #[test]
    fn a_fill_equals_the_general_blend_at_any_parity() {
        for corner in 0..16 {
            let area = Area {
                left: 2 + (corner & 1),
                top: 2 + (corner >> 1 & 1),
                right: 7 + (corner >> 2 & 1),
                bottom: 7 + (corner >> 3),
            };
            for alpha in [0, 90, 255] {
                let (layout, mut filled) = picture(9, 9);
                let mut blended = filled.clone();
                let mut canvas = Canvas::new(&layout, &mut filled).expect("whole");
                canvas.fill(area, RED, alpha);
                let mut canvas = Canvas::new(&layout, &mut blended).expect("whole");
                canvas.blend(area, RED, |_, _| alpha);
                // Two halves of a chroma sample at an edge are mixed one after the other.
                for (one, other) in filled.iter().zip(&blended) {
                    assert!(one.abs_diff(*other) <= 1, "{area:?} at {alpha}");
                }
            }
        }
    }

    #[test]
    fn chroma_takes_the_mean_coverage_also_at_odd_borders() {
        let (layout, mut bytes) = picture(5, 5);
        let mut canvas = Canvas::new(&layout, &mut bytes).expect("whole");
        let pixel = |left, top| Area {
            left,
            top,
            right: left + 1,
            bottom: top + 1,
        };
        canvas.fill(pixel(0, 0), RED, 255);
        canvas.fill(pixel(4, 4), RED, 255);
        let quarter = bytes[layout.offsets[2]];
        assert_eq!(quarter, mix(128, RED.v, 63));
        // The last chroma sample of an odd picture belongs to one pixel only.
        let last = bytes[layout.offsets[2] + 2 * layout.strides[2] + 2];
        assert_eq!(last, RED.v);
    }

    #[test]
    fn areas_far_outside_are_harmless() {
        let (layout, mut bytes) = picture(16, 16);
        let before = bytes.clone();
        let mut canvas = Canvas::new(&layout, &mut bytes).expect("whole");
        for (left, top) in [(-100, 0), (0, 100), (i32::MAX - 4, 0), (i32::MIN, i32::MIN)] {
            let area = Area {
                left,
                top,
                right: left.saturating_add(4),
                bottom: top.saturating_add(4),
            };
            canvas.fill(area, RED, 255);
        }
        assert_eq!(bytes, before);
        assert!(Canvas::new(&layout, &mut [0; 16]).is_none());
    }
}
