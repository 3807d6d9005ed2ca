//! One MP4 file being written: whole fragments, each with one call.
//!
//! A fragment is a second of video at most and complete in itself, so a kill costs the one
//! that is being collected and nothing before it. A fragment that the disk takes only in
//! part is cut off again: what the file has always plays.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use contract::control::FileContent;
use contract::geometry::PixelSize;
use fmp4::{ParameterSets, SpsError, WriteError};

use super::Encoded;

/// A kill costs at most so much video.
pub(crate) const FRAGMENT_NS: u64 = 1_000_000_000;
/// Distance of frames until one is known: 25 a second.
const FIRST_GAP_NS: u64 = 40_000_000;

/// Why a file is not written any further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilmError {
    /// The disk refuses.
    #[error("cannot write `{}`: {source}", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The disk does not take in time what is to be written.
    #[error("cannot write `{}`: its disk is too slow", path.display())]
    Slow {
        /// The file.
        path: PathBuf,
    },
    /// The video cannot be put into MP4.
    #[error("cannot write `{}`: {source}", path.display())]
    Video {
        /// The file.
        path: PathBuf,
        /// Why.
        source: WriteError,
    },
}

/// Access units that become the next fragment.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    units: Vec<Encoded>,
    /// Between the two newest, to guess how long the last of all is shown.
    gap_ns: Option<u64>,
}

impl Collected {
    /// This one begins another fragment: with a key frame, and when a second is full.
    pub(crate) fn is_full_before(&self, next: &Encoded) -> bool {
        let first = self.units.first();
        first.is_some_and(|first| {
            let begin_ns = first.unit.pts_ns;
            next.unit.keyframe || next.unit.pts_ns >= begin_ns.saturating_add(FRAGMENT_NS)
        })
    }

    /// Adds the next.
    pub(crate) fn push(&mut self, encoded: Encoded) {
        if let Some(last) = self.units.last() {
            self.gap_ns = encoded.unit.pts_ns.checked_sub(last.unit.pts_ns);
        }
        self.units.push(encoded);
    }

    /// Those that make a fragment, and when it ends: with what comes next, or, when that is
    /// not known, as long after its last frame as that came after the one before.
    pub(crate) fn take(&mut self, next_ns: Option<u64>) -> Option<(Vec<Encoded>, u64)> {
        let last_ns = self.units.last()?.unit.pts_ns;
        let next_ns = next_ns.filter(|next_ns| *next_ns > last_ns);
        let gap_ns = self.gap_ns.unwrap_or(FIRST_GAP_NS);
        let end_ns = next_ns.unwrap_or_else(|| last_ns.saturating_add(gap_ns));
        Some((std::mem::take(&mut self.units), end_ns))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.units.len() as u64
    }
}

/// The file.
#[derive(Debug)]
pub(crate) struct Film {
    file: File,
    path: PathBuf,
    /// Of its first frame on the encoder's time line: a file begins at zero.
    begin_ns: u64,
    fragments: u32,
    content: FileContent,
}

impl Film {
    /// Writes into an empty file.
    pub(crate) fn new(file: File, path: PathBuf) -> Self {
        Self {
            file,
            path,
            begin_ns: 0,
            fragments: 0,
            content: FileContent::default(),
        }
    }

    /// What is in it.
    pub(crate) fn content(&self) -> FileContent {
        self.content
    }

    /// Adds a fragment; the first begins with a key frame.
    ///
    /// # Errors
    /// When it is not in the file; what was before still is.
    pub(crate) fn write(&mut self, units: &[Encoded], end_ns: u64) -> Result<(), FilmError> {
        let video = |source| FilmError::Video {
            path: self.path.clone(),
            source,
        };
        let Some(first) = units.first() else {
            return Ok(());
        };
        let mut content = self.content;
        let mut bytes = Vec::new();
        if self.fragments == 0 {
            self.begin_ns = first.unit.pts_ns;
            let parameters = parameters(first).map_err(|error| video(error.into()))?;
            let parameters = parameters.ok_or_else(|| video(WriteError::NoParameterSets))?;
            content.size = Some(PixelSize {
                width: parameters.width().into(),
                height: parameters.height().into(),
            });
            bytes = fmp4::init_segment(&parameters);
        }
        let begin_ns = self.begin_ns;
        let time = |pts_ns: u64| fmp4::ticks(pts_ns.saturating_sub(begin_ns));
        bytes.extend(fmp4::reference_time(
            first.picture.wall_ms,
            time(first.unit.pts_ns),
        ));
        bytes.extend(fragment(self.fragments + 1, units, end_ns, time).map_err(video)?);
        if let Err(source) = self.file.write_all(&bytes) {
            self.cut_off();
            let path = self.path.clone();
            return Err(FilmError::Disk { path, source });
        }
        self.fragments += 1;
        content.frames += units.len() as u64;
        content.bytes += bytes.len() as u64;
        content.duration_ns = end_ns.saturating_sub(begin_ns);
        let last = units.last().unwrap_or(first);
        let lasts_ms = end_ns.saturating_sub(last.unit.pts_ns) / 1_000_000;
        content.end_wall_ms = last.picture.wall_ms.saturating_add_unsigned(lasts_ms);
        self.content = content;
        Ok(())
    }

    /// Has the disk keep what was written, also without power.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn sync(&self) -> Result<(), FilmError> {
        self.file.sync_data().map_err(|source| FilmError::Disk {
            path: self.path.clone(),
            source,
        })
    }

    /// Removes what the disk took of a fragment that it did not take whole. When not even that
    /// can be done the file has a torn end, which players pass over.
    fn cut_off(&self) {
        if let Err(error) = self.file.set_len(self.content.bytes) {
            tracing::warn!("`{}` has a torn end: {error}", self.path.display());
        }
    }
}

/// Parameter sets of a key frame; `None` when it has none.
pub(crate) fn parameters(encoded: &Encoded) -> Result<Option<ParameterSets>, SpsError> {
    match encoded.unit.buffer.map_readable() {
        Ok(map) => ParameterSets::of(&map),
        Err(_) => Ok(None),
    }
}

fn fragment(
    sequence_number: u32,
    units: &[Encoded],
    end_ns: u64,
    time: impl Fn(u64) -> u64,
) -> Result<Vec<u8>, WriteError> {
    let maps = units
        .iter()
        .map(|encoded| encoded.unit.buffer.map_readable());
    let maps: Vec<_> = maps
        .collect::<Result<_, _>>()
        .map_err(|_| WriteError::OutOfRange("a picture has no memory"))?;
    let units = units.iter().zip(&maps).map(|(encoded, map)| {
        let pts = time(encoded.unit.pts_ns);
        fmp4::AccessUnit {
            byte_stream: map.as_slice(),
            // Without B-frames pictures are decoded in the order in which they are shown.
            dts: pts,
            pts,
            keyframe: encoded.unit.keyframe,
        }
    });
    let units: Vec<_> = units.collect();
    fmp4::fragment(sequence_number, &units, time(end_ns))
}
