//! Text tables and times, for people.

use std::io::{self, Write};

/// Prints rows with aligned columns under a header. The last column may be of any width.
pub(super) fn print_table(
    out: &mut impl Write,
    header: &[&str],
    rows: &[Vec<String>],
) -> io::Result<()> {
    let width_of = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(header[column].len())
    };
    let widths: Vec<_> = (0..header.len()).map(width_of).collect();
    let mut print_row = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        let line = padded.collect::<Vec<_>>().join("  ");
        writeln!(out, "{}", line.trim_end())
    };
    print_row(&mut header.iter().copied())?;
    for row in rows {
        print_row(&mut row.iter().map(String::as_str))?;
    }
    Ok(())
}

/// Wall-clock time as `2025-01-31 23:59:59Z`.
pub(super) fn utc(wall_ms: i64) -> String {
    const SECONDS_A_DAY: i64 = 86_400;
    let seconds = wall_ms.div_euclid(1000);
    let (days, second) = (
        seconds.div_euclid(SECONDS_A_DAY),
        seconds.rem_euclid(SECONDS_A_DAY),
    );
    let (year, month, day) = civil_date(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Year, month and day of a number of days since 1970-01-01 in the Gregorian calendar,
/// counted in eras of 400 years from 1 March of year 0 (H. Hinnant, `civil_from_days`).
fn civil_date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Nanoseconds of event time as seconds, `12.345`.
pub(super) fn pts_seconds(pts_ns: u64) -> String {
    format!(
        "{}.{:03}",
        pts_ns / 1_000_000_000,
        pts_ns / 1_000_000 % 1000
    )
}

/// Milliseconds between two wall-clock times as seconds, `12.3 s`.
pub(super) fn seconds_between(begin_wall_ms: i64, end_wall_ms: i64) -> String {
    let milliseconds = end_wall_ms.saturating_sub(begin_wall_ms).max(0);
    format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut out = Vec::new();
        let rows = [
            vec!["yard-1".to_owned(), "finished".to_owned()],
            vec!["a".to_owned(), "running".to_owned()],
        ];
        print_table(&mut out, &["id", "state"], &rows).expect("printed");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text, "id      state\nyard-1  finished\na       running\n");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00Z");
        assert_eq!(utc(951_827_696_000), "2000-02-29 12:34:56Z");
        assert_eq!(utc(1_735_689_599_999), "2024-12-31 23:59:59Z");
        assert_eq!(utc(-1), "1969-12-31 23:59:59Z");
    }

    #[test]
    fn times_read_well() {
        assert_eq!(pts_seconds(12_345_678_901), "12.345");
        assert_eq!(seconds_between(1_000, 13_340), "12.3 s");
    }
}
