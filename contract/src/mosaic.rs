//! Where the pictures of a mosaic lie: many streams in one picture. Pure.

use serde::{Deserialize, Serialize};

use crate::geometry::PixelSize;

/// Most pictures in one mosaic: eight by eight.
pub const TILES_MAX: usize = 64;
/// No side of a tile is shorter, in pixels.
pub const TILE_SIDE_MIN: u32 = 16;
/// Between two tiles, in pixels: what lies there is nobody's.
const GAP: u32 = 4;

/// Tiles of one size in columns and rows, in the middle of a picture. All places and sides are
/// even, so that no chroma sample belongs to two tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    columns: u32,
    tile: PixelSize,
    left: u32,
    top: u32,
}

/// Where a tile begins, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// From the left edge of the picture.
    pub left: u32,
    /// From its upper edge.
    pub top: u32,
}

impl Grid {
    /// The grid of so many `tiles` in a picture of `size`; `None` where there are none, or where
    /// a side would be shorter than [`TILE_SIDE_MIN`].
    #[must_use]
    pub fn of(size: PixelSize, columns: u32, tiles: usize) -> Option<Self> {
        let tiles = u32::try_from(tiles).ok().filter(|tiles| *tiles > 0)?;
        let columns = columns.clamp(1, tiles);
        let rows = tiles.div_ceil(columns);
        let side = |whole: u32, count: u32| {
            let room = whole.checked_sub(GAP * (count - 1))?;
            let side = (room / count) & !1;
            (side >= TILE_SIDE_MIN).then_some(side)
        };
        let tile = PixelSize {
            width: side(size.width, columns)?,
            height: side(size.height, rows)?,
        };
        let margin = |whole: u32, side: u32, count: u32| {
            let used = side * count + GAP * (count - 1);
            ((whole - used) / 2) & !1
        };
        Some(Self {
            columns,
            tile,
            left: margin(size.width, tile.width, columns),
            top: margin(size.height, tile.height, rows),
        })
    }

    /// How many columns so many tiles have where nobody says: as many as rows, or one more.
    #[must_use]
    pub fn squarest(tiles: usize) -> u32 {
        let tiles = u32::try_from(tiles).unwrap_or(u32::MAX);
        let root = tiles.isqrt();
        root + u32::from(root * root < tiles)
    }

    /// The size of each tile.
    #[must_use]
    pub fn tile(&self) -> PixelSize {
        self.tile
    }

    /// Where a tile lies; they are counted from 0, row by row.
    #[must_use]
    pub fn place(&self, index: usize) -> Place {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let (column, row) = (index % self.columns, index / self.columns);
        Place {
            left: self.left + column * (self.tile.width + GAP),
            top: self.top + row * (self.tile.height + GAP),
        }
    }
}

/// The largest even size of the aspect ratio of `picture` inside of `tile`: unlike
/// [`PixelSize::fit_inside`] a small picture is made larger.
#[must_use]
pub fn fitted(picture: PixelSize, tile: PixelSize) -> PixelSize {
    let (width, height) = (
        u64::from(picture.width.max(1)),
        u64::from(picture.height.max(1)),
    );
    // To the nearest even number, inside of the tile.
    let even = |scaled: u64, by: u64, most: u32| {
        let side = u32::try_from((scaled + by) / (2 * by) * 2).unwrap_or(u32::MAX);
        side.clamp(2, (most & !1).max(2))
    };
    let wide = u64::from(tile.width) * height;
    let high = u64::from(tile.height) * width;
    if wide <= high {
        // As wide as the tile, bars above and below.
        PixelSize {
            width: (tile.width & !1).max(2),
            height: even(wide, width, tile.height),
        }
    } else {
        PixelSize {
            width: even(high, height, tile.width),
            height: (tile.height & !1).max(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn size(width: u32, height: u32) -> PixelSize {
        PixelSize { width, height }
    }

    #[test]
    fn nine_tiles_are_three_by_three() {
        let columns = Grid::squarest(9);
        let grid = Grid::of(size(1280, 720), columns, 9).expect("room");
        assert_eq!((columns, grid.tile()), (3, size(424, 236)));
        assert_eq!(grid.place(0), Place { left: 0, top: 2 });
        assert_eq!(
            grid.place(5),
            Place {
                left: 856,
                top: 242
            }
        );
        let squarest: Vec<u32> = [1, 2, 3, 4, 5, 6, 7, 10, 64].map(Grid::squarest).into();
        assert_eq!(squarest, [1, 2, 2, 2, 3, 3, 3, 4, 8]);
    }

    #[test]
    fn too_many_tiles_have_no_grid() {
        assert_eq!(Grid::of(size(64, 64), 8, 64), None);
        assert_eq!(Grid::of(size(640, 360), 1, 0), None);
        let one_row = Grid::of(size(640, 360), 9, 2).expect("room");
        assert_eq!(one_row.tile(), size(318, 360), "no column stays empty");
    }

    #[test]
    fn pictures_fill_their_tile_and_keep_their_shape() {
        let tile = size(424, 236);
        assert_eq!(fitted(size(1920, 1080), tile), size(420, 236));
        assert_eq!(fitted(size(320, 240), tile), size(314, 236));
        assert_eq!(fitted(size(64, 16), tile), size(424, 106), "made larger");
        assert_eq!(fitted(size(1, 8192), tile), size(2, 236));
    }

    proptest! {
        #[test]
        fn tiles_are_inside_even_and_apart(
            (width, height) in (16_u32..2000, 16_u32..2000),
            columns in 1_u32..70,
            tiles in 1_usize..=TILES_MAX,
        ) {
            let Some(grid) = Grid::of(size(width, height), columns, tiles) else {
                return Ok(());
            };
            let tile = grid.tile();
            let places: Vec<Place> = (0..tiles).map(|index| grid.place(index)).collect();
            for (index, place) in places.iter().enumerate() {
                prop_assert!(place.left + tile.width <= width && place.top + tile.height <= height);
                prop_assert_eq!((place.left % 2, place.top % 2), (0, 0));
                for other in &places[index + 1..] {
                    prop_assert!(
                        other.left >= place.left + tile.width + GAP
                            || place.left >= other.left + tile.width + GAP
                            || other.top >= place.top + tile.height + GAP
                    );
                }
            }
        }

        #[test]
        fn a_fitted_picture_touches_two_edges(
            (width, height) in (16_u32..8192, 16_u32..8192),
            (wide, high) in (8_u32..500, 8_u32..500),
        ) {
            let tile = size(wide * 2, high * 2);
            let fitted = fitted(size(width, height), tile);
            prop_assert!(fitted.width <= tile.width && fitted.height <= tile.height);
            prop_assert!(fitted.width == tile.width || fitted.height == tile.height);
            prop_assert_eq!((fitted.width % 2, fitted.height % 2), (0, 0));
        }
    }
}
