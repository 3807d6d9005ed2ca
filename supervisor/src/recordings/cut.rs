//! Clips cut out of recordings: no picture is decoded or made anew.
//!
//! A clip begins with the last key frame that is not after what was asked for and ends with
//! the frame at its end. The pictures of several files follow each other in one track; a
//! time in which nothing was recorded takes no time in the clip, and is named.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fmp4::{Fragment, Movie, ReadError, WriteError};

use super::moment::{Moment, Utc};
use crate::store::Recording;

/// What is cut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where it begins; `None`: with the first frame.
    pub from: Option<Moment>,
    /// Where it ends; `None`: with the last frame.
    pub to: Option<Moment>,
}

/// Why no clip was made.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// Nothing of it is recorded.
    #[error("nothing is recorded {asked}: {there}")]
    Nothing {
        /// What was asked for.
        asked: String,
        /// What there is.
        there: String,
    },
    /// One track cannot go on with other pictures.
    #[error(
        "the video changes from {before} to {after} at {}: cut up to there with `--to {}`, and from there with `--from {}`", Utc(*.at_wall_ms), Utc(*.at_wall_ms - 1), Utc(*.at_wall_ms)
    )]
    Changes {
        /// Size before.
        before: String,
        /// Size after.
        after: String,
        /// Where.
        at_wall_ms: i64,
    },
    /// A recording cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Recording {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// The clip cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Clip {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The pictures do not fit into a fragment.
    #[error(transparent)]
    Fragment(#[from] WriteError),
}

/// What is in a clip.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clip {
    /// Frames.
    pub frames: u64,
    /// How long they take, in nanoseconds.
    pub duration_ns: u64,
    /// Wall clock of the first.
    pub begin_wall_ms: i64,
    /// Wall clock of the last.
    pub last_wall_ms: i64,
    /// Event time of the first.
    pub begin_pts_ns: u64,
    /// The first is so much before what was asked for, in milliseconds: a key frame.
    pub early_ms: u64,
    /// Times inside in which nothing was recorded.
    pub gaps: Vec<Gap>,
    /// Recordings that are gone, and would have had a part.
    pub missing: Vec<PathBuf>,
}

/// A time in which nothing was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Where it is in the clip, in nanoseconds.
    pub at_ns: u64,
    /// Wall clock of the last frame before.
    pub begin_wall_ms: i64,
    /// Wall clock of the first after.
    pub end_wall_ms: i64,
}

/// A recording that is read.
struct Source {
    path: PathBuf,
    begin_pts_ns: u64,
    begin_wall_ms: i64,
    movie: Movie,
}

/// A frame of all recordings.
#[derive(Clone, Copy)]
struct Frame {
    source: usize,
    fragment: usize,
    sample: usize,
    keyframe: bool,
    pts_ns: u64,
    wall_ms: i64,
    lasts_ns: u64,
}

/// Cuts out of `recordings`, in the order of their times, into a file at `output`, which is
/// there only once it is whole.
///
/// # Errors
/// [`CutError`]; then there is no file.
pub fn cut(recordings: &[Recording], span: Span, output: &Path) -> Result<Clip, CutError> {
    let (sources, missing) = read_sources(recordings)?;
    let frames = frames_of(&sources);
    let chosen = choose(&frames, span)?;
    check_same(&sources, chosen)?;
    let mut clip = describe(chosen, span, &frames);
    clip.missing = missing;
    let part = with_suffix(output, ".part");
    let written = write(&sources, chosen, &part);
    let written = written.and_then(|()| {
        std::fs::rename(&part, output).map_err(|source| CutError::Clip {
            path: output.to_owned(),
            source,
        })
    });
    if written.is_err() {
        // Half a clip is of no use.
        let _ = std::fs::remove_file(&part);
    }
    written.map(|()| clip)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(suffix);
    text.into()
}

fn read_sources(recordings: &[Recording]) -> Result<(Vec<Source>, Vec<PathBuf>), CutError> {
    let (mut sources, mut missing) = (Vec::new(), Vec::new());
    for recording in recordings {
        let path = recording.absolute();
        match super::inspect::read_movie(&path) {
            Ok(movie) => sources.push(Source {
                path,
                begin_pts_ns: recording.record.begin_pts_ns,
                begin_wall_ms: recording.record.begin_wall_ms,
                movie,
            }),
            Err(ReadError::Io(error)) if error.kind() == ErrorKind::NotFound => missing.push(path),
            Err(source) => return Err(CutError::Recording { path, source }),
        }
    }
    Ok((sources, missing))
}

fn frames_of(sources: &[Source]) -> Vec<Frame> {
    let mut frames = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let begin = source.movie.decode_times().map_or(0, |(begin, _)| begin);
        for (fragment_index, fragment) in source.movie.fragments.iter().enumerate() {
            let mut time = fragment.base_decode_time;
            for (sample_index, sample) in fragment.samples.iter().enumerate() {
                let since_ns = fmp4::nanoseconds(time - begin);
                frames.push(Frame {
                    source: index,
                    fragment: fragment_index,
                    sample: sample_index,
                    keyframe: sample.keyframe,
                    pts_ns: source.begin_pts_ns.saturating_add(since_ns),
                    wall_ms: wall_ms(source, fragment, time, since_ns),
                    lasts_ns: fmp4::nanoseconds(sample.duration.into()),
                });
                time += u64::from(sample.duration);
            }
        }
    }
    frames
}

/// The wall clock of a frame: its fragment knows that of its first.
fn wall_ms(source: &Source, fragment: &Fragment, time: u64, since_ns: u64) -> i64 {
    let (begin_ms, since_ns) = match fragment.wall_ms {
        Some(begin_ms) => (
            begin_ms,
            fmp4::nanoseconds(time - fragment.base_decode_time),
        ),
        None => (source.begin_wall_ms, since_ns),
    };
    begin_ms.saturating_add_unsigned(since_ns / 1_000_000)
}

/// Whether a frame is before a moment, or at it.
fn is_by(frame: &Frame, moment: Moment, end_wall_ms: i64) -> bool {
    match moment {
        Moment::Wall(wall_ms) => frame.wall_ms <= wall_ms,
        // Times in the file are rounded to its ticks, a part of a microsecond.
        Moment::Event(pts_ns) => frame.pts_ns <= pts_ns.saturating_add(10_000),
        Moment::BeforeEnd(before_ms) => {
            frame.wall_ms <= end_wall_ms.saturating_sub_unsigned(before_ms)
        }
    }
}

/// The frames of a clip: from the last key frame by its begin, up to the last frame by its end.
fn choose(frames: &[Frame], span: Span) -> Result<&[Frame], CutError> {
    let end_wall_ms = end_of(frames);
    let by = |moment: Moment| move |frame: &Frame| is_by(frame, moment, end_wall_ms);
    let first_key = frames.iter().position(|frame| frame.keyframe);
    let begin = match span.from {
        None => first_key,
        Some(from) => {
            let early = frames
                .iter()
                .rposition(|frame| frame.keyframe && by(from)(frame));
            early.or(first_key)
        }
    };
    let end = match span.to {
        None => Some(frames.len()),
        Some(to) => frames.iter().rposition(by(to)).map(|last| last + 1),
    };
    // Nothing at all is at or after the begin.
    let is_over = span.from.is_some_and(|from| {
        frames.last().is_some_and(|last| {
            let end = Frame {
                pts_ns: last.pts_ns.saturating_add(last.lasts_ns),
                wall_ms: end_wall_ms,
                ..*last
            };
            by(from)(&end) && !matches!(from, Moment::BeforeEnd(_))
        })
    });
    match (begin, end) {
        (Some(begin), Some(end)) if begin < end && !is_over => Ok(&frames[begin..end]),
        _ => Err(CutError::Nothing {
            asked: asked(span),
            there: match (frames.first(), frames.last()) {
                (Some(first), Some(last)) => format!(
                    "there is video from {} to {}, {} to {} of event time",
                    Utc(first.wall_ms),
                    Utc(end_wall_ms),
                    seconds(first.pts_ns),
                    seconds(last.pts_ns.saturating_add(last.lasts_ns)),
                ),
                _ => "there is no video at all".to_owned(),
            },
        }),
    }
}

fn end_of(frames: &[Frame]) -> i64 {
    frames.last().map_or(0, |last| {
        last.wall_ms
            .saturating_add_unsigned(last.lasts_ns / 1_000_000)
    })
}

fn asked(span: Span) -> String {
    let text = |moment: Moment| match moment {
        Moment::Wall(wall_ms) => Utc(wall_ms).to_string(),
        Moment::Event(pts_ns) => format!("{} of event time", seconds(pts_ns)),
        Moment::BeforeEnd(before_ms) => {
            format!("{} before the end", seconds(before_ms * 1_000_000))
        }
    };
    match (span.from.map(text), span.to.map(text)) {
        (None, None) => "at any time".to_owned(),
        (Some(from), None) => format!("from {from} on"),
        (None, Some(to)) => format!("up to {to}"),
        (Some(from), Some(to)) => format!("from {from} to {to}"),
    }
}

/// Nanoseconds as `12.345 s`.
pub(crate) fn seconds(nanoseconds: u64) -> String {
    let milliseconds = nanoseconds / 1_000_000;
    format!("{}.{:03} s", milliseconds / 1000, milliseconds % 1000)
}

/// One track has one size and one set of parameters.
fn check_same(sources: &[Source], chosen: &[Frame]) -> Result<(), CutError> {
    for pair in chosen.windows(2) {
        let [before, after] = pair else { continue };
        let [first, second] = [before, after].map(|frame| &sources[frame.source].movie);
        if before.source != after.source && !first.continues_with(second) {
            let size = |movie: &Movie| format!("{}x{}", movie.width, movie.height);
            let (before_size, after_size) = (size(first), size(second));
            let is_same = before_size == after_size;
            return Err(CutError::Changes {
                after: if is_same {
                    format!("{after_size} with other encoder settings")
                } else {
                    after_size
                },
                before: before_size,
                at_wall_ms: after.wall_ms,
            });
        }
    }
    Ok(())
}

fn describe(chosen: &[Frame], span: Span, all: &[Frame]) -> Clip {
    let (Some(first), Some(last)) = (chosen.first(), chosen.last()) else {
        return Clip::default();
    };
    let mut gaps = Vec::new();
    let mut at_ns = 0;
    for pair in chosen.windows(2) {
        let [before, after] = pair else { continue };
        at_ns += before.lasts_ns;
        let end_ns = before.pts_ns.saturating_add(before.lasts_ns);
        // Half a frame is no gap: durations at the end of a file may be guesses.
        if before.source != after.source
            && after.pts_ns.saturating_sub(end_ns) > before.lasts_ns / 2
        {
            gaps.push(Gap {
                at_ns,
                begin_wall_ms: before.wall_ms,
                end_wall_ms: after.wall_ms,
            });
        }
    }
    let early_ms = match span.from {
        None => 0,
        Some(Moment::Wall(wall_ms)) => wall_ms.saturating_sub(first.wall_ms),
        Some(Moment::Event(pts_ns)) => {
            i64::try_from(pts_ns.saturating_sub(first.pts_ns) / 1_000_000).unwrap_or(0)
        }
        Some(Moment::BeforeEnd(before_ms)) => end_of(all)
            .saturating_sub_unsigned(before_ms)
            .saturating_sub(first.wall_ms),
    };
    Clip {
        frames: chosen.len() as u64,
        duration_ns: at_ns + last.lasts_ns,
        begin_wall_ms: first.wall_ms,
        last_wall_ms: last.wall_ms,
        begin_pts_ns: first.pts_ns,
        early_ms: u64::try_from(early_ms).unwrap_or(0),
        gaps,
        missing: Vec::new(),
    }
}

fn write(sources: &[Source], chosen: &[Frame], path: &Path) -> Result<(), CutError> {
    let refused = |source| CutError::Clip {
        path: path.to_owned(),
        source,
    };
    let mut out = BufWriter::new(File::create(path).map_err(refused)?);
    let same_fragment = |a: &Frame, b: &Frame| (a.source, a.fragment) == (b.source, b.fragment);
    let (mut time, mut number) = (0, 1_u32);
    let mut open: Option<(usize, BufReader<File>)> = None;
    for group in chosen.chunk_by(same_fragment) {
        let (first, last) = (group[0], group[group.len() - 1]);
        let source = &sources[first.source];
        let unreadable = |error: io::Error| CutError::Recording {
            path: source.path.clone(),
            source: error.into(),
        };
        let file = match &mut open {
            Some((index, file)) if *index == first.source => file,
            open => {
                let file = File::open(&source.path).map_err(unreadable)?;
                &mut open.insert((first.source, BufReader::new(file))).1
            }
        };
        if number == 1 {
            let init = read(file, 0, source.movie.init_bytes).map_err(unreadable)?;
            out.write_all(&init).map_err(refused)?;
        }
        let fragment = &source.movie.fragments[first.fragment];
        let before = &fragment.samples[..first.sample];
        let samples = &fragment.samples[first.sample..=last.sample];
        let bytes = |samples: &[fmp4::Sample]| -> u64 {
            samples.iter().map(|sample| u64::from(sample.bytes)).sum()
        };
        let header = fmp4::fragment_header(number, time, samples)?;
        let begin = fragment.payload + bytes(before);
        let payload = read(file, begin, bytes(samples)).map_err(unreadable)?;
        out.write_all(&fmp4::reference_time(first.wall_ms, time))
            .and_then(|()| out.write_all(&header))
            .and_then(|()| out.write_all(&payload))
            .map_err(refused)?;
        let durations = samples.iter().map(|sample| u64::from(sample.duration));
        time += durations.sum::<u64>();
        number += 1;
    }
    let file = out
        .into_inner()
        .map_err(|error| refused(error.into_error()))?;
    file.sync_all().map_err(refused)
}

/// Bytes of a file, as many as a fragment has.
fn read(file: &mut (impl Read + Seek), begin: u64, bytes: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(begin))?;
    let length = usize::try_from(bytes).map_err(io::Error::other)?;
    let mut buffer = Vec::new();
    file.take(bytes).read_to_end(&mut buffer)?;
    if buffer.len() == length {
        Ok(buffer)
    } else {
        Err(ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests;
