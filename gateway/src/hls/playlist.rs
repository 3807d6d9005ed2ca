//! The texts of playlists (RFC 8216, and its second edition for what has to do with parts). Pure.

use std::fmt::{self, Write};

use fmp4::TIMESCALE;
use jiff::Timestamp;

use crate::hls::segmenter::Pace;
use crate::hls::window::{Segment, Window};

/// Parts are listed in segments that ended so many target durations ago (8216bis, 6.2.2).
const PARTS_LISTED: u64 = 3;

/// Players stay so many parts behind (8216bis, 4.4.3.8: at least three).
const PART_HOLD_BACK: u32 = 3;

/// One encode of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Variant {
    /// Relative to the multivariant playlist.
    pub(crate) uri: String,
    /// Bits a second of its largest segment.
    pub(crate) bandwidth: u64,
    /// Bits a second of all its segments.
    pub(crate) average_bandwidth: u64,
    /// RFC 6381.
    pub(crate) codec: String,
    pub(crate) width: u16,
    pub(crate) height: u16,
    /// Pictures a second.
    pub(crate) frame_rate: f64,
}

impl Variant {
    /// As measured by what is in the window; `None` while there is no segment.
    pub(crate) fn of(window: &Window, uri: String) -> Option<Self> {
        let init = &window.newest()?.head.init;
        let segments = window.listed().map(|(_, segment)| segment);
        let sizes: Vec<_> = segments
            .map(|segment| (segment.bytes() as u64, u64::from(segment.duration())))
            .collect();
        let rate = |bytes: u64, ticks: u64| bytes * 8 * u64::from(TIMESCALE) / ticks.max(1);
        let largest = sizes.iter().map(|(bytes, ticks)| rate(*bytes, *ticks));
        let (bytes, ticks) = sizes
            .iter()
            .fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
        Some(Self {
            uri,
            bandwidth: largest.max()?,
            average_bandwidth: rate(bytes, ticks),
            codec: init.codec.clone(),
            width: init.width,
            height: init.height,
            frame_rate: window.pace.frame_rate(),
        })
    }
}

/// The playlist of all encodes of a stream, of which a player chooses one.
pub(crate) fn multivariant(variants: &[Variant]) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:9\n");
    for variant in variants {
        let Variant {
            uri,
            bandwidth,
            average_bandwidth,
            codec,
            width,
            height,
            frame_rate,
        } = variant;
        let written = writeln!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},AVERAGE-BANDWIDTH={average_bandwidth},\
             CODECS=\"{codec}\",RESOLUTION={width}x{height},FRAME-RATE={frame_rate:.3}\n{uri}"
        );
        written.expect("a string can be written to");
    }
    text
}

/// The playlist of one encode: the newest segments, and the parts of the last of them.
pub(crate) fn media(window: &Window) -> String {
    let mut text = String::with_capacity(4096);
    write_media(&mut text, window).expect("a string can be written to");
    text
}

fn write_media(text: &mut String, window: &Window) -> fmt::Result {
    write_header(text, window)?;
    let segments = window.listed();
    let mut after: u64 = segments.map(|(_, segment)| duration(segment)).sum();
    after += window.open().map_or(0, duration);
    let with_parts = PARTS_LISTED * u64::from(window.pace.target_duration()) * u64::from(TIMESCALE);
    let mut init = None;
    for (number, segment) in window.listed() {
        after -= duration(segment);
        write_head(text, segment, &mut init)?;
        if after < with_parts {
            write_parts(text, segment)?;
        }
        writeln!(text, "#EXTINF:{},", Seconds(segment.duration()))?;
        writeln!(text, "seg{number}.m4s")?;
    }
    if let Some(open) = window.open() {
        write_head(text, open, &mut init)?;
        write_parts(text, open)?;
    }
    if window.ended {
        writeln!(text, "#EXT-X-ENDLIST")
    } else {
        let next = window.next_part();
        writeln!(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part{next}.m4s\"")
    }
}

fn write_header(text: &mut String, window: &Window) -> fmt::Result {
    let pace: Pace = window.pace;
    let part_target = pace.part_target();
    let hold_back = PART_HOLD_BACK * part_target;
    let first = window
        .listed()
        .next()
        .map_or(window.next(), |(first, _)| first);
    writeln!(text, "#EXTM3U")?;
    writeln!(text, "#EXT-X-VERSION:9")?;
    writeln!(text, "#EXT-X-TARGETDURATION:{}", pace.target_duration())?;
    writeln!(
        text,
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={}",
        Seconds(hold_back)
    )?;
    writeln!(text, "#EXT-X-PART-INF:PART-TARGET={}", Seconds(part_target))?;
    writeln!(text, "#EXT-X-MEDIA-SEQUENCE:{first}")?;
    writeln!(
        text,
        "#EXT-X-DISCONTINUITY-SEQUENCE:{}",
        window.discontinuity_sequence()
    )?;
    let mut segments = window
        .listed()
        .map(|(_, segment)| segment)
        .chain(window.open());
    if segments.all(Segment::independent) {
        writeln!(text, "#EXT-X-INDEPENDENT-SEGMENTS")?;
    }
    Ok(())
}

/// `init` is the number of the initialisation segment that is in force.
fn write_head(text: &mut String, segment: &Segment, init: &mut Option<u64>) -> fmt::Result {
    let head = &segment.head;
    if head.discontinuity {
        writeln!(text, "#EXT-X-DISCONTINUITY")?;
    }
    let number = head.init.number;
    if init.replace(number) != Some(number) {
        writeln!(text, "#EXT-X-MAP:URI=\"init{number}.mp4\"")?;
    }
    // Only years beyond 9999 are none.
    let captured = Timestamp::from_millisecond(head.wall_ms).unwrap_or_default();
    writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{captured:.3}")
}

fn write_parts(text: &mut String, segment: &Segment) -> fmt::Result {
    for (number, part) in (segment.first_part..).zip(&segment.parts) {
        let duration = Seconds(part.duration);
        write!(
            text,
            "#EXT-X-PART:DURATION={duration},URI=\"part{number}.m4s\""
        )?;
        writeln!(
            text,
            "{}",
            if part.independent {
                ",INDEPENDENT=YES"
            } else {
                ""
            }
        )?;
    }
    Ok(())
}

fn duration(segment: &Segment) -> u64 {
    u64::from(segment.duration())
}

/// Ticks, written as seconds.
struct Seconds(u32);

impl fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = f64::from(self.0) / f64::from(TIMESCALE);
        write!(formatter, "{seconds:.5}")
    }
}

#[cfg(test)]
mod tests;
