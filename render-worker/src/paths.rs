//! Names of the files this worker writes.

use std::path::Path;

use contract::event::Event;
use contract::name::StreamName;
use jiff::Timestamp;

/// Files that may begin in the same second.
const SAME_SECOND_MAX: u32 = 1000;
/// Of a name that becomes a part of a file name: file systems take 255 bytes.
const NAME_CHARACTERS_MAX: usize = 64;

/// A path for a new recording, `<stream>-<UTC>-<incarnation>.mp4`, that no file has yet.
#[must_use]
pub(crate) fn recording(
    run_directory: &Path,
    directory: &Path,
    stream: &StreamName,
    wall_ms: i64,
    incarnation: u32,
) -> String {
    let stem = format!("{stream}-{}-{incarnation}", utc(wall_ms));
    let mut path = directory.join(format!("{stem}.mp4"));
    for count in 1..SAME_SECOND_MAX {
        if !run_directory.join(&path).exists() {
            break;
        }
        path = directory.join(format!("{stem}.{count}.mp4"));
    }
    path.to_string_lossy().into_owned()
}

/// The path of the picture of an event, inside the run's directory.
#[must_use]
pub(crate) fn snapshot(event: &Event) -> String {
    format!("snapshots/{}.jpg", stem(event))
}

/// The path of the video of an event, inside the run's directory.
#[must_use]
pub(crate) fn clip(event: &Event) -> String {
    format!("clips/{}.mp4", stem(event))
}

/// The path of the best picture of a track that has ended, inside the run's directory. No two
/// have the same: ids of tracks are given once.
#[must_use]
pub(crate) fn best_shot(
    stream: &StreamName,
    label: &str,
    track: u64,
    sequence_number: u64,
) -> String {
    let label = safe(label);
    format!("shots/{stream}-{label}-{track}-{sequence_number}.jpg")
}

/// No two events of a run have the same: a frame has its number once, and in it a rule fires
/// for a track once.
fn stem(event: &Event) -> String {
    let rule = safe(&event.rule);
    let track = event
        .track
        .map_or_else(|| "frame".to_owned(), |track| track.to_string());
    format!("{}-{rule}-{track}-{}", event.stream, event.sequence_number)
}

/// Rule names are checked by the rule language, labels by nobody; a file name must be safe
/// whoever made it.
fn safe(name: &str) -> String {
    let safe = |letter: char| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => letter,
        _ => '_',
    };
    name.chars().take(NAME_CHARACTERS_MAX).map(safe).collect()
}

/// `20260731T235959Z`, of milliseconds since the Unix epoch.
fn utc(wall_ms: i64) -> String {
    let timestamp = Timestamp::from_millisecond(wall_ms).unwrap_or_default();
    timestamp.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
        let first = next();
        assert_eq!(first, "video/yard-19700101T000000Z-2.mp4");
        std::fs::create_dir(run.path().join("video")).expect("a directory");
        std::fs::write(run.path().join(first), "").expect("a file");
        assert_eq!(next(), "video/yard-19700101T000000Z-2.1.mp4");
        let absolute = recording(run.path(), Path::new("/data"), &stream, 0, 0);
        assert_eq!(absolute, "/data/yard-19700101T000000Z-0.mp4");
    }

    #[test]
    fn labels_become_parts_of_file_names() {
        let stream = "yard".parse().expect("a name");
        assert_eq!(
            best_shot(&stream, "person", 7, 120),
            "shots/yard-person-7-120.jpg"
        );
        let path = best_shot(&stream, "../traffic light", 7, 120);
        assert_eq!(path, "shots/yard-___traffic_light-7-120.jpg");
    }

    #[test]
    fn files_of_events_stay_inside_their_directories() {
        let mut event = Event {
            id: "yard/loitering/7/4800".to_owned(),
            stream: "yard".parse().expect("a name"),
            rule: "loitering".to_owned(),
            generation: 0,
            track: Some(7),
            label: None,
            sequence_number: 120,
            begin_pts_ns: 0,
            end_pts_ns: None,
            begin_wall_ms: 0,
            score: None,
            bounds: None,
            message: String::new(),
            labels: BTreeMap::new(),
            snapshot: None,
            clip: None,
            deliveries: Vec::new(),
        };
        assert_eq!(snapshot(&event), "snapshots/yard-loitering-7-120.jpg");
        event.rule = "../a b".to_owned();
        event.track = None;
        assert_eq!(clip(&event), "clips/yard-___a_b-frame-120.mp4");
    }
}
