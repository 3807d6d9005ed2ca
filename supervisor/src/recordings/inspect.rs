//! What is in a file whose writer died: read from the file itself.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;

use contract::control::{FileContent, FileRecord, FileState};
use contract::geometry::PixelSize;
use fmp4::{Movie, ReadError};

use crate::store::Recording;

/// Files of one directory that are looked at.
const ENTRIES_MAX: usize = 1_000_000;

/// Reads which whole fragments a file has.
///
/// # Errors
/// [`ReadError`] when it is no recording.
pub fn read_movie(path: &Path) -> Result<Movie, ReadError> {
    Movie::read(&mut BufReader::new(File::open(path)?))
}

/// The row of a file whose writer died, completed by what is in the file; `None` when it is
/// not there.
///
/// # Errors
/// When it cannot be read now.
pub fn completed(file: &Recording) -> Result<Option<FileRecord>, ReadError> {
    let mut record = file.record.clone();
    record.state = FileState::Torn;
    match read_movie(&file.absolute()) {
        Ok(movie) => {
            record.content = content(&movie, record.begin_wall_ms);
            Ok(Some(record))
        }
        Err(ReadError::Io(error)) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(ReadError::Io(error)) => Err(error.into()),
        // A clip that was begun and never written.
        Err(ReadError::NoMovie | ReadError::Foreign(_)) => {
            record.content = FileContent::default();
            Ok(Some(record))
        }
    }
}

/// The files that a dead worker began after `last` and that nobody was told of any more: in the
/// same directory, of the same stream, with a later time in their names.
///
/// `known` says whether the store has a row of such a path.
#[must_use]
pub fn untold(last: &Recording, known: impl Fn(&str) -> bool) -> Vec<Recording> {
    let stored = Path::new(&last.record.path);
    let absolute = last.absolute();
    let (Some(directory), Some(stored_directory), Some(last_name)) =
        (absolute.parent(), stored.parent(), absolute.file_name())
    else {
        return Vec::new();
    };
    let prefix = format!("{}-", last.record.stream);
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let names: BTreeSet<_> = entries
        .flatten()
        .take(ENTRIES_MAX)
        .map(|entry| entry.file_name())
        .filter(|name| {
            let text = name.to_string_lossy();
            let is_own = text.starts_with(&prefix) && text.ends_with(".mp4");
            // A stream `yard-2` begins like `yard`, but a time is what follows the name.
            let time = text.as_bytes().get(prefix.len()..prefix.len() + 5);
            let is_time = time
                .is_some_and(|time| time[4] == b'-' && time[..4].iter().all(u8::is_ascii_digit));
            is_own && is_time && name.as_os_str() > last_name
        })
        .collect();
    let untold = names.into_iter().filter_map(|name| {
        let path = stored_directory.join(&name).to_string_lossy().into_owned();
        if known(&path) {
            return None;
        }
        let movie = read_movie(&directory.join(&name)).ok()?;
        let begin_wall_ms = movie.fragments.first()?.wall_ms?;
        // By the wall clock, as long after the last that is known as it was captured.
        let later_ms = begin_wall_ms.saturating_sub(last.record.begin_wall_ms);
        let later_ns = u64::try_from(later_ms).ok()?.saturating_mul(1_000_000);
        Some(Recording {
            record: FileRecord {
                path,
                state: FileState::Torn,
                begin_wall_ms,
                begin_pts_ns: last.record.begin_pts_ns.saturating_add(later_ns),
                content: content(&movie, begin_wall_ms),
                ..last.record.clone()
            },
            ..last.clone()
        })
    });
    untold.collect()
}

/// What is in a file.
fn content(movie: &Movie, begin_wall_ms: i64) -> FileContent {
    let (begin, end) = movie.decode_times().unwrap_or_default();
    let last = movie.fragments.last();
    let last_wall_ms = last.and_then(|last| {
        let ticks = last.end_decode_time() - last.base_decode_time;
        let lasts_ms = fmp4::nanoseconds(ticks) / 1_000_000;
        Some(last.wall_ms?.saturating_add_unsigned(lasts_ms))
    });
    FileContent {
        frames: movie.frames(),
        bytes: movie.whole_bytes() + movie.torn_bytes,
        duration_ns: fmp4::nanoseconds(end.saturating_sub(begin)),
        end_wall_ms: last_wall_ms.unwrap_or(begin_wall_ms),
        size: Some(PixelSize {
            width: movie.width.into(),
            height: movie.height.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recordings::fixture::recording;

    #[test]
    fn a_file_says_itself_what_is_in_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut file = recording(directory.path(), 20..45, 0xc0);
        file.record.state = FileState::Open;
        let whole = completed(&file).expect("readable").expect("there");
        assert_eq!(whole.state, FileState::Torn);
        let content = whole.content;
        assert_eq!((content.frames, content.duration_ns), (25, 2_500_000_000));
        assert_eq!(content.end_wall_ms, 1_004_500);
        assert_eq!(
            content.size.map(|size| (size.width, size.height)),
            Some((320, 240))
        );

        let path = file.absolute();
        let bytes = std::fs::read(&path).expect("there");
        assert_eq!(content.bytes, bytes.len() as u64);
        std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("written");
        let torn = completed(&file).expect("readable").expect("there");
        assert_eq!(torn.content.frames, 20, "the last fragment is not whole");
        std::fs::write(&path, "").expect("written");
        let empty = completed(&file).expect("readable").expect("there");
        assert_eq!(empty.content, FileContent::default());
        std::fs::remove_file(&path).expect("there");
        assert_eq!(completed(&file).expect("no error"), None);
    }

    #[test]
    fn files_that_nobody_was_told_of_are_found_by_their_names() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |begin: u64| recording(directory.path(), begin..begin + 10, 0xc0);
        let (_earlier, last, known, untold_one) = (at(0), at(10), at(20), at(30));
        for foreign in ["gate-9999-01.mp4", "yard-2-9999-01.mp4", "yard-9999-01.txt"] {
            std::fs::copy(last.absolute(), directory.path().join(foreign)).expect("a copy");
        }
        std::fs::write(directory.path().join("yard-9999-02.mp4"), "no video").expect("written");
        let found = untold(&last, |path| path == known.record.path);
        let [found] = &found[..] else {
            panic!("{found:#?}");
        };
        assert_eq!(found.record.path, untold_one.record.path);
        assert_eq!(found.record.begin_wall_ms, untold_one.record.begin_wall_ms);
        assert_eq!(found.record.begin_pts_ns, untold_one.record.begin_pts_ns);
        assert_eq!(found.record.content.frames, 10);
    }
}
