//! The sequence parameter set of H.264, as far as an MP4 header needs it: ITU-T H.264, 7.3.2.1.1.

/// Why a sequence parameter set cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sequence parameter set of the video cannot be read: {0}")]
pub struct SpsError(&'static str);

/// What an MP4 header needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sps {
    /// `profile_idc`, the byte of constraint flags, `level_idc`.
    pub(crate) profile_and_level: [u8; 3],
    /// What only the high profiles say.
    pub(crate) high: Option<High>,
    /// Of the shown picture.
    pub(crate) width: u16,
    pub(crate) height: u16,
}

/// What only the high profiles say; the others have 4:2:0 with eight bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct High {
    pub(crate) chroma_format: u8,
    pub(crate) luma_bits: u8,
    pub(crate) chroma_bits: u8,
}

/// `profile_idc` of those whose sequence parameter set has the chroma format.
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
/// Largest value of `chroma_format_idc`: 4:4:4.
const CHROMA_444: u8 = 3;
/// `num_ref_frames_in_pic_order_cnt_cycle` is at most this.
const CYCLE_MAX: u32 = 255;

impl Sps {
    /// Reads a NAL unit, its header included.
    pub(crate) fn parse(unit: &[u8]) -> Result<Self, SpsError> {
        let &[_, profile, constraints, level, ref payload @ ..] = unit else {
            return Err(TOO_SHORT);
        };
        let mut bits = Bits::new(payload);
        bits.unsigned()?; // seq_parameter_set_id
        let high = match HIGH_PROFILES.contains(&profile) {
            true => Some(High::parse(&mut bits)?),
            false => None,
        };
        bits.unsigned()?; // log2_max_frame_num_minus4
        skip_picture_order(&mut bits)?;
        bits.unsigned()?; // max_num_ref_frames
        bits.flag()?; // gaps_in_frame_num_value_allowed_flag
        let width = bits.unsigned()?.saturating_add(1).saturating_mul(16);
        let map_units = bits.unsigned()?.saturating_add(1);
        let frames_only = bits.flag()?;
        if !frames_only {
            bits.flag()?; // mb_adaptive_frame_field_flag
        }
        let fields = if frames_only { 1 } else { 2 };
        let height = map_units.saturating_mul(16 * fields);
        bits.flag()?; // direct_8x8_inference_flag
        let crop = match bits.flag()? {
            true => [
                bits.unsigned()?,
                bits.unsigned()?,
                bits.unsigned()?,
                bits.unsigned()?,
            ],
            false => [0; 4],
        };
        // In samples of chroma: equations 7-19 to 7-22.
        let (unit_x, unit_y) = match high.map_or(1, |high| high.chroma_format) {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let [left, right, top, bottom] = crop;
        Ok(Self {
            profile_and_level: [profile, constraints, level],
            high,
            width: side(width, left, right, unit_x)?,
            height: side(height, top, bottom, unit_y * fields)?,
        })
    }
}

impl High {
    fn parse(bits: &mut Bits<'_>) -> Result<Self, SpsError> {
        const WRONG: SpsError = SpsError("its chroma format or bit depth is out of range");
        let small = |value: u32, most: u8| {
            let value = u8::try_from(value).ok();
            value.filter(|value| *value <= most).ok_or(WRONG)
        };
        let chroma_format = small(bits.unsigned()?, CHROMA_444)?;
        if chroma_format == CHROMA_444 {
            bits.flag()?; // separate_colour_plane_flag
        }
        let luma_bits = 8 + small(bits.unsigned()?, 6)?;
        let chroma_bits = 8 + small(bits.unsigned()?, 6)?;
        bits.flag()?; // qpprime_y_zero_transform_bypass_flag
        if bits.flag()? {
            let lists = if chroma_format == CHROMA_444 { 12 } else { 8 };
            for list in 0..lists {
                if bits.flag()? {
                    skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
        Ok(Self {
            chroma_format,
            luma_bits,
            chroma_bits,
        })
    }
}

/// 7.3.2.1.1.1
fn skip_scaling_list(bits: &mut Bits<'_>, size: u32) -> Result<(), SpsError> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + i64::from(bits.signed()?)).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Ok(())
}

fn skip_picture_order(bits: &mut Bits<'_>) -> Result<(), SpsError> {
    match bits.unsigned()? {
        0 => {
            bits.unsigned()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.flag()?; // delta_pic_order_always_zero_flag
            bits.signed()?; // offset_for_non_ref_pic
            bits.signed()?; // offset_for_top_to_bottom_field
            let cycle = bits.unsigned()?;
            if cycle > CYCLE_MAX {
                return Err(SpsError("its picture order is out of range"));
            }
            for _ in 0..cycle {
                bits.signed()?; // offset_for_ref_frame
            }
        }
        2 => {}
        _ => return Err(SpsError("its picture order is of no known type")),
    }
    Ok(())
}

fn side(coded: u32, before: u32, after: u32, unit: u32) -> Result<u16, SpsError> {
    let cropped = before.saturating_add(after).saturating_mul(unit);
    let side = coded.checked_sub(cropped).filter(|side| *side > 0);
    side.and_then(|side| u16::try_from(side).ok())
        .ok_or(SpsError("its picture size is out of range"))
}

const TOO_SHORT: SpsError = SpsError("it is too short");

/// Bits of a NAL unit's payload, without its emulation prevention bytes (7.4.1).
struct Bits<'a> {
    bytes: &'a [u8],
    zeros: u8,
    current: u8,
    left: u8,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            zeros: 0,
            current: 0,
            left: 0,
        }
    }

    fn next_byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        if self.zeros >= 2 && byte == 3 {
            self.zeros = 0;
            return self.next_byte();
        }
        self.zeros = if byte == 0 {
            self.zeros.saturating_add(1)
        } else {
            0
        };
        Some(byte)
    }

    fn flag(&mut self) -> Result<bool, SpsError> {
        if self.left == 0 {
            self.current = self.next_byte().ok_or(TOO_SHORT)?;
            self.left = 8;
        }
        self.left -= 1;
        Ok(self.current >> self.left & 1 == 1)
    }

    /// `ue(v)` of 9.1.
    fn unsigned(&mut self) -> Result<u32, SpsError> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return Err(SpsError("a number in it is out of range"));
            }
        }
        let mut value = 1_u32;
        for _ in 0..zeros {
            value = value << 1 | u32::from(self.flag()?);
        }
        Ok(value - 1)
    }

    /// `se(v)` of 9.1.1.
    fn signed(&mut self) -> Result<i32, SpsError> {
        let code = self.unsigned()?;
        let magnitude = i32::try_from(code.div_ceil(2)).unwrap_or(i32::MAX);
        Ok(if code % 2 == 1 { magnitude } else { -magnitude })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture;

    #[test]
    fn sizes_and_profiles_are_those_that_ffprobe_says() {
        let plain = Sps::parse(fixture::SEQUENCE).expect("readable");
        assert_eq!((plain.width, plain.height, plain.high), (320, 240, None));
        assert_eq!(plain.profile_and_level, [66, 0xc0, 11]);
        let cropped = Sps::parse(fixture::SEQUENCE_CROPPED).expect("readable");
        assert_eq!((cropped.width, cropped.height), (322, 182));
        let high = cropped.high.expect("a high profile");
        assert_eq!((high.chroma_format, high.luma_bits), (1, 8));
        let interlaced = Sps::parse(fixture::SEQUENCE_INTERLACED).expect("readable");
        assert_eq!((interlaced.width, interlaced.height), (640, 362));
        let high = interlaced.high.expect("a high profile");
        assert_eq!(
            (high.chroma_format, high.luma_bits, high.chroma_bits),
            (2, 10, 10)
        );
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        for length in 0..8 {
            assert!(
                Sps::parse(&fixture::SEQUENCE[..length]).is_err(),
                "{length}"
            );
        }
    }

    proptest! {
        #[test]
        fn junk_does_no_harm(unit in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Sps::parse(&unit);
        }
    }
}
