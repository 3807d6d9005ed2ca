//! Names of the files this worker writes.

use std::path::{Path, PathBuf};

use contract::name::StreamName;
use jiff::Timestamp;

/// Files that may begin in the same second.
const SAME_SECOND_MAX: u32 = 1000;

/// A path for a new recording, `<stream>-<UTC>-<incarnation>.mp4`, that no file has yet:
/// as it is reported, and as it is opened.
#[must_use]
pub(crate) fn recording(
    run_directory: &Path,
    directory: &Path,
    stream: &StreamName,
    wall_ms: i64,
    incarnation: u32,
) -> (PathBuf, PathBuf) {
    let stem = format!("{stream}-{}-{incarnation}", utc(wall_ms));
    let mut path = directory.join(format!("{stem}.mp4"));
    for count in 1..SAME_SECOND_MAX {
        if !run_directory.join(&path).exists() {
            break;
        }
        path = directory.join(format!("{stem}.{count}.mp4"));
    }
    let opened = run_directory.join(&path);
    (path, opened)
}

/// The path of a snapshot inside the run's directory.
#[must_use]
pub(crate) fn snapshot(
    stream: &StreamName,
    rule: &str,
    track: Option<u64>,
    sequence: u64,
) -> String {
    // Rule names are checked by the rule language; a file name must be safe whoever made it.
    let rule: String = rule
        .chars()
        .map(|letter| match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => letter,
            _ => '_',
        })
        .collect();
    let track = track.map_or_else(|| "frame".to_owned(), |track| track.to_string());
    format!("snapshots/{stream}-{rule}-{track}-{sequence}.png")
}

/// `20260731T235959Z`, of milliseconds since the Unix epoch.
fn utc(wall_ms: i64) -> String {
    let timestamp = Timestamp::from_millisecond(wall_ms).unwrap_or_default();
    timestamp.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(utc(0), "19700101T000000Z");
        assert_eq!(utc(951_782_399_000), "20000228T235959Z");
        assert_eq!(utc(951_782_400_000), "20000229T000000Z");
        assert_eq!(utc(1_785_000_000_999), "20260725T172000Z");
        assert_eq!(utc(-1), "19691231T235959Z");
    }

    #[test]
    fn no_recording_takes_the_name_of_another() {
        let run = tempfile::tempdir().expect("a directory");
        let stream = "yard".parse().expect("a name");
        let next = || recording(run.path(), Path::new("video"), &stream, 0, 2);
        let (first, opened) = next();
        assert_eq!(first, Path::new("video/yard-19700101T000000Z-2.mp4"));
        assert_eq!(opened, run.path().join(&first));
        std::fs::create_dir(run.path().join("video")).expect("a directory");
        std::fs::write(opened, "").expect("a file");
        let (second, _) = next();
        assert_eq!(second, Path::new("video/yard-19700101T000000Z-2.1.mp4"));
        let absolute = recording(run.path(), Path::new("/data"), &stream, 0, 0);
        assert_eq!(absolute.0, absolute.1);
    }

    #[test]
    fn snapshot_names_stay_inside_their_directory() {
        let stream = "yard".parse().expect("a name");
        assert_eq!(
            snapshot(&stream, "loitering", Some(7), 120),
            "snapshots/yard-loitering-7-120.png"
        );
        assert_eq!(
            snapshot(&stream, "../a b", None, 3),
            "snapshots/yard-___a_b-frame-3.png"
        );
    }
}
