//! The latency histogram's buckets: log-linear, as in `HdrHistogram`, with 32
//! buckets an octave (relative error at most 1/32) from 1 us to 134 s.

/// Buckets of every histogram.
pub const BUCKETS: usize = 768;

const SUB_BITS: u32 = 5;
const SUB: u64 = 1 << SUB_BITS;

/// The bucket of a duration in microseconds; what is too long counts in the last.
#[must_use]
pub fn bucket_of(microseconds: u64) -> usize {
    if microseconds < SUB {
        return usize::try_from(microseconds).unwrap_or(0);
    }
    let exponent = u64::from(microseconds.ilog2());
    let sub = (microseconds >> (exponent - u64::from(SUB_BITS))) & (SUB - 1);
    let index = (exponent - u64::from(SUB_BITS) + 1) * SUB + sub;
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

/// The largest duration, in microseconds, that falls into a bucket.
#[must_use]
pub fn bucket_end_us(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SUB {
        return bucket;
    }
    let exponent = bucket / SUB + u64::from(SUB_BITS) - 1;
    let sub = bucket % SUB;
    ((SUB + sub + 1) << (exponent - u64::from(SUB_BITS))) - 1
}

/// A histogram read from a book: counts a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
        }
    }
}

impl Histogram {
    /// Makes a histogram of [`BUCKETS`] counts; missing ones are zero.
    #[must_use]
    pub fn from_counts(mut counts: Vec<u64>) -> Self {
        counts.resize(BUCKETS, 0);
        Self { counts }
    }

    /// Counts one duration.
    pub fn record(&mut self, microseconds: u64) {
        self.counts[bucket_of(microseconds)] += 1;
    }

    /// How many durations were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What was counted since `earlier` was read from the same book.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let pairs = self.counts.iter().zip(&earlier.counts);
        Self {
            counts: pairs.map(|(now, then)| now.saturating_sub(*then)).collect(),
        }
    }

    /// The upper end, in microseconds, of the bucket that holds the quantile
    /// (0.5 is the median); `None` when nothing was counted.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> Option<u64> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank is a count between 1 and total"
        )]
        let rank = ((quantile.clamp(0.0, 1.0) * total as f64).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(bucket_end_us(bucket));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_holds_what_is_put_in_it(value in 0_u64..134_000_000) {
            let bucket = bucket_of(value);
            prop_assert!(value <= bucket_end_us(bucket));
            prop_assert!(bucket == 0 || value > bucket_end_us(bucket - 1));
            prop_assert!(bucket_end_us(bucket) - value <= value / 32);
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_us(0.5), None);
        (1..=100).for_each(|value| histogram.record(value * 1000));
        let p50 = histogram.quantile_us(0.5).expect("counted");
        assert!((50_000..=51_600).contains(&p50), "{p50}");
        let p99 = histogram.quantile_us(0.99).expect("counted");
        assert!((99_000..=102_100).contains(&p99), "{p99}");
        histogram.record(u64::MAX);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(histogram.since(&histogram.clone()).total(), 0);
    }
}
