//! From the waypoints of a case to frame records, as a render worker makes them.

use std::collections::BTreeSet;
use std::ops::Range;

use contract::control::{AttributeRecord, FrameRecord, ObjectRecord, Quality};
use contract::detection::Skip;
use contract::geometry::{BoundingBox, PixelSize};
use contract::motion::Cells;

use super::{Case, Movement, Track, Waypoint};

/// A track at one time.
struct Moment {
    foot: [f32; 2],
    size: [f32; 2],
    score: f32,
    sharpness: Option<f32>,
    brightness: Option<f32>,
    landmarks: u8,
    depth: Option<f32>,
}

impl Case {
    /// The class names of its one model.
    #[must_use]
    pub fn class_names(&self) -> Vec<String> {
        let labels: BTreeSet<_> = self.tracks.iter().map(|track| &track.label).collect();
        labels.into_iter().cloned().collect()
    }

    /// Its frames, one after the other.
    pub fn frames(&self) -> impl Iterator<Item = FrameRecord> + '_ {
        let classes = self.class_names();
        (0..)
            .map(|number| (number, self.pts_ns(number)))
            .take_while(|(_, pts_ns)| *pts_ns <= self.length_ns)
            .map(move |(number, pts_ns)| self.frame(number, pts_ns, &classes))
    }

    /// Event time of a frame, counted from 0.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "at most FRAMES_MAX frames"
    )]
    fn pts_ns(&self, number: u64) -> u64 {
        (number as f64 * 1e9 / self.setting.fps).round() as u64
    }

    fn frame(&self, number: u64, pts_ns: u64, classes: &[String]) -> FrameRecord {
        let setting = &self.setting;
        let skipped = is_inside(&self.skipped, pts_ns);
        let since_ns = number
            .checked_sub(1)
            .map_or(0, |before| self.pts_ns(before) + 1);
        let mut objects = Vec::new();
        let mut attributes = Vec::new();
        for track in &self.tracks {
            attributes.extend(track.attributes_in(since_ns..pts_ns + 1, number));
            let Some(moment) = track.at(pts_ns) else {
                continue;
            };
            let class = classes.iter().position(|class| *class == track.label);
            let predicted = skipped || is_inside(&track.predicted, pts_ns);
            objects.push(ObjectRecord {
                track: Some(track.id),
                model: 0,
                // No more labels than tracks, so it fits.
                class: class
                    .and_then(|class| u16::try_from(class).ok())
                    .unwrap_or(0),
                score: (!predicted).then_some(moment.score),
                bounds: moment.bounds(setting.size),
                quality: moment.quality().filter(|_| !predicted),
                landmarks: if predicted { 0 } else { moment.landmarks },
                depth: moment.depth,
            });
        }
        let mut record = FrameRecord {
            sequence_number: number,
            pts_ns,
            wall_ms: setting
                .start_wall_ms
                .saturating_add_unsigned(pts_ns / 1_000_000),
            size: setting.size,
            motion: self
                .motion_at(pts_ns)
                .map(|it| it.amount)
                .sum::<f32>()
                .min(1.0),
            moved: Cells::of(|[x, y]| {
                self.motion_at(pts_ns).any(|Movement { area, .. }| {
                    (area[0]..area[2]).contains(&x) && (area[1]..area[3]).contains(&y)
                })
            }),
            skip: skipped.then_some(Skip::Gated),
            objects,
            attributes,
        };
        record.round();
        record
    }

    fn motion_at(&self, pts_ns: u64) -> impl Iterator<Item = &Movement> {
        let movements = self.motion.iter();
        movements.filter(move |movement| movement.during_ns.contains(&pts_ns))
    }
}

impl Track {
    /// Where and how it is; `None` when it is not there.
    fn at(&self, pts_ns: u64) -> Option<Moment> {
        let begin_ns = self.path.first()?.at_ns;
        let end_ns = self.path.last()?.at_ns;
        if !(begin_ns..=end_ns).contains(&pts_ns) || is_inside(&self.absent, pts_ns) {
            return None;
        }
        Some(Moment {
            foot: self.between(pts_ns, |waypoint| waypoint.foot)?,
            size: self.between(pts_ns, |waypoint| waypoint.size)?,
            score: self.latest(pts_ns, |waypoint| waypoint.score)?,
            sharpness: self.latest(pts_ns, |waypoint| waypoint.sharpness),
            brightness: self.latest(pts_ns, |waypoint| waypoint.brightness),
            landmarks: self
                .latest(pts_ns, |waypoint| waypoint.landmarks)
                .unwrap_or(0),
            depth: self.latest(pts_ns, |waypoint| waypoint.depth),
        })
    }

    /// What the last waypoint that says it says.
    fn latest<T>(&self, pts_ns: u64, value: impl Fn(&Waypoint) -> Option<T>) -> Option<T> {
        let passed = self.path.iter().rev();
        passed.filter(|it| it.at_ns <= pts_ns).find_map(value)
    }

    /// On the straight line between the waypoints before and after that say it.
    #[expect(clippy::cast_precision_loss, reason = "a part of a time")]
    fn between(
        &self,
        pts_ns: u64,
        value: impl Fn(&Waypoint) -> Option<[f32; 2]>,
    ) -> Option<[f32; 2]> {
        let said = || {
            let path = self.path.iter();
            path.filter_map(|waypoint| Some((waypoint.at_ns, value(waypoint)?)))
        };
        let (from_ns, from) = said().take_while(|(at_ns, _)| *at_ns <= pts_ns).last()?;
        let Some((to_ns, to)) = said().find(|(at_ns, _)| *at_ns > pts_ns) else {
            return Some(from);
        };
        let part = ((pts_ns - from_ns) as f64 / (to_ns - from_ns) as f64) as f32;
        Some([0, 1].map(|axis| from[axis] + (to[axis] - from[axis]) * part))
    }

    fn attributes_in(
        &self,
        during_ns: Range<u64>,
        asked_sequence: u64,
    ) -> impl Iterator<Item = AttributeRecord> {
        let waypoints = self.path.iter();
        let passed = waypoints.filter(move |waypoint| during_ns.contains(&waypoint.at_ns));
        passed.flat_map(move |waypoint| {
            let attributes = waypoint.attributes.iter();
            attributes.map(move |(name, value)| AttributeRecord {
                track: self.id,
                name: name.clone(),
                value: value.clone(),
                asked_sequence,
                found: None,
                embedding: None,
            })
        })
    }
}

impl Moment {
    /// In pixels; not cut off at the picture's border, so that the foot is where it was written.
    #[expect(clippy::cast_precision_loss, reason = "sides are at most SIDE_MAX")]
    fn bounds(&self, size: PixelSize) -> BoundingBox {
        let (width, height) = (size.width as f32, size.height as f32);
        let [x, y] = self.foot;
        let half = self.size[0] / 2.0;
        BoundingBox {
            x1: (x - half) * width,
            y1: (y - self.size[1]) * height,
            x2: (x + half) * width,
            y2: y * height,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked when it was read"
    )]
    fn quality(&self) -> Option<Quality> {
        if self.sharpness.is_none() && self.brightness.is_none() {
            return None;
        }
        Some(Quality {
            sharpness: (self.sharpness.unwrap_or(0.0) * 100.0).round() as u16,
            brightness: (self.brightness.unwrap_or(0.5) * 255.0).round() as u8,
        })
    }
}

fn is_inside(ranges: &[Range<u64>], pts_ns: u64) -> bool {
    ranges.iter().any(|range| range.contains(&pts_ns))
}
