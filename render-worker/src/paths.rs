//! Names of the files this worker writes.

use std::path::Path;

use contract::event::Event;
use contract::name::StreamName;
use jiff::Timestamp;

/// Files that may begin in the same millisecond.
const SAME_TIME_MAX: u32 = 1000;
/// Of a name that becomes a part of a file name: file systems take 255 bytes.
const NAME_CHARACTERS_MAX: usize = 64;

/// The paths that a recording which begins now may have, `<stream>-<UTC>.mp4`, the best first:
/// the others are for clocks that go back. By name they are in the order of their times.
pub(crate) fn recordings(
    directory: &Path,
    stream: &StreamName,
    wall_ms: i64,
) -> impl Iterator<Item = String> {
    let stem = format!("{stream}-{}", utc(wall_ms));
    (0..SAME_TIME_MAX).map(move |count| {
        let name = match count {
            0 => format!("{stem}.mp4"),
            count => format!("{stem}_{count}.mp4"),
        };
        directory.join(name).to_string_lossy().into_owned()
    })
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

/// `2026-07-31T23-59-59.001Z`, of milliseconds since the Unix epoch.
fn utc(wall_ms: i64) -> String {
    let timestamp = Timestamp::from_millisecond(wall_ms).unwrap_or_default();
    timestamp.strftime("%Y-%m-%dT%H-%M-%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn dates() {
        assert_eq!(utc(0), "1970-01-01T00-00-00.000Z");
        assert_eq!(utc(951_782_399_000), "2000-02-28T23-59-59.000Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29T00-00-00.000Z");
        assert_eq!(utc(1_785_000_000_999), "2026-07-25T17-20-00.999Z");
        assert_eq!(utc(-1), "1969-12-31T23-59-59.999Z");
    }

    #[test]
    fn recordings_have_names_in_the_order_of_their_times() {
        let stream = "yard".parse().expect("a name");
        let names = |directory, wall_ms| recordings(Path::new(directory), &stream, wall_ms).take(2);
        let all: Vec<_> = names("video", 0).chain(names("video", 1)).collect();
        let expected = [
            "video/yard-1970-01-01T00-00-00.000Z.mp4",
            "video/yard-1970-01-01T00-00-00.000Z_1.mp4",
            "video/yard-1970-01-01T00-00-00.001Z.mp4",
            "video/yard-1970-01-01T00-00-00.001Z_1.mp4",
        ];
        assert_eq!(all, expected);
        assert!(all.is_sorted());
        let absolute = names("/data", 0).next().expect("one");
        assert_eq!(absolute, "/data/yard-1970-01-01T00-00-00.000Z.mp4");
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
