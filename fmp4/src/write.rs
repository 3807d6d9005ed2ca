//! Writing: the initialisation segment, and fragments.

use mp4_atom::{
    Avc1, Avcc, AvccExt, Codec, Dinf, Dref, DrefEntry, Encode, FixedPoint, FourCC, Ftyp, Hdlr,
    Header, Mdhd, Mdia, Mfhd, Minf, Moof, Moov, Mvex, Mvhd, Prft, ReferenceTime, Stbl, Stco, Stsd,
    Tfdt, Tfhd, Tkhd, Traf, Trak, Trex, Trun, TrunEntry, TrunSamples, Url, Visual, Vmhd,
};

use crate::nal::{ParameterSets, append_sample};
use crate::{SpsError, TIMESCALE};

/// The one track of a file.
const TRACK: u32 = 1;
/// `sample_depends_on` 2: it can be decoded without any other (14496-12, 8.8.3.1).
const FLAGS_KEYFRAME: u32 = 0x0200_0000;
/// `sample_depends_on` 1 and `sample_is_non_sync_sample`.
pub(crate) const FLAGS_DELTA: u32 = 0x0101_0000;
/// Size and kind of a box, in bytes.
const BOX_HEADER_BYTES: usize = 8;
/// From the epoch of NTP, 1900, to that of Unix.
const NTP_TO_UNIX_S: i64 = 2_208_988_800;
/// NTP counts seconds in 32 bits, which overflow in 2036.
const NTP_ERA_S: i64 = 1 << 32;

/// Why nothing can be written of what was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The first access unit has no parameter sets.
    #[error("the video does not begin with a key frame that has its parameter sets")]
    NoParameterSets,
    /// They cannot be read.
    #[error(transparent)]
    Sps(#[from] SpsError),
    /// There is no sample in it.
    #[error("a fragment without a sample cannot be written")]
    Empty,
    /// Decode times do not grow, or something is too large for its field.
    #[error("a fragment cannot be written: {0}")]
    OutOfRange(&'static str),
}

/// One coded picture as an encoder gives it.
#[derive(Debug, Clone, Copy)]
pub struct AccessUnit<'a> {
    /// H.264 byte stream.
    pub byte_stream: &'a [u8],
    /// Decode time, in ticks.
    pub dts: u64,
    /// Presentation time, in ticks; differs from `dts` where pictures are reordered.
    pub pts: u64,
    /// It can be decoded without any other.
    pub keyframe: bool,
}

/// One picture of a fragment, as its header describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Bytes of it.
    pub bytes: u32,
    /// Until the next is decoded, in ticks.
    pub duration: u32,
    /// It is shown so many ticks after it is decoded.
    pub composition_offset: i32,
    /// It can be decoded without any other.
    pub keyframe: bool,
}

/// `ftyp` and `moov`: what a player must have before the first fragment.
#[must_use]
pub fn init_segment(parameters: &ParameterSets) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    let brands = [b"iso6", b"cmfc", b"mp41"];
    let ftyp = Ftyp {
        major_brand: FourCC::new(b"iso6"),
        minor_version: 0,
        compatible_brands: brands.map(FourCC::new).into(),
    };
    let encoded = ftyp.encode(&mut bytes);
    encoded
        .and_then(|()| moov(parameters).encode(&mut bytes))
        .expect("boxes whose fields are in range are written into memory");
    bytes
}

/// One fragment, `moof` and `mdat`, of access units in decoding order, the first of which says
/// when it begins. `end` is when the next after the last is decoded. The sequence numbers of
/// a file's fragments grow.
///
/// # Errors
/// [`WriteError`] when there is none, or decode times do not grow.
pub fn fragment(
    sequence_number: u32,
    units: &[AccessUnit<'_>],
    end: u64,
) -> Result<Vec<u8>, WriteError> {
    let first = units.first().ok_or(WriteError::Empty)?;
    let input: usize = units.iter().map(|unit| unit.byte_stream.len()).sum();
    let mut payload = Vec::with_capacity(input + 8 * units.len());
    let nexts = units.iter().skip(1).map(|unit| unit.dts).chain([end]);
    let mut samples = Vec::with_capacity(units.len());
    for (unit, next) in units.iter().zip(nexts) {
        let begin = payload.len();
        append_sample(unit.byte_stream, &mut payload);
        samples.push(sample(unit, next, payload.len() - begin)?);
    }
    let mut bytes = fragment_header(sequence_number, first.dts, &samples)?;
    bytes.append(&mut payload);
    Ok(bytes)
}

/// What comes before the bytes of the samples, which follow it one behind the other: `moof`,
/// and the header of `mdat`.
///
/// # Errors
/// [`WriteError`] when there is no sample, or more of them than a fragment takes.
pub fn fragment_header(
    sequence_number: u32,
    base_decode_time: u64,
    samples: &[Sample],
) -> Result<Vec<u8>, WriteError> {
    if samples.is_empty() {
        return Err(WriteError::Empty);
    }
    let entry = |sample: &Sample| TrunEntry {
        duration: Some(sample.duration),
        size: Some(sample.bytes),
        flags: Some(if sample.keyframe {
            FLAGS_KEYFRAME
        } else {
            FLAGS_DELTA
        }),
        cts: Some(sample.composition_offset.into()),
    };
    let mut moof = Moof {
        mfhd: Mfhd { sequence_number },
        traf: vec![Traf {
            tfhd: Tfhd {
                track_id: TRACK,
                default_base_is_moof: true,
                ..Tfhd::default()
            },
            tfdt: Some(Tfdt {
                base_media_decode_time: base_decode_time,
            }),
            trun: vec![Trun {
                data_offset: Some(0),
                samples: TrunSamples::Explicit(samples.iter().map(entry).collect()),
            }],
            ..Traf::default()
        }],
    };
    let mut bytes = Vec::with_capacity(128 + 16 * samples.len());
    encode(&moof, &mut bytes)?;
    // Its own length is known only now; the offset's field has always the same size.
    let offset = i32::try_from(bytes.len() + BOX_HEADER_BYTES);
    let offset = offset.map_err(|_| WriteError::OutOfRange("it has too many samples"))?;
    moof.traf[0].trun[0].data_offset = Some(offset);
    bytes.clear();
    encode(&moof, &mut bytes)?;
    let payload: u64 = samples.iter().map(|sample| u64::from(sample.bytes)).sum();
    let payload = usize::try_from(payload)
        .ok()
        .filter(|payload| u32::try_from(payload + BOX_HEADER_BYTES).is_ok())
        .ok_or(WriteError::OutOfRange("it is larger than 4 GiB"))?;
    let mdat = Header {
        kind: FourCC::new(b"mdat"),
        size: Some(payload),
    };
    encode(&mdat, &mut bytes)?;
    Ok(bytes)
}

/// A `prft` box (14496-12, 8.16.5), which stands in front of a fragment and says when its
/// first picture was captured: by the wall clock, in milliseconds since the Unix epoch, and
/// by the track, in ticks.
#[must_use]
pub fn reference_time(wall_ms: i64, decode_time: u64) -> Vec<u8> {
    let reference = Prft {
        reference_track_id: TRACK,
        ntp_timestamp: wall_ms_to_ntp(wall_ms),
        media_time: decode_time,
        utc_time_semantics: ReferenceTime::Input,
    };
    let mut bytes = Vec::with_capacity(32);
    reference
        .encode(&mut bytes)
        .expect("a box of fixed size is written into memory");
    bytes
}

/// Seconds since 1900 in the upper half, their fraction in the lower.
fn wall_ms_to_ntp(wall_ms: i64) -> u64 {
    let seconds = (wall_ms.div_euclid(1000).saturating_add(NTP_TO_UNIX_S)).rem_euclid(NTP_ERA_S);
    // Up, so that the way back, which cuts off, comes to the same millisecond.
    let fraction = (wall_ms.rem_euclid(1000) * NTP_ERA_S + 999) / 1000;
    (seconds.unsigned_abs() << 32) | fraction.unsigned_abs()
}

/// The way back, for times from 1968 to 2104 (RFC 4330, 3).
pub(crate) fn ntp_to_wall_ms(ntp: u64) -> i64 {
    let seconds = i64::from(u32::try_from(ntp >> 32).unwrap_or(u32::MAX));
    let era = if seconds < NTP_ERA_S / 2 {
        NTP_ERA_S
    } else {
        0
    };
    let milliseconds = ((ntp & u64::from(u32::MAX)) * 1000) >> 32;
    (seconds + era - NTP_TO_UNIX_S) * 1000 + i64::try_from(milliseconds).unwrap_or(0)
}

fn encode(atom: &impl Encode, bytes: &mut Vec<u8>) -> Result<(), WriteError> {
    atom.encode(bytes)
        .map_err(|_| WriteError::OutOfRange("a field is out of range"))
}

fn sample(unit: &AccessUnit<'_>, next: u64, bytes: usize) -> Result<Sample, WriteError> {
    let duration = next.checked_sub(unit.dts).filter(|duration| *duration > 0);
    let offset = i128::from(unit.pts) - i128::from(unit.dts);
    Ok(Sample {
        bytes: u32::try_from(bytes)
            .map_err(|_| WriteError::OutOfRange("a picture is larger than 4 GiB"))?,
        duration: duration
            .and_then(|duration| u32::try_from(duration).ok())
            .ok_or(WriteError::OutOfRange(
                "decode times do not grow, or by more than 13 hours",
            ))?,
        composition_offset: i32::try_from(offset)
            .map_err(|_| WriteError::OutOfRange("a picture is shown hours from its decoding"))?,
        keyframe: unit.keyframe,
    })
}

fn moov(parameters: &ParameterSets) -> Moov {
    Moov {
        mvhd: Mvhd {
            timescale: TIMESCALE,
            rate: FixedPoint::from(1),
            volume: FixedPoint::from(1),
            next_track_id: TRACK + 1,
            ..Mvhd::default()
        },
        mvex: Some(Mvex {
            mehd: None,
            trex: vec![Trex {
                track_id: TRACK,
                default_sample_description_index: 1,
                ..Trex::default()
            }],
        }),
        trak: vec![Trak {
            tkhd: Tkhd {
                track_id: TRACK,
                enabled: true,
                in_movie: true,
                width: FixedPoint::from(parameters.width()),
                height: FixedPoint::from(parameters.height()),
                ..Tkhd::default()
            },
            mdia: Mdia {
                mdhd: Mdhd {
                    timescale: TIMESCALE,
                    language: "und".to_owned(),
                    ..Mdhd::default()
                },
                hdlr: Hdlr {
                    handler: FourCC::new(b"vide"),
                    name: "Video".to_owned(),
                },
                minf: Minf {
                    vmhd: Some(Vmhd::default()),
                    dinf: Dinf {
                        dref: Dref {
                            entries: vec![DrefEntry::Url(Url::default())],
                        },
                    },
                    // No sample is described here: all are in fragments.
                    stbl: Stbl {
                        stsd: Stsd {
                            codecs: vec![Codec::Avc1(sample_entry(parameters))],
                        },
                        stco: Some(Stco::default()),
                        ..Stbl::default()
                    },
                    ..Minf::default()
                },
            },
            ..Trak::default()
        }],
        ..Moov::default()
    }
}

fn sample_entry(parameters: &ParameterSets) -> Avc1 {
    let [profile, constraints, level] = parameters.sps.profile_and_level;
    let ext = parameters.sps.high.map(|high| AvccExt {
        chroma_format: high.chroma_format,
        bit_depth_luma: high.luma_bits,
        bit_depth_chroma: high.chroma_bits,
        sequence_parameter_sets_ext: Vec::new(),
    });
    Avc1 {
        visual: Visual {
            data_reference_index: 1,
            width: parameters.width(),
            height: parameters.height(),
            ..Visual::default()
        },
        avcc: Avcc {
            configuration_version: 1,
            avc_profile_indication: profile,
            profile_compatibility: constraints,
            avc_level_indication: level,
            length_size: 4,
            sequence_parameter_sets: vec![parameters.sequence.clone()],
            picture_parameter_sets: vec![parameters.picture.clone()],
            ext,
        },
        ..Avc1::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn what_cannot_be_is_refused() {
        let byte_stream = fixture::access_unit(true, &[7; 9]);
        let unit = |dts, pts| AccessUnit {
            byte_stream: &byte_stream,
            dts,
            pts,
            keyframe: true,
        };
        assert_eq!(fragment(1, &[], 10), Err(WriteError::Empty));
        assert!(fragment(1, &[unit(0, 0), unit(0, 0)], 10).is_err());
        assert!(fragment(1, &[unit(10, 10)], 10).is_err());
        assert!(fragment(1, &[unit(0, 1 << 40)], 10).is_err());
        assert!(fragment(1, &[unit(0, 0)], 1 << 40).is_err());
        assert!(fragment(1, &[unit(0, 0)], 10).is_ok());
    }

    #[test]
    fn the_wall_clock_goes_to_ntp_and_back() {
        // RFC 868: 2 208 988 800 is 00:00 on 1 January 1970.
        assert_eq!(wall_ms_to_ntp(0), 2_208_988_800 << 32);
        // Either side of the overflow in February 2036, and single milliseconds.
        for wall_ms in [
            0,
            1,
            999,
            1_795_293_900_123,
            2_085_978_495_999,
            2_085_978_496_001,
        ] {
            assert_eq!(ntp_to_wall_ms(wall_ms_to_ntp(wall_ms)), wall_ms);
        }
    }
}
