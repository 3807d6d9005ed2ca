//! Reading back: which whole fragments a file has, and what is in them.
//!
//! Only headers are read, never a picture, so that a file of any size is read in a moment.
//! The end of a file may be torn (a kill, a full disk, a power cut): the first thing that is
//! no whole fragment ends the reading, and is no error.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use mp4_atom::{Avcc, Codec, Decode, Moof, Moov, Prft};

use crate::TIMESCALE;
use crate::write::{FLAGS_DELTA, Sample, ntp_to_wall_ms};

/// Size and kind of a box, in bytes.
const BOX_HEADER_BYTES: u64 = 8;
/// Larger headers are none of ours: a `moof` has 16 bytes a sample.
const HEADER_BYTES_MAX: u64 = 4 << 20;
/// Fragments of a file: at one a second, eleven days of video.
const FRAGMENTS_MAX: usize = 1_000_000;
/// `sample_is_non_sync_sample` of 14496-12, 8.8.3.1.
const NON_SYNC: u32 = FLAGS_DELTA & 0x0001_0000;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read at all.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not begin with a whole initialisation segment.
    #[error("it does not begin as a fragmented MP4 file")]
    NoMovie,
    /// It is a movie, but not one that this crate has written.
    #[error("it was not written by sluice: {0}")]
    Foreign(&'static str),
}

/// What a file has.
#[derive(Debug, Clone, PartialEq)]
pub struct Movie {
    /// The initialisation segment takes so many bytes.
    pub init_bytes: u64,
    /// Width of its pictures, in pixels.
    pub width: u16,
    /// Their height.
    pub height: u16,
    /// Its whole fragments, in order.
    pub fragments: Vec<Fragment>,
    /// Bytes behind the last whole fragment, which nothing can be made of.
    pub torn_bytes: u64,
    parameters: Avcc,
}

/// One fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Grows from fragment to fragment.
    pub sequence_number: u32,
    /// When its first sample is decoded, in ticks.
    pub base_decode_time: u64,
    /// When that was captured by the wall clock, in milliseconds since the Unix epoch, where
    /// the writer has said so.
    pub wall_ms: Option<i64>,
    /// Where it begins in the file.
    pub begin: u64,
    /// Where its samples begin, which lie one behind the other.
    pub payload: u64,
    /// Where it ends.
    pub end: u64,
    /// Its samples in decoding order; at least one.
    pub samples: Vec<Sample>,
}

impl Fragment {
    /// When the sample after its last is decoded, in ticks.
    #[must_use]
    pub fn end_decode_time(&self) -> u64 {
        let durations = self.samples.iter().map(|sample| u64::from(sample.duration));
        durations.fold(self.base_decode_time, u64::saturating_add)
    }

    /// When its last sample is decoded, in ticks.
    fn last_decode_time(&self) -> u64 {
        let last = self.samples.last().map_or(0, |sample| sample.duration);
        self.end_decode_time().saturating_sub(last.into())
    }

    /// A player can begin with it.
    #[must_use]
    pub fn begins_with_keyframe(&self) -> bool {
        self.samples.first().is_some_and(|sample| sample.keyframe)
    }
}

impl Movie {
    /// Reads a file from its begin.
    ///
    /// # Errors
    /// [`ReadError`]; a torn end is none.
    pub fn read(source: &mut (impl Read + Seek)) -> Result<Self, ReadError> {
        let length = source.seek(SeekFrom::End(0))?;
        source.seek(SeekFrom::Start(0))?;
        let mut boxes = Boxes {
            source,
            at: 0,
            length,
        };
        let mut movie = boxes.init_segment()?;
        while movie.fragments.len() < FRAGMENTS_MAX {
            let Some(fragment) = boxes.fragment(movie.fragments.last())? else {
                break;
            };
            movie.fragments.push(fragment);
        }
        movie.torn_bytes = length - movie.whole_bytes();
        Ok(movie)
    }

    /// The initialisation segment and all whole fragments together.
    #[must_use]
    pub fn whole_bytes(&self) -> u64 {
        self.fragments
            .last()
            .map_or(self.init_bytes, |last| last.end)
    }

    /// How many pictures it has.
    #[must_use]
    pub fn frames(&self) -> u64 {
        let counts = self
            .fragments
            .iter()
            .map(|fragment| fragment.samples.len() as u64);
        counts.sum()
    }

    /// Decode time of its first sample and of what would follow its last, in ticks; `None`
    /// without any.
    #[must_use]
    pub fn decode_times(&self) -> Option<(u64, u64)> {
        let (first, last) = (self.fragments.first()?, self.fragments.last()?);
        Some((first.base_decode_time, last.end_decode_time()))
    }

    /// The samples of another can follow its own in one track: size and parameter sets are
    /// the same.
    #[must_use]
    pub fn continues_with(&self, other: &Self) -> bool {
        (self.width, self.height) == (other.width, other.height)
            && self.parameters == other.parameters
    }
}

/// Boxes of a file, one after the other.
struct Boxes<'a, S> {
    source: &'a mut S,
    at: u64,
    length: u64,
}

/// A box whose body comes next.
struct Found {
    kind: [u8; 4],
    /// With its header.
    bytes: u64,
}

impl<S: Read + Seek> Boxes<'_, S> {
    /// The header of the next box, where a whole box follows.
    fn next(&mut self) -> io::Result<Option<Found>> {
        let left = self.length - self.at;
        if left < BOX_HEADER_BYTES {
            return Ok(None);
        }
        let mut header = [0; 8];
        if !self.read(&mut header)? {
            return Ok(None);
        }
        let [s0, s1, s2, s3, kind @ ..] = header;
        // 0 (up to the end) and 1 (64 bits follow) are never written here.
        let bytes = u64::from(u32::from_be_bytes([s0, s1, s2, s3]));
        let is_whole = (BOX_HEADER_BYTES..=left).contains(&bytes);
        Ok(is_whole.then_some(Found { kind, bytes }))
    }

    /// The whole next box, its header included, if it is of this kind.
    fn take(&mut self, found: &Found, kind: &[u8; 4]) -> io::Result<Option<Vec<u8>>> {
        if found.kind != *kind || found.bytes > HEADER_BYTES_MAX {
            return Ok(None);
        }
        let bytes = usize::try_from(found.bytes).unwrap_or(usize::MAX);
        let mut whole = vec![0; bytes];
        let size = u32::try_from(found.bytes).unwrap_or(u32::MAX);
        whole[..4].copy_from_slice(&size.to_be_bytes());
        whole[4..8].copy_from_slice(kind);
        if !self.read(&mut whole[8..])? {
            return Ok(None);
        }
        self.at += found.bytes;
        Ok(Some(whole))
    }

    /// False when the file has become shorter meanwhile.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        match self.source.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn init_segment(&mut self) -> Result<Movie, ReadError> {
        let mut next = |kind| -> Result<Vec<u8>, ReadError> {
            let found = self.next()?.ok_or(ReadError::NoMovie)?;
            self.take(&found, kind)?.ok_or(ReadError::NoMovie)
        };
        next(b"ftyp")?;
        let moov = next(b"moov")?;
        let moov = Moov::decode(&mut &moov[..]).map_err(|_| ReadError::NoMovie)?;
        let [trak] = &moov.trak[..] else {
            return Err(ReadError::Foreign("it has not exactly one track"));
        };
        if trak.mdia.mdhd.timescale != TIMESCALE || moov.mvex.is_none() {
            return Err(ReadError::Foreign(
                "it has another timescale, or no fragments",
            ));
        }
        let [Codec::Avc1(entry)] = &trak.mdia.minf.stbl.stsd.codecs[..] else {
            return Err(ReadError::Foreign("it is not H.264"));
        };
        Ok(Movie {
            init_bytes: self.at,
            width: entry.visual.width,
            height: entry.visual.height,
            fragments: Vec::new(),
            torn_bytes: 0,
            parameters: entry.avcc.clone(),
        })
    }

    /// The next whole fragment, that follows `last`; `None` when what comes is none.
    fn fragment(&mut self, last: Option<&Fragment>) -> Result<Option<Fragment>, ReadError> {
        let begin = self.at;
        let Some(mut found) = self.next()? else {
            return Ok(None);
        };
        let mut wall_ms = None;
        if let Some(bytes) = self.take(&found, b"prft")? {
            let Ok(reference) = Prft::decode(&mut &bytes[..]) else {
                return Ok(None);
            };
            wall_ms = Some(ntp_to_wall_ms(reference.ntp_timestamp));
            let Some(next) = self.next()? else {
                return Ok(None);
            };
            found = next;
        }
        let Some(bytes) = self.take(&found, b"moof")? else {
            return Ok(None);
        };
        let header = Moof::decode(&mut &bytes[..]).ok();
        let Some((sequence_number, base_decode_time, samples)) =
            header.as_ref().and_then(described)
        else {
            return Ok(None);
        };
        let payload = self.at + BOX_HEADER_BYTES;
        let Some(data) = self.next()? else {
            return Ok(None);
        };
        let samples_bytes: u64 = samples.iter().map(|sample| u64::from(sample.bytes)).sum();
        // A last duration may have been a guess: what follows must only be later.
        let grows = last.is_none_or(|last| last.last_decode_time() < base_decode_time);
        if data.kind != *b"mdat" || data.bytes != samples_bytes + BOX_HEADER_BYTES || !grows {
            return Ok(None);
        }
        self.at += data.bytes;
        self.source.seek(SeekFrom::Start(self.at))?;
        Ok(Some(Fragment {
            sequence_number,
            base_decode_time,
            wall_ms,
            begin,
            payload,
            end: self.at,
            samples,
        }))
    }
}

/// Sequence number, decode time and samples of a fragment as this crate writes them.
fn described(moof: &Moof) -> Option<(u32, u64, Vec<Sample>)> {
    let [track] = &moof.traf[..] else { return None };
    let [run] = &track.trun[..] else { return None };
    let samples = run.samples.iter().map(|entry| {
        Some(Sample {
            bytes: entry.size?,
            duration: entry.duration?,
            composition_offset: i32::try_from(entry.cts?).ok()?,
            keyframe: entry.flags? & NON_SYNC == 0,
        })
    });
    let samples: Vec<Sample> = samples.collect::<Option<_>>()?;
    let base_decode_time = track.tfdt.as_ref()?.base_media_decode_time;
    (!samples.is_empty()).then_some((moof.mfhd.sequence_number, base_decode_time, samples))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::{AccessUnit, ParameterSets, fixture, fragment, init_segment, reference_time};

    /// Of each fragment: how long its samples take, by how much each is shown later, and what
    /// is in it.
    type Content = Vec<Vec<(u32, i32, Vec<u8>)>>;

    fn content() -> impl Strategy<Value = Content> {
        // What begins a slice is never a start code.
        let slice = prop::collection::vec(4_u8..=255, 1..40);
        let sample = (1_u32..200_000, -5000_i32..5000, slice);
        prop::collection::vec(prop::collection::vec(sample, 1..6), 0..6)
    }

    fn init() -> Vec<u8> {
        let parameters = ParameterSets::of(&fixture::access_unit(true, &[5]));
        init_segment(&parameters.expect("readable").expect("there"))
    }

    /// A file, and where each of its fragments ends.
    fn written(content: &Content, begin: u64) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = init();
        let (mut time, mut ends) = (begin, Vec::new());
        for (number, samples) in content.iter().enumerate() {
            let streams: Vec<_> = samples
                .iter()
                .enumerate()
                .map(|(index, (.., slice))| fixture::access_unit(index == 0, slice))
                .collect();
            let first = time;
            let units: Vec<_> = samples
                .iter()
                .zip(&streams)
                .map(|((duration, offset, _), byte_stream)| {
                    let unit = AccessUnit {
                        byte_stream,
                        dts: time,
                        pts: time.saturating_add_signed((*offset).into()),
                        keyframe: byte_stream.len() > 40,
                    };
                    time += u64::from(*duration);
                    unit
                })
                .collect();
            let wall_ms = 1_700_000_000_000 + i64::try_from(number).expect("few");
            bytes.extend(reference_time(wall_ms, first));
            let number = u32::try_from(number).expect("few");
            bytes.extend(fragment(number, &units, time).expect("in order"));
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(content in content(), begin in 10_000_u64..1 << 50) {
            let (bytes, _) = written(&content, begin);
            let movie = Movie::read(&mut Cursor::new(&bytes)).expect("readable");
            prop_assert_eq!((movie.width, movie.height, movie.torn_bytes), (320, 240, 0));
            prop_assert_eq!(movie.fragments.len(), content.len());
            let mut time = begin;
            for (index, (fragment, samples)) in movie.fragments.iter().zip(&content).enumerate() {
                prop_assert_eq!(fragment.sequence_number as usize, index);
                prop_assert_eq!(fragment.base_decode_time, time);
                prop_assert_eq!(fragment.wall_ms, Some(1_700_000_000_000 + i64::try_from(index).expect("few")));
                prop_assert!(fragment.begins_with_keyframe());
                let mut at = usize::try_from(fragment.payload).expect("small");
                prop_assert_eq!(fragment.samples.len(), samples.len());
                for (sample, (duration, offset, slice)) in fragment.samples.iter().zip(samples) {
                    prop_assert_eq!(sample.duration, *duration);
                    prop_assert_eq!(sample.composition_offset, *offset);
                    // Four bytes of length, one of the NAL unit's header.
                    prop_assert_eq!(&bytes[at + 5..at + sample.bytes as usize], &slice[..]);
                    at += sample.bytes as usize;
                    time += u64::from(*duration);
                }
                prop_assert_eq!(at as u64, fragment.end);
                prop_assert_eq!(fragment.end_decode_time(), time);
            }
        }

        #[test]
        fn a_file_cut_anywhere_has_its_whole_fragments(content in content(), cut in any::<prop::sample::Index>()) {
            let (bytes, ends) = written(&content, 0x1_0000);
            let cut = cut.index(bytes.len() + 1);
            let read = Movie::read(&mut Cursor::new(&bytes[..cut]));
            if cut < init().len() {
                prop_assert!(matches!(read, Err(ReadError::NoMovie)));
            } else {
                let movie = read.expect("readable");
                let whole = ends.iter().filter(|end| **end <= cut).count();
                prop_assert_eq!(movie.fragments.len(), whole);
                prop_assert_eq!(movie.whole_bytes() + movie.torn_bytes, cut as u64);
            }
        }

        /// What a power cut may leave: zeros, or anything.
        #[test]
        fn junk_at_the_end_is_torn(content in content(), junk in prop::collection::vec(any::<u8>(), 1..200), zeros: bool) {
            let (mut bytes, _) = written(&content, 0x1_0000);
            let whole = bytes.len() as u64;
            bytes.extend(junk.iter().map(|byte| if zeros { 0 } else { *byte }));
            let movie = Movie::read(&mut Cursor::new(&bytes)).expect("readable");
            prop_assert_eq!(movie.whole_bytes(), whole);
            prop_assert_eq!(movie.fragments.len(), content.len());
        }

        #[test]
        fn junk_does_no_harm(junk in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>()) {
            let _ = Movie::read(&mut Cursor::new(&junk));
            let (mut bytes, _) = written(&vec![vec![(1, 0, vec![7; 9]); 3]; 3], 0x1_0000);
            let at = at.index(bytes.len());
            for (place, byte) in bytes[at..].iter_mut().zip(&junk) {
                *place = *byte;
            }
            let _ = Movie::read(&mut Cursor::new(&bytes));
        }
    }

    #[test]
    fn other_files_are_refused() {
        let read = |bytes: &[u8]| Movie::read(&mut Cursor::new(bytes));
        assert!(matches!(read(&[]), Err(ReadError::NoMovie)));
        assert!(matches!(read(&[0; 64]), Err(ReadError::NoMovie)));
        assert!(matches!(
            read(b"a text and no video"),
            Err(ReadError::NoMovie)
        ));
    }
}
