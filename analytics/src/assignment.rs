//! The optimal association of tracks and detections: a matching of largest sum
//! of weights, by the Hungarian algorithm.

use pathfinding::prelude::{Weights, kuhn_munkres};

/// Weights are IoU in millionths: the algorithm needs a total order.
const UNIT: f32 = 1e6;

/// Finds matchings; keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    /// Pairs that may be matched, with their weights.
    candidates: Vec<(usize, usize, i64)>,
    rows: Vec<usize>,
    columns: Vec<usize>,
    weights: Vec<i64>,
    matches: Vec<(usize, usize)>,
}

impl Assignment {
    /// Matches rows with columns such that the sum of weights is largest.
    ///
    /// `weight(row, column)` is from 0 to 1, or `None` where the two may not be
    /// matched. Each row and each column is in one match at most.
    pub(crate) fn solve(
        &mut self,
        rows: &[usize],
        columns: &[usize],
        mut weight: impl FnMut(usize, usize) -> Option<f32>,
    ) -> &[(usize, usize)] {
        self.candidates.clear();
        for &row in rows {
            for &column in columns {
                if let Some(weight) = weight(row, column) {
                    // At least one, so that a match is always better than none.
                    #[expect(clippy::cast_possible_truncation, reason = "1 + 0 to 1 million")]
                    let weight = 1 + (weight.clamp(0.0, 1.0) * UNIT) as i64;
                    self.candidates.push((row, column, weight));
                }
            }
        }
        // Most pairs never meet. Only rows and columns with a candidate take part,
        // for the algorithm takes cubic time.
        self.rows.clear();
        self.columns.clear();
        for &(row, column, _) in &self.candidates {
            self.rows.push(row);
            self.columns.push(column);
        }
        for side in [&mut self.rows, &mut self.columns] {
            side.sort_unstable();
            side.dedup();
        }
        self.matches.clear();
        if self.candidates.is_empty() {
            return &self.matches;
        }
        // The algorithm wants no more rows than columns.
        let transposed = self.rows.len() > self.columns.len();
        let (long, short) = if transposed {
            (&self.rows, &self.columns)
        } else {
            (&self.columns, &self.rows)
        };
        self.weights.clear();
        self.weights.resize(short.len() * long.len(), 0);
        for &(row, column, weight) in &self.candidates {
            let (in_short, in_long) = if transposed {
                (column, row)
            } else {
                (row, column)
            };
            if let (Ok(i), Ok(j)) = (short.binary_search(&in_short), long.binary_search(&in_long)) {
                self.weights[i * long.len() + j] = weight;
            }
        }
        let matrix = WeightMatrix {
            weights: &self.weights,
            columns: long.len(),
            sign: 1,
        };
        let (_, matched) = kuhn_munkres(&matrix);
        for (i, j) in matched.into_iter().enumerate() {
            // Weight 0 is no candidate: the algorithm had nothing else for this row.
            if matrix.at(i, j) > 0 {
                let (row, column) = if transposed {
                    (long[j], short[i])
                } else {
                    (short[i], long[j])
                };
                self.matches.push((row, column));
            }
        }
        &self.matches
    }
}

struct WeightMatrix<'a> {
    weights: &'a [i64],
    columns: usize,
    sign: i64,
}

impl Weights<i64> for WeightMatrix<'_> {
    fn rows(&self) -> usize {
        self.weights.len() / self.columns
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn at(&self, row: usize, column: usize) -> i64 {
        self.sign * self.weights[row * self.columns + column]
    }

    fn neg(&self) -> Self {
        Self {
            sign: -self.sign,
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solve(weights: &[&[f32]]) -> Vec<(usize, usize)> {
        let rows: Vec<_> = (0..weights.len()).collect();
        let columns: Vec<_> = (0..weights[0].len()).collect();
        let mut matches = Assignment::default()
            .solve(&rows, &columns, |row, column| {
                Some(weights[row][column]).filter(|weight| *weight > 0.0)
            })
            .to_vec();
        matches.sort_unstable();
        matches
    }

    #[test]
    fn the_sum_counts_not_the_best_pair() {
        assert_eq!(solve(&[&[0.9, 0.8], &[0.8, 0.1]]), [(0, 1), (1, 0)]);
    }

    #[test]
    fn what_may_not_be_matched_is_not() {
        assert_eq!(solve(&[&[0.0, 0.0], &[0.0, 0.5]]), [(1, 1)]);
        assert_eq!(solve(&[&[0.0]]), []);
        assert_eq!(
            solve(&[&[0.3], &[0.6], &[0.2]]),
            [(1, 0)],
            "more rows than columns"
        );
        assert_eq!(solve(&[&[0.3, 0.6, 0.2]]), [(0, 1)]);
    }
}
