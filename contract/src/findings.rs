//! What a model says of one picture: objects, a vector, or a map of every place in it.

use crate::detection::Detection;
use crate::geometry::{BoundingBox, PixelSize};

/// Most values of an embedding.
pub const EMBEDDING_MAX: usize = 1024;

/// Most cells of a map; the model's worker makes finer ones coarser.
pub const CELLS_MAX: usize = 1 << 16;

/// The cell of a map of classes in which none was found.
pub const NO_CLASS: u16 = u16::MAX;

/// Places looked at across and down when the depth under a box is asked for.
const SAMPLES: u8 = 9;

/// What kind of thing a model says; it is the same for all pictures of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finds {
    /// Boxes with classes.
    Objects,
    /// A vector that is near to those of pictures of the same thing.
    Embedding,
    /// How far away each place is.
    Depth,
    /// The class of each place.
    Classes,
}

impl Finds {
    /// It tells classes apart, which have labels.
    #[must_use]
    pub fn has_classes(self) -> bool {
        matches!(self, Self::Objects | Self::Classes)
    }

    /// It speaks of places, and so of whole pictures only.
    #[must_use]
    pub fn is_map(self) -> bool {
        matches!(self, Self::Depth | Self::Classes)
    }
}

/// What a model says of one picture.
#[derive(Debug, Clone, PartialEq)]
pub enum Findings {
    /// Objects, best score first; perhaps none.
    Detections(Vec<Detection>),
    /// A vector of length 1, so that the cosine of two is their dot product; at most
    /// [`EMBEDDING_MAX`] values.
    Embedding(Vec<f32>),
    /// Of the whole picture.
    Map(PictureMap),
}

impl Findings {
    /// The objects; none where the model says something else.
    #[must_use]
    pub fn detections(&self) -> &[Detection] {
        match self {
            Self::Detections(detections) => detections,
            Self::Embedding(_) | Self::Map(_) => &[],
        }
    }
}

/// What the cells of a map hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CellValues {
    /// Depth in the model's own unit: cell 0 stands for `first`, cell 65535 for `last`, and
    /// those between lie evenly between.
    Depth {
        /// The least of the picture.
        first: f32,
        /// The greatest of it.
        last: f32,
    },
    /// Indices into the model's labels, or [`NO_CLASS`].
    Classes,
}

/// A grid of equal cells laid over a whole picture.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureMap {
    columns: usize,
    values: CellValues,
    /// Row by row from the top, each from the left.
    cells: Vec<u16>,
}

impl PictureMap {
    /// `None` when the cells do not fill rows of `columns`, are none or more than
    /// [`CELLS_MAX`], or a depth is no number.
    #[must_use]
    pub fn new(columns: usize, values: CellValues, cells: Vec<u16>) -> Option<Self> {
        let fills = columns > 0 && !cells.is_empty() && cells.len().is_multiple_of(columns);
        let bounded = cells.len() <= CELLS_MAX;
        let known = match values {
            CellValues::Depth { first, last } => {
                first.is_finite() && last.is_finite() && first <= last
            }
            CellValues::Classes => true,
        };
        (fills && bounded && known).then_some(Self {
            columns,
            values,
            cells,
        })
    }

    /// Cells across.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Cells down.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.cells.len() / self.columns
    }

    /// What they hold.
    #[must_use]
    pub fn values(&self) -> CellValues {
        self.values
    }

    /// Row by row from the top, each from the left.
    #[must_use]
    pub fn cells(&self) -> &[u16] {
        &self.cells
    }

    /// The depth of a box in a picture of `size`: the median over its middle half, where the
    /// object is rather than what is beside it. `None` for a map of classes, and where the
    /// middle of the box is outside of the picture.
    #[must_use]
    pub fn depth_under(&self, bounds: &BoundingBox, size: PixelSize) -> Option<f32> {
        let CellValues::Depth { first, last } = self.values else {
            return None;
        };
        let mut seen = [0_u16; SAMPLES as usize * SAMPLES as usize];
        let mut count = 0;
        for row in 0..SAMPLES {
            for column in 0..SAMPLES {
                let along = |from: f32, length: f32, step: u8| {
                    from + length * (0.25 + 0.5 * (f32::from(step) + 0.5) / f32::from(SAMPLES))
                };
                let x = along(bounds.x1, bounds.width(), column);
                let y = along(bounds.y1, bounds.height(), row);
                if let Some(cell) = self.cell_at([x, y], size) {
                    seen[count] = cell;
                    count += 1;
                }
            }
        }
        let seen = &mut seen[..count];
        if seen.is_empty() {
            return None;
        }
        let (_, median, _) = seen.select_nth_unstable(count / 2);
        Some(first + (last - first) * f32::from(*median) / f32::from(u16::MAX))
    }

    /// The cell that covers a point of a picture of `size`; `None` outside of it.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sides and cells are small; what is negative or no number is filtered"
    )]
    fn cell_at(&self, [x, y]: [f32; 2], size: PixelSize) -> Option<u16> {
        let index = |at: f32, side: u32, cells: usize| {
            let at = at / side.max(1) as f32;
            let inside = (0.0..1.0).contains(&at);
            inside.then_some((at * cells as f32) as usize)
        };
        let column = index(x, size.width, self.columns)?.min(self.columns - 1);
        let row = index(y, size.height, self.rows())?;
        self.cells.get(row * self.columns + column).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: PixelSize = PixelSize {
        width: 400,
        height: 200,
    };

    fn depth(columns: usize, cells: Vec<u16>) -> PictureMap {
        let values = CellValues::Depth {
            first: 2.0,
            last: 12.0,
        };
        PictureMap::new(columns, values, cells).expect("it is a map")
    }

    fn bounds([x1, y1, x2, y2]: [f32; 4]) -> BoundingBox {
        BoundingBox { x1, y1, x2, y2 }
    }

    #[test]
    fn the_depth_of_a_box_is_that_of_its_middle() {
        // Four columns, two rows; the third column of the lower row is near.
        let map = depth(4, vec![0, 0, 0, 0, 0, 0, u16::MAX, 0]);
        assert_eq!((map.columns(), map.rows()), (4, 2));
        let under = |of| map.depth_under(&bounds(of), SIZE);
        assert_eq!(under([200.0, 100.0, 300.0, 200.0]), Some(12.0));
        assert_eq!(under([0.0, 0.0, 100.0, 100.0]), Some(2.0));
        // Most of this box is far, its middle is near.
        assert_eq!(under([160.0, 60.0, 340.0, 240.0]), Some(12.0));
        assert_eq!(under([-300.0, -300.0, -100.0, -100.0]), None);
        assert_eq!(under([f32::NAN; 4]), None);
    }

    #[test]
    fn depths_lie_evenly_between_the_ends() {
        let map = depth(1, vec![u16::MAX / 2]);
        let depth = map.depth_under(&bounds([0.0, 0.0, 400.0, 200.0]), SIZE);
        assert!((depth.expect("inside") - 7.0).abs() < 1e-3, "{depth:?}");
    }

    #[test]
    fn a_map_of_classes_has_no_depth_and_a_torn_one_is_none() {
        let map = PictureMap::new(2, CellValues::Classes, vec![1, NO_CLASS]).expect("a map");
        assert_eq!(
            map.depth_under(&bounds([0.0, 0.0, 400.0, 200.0]), SIZE),
            None
        );
        let nan = CellValues::Depth {
            first: f32::NAN,
            last: 1.0,
        };
        assert_eq!(PictureMap::new(1, nan, vec![0]), None);
        assert_eq!(PictureMap::new(2, CellValues::Classes, vec![0; 3]), None);
        assert_eq!(PictureMap::new(0, CellValues::Classes, vec![]), None);
        let many = vec![0; CELLS_MAX + 1];
        assert_eq!(PictureMap::new(1, CellValues::Classes, many), None);
    }
}
