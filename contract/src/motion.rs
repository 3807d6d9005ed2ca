//! Where in a picture something moved: a coarse grid, the same for every size of picture.
//!
//! Ingest marks the cells that moved and sends them with each frame, so that a
//! gate or a rule can ask about a zone without anybody looking at the pixels again.

use serde::{Deserialize, Serialize};

/// Columns of the grid.
pub const COLUMNS: usize = 32;
/// Rows of the grid.
pub const ROWS: usize = 18;
/// Words of 64 bits that hold the grid.
pub const WORDS: usize = (COLUMNS * ROWS).div_ceil(64);

/// A set of cells: bit `row * COLUMNS + column`, from the least bit of the first word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cells([u64; WORDS]);

impl Cells {
    /// The cells whose centres, 0 to 1 of the picture's width and height, are chosen.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a few dozen columns and rows")]
    pub fn of(mut chosen: impl FnMut([f32; 2]) -> bool) -> Self {
        let mut cells = Self::default();
        for row in 0..ROWS {
            for column in 0..COLUMNS {
                let x = (column as f32 + 0.5) / COLUMNS as f32;
                let y = (row as f32 + 0.5) / ROWS as f32;
                if chosen([x, y]) {
                    cells.insert(column, row);
                }
            }
        }
        cells
    }

    /// Adds a cell; one outside of the grid is ignored.
    pub fn insert(&mut self, column: usize, row: usize) {
        if column < COLUMNS && row < ROWS {
            let bit = row * COLUMNS + column;
            self.0[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// Whether a cell is in it; one outside of the grid is not.
    #[must_use]
    pub fn contains(&self, column: usize, row: usize) -> bool {
        let bit = row * COLUMNS + column;
        column < COLUMNS && row < ROWS && self.0[bit / 64] & (1 << (bit % 64)) != 0
    }

    /// How many cells there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The part of these cells that is in `moved`, 0 to 1; 0 where there are none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a few hundred cells")]
    pub fn share_in(&self, moved: &Self) -> f32 {
        let common: u32 = self
            .0
            .iter()
            .zip(&moved.0)
            .map(|(own, other)| (own & other).count_ones())
            .sum();
        match self.count() {
            0 => 0.0,
            count => common as f32 / count as f32,
        }
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[u64; WORDS] {
        &self.0
    }

    /// Cells from words, as [`Cells::words`] gave them.
    #[must_use]
    pub fn from_words(words: [u64; WORDS]) -> Self {
        Self(words)
    }

    /// The bytes of the words, little endian, without the zeros at the end: how they are stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        let used = bytes.iter().rposition(|byte| *byte != 0);
        bytes.truncate(used.map_or(0, |last| last + 1));
        bytes
    }

    /// Cells from bytes, as [`Cells::to_bytes`] gave them; what is too long is ignored.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut words = [0; WORDS];
        for (index, byte) in bytes.iter().take(WORDS * 8).enumerate() {
            words[index / 8] |= u64::from(*byte) << (index % 8 * 8);
        }
        Self(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_a_zone_that_moved() {
        let left = Cells::of(|[x, _]| x < 0.5);
        let top = Cells::of(|[_, y]| y < 0.5);
        assert_eq!(left.count(), 16 * 18);
        assert!((left.share_in(&top) - 0.5).abs() < f32::EPSILON);
        assert!(Cells::default().share_in(&top).abs() < f32::EPSILON);
    }

    #[test]
    fn bytes_give_the_same_cells_back() {
        let mut cells = Cells::default();
        for (column, row) in [(0, 0), (31, 1), (7, 9), (40, 0), (0, 18)] {
            cells.insert(column, row);
        }
        assert_eq!(cells.count(), 3);
        assert!(cells.contains(7, 9) && !cells.contains(8, 9) && !cells.contains(32, 0));
        assert_eq!(Cells::from_bytes(&cells.to_bytes()), cells);
        assert_eq!(Cells::default().to_bytes(), Vec::<u8>::new());
    }
}
