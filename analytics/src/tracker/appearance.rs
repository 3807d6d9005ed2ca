//! What objects look like: embeddings, and their running average a track
//! (BoT-SORT, section 3.3).

/// Longest embedding that is kept of a track.
pub const EMBEDDING_DIMENSIONS_MAX: usize = 2048;

/// Weight of what a track looked like so far against what it looks like now (BoT-SORT: 0.9).
const MOMENTUM: f32 = 0.9;

/// What is further apart is another object: half the cosine distance, 0 to 1
/// (`appearance_thresh` of BoT-SORT's program: 0.25).
const DISTANCE_MAX: f32 = 0.25;

/// The embeddings of a frame's detections: one row a detection, in their order.
#[derive(Debug, Clone, Copy)]
pub struct Embeddings<'a> {
    values: &'a [f32],
    dimensions: usize,
}

impl<'a> Embeddings<'a> {
    /// Nothing is known of any detection.
    pub const NONE: Embeddings<'static> = Embeddings {
        values: &[],
        dimensions: 0,
    };

    /// `values` holds rows of `dimensions` numbers, of any length but zero; a row of zeros says
    /// that nothing is known of that detection, and so does a missing one.
    ///
    /// `None` when the rows are longer than [`EMBEDDING_DIMENSIONS_MAX`].
    #[must_use]
    pub fn new(values: &'a [f32], dimensions: usize) -> Option<Self> {
        (dimensions <= EMBEDDING_DIMENSIONS_MAX).then_some(Self { values, dimensions })
    }

    /// The embedding of detection `index`, with the factor that makes its length 1.
    fn row(&self, index: usize) -> Option<(&'a [f32], f32)> {
        let begin = index.checked_mul(self.dimensions)?;
        let row = self
            .values
            .get(begin..begin.checked_add(self.dimensions)?)?;
        let length = dot(row, row).sqrt();
        (length > 0.0 && length.is_finite()).then(|| (row, length.recip()))
    }
}

/// What a track has looked like: of length 1, or empty while nothing is known.
#[derive(Debug, Default)]
pub(crate) struct Appearance(Vec<f32>);

impl Appearance {
    /// Takes in what was seen of it: `e = 0.9 e + 0.1 f`, made of length 1.
    pub(crate) fn learn(&mut self, embeddings: &Embeddings<'_>, index: usize) {
        let Some((row, scale)) = embeddings.row(index) else {
            return;
        };
        if self.0.len() == row.len() {
            for (kept, seen) in self.0.iter_mut().zip(row) {
                *kept = MOMENTUM * *kept + (1.0 - MOMENTUM) * scale * seen;
            }
        } else {
            // The first, or another model's.
            self.0.clear();
            self.0.extend(row.iter().map(|seen| scale * seen));
        }
        let length = dot(&self.0, &self.0).sqrt();
        if length > 0.0 && length.is_finite() {
            self.0.iter_mut().for_each(|value| *value /= length);
        } else {
            self.0.clear();
        }
    }

    /// How alike a detection looks, from 0.75 to 1: 1 less half the cosine distance.
    /// `None` when too different, or when either is not known.
    pub(crate) fn similarity(&self, embeddings: &Embeddings<'_>, index: usize) -> Option<f32> {
        let (row, scale) = embeddings.row(index)?;
        let same_model = row.len() == self.0.len();
        let distance = 0.5 * (1.0 - scale * dot(&self.0, row));
        (same_model && distance < DISTANCE_MAX).then_some(1.0 - distance.max(0.0))
    }
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeness_is_that_of_directions() {
        let rows = [3.0, 0.0, 0.0, 0.1, -1.0, 0.0, 0.0, 0.0, 1.0, 1.0];
        let embeddings = Embeddings::new(&rows, 2).expect("short");
        let mut appearance = Appearance::default();
        assert_eq!(appearance.similarity(&embeddings, 0), None, "not known yet");
        appearance.learn(&embeddings, 0);
        let alike = |index| appearance.similarity(&embeddings, index);
        assert_eq!(alike(0), Some(1.0));
        assert_eq!(alike(1), None, "at right angles");
        assert_eq!(alike(2), None, "opposite");
        assert_eq!(alike(3), None, "zeros say nothing");
        let diagonal = alike(4).expect("45 degrees");
        assert!((diagonal - (1.0 - 0.5 * (1.0 - 0.5_f32.sqrt()))).abs() < 1e-6);
        assert_eq!(alike(5), None, "there is none");
    }

    #[test]
    fn the_average_moves_slowly_and_starts_anew_with_another_model() {
        let rows = [1.0, 0.0, 0.0, 1.0];
        let embeddings = Embeddings::new(&rows, 2).expect("short");
        let mut appearance = Appearance::default();
        appearance.learn(&embeddings, 0);
        appearance.learn(&embeddings, 1);
        let expected = [0.9, 0.1].map(|value| value / 0.82_f32.sqrt());
        assert!((appearance.0[0] - expected[0]).abs() < 1e-6);
        assert!((appearance.0[1] - expected[1]).abs() < 1e-6);
        appearance.learn(&Embeddings::NONE, 0);
        assert_eq!(appearance.0.len(), 2, "nothing seen, nothing changed");
        let other = Embeddings::new(&[0.0, 0.0, 2.0], 3).expect("short");
        appearance.learn(&other, 0);
        assert_eq!(appearance.0, [0.0, 0.0, 1.0]);
        assert_eq!(appearance.similarity(&embeddings, 0), None);
    }

    #[test]
    fn what_is_no_embedding_is_none() {
        let wild = [f32::NAN, 1.0, f32::INFINITY, 0.0, 1e30, 1e30];
        let embeddings = Embeddings::new(&wild, 2).expect("short");
        let mut appearance = Appearance::default();
        for index in 0..4 {
            appearance.learn(&embeddings, index);
            assert!(appearance.0.is_empty(), "{index}");
        }
        assert!(Embeddings::new(&[], EMBEDDING_DIMENSIONS_MAX + 1).is_none());
    }
}
