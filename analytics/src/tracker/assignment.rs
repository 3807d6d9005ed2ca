//! The optimal association of tracks and detections: a matching of largest sum
//! of weights, by the Hungarian algorithm.
//!
//! Few tracks compete. The candidate pairs fall into groups that share no track and no
//! detection, and the best matching of all is that of each group. In most groups all pairs
//! have the same track or the same detection, and the best pair is the answer; the algorithm,
//! cubic in time, is left to the rest.

use pathfinding::prelude::{Weights, kuhn_munkres};

/// Weights in millionths: the algorithm needs a total order.
const UNIT: f32 = 1e6;

/// Finds matchings; keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    candidates: Vec<Candidate>,
    groups: Groups,
    rows: Vec<usize>,
    columns: Vec<usize>,
    weights: Vec<i64>,
    matches: Vec<(usize, usize)>,
}

/// A pair that may be matched.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    row: usize,
    column: usize,
    weight: i64,
    group: usize,
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
        self.groups.reset(rows.len() + columns.len());
        for (i, &row) in rows.iter().enumerate() {
            for (j, &column) in columns.iter().enumerate() {
                if let Some(weight) = weight(row, column) {
                    // At least one, so that a match is always better than none.
                    #[expect(clippy::cast_possible_truncation, reason = "1 + 0 to 1 million")]
                    let weight = 1 + (weight.clamp(0.0, 1.0) * UNIT) as i64;
                    self.groups.join(i, rows.len() + j);
                    self.candidates.push(Candidate {
                        row,
                        column,
                        weight,
                        group: i,
                    });
                }
            }
        }
        for candidate in &mut self.candidates {
            candidate.group = self.groups.of(candidate.group);
        }
        self.candidates
            .sort_unstable_by_key(|pair| (pair.group, pair.row, pair.column));
        self.matches.clear();
        let candidates = std::mem::take(&mut self.candidates);
        for group in candidates.chunk_by(|a, b| a.group == b.group) {
            let first = group[0];
            let is_star = group.iter().all(|pair| pair.row == first.row)
                || group.iter().all(|pair| pair.column == first.column);
            if is_star {
                let best = group
                    .iter()
                    .max_by_key(|pair| pair.weight)
                    .unwrap_or(&first);
                self.matches.push((best.row, best.column));
            } else {
                self.solve_group(group);
            }
        }
        self.candidates = candidates;
        &self.matches
    }

    fn solve_group(&mut self, group: &[Candidate]) {
        self.rows.clear();
        self.columns.clear();
        for pair in group {
            self.rows.push(pair.row);
            self.columns.push(pair.column);
        }
        for side in [&mut self.rows, &mut self.columns] {
            side.sort_unstable();
            side.dedup();
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
        for pair in group {
            let (in_short, in_long) = if transposed {
                (pair.column, pair.row)
            } else {
                (pair.row, pair.column)
            };
            if let (Ok(i), Ok(j)) = (short.binary_search(&in_short), long.binary_search(&in_long)) {
                self.weights[i * long.len() + j] = pair.weight;
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
    }
}

/// Disjoint sets of numbers (union-find with path halving).
#[derive(Debug, Default)]
struct Groups {
    parents: Vec<usize>,
}

impl Groups {
    /// Each of `0..count` alone.
    fn reset(&mut self, count: usize) {
        self.parents.clear();
        self.parents.extend(0..count);
    }

    /// The number that stands for the set of `member`.
    fn of(&mut self, mut member: usize) -> usize {
        while self.parents[member] != member {
            self.parents[member] = self.parents[self.parents[member]];
            member = self.parents[member];
        }
        member
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        self.parents[one.max(other)] = one.min(other);
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
    use std::collections::BTreeSet;

    use proptest::prelude::*;

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

    /// The largest sum over all matchings, by trying each.
    fn best_by_trial(weights: &[Vec<f32>], row: usize, taken: u32) -> f32 {
        let Some(candidates) = weights.get(row) else {
            return 0.0;
        };
        let without = best_by_trial(weights, row + 1, taken);
        let free = |&(column, weight): &(usize, &f32)| *weight > 0.0 && taken >> column & 1 == 0;
        let with = candidates.iter().enumerate().filter(free);
        with.map(|(column, weight)| weight + best_by_trial(weights, row + 1, taken | 1 << column))
            .fold(without, f32::max)
    }

    proptest! {
        #[test]
        fn no_other_matching_is_better(
            weights in (1_usize..6, 1_usize..6).prop_flat_map(|(rows, columns)| {
                let weight = prop_oneof![2 => Just(0.0_f32), 1 => 0.01_f32..1.0];
                prop::collection::vec(prop::collection::vec(weight, columns), rows)
            }),
        ) {
            let slices: Vec<&[f32]> = weights.iter().map(Vec::as_slice).collect();
            let matches = solve(&slices);
            let rows: BTreeSet<_> = matches.iter().map(|(row, _)| row).collect();
            let columns: BTreeSet<_> = matches.iter().map(|(_, column)| column).collect();
            prop_assert_eq!((rows.len(), columns.len()), (matches.len(), matches.len()));
            let sum: f32 = matches.iter().map(|&(row, column)| weights[row][column]).sum();
            prop_assert!((sum - best_by_trial(&weights, 0, 0)).abs() < 1e-4, "{matches:?}");
        }
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
