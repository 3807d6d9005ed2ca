//! Event time, as it is shown to people.

/// Minutes, seconds and milliseconds: `0:12.345`; with hours from an hour on: `1:02:03.456`.
#[must_use]
pub fn clock(pts_ns: u64) -> String {
    let milliseconds = pts_ns / 1_000_000;
    let (seconds, milliseconds) = (milliseconds / 1000, milliseconds % 1000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    match minutes / 60 {
        0 => format!("{minutes}:{seconds:02}.{milliseconds:03}"),
        hours => format!("{hours}:{:02}:{seconds:02}.{milliseconds:03}", minutes % 60),
    }
}

/// A time and its frame: `0:12.345 (frame 123)`.
#[must_use]
pub fn at_frame(pts_ns: u64, frame: u64) -> String {
    format!("{} (frame {frame})", clock(pts_ns))
}

/// A span of time as rules write it: `10s`, `1.5s`, `500ms`, `2m`, `0s`.
#[must_use]
pub fn span(nanoseconds: u64) -> String {
    const UNITS: [(u64, &str); 3] = [
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
    ];
    let whole = |(unit, _): &&(u64, &str)| nanoseconds.is_multiple_of(*unit);
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    if let Some((unit, name)) = UNITS.iter().find(whole) {
        return format!("{}{name}", nanoseconds / unit);
    }
    let milliseconds = nanoseconds / 1_000_000;
    if milliseconds < 1000 {
        return format!("{milliseconds}ms");
    }
    let decimals = format!("{:03}", milliseconds % 1000);
    format!(
        "{}.{}s",
        milliseconds / 1000,
        decimals.trim_end_matches('0')
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_a_clock() {
        assert_eq!(clock(0), "0:00.000");
        assert_eq!(clock(12_345_678_901), "0:12.345");
        assert_eq!(clock(3_723_456_000_000), "1:02:03.456");
        assert_eq!(at_frame(4_960_000_000, 124), "0:04.960 (frame 124)");
    }

    #[test]
    fn spans_are_written_as_in_rules() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (10_000_000_000, "10s"),
            (1_500_000_000, "1.5s"),
            (500_000_000, "500ms"),
            (120_000_000_000, "2m"),
            (7_200_000_000_000, "2h"),
            (90_000_000_000, "90s"),
        ] {
            assert_eq!(span(nanoseconds), text);
        }
    }
}
