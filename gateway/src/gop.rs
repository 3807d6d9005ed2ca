//! The group of pictures a new viewer begins with.

use gstreamer as gst;

/// Most access units kept: 4 s at 60 frames a second, about.
const UNITS_MAX: usize = 256;

/// Most bytes kept.
const BYTES_MAX: usize = 8 << 20;

/// One encoded picture.
#[derive(Debug, Clone)]
pub(crate) struct AccessUnit {
    pub(crate) sequence_number: u64,
    pub(crate) pts_ns: u64,
    /// Without timestamps: each media has its own running time.
    pub(crate) data: gst::Buffer,
}

/// The latest key frame and everything since, without a gap; empty when that is not to be had.
#[derive(Debug, Default)]
pub(crate) struct Gop {
    units: Vec<AccessUnit>,
    bytes: usize,
}

impl Gop {
    /// Adds the next access unit. A group that outgrows its bounds is given up:
    /// whoever comes then waits for the next key frame.
    pub(crate) fn add(&mut self, unit: AccessUnit, keyframe: bool) {
        if keyframe {
            self.clear();
        } else if self.units.is_empty() {
            return;
        }
        self.bytes += unit.data.size();
        if self.bytes > BYTES_MAX || self.units.len() == UNITS_MAX {
            self.clear();
        } else {
            self.units.push(unit);
        }
    }

    /// Forgets everything: the next access unit does not continue this group.
    pub(crate) fn clear(&mut self) {
        self.units.clear();
        self.bytes = 0;
    }

    /// The access units, the key frame first.
    pub(crate) fn units(&self) -> &[AccessUnit] {
        &self.units
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u64; 0] = [];

    fn add(gop: &mut Gop, sequence_number: u64, bytes: usize, keyframe: bool) -> Vec<u64> {
        gst::init().expect("GStreamer starts");
        let unit = AccessUnit {
            sequence_number,
            pts_ns: 0,
            data: gst::Buffer::from_mut_slice(vec![0; bytes]),
        };
        gop.add(unit, keyframe);
        gop.units()
            .iter()
            .map(|unit| unit.sequence_number)
            .collect()
    }

    #[test]
    fn a_group_begins_with_a_key_frame() {
        let mut gop = Gop::default();
        assert_eq!(add(&mut gop, 0, 1, false), NONE);
        assert_eq!(add(&mut gop, 1, 1, true), [1]);
        assert_eq!(add(&mut gop, 2, 1, false), [1, 2]);
        assert_eq!(add(&mut gop, 3, 1, true), [3]);
        gop.clear();
        assert_eq!(add(&mut gop, 4, 1, false), NONE);
    }

    #[test]
    fn a_group_has_bounds() {
        let mut gop = Gop::default();
        add(&mut gop, 0, BYTES_MAX / 2, true);
        assert_eq!(add(&mut gop, 1, BYTES_MAX / 2, false), [0, 1]);
        assert_eq!(add(&mut gop, 2, 1, false), NONE);
        assert_eq!(add(&mut gop, 3, BYTES_MAX + 1, true), NONE);

        add(&mut gop, 0, 1, true);
        let longest = (1..UNITS_MAX as u64).map(|next| add(&mut gop, next, 1, false).len());
        assert_eq!(longest.last(), Some(UNITS_MAX));
        assert_eq!(add(&mut gop, UNITS_MAX as u64, 1, false), NONE);
    }
}
