//! Looking over all scores of a head for those that count: nearly all of decoding.

use pulp::{Arch, Simd, WithSimd};

/// Finds the rows of `scores`, `row` values each, of which any reaches `score_min`; their
/// indices go into `found`, which is cleared first.
pub(super) fn rows_over(
    arch: Arch,
    scores: &[f32],
    row: usize,
    score_min: f32,
    found: &mut Vec<usize>,
) {
    found.clear();
    arch.dispatch(RowsOver {
        scores,
        row,
        score_min,
        found,
    });
}

/// For each column of a matrix of `columns` columns, the largest value of any row, into
/// `largest`, which is cleared first.
pub(super) fn column_maxima(arch: Arch, matrix: &[f32], columns: usize, largest: &mut Vec<f32>) {
    largest.clear();
    largest.resize(columns, f32::NEG_INFINITY);
    arch.dispatch(ColumnMaxima { matrix, largest });
}

/// The best class and its score; the lower class on a tie.
pub(super) fn best(scores: impl Iterator<Item = f32>) -> (u16, f32) {
    (0_u16..)
        .zip(scores)
        .fold((0, f32::NEG_INFINITY), |best, (class, score)| {
            if score > best.1 { (class, score) } else { best }
        })
}

/// The logistic function.
pub(super) fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

struct RowsOver<'a> {
    scores: &'a [f32],
    row: usize,
    score_min: f32,
    found: &'a mut Vec<usize>,
}

impl WithSimd for RowsOver<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let rows = self.scores.chunks_exact(self.row);
        for (index, row) in rows.enumerate() {
            let over = row
                .iter()
                .fold(false, |over, score| over | (*score >= self.score_min));
            if over {
                self.found.push(index);
            }
        }
    }
}

struct ColumnMaxima<'a> {
    matrix: &'a [f32],
    largest: &'a mut [f32],
}

impl WithSimd for ColumnMaxima<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.matrix.chunks_exact(self.largest.len()) {
            for (largest, value) in self.largest.iter_mut().zip(row) {
                *largest = if *value > *largest { *value } else { *largest };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_reach_the_least_score_are_found() {
        let scores = [0.1, 0.2, 0.5, 0.0, 0.3, 0.49];
        let mut found = vec![9];
        rows_over(Arch::new(), &scores, 2, 0.5, &mut found);
        assert_eq!(found, [1]);
        rows_over(Arch::new(), &scores, 1, 0.3, &mut found);
        assert_eq!(found, [2, 4, 5]);
    }

    #[test]
    fn maxima_are_those_of_columns_and_no_number_is_none() {
        let mut largest = Vec::new();
        let matrix = [1.0, -5.0, f32::NAN, 0.5, -4.0, 7.0];
        column_maxima(Arch::new(), &matrix, 3, &mut largest);
        assert_eq!(largest, [1.0, -4.0, 7.0]);
    }

    #[test]
    fn the_lower_class_wins_a_tie() {
        assert_eq!(best([0.1, 0.7, 0.7].into_iter()), (1, 0.7));
    }
}
