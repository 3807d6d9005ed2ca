//! The recent scores of a track, and their median: what rules call `score`.

/// Recent scores kept; their median is the track's score.
pub const SCORES_MAX: usize = 9;

/// The last [`SCORES_MAX`] scores.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scores {
    recent: [f32; SCORES_MAX],
    /// All that were ever added.
    count: u32,
}

impl Scores {
    /// Adds the score of one more detection.
    pub(crate) fn add(&mut self, score: f32) {
        self.recent[self.count as usize % SCORES_MAX] = score;
        self.count = self.count.saturating_add(1);
    }

    /// How many were ever added.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Median of the recent scores; of an even number, the lower of the middle two; 0 of none.
    pub(crate) fn median(&self) -> f32 {
        let count = (self.count as usize).min(SCORES_MAX);
        let mut recent = self.recent;
        let recent = &mut recent[..count];
        recent.sort_unstable_by(f32::total_cmp);
        recent
            .get(count.saturating_sub(1) / 2)
            .copied()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_what_is_recent() {
        let mut scores = Scores::default();
        assert!(scores.median().abs() < f32::EPSILON);
        for (score, median) in [(0.9, 0.9), (0.1, 0.1), (0.5, 0.5), (0.6, 0.5)] {
            scores.add(score);
            assert!((scores.median() - median).abs() < f32::EPSILON, "{score}");
        }
        for _ in 0..SCORES_MAX {
            scores.add(0.3);
        }
        assert!((scores.median() - 0.3).abs() < f32::EPSILON);
        assert_eq!(scores.count(), 13);
    }
}
