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
    let timestamp = jiff::Timestamp::from_millisecond(wall_ms).unwrap_or_default();
    timestamp.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
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
