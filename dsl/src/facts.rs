//! What fields and functions say of a scene: the leaves of every expression.
//!
//! `None` is a value that is not known: no comparison with it holds.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::check::WEEKDAYS;
use crate::rule_file::Line;
use crate::scene::{Scene, TrackFacts};
use crate::typed::ClockPart;
use crate::vocabulary::Field;

/// A field of the scene, or of `track`.
pub(crate) fn field(field: Field, scene: &Scene<'_>, track: Option<&TrackFacts>) -> Option<f64> {
    let number = match field {
        Field::Motion => scene.motion,
        Field::FramesPerSecond => scene.fps,
        #[expect(clippy::cast_precision_loss, reason = "a few hundred tracks")]
        Field::Tracks => return Some(scene.tracks.len() as f64),
        Field::Events => return Some(f64::from(scene.events)),
        field => return track_field(field, track?),
    };
    Some(f64::from(number))
}

fn track_field(field: Field, track: &TrackFacts) -> Option<f64> {
    Some(f64::from(match field {
        #[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
        Field::TrackId => return Some(track.id as f64),
        #[expect(clippy::cast_precision_loss, reason = "exact for 104 days of track")]
        Field::TrackAge => return Some(track.age_ns as f64),
        Field::TrackHits => return Some(f64::from(track.hits)),
        Field::Landmarks => return Some(f64::from(track.landmarks)),
        Field::Score => track.score,
        Field::RawScore => track.raw_score.unwrap_or(0.0),
        Field::BoxX => track.x,
        Field::BoxY => track.y,
        Field::BoxWidth => track.width,
        Field::BoxHeight => track.height,
        Field::BoxArea => track.width * track.height,
        Field::BoxAspect => track.aspect,
        Field::TrackSpeed => track.speed,
        Field::TrackDirection => track.direction?,
        Field::Sharpness => track.sharpness?,
        Field::Brightness => track.brightness?,
        Field::Best => track.best?,
        Field::Depth => track.depth?,
        Field::Motion | Field::FramesPerSecond | Field::Tracks | Field::Events => return None,
    }))
}

/// The part of a zone that moved.
pub(crate) fn zone_motion(zone: u8, scene: &Scene<'_>) -> Option<f64> {
    let motion = scene.zone_motion.get(usize::from(zone))?;
    Some(f64::from(*motion))
}

/// Nanoseconds that the track at `index` has been in a zone.
pub(crate) fn dwell(zone: u8, scene: &Scene<'_>, index: usize) -> Option<f64> {
    let dwell_ns = scene
        .dwell_ns
        .get(index * scene.zones.len() + usize::from(zone))?;
    #[expect(clippy::cast_precision_loss, reason = "exact for 104 days")]
    Some(*dwell_ns as f64)
}

/// Whether a bit of a set of zones or lines is set.
pub(crate) fn contains(set: u64, index: u8) -> bool {
    set.checked_shr(u32::from(index))
        .is_some_and(|bits| bits & 1 == 1)
}

/// Between the feet of two tracks, in heights of the picture.
pub(crate) fn distance(one: &TrackFacts, other: &TrackFacts) -> f64 {
    rounded(length(one.foot, other.foot))
}

/// From the track's foot to the nearest edge of a zone; 0 inside. Heights of the picture.
pub(crate) fn distance_to_zone(zone: u8, scene: &Scene<'_>, track: &TrackFacts) -> Option<f64> {
    if contains(track.zones, zone) {
        return Some(0.0);
    }
    let polygon = &scene.zones.get(usize::from(zone))?.polygon;
    let corner = |index: usize| in_heights(polygon[index % polygon.len()], scene);
    let nearest = (0..polygon.len())
        .map(|index| to_segment(track.foot, corner(index), corner(index + 1)))
        .fold(f64::INFINITY, f64::min);
    Some(rounded(nearest))
}

/// From the track's foot to a line, in heights of the picture.
pub(crate) fn distance_to_line(line: u8, scene: &Scene<'_>, track: &TrackFacts) -> Option<f64> {
    let Line { from, to, .. } = scene.lines.get(usize::from(line))?;
    Some(rounded(to_segment(
        track.foot,
        in_heights(*from, scene),
        in_heights(*to, scene),
    )))
}

/// The class of a track.
pub(crate) fn label<'s>(scene: &Scene<'s>, track: Option<&TrackFacts>) -> &'s str {
    track
        .and_then(|track| scene.labels.get(usize::from(track.label)))
        .map_or("", String::as_str)
}

/// An attribute of a track.
pub(crate) fn attribute<'s>(name: &str, scene: &Scene<'s>, track: Option<&TrackFacts>) -> &'s str {
    let Some(track) = track else { return "" };
    let (first, count) = track.attributes;
    scene
        .attributes
        .iter()
        .skip(first as usize)
        .take(count as usize)
        .find(|attribute| attribute.name == name)
        .map_or("", |attribute| attribute.value.as_str())
}

/// A label of the stream.
pub(crate) fn stream_label<'s>(name: &str, scene: &Scene<'s>) -> &'s str {
    scene.stream_labels.get(name).map_or("", String::as_str)
}

/// The time of day of the frame's capture; durations are in nanoseconds.
pub(crate) fn clock(zone: &TimeZone, part: ClockPart, scene: &Scene<'_>) -> Option<f64> {
    let time = zone.to_datetime(captured(scene)?);
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    Some(match part {
        ClockPart::Hour => f64::from(hour),
        ClockPart::Minute => f64::from(minute),
        ClockPart::Time => {
            let seconds = f64::from(hour) * 3600.0 + f64::from(minute) * 60.0 + f64::from(second);
            seconds * 1e9 + f64::from(time.subsec_nanosecond())
        }
    })
}

/// The weekday of the frame's capture, `monday`.
pub(crate) fn weekday(zone: &TimeZone, scene: &Scene<'_>) -> &'static str {
    captured(scene)
        .map(|captured| zone.to_datetime(captured).weekday().to_monday_zero_offset())
        .and_then(|day| WEEKDAYS.get(usize::try_from(day).ok()?))
        .map_or("", |name| name)
}

fn captured(scene: &Scene<'_>) -> Option<Timestamp> {
    Timestamp::from_millisecond(scene.wall_ms).ok()
}

/// What is compared with constants is f32, as they are.
#[expect(clippy::cast_possible_truncation, reason = "that is the rounding")]
fn rounded(value: f64) -> f64 {
    f64::from(value as f32)
}

fn in_heights([x, y]: [f32; 2], scene: &Scene<'_>) -> [f32; 2] {
    [x * scene.aspect, y]
}

fn length(a: [f32; 2], b: [f32; 2]) -> f64 {
    let [x, y] = [0, 1].map(|axis| f64::from(b[axis]) - f64::from(a[axis]));
    // Not `hypot`, whose last bit depends on the machine's library.
    (x * x + y * y).sqrt()
}

/// From a point to the nearest point of a segment.
fn to_segment(point: [f32; 2], from: [f32; 2], to: [f32; 2]) -> f64 {
    let [px, py] = point.map(f64::from);
    let [ax, ay] = from.map(f64::from);
    let [bx, by] = to.map(f64::from);
    let (dx, dy) = (bx - ax, by - ay);
    let square = dx * dx + dy * dy;
    let along = if square > 0.0 {
        (((px - ax) * dx + (py - ay) * dy) / square).clamp(0.0, 1.0)
    } else {
        0.0
    };
    let (x, y) = (px - ax - along * dx, py - ay - along * dy);
    (x * x + y * y).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(wall_ms: i64, labels: &std::collections::BTreeMap<String, String>) -> Scene<'_> {
        Scene {
            pts_ns: 0,
            wall_ms,
            inferred: true,
            aspect: 2.0,
            motion: 0.0,
            zone_motion: &[],
            fps: 0.0,
            events: 0,
            stream: "",
            stream_labels: labels,
            zones: &[],
            lines: &[],
            tracks: &[],
            labels: &[],
            dwell_ns: &[],
            attributes: &[],
        }
    }

    #[test]
    fn clocks_follow_summer_time() {
        let labels = std::collections::BTreeMap::new();
        let berlin = jiff::tz::TimeZoneDatabase::bundled()
            .get("Europe/Berlin")
            .unwrap();
        // On 29 March 2026, 02:00 in Berlin became 03:00, at 01:00 UTC.
        let change_ms = 1_774_746_000_000;
        for (wall_ms, hour, minute) in [(change_ms - 60_000, 1.0, 59.0), (change_ms, 3.0, 0.0)] {
            let scene = scene(wall_ms, &labels);
            assert_eq!(clock(&berlin, ClockPart::Hour, &scene), Some(hour));
            assert_eq!(clock(&berlin, ClockPart::Minute, &scene), Some(minute));
            assert_eq!(weekday(&berlin, &scene), "sunday");
        }
        let scene = scene(change_ms + 1_500, &labels);
        let time = clock(&berlin, ClockPart::Time, &scene);
        assert_eq!(time, Some((3.0 * 3600.0 + 1.5) * 1e9));
        assert_eq!(
            clock(&berlin, ClockPart::Hour, &self::scene(i64::MAX, &labels)),
            None
        );
    }

    #[test]
    fn distances_are_to_the_nearest_point() {
        let (from, to) = ([0.0, 0.0], [2.0, 0.0]);
        for (point, distance) in [
            ([1.0, 0.5], 0.5),
            ([-3.0, 4.0], 5.0),
            ([2.0, -1.0], 1.0),
            ([0.5, 0.0], 0.0),
        ] {
            assert!(
                (to_segment(point, from, to) - distance).abs() < 1e-12,
                "{point:?}"
            );
        }
        assert!(
            (to_segment([3.0, 4.0], from, from) - 5.0).abs() < 1e-12,
            "no length"
        );
    }
}
