//! Access units of a sender, out of the chunks that they come in. Pure.

use frame_bus::UnitPart;

/// Most bytes of an access unit; the gateway sends none that is larger.
const UNIT_BYTES_MAX: usize = 4 << 20;

/// Puts access units together, and leaves out what cannot be decoded: after a gap everything up to
/// the next key frame, because pictures that were guessed from others show what was never there.
#[derive(Debug, Default)]
pub(super) struct Units {
    /// What has come of the one that is not whole yet.
    open: Option<Unit>,
    /// Nothing is missing since a key frame.
    linked: bool,
    /// Something was left out before the next access unit.
    gap: bool,
}

/// An access unit, as a byte stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) data: Vec<u8>,
    /// When it was due, on the monotonic clock.
    pub(super) pts_ns: u64,
    pub(super) keyframe: bool,
    /// Something before it is missing.
    pub(super) gap: bool,
}

impl Units {
    /// Takes the next part; `gap`: and something before it is missing. Returns the access unit
    /// that it ends.
    pub(super) fn take(&mut self, part: UnitPart, data: &[u8], gap: bool) -> Option<Unit> {
        if gap {
            self.lose();
        }
        if part.first {
            if self.open.is_some() {
                self.lose();
            }
            self.linked |= part.keyframe;
            self.open = self.linked.then(|| Unit {
                data: Vec::with_capacity(data.len()),
                pts_ns: part.pts_ns,
                keyframe: part.keyframe,
                gap: false,
            });
        }
        let Some(open) = &mut self.open else {
            // Its beginning is missing, or a key frame before it.
            self.lose();
            return None;
        };
        if open.data.len() + data.len() > UNIT_BYTES_MAX {
            self.lose();
            return None;
        }
        open.data.extend_from_slice(data);
        let mut whole = self.open.take_if(|_| part.last)?;
        whole.gap = std::mem::take(&mut self.gap);
        Some(whole)
    }

    fn lose(&mut self) {
        self.open = None;
        self.linked = false;
        self.gap = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `K`, `d`: all of a key frame, of another; `(`, `-`, `)` the parts of one, `[` of a key frame;
    /// `!`: a gap before what follows.
    fn whole(parts: &str) -> Vec<(usize, bool, bool)> {
        let mut units = Units::default();
        let (mut gap, mut taken) = (false, Vec::new());
        for sign in parts.chars() {
            if sign == '!' {
                gap = true;
                continue;
            }
            let part = UnitPart {
                pts_ns: 7,
                keyframe: matches!(sign, 'K' | '['),
                first: matches!(sign, 'K' | 'd' | '(' | '['),
                last: matches!(sign, 'K' | 'd' | ')'),
            };
            let unit = units.take(part, &[1, 2], std::mem::take(&mut gap));
            taken.extend(unit.map(|unit| (unit.data.len(), unit.keyframe, unit.gap)));
        }
        taken
    }

    #[test]
    fn parts_become_access_units() {
        let (key, other) = ((2, true, false), (2, false, false));
        assert_eq!(whole("Kdd"), [key, other, other]);
        assert_eq!(whole("[-)(--)"), [(6, true, false), (8, false, false)]);
        assert_eq!(whole("K(-"), [key]);
    }

    #[test]
    fn nothing_is_handed_on_before_a_key_frame_or_behind_a_gap() {
        let again = (2, true, true);
        assert_eq!(whole("ddKd"), [again, (2, false, false)]);
        assert_eq!(whole("K!ddK"), [(2, true, false), again]);
        assert_eq!(whole("[!-)dK"), [again], "the middle of one is missing");
        assert_eq!(whole("[-!)dK"), [again], "the end of another is no end");
        assert_eq!(whole("[K"), [again], "it was not ended");
        assert_eq!(whole("K!K"), [(2, true, false), again]);
        assert_eq!(whole("-)K"), [again], "joined in the middle");
    }

    #[test]
    fn what_never_ends_is_bounded() {
        let mut units = Units::default();
        let data = vec![0; 1 << 20];
        let part = |first| UnitPart {
            pts_ns: 0,
            keyframe: true,
            first,
            last: false,
        };
        units.take(part(true), &data, false);
        for _ in 0..9 {
            units.take(part(false), &data, false);
            let open = units.open.as_ref().map_or(0, |unit| unit.data.len());
            assert!(open <= UNIT_BYTES_MAX);
        }
        assert!(units.open.is_none());
    }
}
