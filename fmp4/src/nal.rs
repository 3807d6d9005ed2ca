//! The byte stream of H.264 (Annex B of ITU-T H.264) as NAL units, and its parameter sets.

use crate::sps::{Sps, SpsError};

/// Coded slice of an IDR picture.
const IDR_SLICE: u8 = 5;
const SEQUENCE_PARAMETER_SET: u8 = 7;
const PICTURE_PARAMETER_SET: u8 = 8;
const ACCESS_UNIT_DELIMITER: u8 = 9;
const SEQUENCE_PARAMETER_SET_EXTENSION: u8 = 13;

/// `nal_unit_type` of table 7-1.
fn kind(unit: &[u8]) -> Option<u8> {
    unit.first().map(|header| header & 0x1f)
}

/// The NAL units of a byte stream, without start codes and the zeros around them.
pub fn nal_units(byte_stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(byte_stream);
    std::iter::from_fn(move || {
        let unit = rest?;
        let end = find_start_code(unit);
        rest = end.and_then(|end| after_start_code(&unit[end..]));
        let unit = &unit[..end.unwrap_or(unit.len())];
        // A NAL unit never ends with a zero: those before a start code are no part of it.
        let length = unit
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        Some(&unit[..length])
    })
    .filter(|unit| !unit.is_empty())
}

/// Where the next `00 00 01` begins.
fn find_start_code(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    // From the third byte on, whose value says how far the next possible code is.
    while let Some(last) = bytes.get(at + 2) {
        match last {
            0 => at += 1,
            1 if bytes[at] == 0 && bytes[at + 1] == 0 => return Some(at),
            _ => at += 3,
        }
    }
    None
}

fn after_start_code(bytes: &[u8]) -> Option<&[u8]> {
    find_start_code(bytes).map(|at| &bytes[at + 3..])
}

/// What a decoder must know before the first picture: it goes into the initialisation
/// segment and not into samples. Two of the same are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterSets {
    pub(crate) sequence: Vec<u8>,
    pub(crate) picture: Vec<u8>,
    pub(crate) sps: Sps,
}

impl ParameterSets {
    /// Those that an access unit brings along; `None` when it has not both. Of several the
    /// last count: one track has one of each here.
    ///
    /// # Errors
    /// When the sequence parameter set cannot be read.
    pub fn of(byte_stream: &[u8]) -> Result<Option<Self>, SpsError> {
        let (mut sequence, mut picture) = (None, None);
        for unit in nal_units(byte_stream) {
            match kind(unit) {
                Some(SEQUENCE_PARAMETER_SET) => sequence = Some(unit),
                Some(PICTURE_PARAMETER_SET) => picture = Some(unit),
                // They come before the slices.
                Some(1..=IDR_SLICE) => break,
                _ => {}
            }
        }
        let (Some(sequence), Some(picture)) = (sequence, picture) else {
            return Ok(None);
        };
        Ok(Some(Self {
            sequence: sequence.to_vec(),
            picture: picture.to_vec(),
            sps: Sps::parse(sequence)?,
        }))
    }

    /// Width of the shown picture, in pixels.
    #[must_use]
    pub fn width(&self) -> u16 {
        self.sps.width
    }

    /// Height of the shown picture, in pixels.
    #[must_use]
    pub fn height(&self) -> u16 {
        self.sps.height
    }

    /// The codec as RFC 6381 writes it: `avc1.64001F`, profile, constraints and level in hex.
    #[must_use]
    pub fn codec(&self) -> String {
        let [profile, constraints, level] = self.sps.profile_and_level;
        format!("avc1.{profile:02X}{constraints:02X}{level:02X}")
    }
}

/// Appends the NAL units of a byte stream, each behind its length of four bytes, as samples
/// have them. Parameter sets are in the initialisation segment, and a sample needs no
/// delimiter: both are left out.
pub(crate) fn append_sample(byte_stream: &[u8], out: &mut Vec<u8>) {
    for unit in nal_units(byte_stream) {
        let dropped = matches!(
            kind(unit),
            Some(
                SEQUENCE_PARAMETER_SET
                    | PICTURE_PARAMETER_SET
                    | ACCESS_UNIT_DELIMITER
                    | SEQUENCE_PARAMETER_SET_EXTENSION
            )
        );
        if !dropped {
            // A slice of more than 4 GiB is no slice: the fragment around it is refused.
            let length = u32::try_from(unit.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(unit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn start_codes_of_three_and_four_bytes_and_zeros_at_the_end() {
        let units = |bytes: &'static [u8]| nal_units(bytes).collect::<Vec<_>>();
        assert_eq!(units(&[]), Vec::<&[u8]>::new());
        assert_eq!(units(&[1, 2, 3]), Vec::<&[u8]>::new());
        assert_eq!(units(&[0, 0, 1]), Vec::<&[u8]>::new());
        assert_eq!(
            units(&[
                0, 0, 0, 1, 9, 16, 0, 0, 1, 0x65, 0, 0, 3, 1, 0, 0, 0, 0, 1, 6
            ]),
            [&[9, 16][..], &[0x65, 0, 0, 3, 1], &[6]]
        );
        assert_eq!(units(&[0, 0, 1, 5, 0, 0, 0]), [&[5][..]]);
    }

    #[test]
    fn parameter_sets_are_found_and_left_out_of_samples() {
        let unit = fixture::access_unit(true, &[1, 2, 3]);
        let parameters = ParameterSets::of(&unit).expect("readable").expect("there");
        assert_eq!((parameters.width(), parameters.height()), (320, 240));
        assert_eq!(parameters.codec(), "avc1.42C00B");
        let mut sample = Vec::new();
        append_sample(&unit, &mut sample);
        assert_eq!(sample, [0, 0, 0, 4, 0x65, 1, 2, 3]);
        let without = fixture::access_unit(false, &[1]);
        assert_eq!(ParameterSets::of(&without), Ok(None));
    }
}
