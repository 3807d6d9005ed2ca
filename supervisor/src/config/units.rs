//! Values with a unit, that cannot hold a wrong one, and how they are written.

use std::fmt;
use std::time::Duration;

/// A part of a whole, 0 to 1, written `0.4` or `40%`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Fraction(f32);

impl Fraction {
    /// `None` when `value` is not from 0 to 1.
    #[must_use]
    pub fn new(value: f32) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value))
    }

    /// 0 to 1.
    #[must_use]
    pub fn get(self) -> f32 {
        self.0
    }

    /// Reads `0.4` or `40%`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        match text.strip_suffix('%') {
            Some(percent) => Self::new(percent.trim_end().parse::<f32>().ok()? / 100.0),
            None => Self::new(text.parse().ok()?),
        }
    }
}

/// Bits a second, written `800k` or `3M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bitrate {
    kbps: u32,
}

impl Bitrate {
    /// Lowest, in kbit/s.
    pub const KBPS_MIN: u32 = 50;
    /// Highest, in kbit/s.
    pub const KBPS_MAX: u32 = 100_000;

    /// `None` when `kbps` is out of bounds.
    #[must_use]
    pub fn from_kbps(kbps: u32) -> Option<Self> {
        (Self::KBPS_MIN..=Self::KBPS_MAX)
            .contains(&kbps)
            .then_some(Self { kbps })
    }

    /// Thousands of bits a second.
    #[must_use]
    pub fn kbps(self) -> u32 {
        self.kbps
    }

    /// Reads `800k`, `3M` or `2.5M`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let kbps = match text.strip_suffix('M') {
            Some(millions) => scaled(millions, 1000)?,
            None => scaled(text.strip_suffix('k')?, 1)?,
        };
        Self::from_kbps(u32::try_from(kbps).ok()?)
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}k", self.kbps)
    }
}

/// An amount of stored data, written `500MB`, `10GB` or `1TB`: powers of ten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize {
    bytes: u64,
}

impl ByteSize {
    /// Least, in bytes.
    pub const BYTES_MIN: u64 = 1_000_000;
    /// Most, in bytes.
    pub const BYTES_MAX: u64 = 100_000_000_000_000;

    /// How many bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// Reads `500MB`, `2.5GB` or `1TB`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let unit = text.find(|sign: char| sign.is_ascii_alphabetic())?;
        let (number, unit) = text.split_at(unit);
        let scale = match unit {
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => return None,
        };
        let bytes = scaled(number, scale)?;
        (Self::BYTES_MIN..=Self::BYTES_MAX)
            .contains(&bytes)
            .then_some(Self { bytes })
    }
}

/// Reads `500ms`, `1.5s`, `2m` or `1h`: always with a unit, and exact to the millisecond.
pub(super) fn read_duration(text: &str) -> Option<Duration> {
    let unit = text.find(|character: char| character.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(scaled(number, milliseconds)?))
}

/// A decimal number times `scale`, where that is a whole number.
fn scaled(text: &str, scale: u64) -> Option<u64> {
    const DECIMALS_MAX: usize = 6;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    if !digits(whole) || !digits(decimals) || decimals.len() > DECIMALS_MAX {
        return None;
    }
    let denominator = 10_u64.pow(u32::try_from(decimals.len()).ok()?);
    let part = decimals.parse::<u64>().ok()?.checked_mul(scale)?;
    let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    part.is_multiple_of(denominator)
        .then(|| whole.checked_add(part / denominator))?
}

/// Whole milliseconds of a duration.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_data() {
        for (text, bytes) in [
            ("1MB", Some(1_000_000)),
            ("2.5GB", Some(2_500_000_000)),
            ("100TB", Some(ByteSize::BYTES_MAX)),
            ("101TB", None),
            ("0.5MB", None),
            ("10G", None),
            ("10", None),
            ("-1GB", None),
            ("99999999999999999999TB", None),
        ] {
            let read = ByteSize::read(text).map(ByteSize::bytes);
            assert_eq!(read, bytes, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("500ms", Some(500)),
            ("10s", Some(10_000)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("0s", Some(0)),
            ("10", None),
            ("s", None),
            ("", None),
            ("-1s", None),
            ("1.5s", Some(1500)),
            ("0.25m", Some(15_000)),
            ("1.5ms", None),
            ("1.s", None),
            (".5s", None),
            ("1.1.1s", None),
            ("1 s", None),
            ("1d", None),
            ("99999999999999999999s", None),
            ("9999999999999999999h", None),
        ] {
            assert_eq!(read_duration(text).map(millis), milliseconds, "{text}");
        }
    }

    #[test]
    fn fractions() {
        for (text, value) in [
            ("0.4", Some(0.4)),
            ("40%", Some(0.4)),
            ("0", Some(0.0)),
            ("1", Some(1.0)),
            ("100%", Some(1.0)),
            ("1.1", None),
            ("101%", None),
            ("-0.1", None),
            ("nan", None),
            ("%", None),
            ("", None),
        ] {
            assert_eq!(Fraction::read(text).map(Fraction::get), value, "{text}");
        }
    }

    #[test]
    fn bit_rates() {
        for (text, kbps) in [
            ("800k", Some(800)),
            ("3M", Some(3000)),
            ("2.5M", Some(2500)),
            ("0.05M", Some(50)),
            ("49k", None),
            ("101M", None),
            ("3000", None),
            (".5M", None),
            ("1.M", None),
            ("-1M", None),
            ("5000000M", None),
        ] {
            assert_eq!(Bitrate::read(text).map(Bitrate::kbps), kbps, "{text}");
        }
    }
}
