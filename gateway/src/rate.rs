//! The bit rate of an encode. Pure.

use crate::channel::AccessUnit;

/// A bit rate is of so much of a group of pictures at least: it begins with the largest.
const RATE_OVER_MIN_NS: u64 = 500_000_000;

/// The bit rate over the newest group of pictures, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    /// PTS of the key frame, and bytes since.
    group: Option<(u64, u64)>,
    bits_per_second: u64,
}

impl Rate {
    /// The next access unit has come.
    pub(crate) fn count(&mut self, unit: &AccessUnit) {
        if let Some((begun_ns, bytes)) = self.group
            && let Some(ns) = unit
                .pts_ns
                .checked_sub(begun_ns)
                .filter(|ns| *ns >= RATE_OVER_MIN_NS)
        {
            let rate = u128::from(bytes) * 8_000_000_000 / u128::from(ns);
            self.bits_per_second = u64::try_from(rate).unwrap_or(u64::MAX);
        }
        let bytes = unit.data.len() as u64;
        self.group = match self.group {
            Some((begun_ns, before)) if !unit.keyframe => Some((begun_ns, before + bytes)),
            _ => Some((unit.pts_ns, bytes)),
        };
    }

    /// What comes next does not continue what was before.
    pub(crate) fn unlink(&mut self) {
        self.group = None;
    }

    /// 0 while it is not known.
    pub(crate) fn bits_per_second(&self) -> u64 {
        self.bits_per_second
    }
}
