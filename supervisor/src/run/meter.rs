//! Rates and latencies of a stream, from readings of its books. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use contract::latency::Histogram;
use contract::ledger::InferCounters;

use crate::books::StreamBooks;

/// Rates are taken over this long.
const WINDOW: Duration = Duration::from_secs(5);
/// What models keep up with is judged by no less than this long, so that a start is no overload,
const SERVED_SPAN: Duration = Duration::from_secs(4);
/// and by no fewer frames.
const SERVED_FRAMES: u64 = 8;

/// What the books said at one time.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// When, on the supervisor's clock.
    pub at: Duration,
    /// The counters.
    pub books: StreamBooks,
    /// Latencies from capture to rendered.
    pub latency: Histogram,
}

/// Rates between two readings.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    /// Frames captured, a second, or access units where nothing is decoded.
    pub captured_fps: f64,
    /// Frames the first model ran on, a second.
    pub inferred_fps: f64,
    /// Frames rendered, a second.
    pub rendered_fps: f64,
    /// Median of capture to rendered.
    pub latency_p50_us: Option<u64>,
    /// 99th percentile of the same.
    pub latency_p99_us: Option<u64>,
}

/// Keeps the readings of the last seconds of one stream.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    readings: VecDeque<Reading>,
}

impl Meter {
    /// Adds a reading.
    pub fn push(&mut self, reading: Reading) {
        let oldest = reading.at.saturating_sub(WINDOW);
        self.readings.push_back(reading);
        // The one before the window stays: rates are taken from it.
        while self.readings.get(1).is_some_and(|next| next.at <= oldest) {
            self.readings.pop_front();
        }
    }

    /// The last reading.
    #[must_use]
    pub fn last(&self) -> Option<&Reading> {
        self.readings.back()
    }

    /// Rates over the last seconds.
    #[must_use]
    pub fn rates(&self) -> Rates {
        match (self.readings.front(), self.readings.back()) {
            (Some(first), Some(last)) => rates(first, last),
            _ => Rates::default(),
        }
    }

    /// The part of the frames wanting a model that it ran on, over all models and the last
    /// seconds; `None` while there are too few to say. What a gate held back was not wanted.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "frames of some seconds")]
    pub fn served(&self) -> Option<f64> {
        let (first, last) = (self.readings.front()?, self.readings.back()?);
        if last.at.saturating_sub(first.at) < SERVED_SPAN {
            return None;
        }
        let over_models = |reading: &Reading, count: fn(&InferCounters) -> u64| {
            let models = reading.books.ledger.infer.iter();
            models.map(|(_, infer)| count(infer)).sum::<u64>()
        };
        let since = |count: fn(&InferCounters) -> u64| {
            over_models(last, count).saturating_sub(over_models(first, count))
        };
        let inferred = since(|infer| infer.inferred);
        let missed = since(|infer| infer.shed + infer.stale + infer.overflowed);
        let wanted = inferred + missed;
        (wanted >= SERVED_FRAMES).then(|| inferred as f64 / wanted as f64)
    }

    /// Rates since the reading before the last, and frames dropped and lost since then.
    #[must_use]
    pub fn last_interval(&self) -> (Rates, u64, u64) {
        let Some(last) = self.readings.back() else {
            return (Rates::default(), 0, 0);
        };
        let nothing = Reading::default();
        let before = self.readings.len().checked_sub(2);
        let before = before.map_or(&nothing, |index| &self.readings[index]);
        let dropped =
            |reading: &Reading| drops(&reading.books).iter().map(|(_, count)| count).sum();
        let lost = |reading: &Reading| reading.books.ledger.lost();
        (
            rates(before, last),
            u64::saturating_sub(dropped(last), dropped(before)),
            lost(last).saturating_sub(lost(before)),
        )
    }
}

fn rates(first: &Reading, last: &Reading) -> Rates {
    let seconds = last.at.saturating_sub(first.at).as_secs_f64();
    #[expect(
        clippy::cast_precision_loss,
        reason = "frames of some seconds are few enough for a float"
    )]
    let fps = |now: u64, then: u64| {
        if seconds > 0.0 {
            now.saturating_sub(then) as f64 / seconds
        } else {
            0.0
        }
    };
    let inferred = |reading: &Reading| {
        let first_model = reading.books.ledger.infer.first();
        first_model.map_or(0, |(_, infer)| infer.inferred)
    };
    let captured = |reading: &Reading| reading.books.ledger.ingest.captured;
    // Where nothing is decoded, access units are what comes.
    let units = |reading: &Reading| reading.books.ledger.ingest.units;
    let rendered = |reading: &Reading| reading.books.ledger.render.rendered;
    let latency = last.latency.since(&first.latency);
    Rates {
        captured_fps: fps(captured(last), captured(first)).max(fps(units(last), units(first))),
        inferred_fps: fps(inferred(last), inferred(first)),
        rendered_fps: fps(rendered(last), rendered(first)),
        latency_p50_us: latency.quantile_us(0.5),
        latency_p99_us: latency.quantile_us(0.99),
    }
}

/// Frames dropped so far, by reason; a frame dropped for two models counts twice. Gates
/// are no drops: they were asked for.
#[must_use]
pub fn drops(books: &StreamBooks) -> Vec<(&'static str, u64)> {
    let ledger = &books.ledger;
    let over_models = |count: fn(&InferCounters) -> u64| {
        ledger
            .infer
            .iter()
            .map(|(_, infer)| count(infer))
            .sum::<u64>()
    };
    vec![
        ("no slot", ledger.ingest.dropped_no_slot),
        (
            "invalid",
            ledger.ingest.dropped_invalid + ledger.render.dropped_invalid,
        ),
        ("stopping", ledger.ingest.dropped_stopping),
        ("overflow", ledger.render.overflowed),
        (
            "not handed on",
            ledger.render.units_overflowed + ledger.render.units_resync,
        ),
        ("encoder", ledger.render.dropped_encoder),
        ("infer overflow", over_models(|infer| infer.overflowed)),
        ("stale", over_models(|infer| infer.stale)),
        ("shed", over_models(|infer| infer.shed)),
        ("model failed", over_models(|infer| infer.failed)),
    ]
}

/// How far a finite source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Frames captured.
    pub done: u64,
    /// Frames there are.
    pub total: u64,
    /// Time left at the present rate; `None` while that is not known.
    pub remaining: Option<Duration>,
}

impl Progress {
    /// How far a source of `total` frames is after `done`, at `fps`.
    #[must_use]
    pub fn of(done: u64, total: u64, fps: f64) -> Self {
        // Containers may understate their frames.
        let total = total.max(done);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let seconds = (total - done) as f64 / fps;
        Self {
            done,
            total,
            // Beyond a year it is no estimate.
            remaining: (fps > 0.0 && seconds < 3e7).then(|| Duration::from_secs_f64(seconds)),
        }
    }

    /// Whole per cent done.
    #[must_use]
    pub fn percent(&self) -> u64 {
        if self.total == 0 {
            return 100;
        }
        u64::try_from(u128::from(self.done) * 100 / u128::from(self.total)).unwrap_or(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(seconds: u64, captured: u64) -> Reading {
        let mut reading = Reading {
            at: Duration::from_secs(seconds),
            ..Default::default()
        };
        reading.books.ledger.ingest.captured = captured;
        reading
    }

    #[test]
    fn rates_are_of_the_last_seconds() {
        let mut meter = Meter::default();
        assert_eq!(meter.rates(), Rates::default());
        for second in 0..=10 {
            meter.push(reading(second, second * 25));
        }
        assert!((meter.rates().captured_fps - 25.0).abs() < 1e-9);
        // The source stops: five seconds later the rate is 0.
        for second in 11..=15 {
            meter.push(reading(second, 250));
        }
        assert!(meter.rates().captured_fps.abs() < 1e-9);
        assert!(meter.readings.len() <= 7);
    }

    #[test]
    fn what_models_miss_of_what_they_were_to_see_is_known() {
        let mut meter = Meter::default();
        let mut push = |seconds: u64, [inferred, shed, stale, gated]: [u64; 4]| {
            let mut reading = reading(seconds, 0);
            let counters = InferCounters {
                inferred,
                shed,
                stale,
                gated,
                ..Default::default()
            };
            let model = "people".parse().expect("a name");
            reading.books.ledger.infer.push((model, counters));
            meter.push(reading);
            meter.served()
        };
        assert_eq!(push(0, [0, 0, 0, 0]), None);
        assert_eq!(push(3, [10, 30, 0, 0]), None, "too short a time");
        assert_eq!(push(5, [30, 50, 20, 900]), Some(0.3));
        // Five seconds later only what came since counts: nothing but gated frames.
        assert_eq!(push(10, [30, 50, 20, 2000]), None);
        assert_eq!(push(15, [80, 50, 20, 2000]), Some(1.0));
    }

    #[test]
    fn an_interval_counts_what_was_dropped_and_lost_in_it() {
        let mut meter = Meter::default();
        let mut first = reading(1, 10);
        first.books.ledger.ingest.dropped_no_slot = 2;
        first.latency.record(1000);
        let mut second = reading(2, 20);
        second.books.ledger.ingest.dropped_no_slot = 5;
        second.books.ledger.render.lost_in_worker = 1;
        second.latency.record(1000);
        second.latency.record(9000);
        meter.push(first);
        assert_eq!(meter.last_interval().1, 2, "since the beginning");
        meter.push(second);
        let (rates, dropped, lost) = meter.last_interval();
        assert_eq!((dropped, lost), (3, 1));
        let p50 = rates.latency_p50_us.expect("one frame");
        assert!((9000..9300).contains(&p50), "{p50}");
    }

    #[test]
    fn progress_and_time_left() {
        let progress = Progress::of(200, 800, 20.0);
        assert_eq!(progress.percent(), 25);
        assert_eq!(progress.remaining, Some(Duration::from_secs(30)));
        assert_eq!(Progress::of(200, 800, 0.0).remaining, None);
        assert_eq!(Progress::of(0, 0, 10.0).percent(), 100);
        let over = Progress::of(801, 800, 20.0);
        assert_eq!(
            (over.percent(), over.remaining),
            (100, Some(Duration::ZERO))
        );
    }
}
