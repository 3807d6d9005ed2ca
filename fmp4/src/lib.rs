//! Fragmented MP4 (ISO/IEC 14496-12, CMAF of 23000-19) of one H.264 track (14496-15).
//!
//! A file is an initialisation segment ([`init_segment`]) and then fragments ([`fragment`]),
//! each complete in itself: whatever happens to the writer, all whole fragments play.
//! [`Movie::read`] finds them again, also in a file whose end is torn, and
//! [`fragment_header`] is what cutting and joining write in front of samples that are
//! copied as they lie. Nothing here opens a file or reads a clock, and nothing decodes.
//!
//! Times are in ticks of [`TIMESCALE`]; [`ticks`] makes them of nanoseconds. Each time is
//! rounded for itself and durations are their differences, so that nothing drifts.

#[cfg(test)]
mod fixture;
mod nal;
mod read;
mod sps;
mod write;

pub use nal::{ParameterSets, nal_units};
pub use read::{Fragment, Movie, ReadError};
pub use sps::SpsError;
pub use write::{
    AccessUnit, Sample, WriteError, fragment, fragment_header, init_segment, reference_time,
};

/// Ticks a second, as usual for video: the common frame rates have whole durations.
pub const TIMESCALE: u32 = 90_000;

/// Nanoseconds as ticks of [`TIMESCALE`], to the nearest.
#[must_use]
pub fn ticks(nanoseconds: u64) -> u64 {
    let ticks = (u128::from(nanoseconds) * u128::from(TIMESCALE) + 500_000_000) / 1_000_000_000;
    // Fewer than nanoseconds: 90 000 a second.
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Ticks of [`TIMESCALE`] as nanoseconds, to the nearest.
#[must_use]
pub fn nanoseconds(ticks: u64) -> u64 {
    let scale = u128::from(TIMESCALE);
    let nanoseconds = (u128::from(ticks) * 1_000_000_000 + scale / 2) / scale;
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_the_nearest_and_come_back() {
        assert_eq!(ticks(0), 0);
        assert_eq!(ticks(40_000_000), 3600);
        assert_eq!(ticks(33_366_667), 3003);
        assert_eq!(ticks(u64::MAX), 1_660_206_966_633_860);
        for tick in [0, 1, 2, 3003, 90_000, 1 << 40] {
            assert_eq!(ticks(nanoseconds(tick)), tick);
        }
    }
}
