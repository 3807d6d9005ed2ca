//! Durations as they are written: `10s`, `500ms`, `1.5m`.

/// A century: beyond it nobody means what is written, and sums could overflow.
const DURATION_NS_MAX: u64 = 36_525 * 24 * 3600 * 1_000_000_000;

const UNITS: [(&str, u64); 4] = [
    ("h", HOUR_NS),
    ("m", MINUTE_NS),
    ("s", SECOND_NS),
    ("ms", MILLISECOND_NS),
];

const HOUR_NS: u64 = 60 * MINUTE_NS;
const MINUTE_NS: u64 = 60 * SECOND_NS;
const SECOND_NS: u64 = 1000 * MILLISECOND_NS;
const MILLISECOND_NS: u64 = 1_000_000;

/// Digits behind the point that can make a nanosecond, and some more.
const FRACTION_DIGITS_MAX: usize = 18;

/// Nanoseconds of a duration; `None` for any other text.
///
/// Exact; what is below a nanosecond is dropped.
pub(crate) fn parse_duration(text: &str) -> Option<u64> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(number_end);
    let (_, unit_ns) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let digits = &fraction[..fraction.len().min(FRACTION_DIGITS_MAX)];
    let scale = 10_u128.pow(u32::try_from(digits.len()).ok()?);
    let fraction_ns = digits.parse::<u128>().ok()? * u128::from(*unit_ns) / scale;
    let nanoseconds = whole
        .parse::<u64>()
        .ok()?
        .checked_mul(*unit_ns)?
        .checked_add(u64::try_from(fraction_ns).ok()?)?;
    (nanoseconds <= DURATION_NS_MAX).then_some(nanoseconds)
}

/// The canonical text of a duration: [`parse_duration`] reads the same from it.
pub(crate) fn format_duration(nanoseconds: u64) -> String {
    let is_whole = |unit_ns| nanoseconds.is_multiple_of(unit_ns);
    if nanoseconds == 0 {
        "0s".to_owned()
    } else if is_whole(HOUR_NS) {
        format!("{}h", nanoseconds / HOUR_NS)
    } else if is_whole(MINUTE_NS) {
        format!("{}m", nanoseconds / MINUTE_NS)
    } else if nanoseconds >= SECOND_NS && is_whole(MILLISECOND_NS) {
        let milliseconds = nanoseconds % SECOND_NS / MILLISECOND_NS;
        decimal(nanoseconds / SECOND_NS, &format!("{milliseconds:03}"), "s")
    } else {
        let rest = nanoseconds % MILLISECOND_NS;
        decimal(nanoseconds / MILLISECOND_NS, &format!("{rest:06}"), "ms")
    }
}

fn decimal(whole: u64, fraction: &str, unit: &str) -> String {
    match fraction.trim_end_matches('0') {
        "" => format!("{whole}{unit}"),
        digits => format!("{whole}.{digits}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, nanoseconds) in [
            ("0s", 0),
            ("500ms", 500_000_000),
            ("1.5s", 1_500_000_000),
            ("2m", 120_000_000_000),
            ("0.25h", 900_000_000_000),
            ("0.0000019ms", 1),
            ("1.123456789123s", 1_123_456_789),
        ] {
            assert_eq!(parse_duration(text), Some(nanoseconds), "{text}");
        }
        for text in [
            "",
            "s",
            "1",
            "1 s",
            "-1s",
            "1.s",
            ".5s",
            "1.2.3s",
            "1d",
            "99999999h",
            "99999999999999999999999s",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        let long = format!("0.{}s", "9".repeat(5000));
        assert_eq!(parse_duration(&long), Some(999_999_999));
    }

    #[test]
    fn the_canonical_text_takes_the_unit_that_reads_best() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (90_000_000_000, "90s"),
            (60_000_000_000, "1m"),
            (7_200_000_000_000, "2h"),
            (1_500_000_000, "1.5s"),
            (61_005_000_000, "61.005s"),
            (1_500_000, "1.5ms"),
            (1, "0.000001ms"),
        ] {
            assert_eq!(format_duration(nanoseconds), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(nanoseconds in 0..=DURATION_NS_MAX, unit in 0..4_usize) {
            for value in [nanoseconds, nanoseconds / UNITS[unit].1 * UNITS[unit].1] {
                prop_assert_eq!(parse_duration(&format_duration(value)), Some(value));
            }
        }
    }
}
