//! Moments as people write them: by the wall clock, by event time, or counted from the end.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

/// A moment of a recorded stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// `2026-11-21T20:45:10Z`: wall clock, milliseconds since the Unix epoch.
    Wall(i64),
    /// `12.5s`: event time, nanoseconds.
    Event(u64),
    /// `-5m`: so many milliseconds before the end of what is recorded.
    BeforeEnd(u64),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(length) = text.strip_prefix('-') {
            let nanoseconds = duration_ns(length).ok_or_else(|| wrong(text))?;
            return Ok(Self::BeforeEnd(nanoseconds / 1_000_000));
        }
        if let Some(nanoseconds) = duration_ns(text) {
            return Ok(Self::Event(nanoseconds));
        }
        let timestamp = text.parse::<Timestamp>().map_err(|_| wrong(text))?;
        Ok(Self::Wall(timestamp.as_millisecond()))
    }
}

fn wrong(text: &str) -> String {
    format!(
        "`{text}` is no moment: write a time with its zone like 2026-11-21T20:45:10Z, \
         -5m for five minutes before the end, or 12.5s of event time"
    )
}

/// `500ms`, `12.5s`, `5m`, `1h`, in nanoseconds.
fn duration_ns(text: &str) -> Option<u64> {
    let unit = text.find(|sign: char| sign.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let unit_ns: u64 = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    if !digits(whole) || !digits(decimals) || decimals.len() > 9 {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(decimals.len()).ok()?);
    let part = u128::from(decimals.parse::<u64>().ok()?) * u128::from(unit_ns) / u128::from(scale);
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit_ns)?;
    whole.checked_add(u64::try_from(part).ok()?)
}

/// Wall-clock time as `2026-11-21T20:45:10.123Z`.
pub struct Utc(pub i64);

impl fmt::Display for Utc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = Timestamp::from_millisecond(self.0).unwrap_or_default();
        write!(
            formatter,
            "{}",
            timestamp.strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        for (text, moment) in [
            ("1970-01-01T00:00:01Z", Moment::Wall(1000)),
            ("1970-01-01T01:00:00.250+01:00", Moment::Wall(250)),
            ("-5m", Moment::BeforeEnd(300_000)),
            ("-0.5s", Moment::BeforeEnd(500)),
            ("12.5s", Moment::Event(12_500_000_000)),
            ("0s", Moment::Event(0)),
            ("33.366666667s", Moment::Event(33_366_666_667)),
        ] {
            assert_eq!(text.parse(), Ok(moment), "{text}");
        }
        let wrong = [
            "",
            "5",
            "-",
            "-5",
            "1d",
            "20:45",
            "2026-11-21T20:45:10",
            "99999999999h",
        ];
        for wrong in wrong {
            let error = wrong.parse::<Moment>().expect_err(wrong);
            assert!(error.contains("2026-11-21T20:45:10Z"), "{error}");
        }
        assert_eq!(Utc(1250).to_string(), "1970-01-01T00:00:01.250Z");
    }
}
