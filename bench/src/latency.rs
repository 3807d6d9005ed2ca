//! Percentiles of latencies.

/// Latencies in microseconds, in order.
pub(crate) struct Latencies(Vec<u64>);

impl Latencies {
    pub(crate) fn new(mut latencies_us: Vec<u64>) -> Self {
        latencies_us.sort_unstable();
        Self(latencies_us)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// In milliseconds, with one decimal; 0 of none.
    #[expect(clippy::cast_precision_loss, reason = "latencies are short")]
    pub(crate) fn percentile_ms(&self, percent: usize) -> String {
        let index = self.0.len().saturating_sub(1) * percent / 100;
        let latency = self.0.get(index).copied().unwrap_or(0);
        format!("{:.1}", latency as f64 / 1e3)
    }
}
