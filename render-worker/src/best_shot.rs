//! The best picture of each track so far, kept as pixels until the track ends or a rule wants it.
//!
//! How good a picture is says [`contract::best_shot::shot_value`], from the same rounded values that rules see and
//! the store keeps. Among the pictures of a track one that `best_shots` of the config finds good
//! enough goes before all that it does not; the others are kept for rules only.

mod writer;

use std::collections::BTreeMap;

use contract::best_shot::{BestShot, ShotCause, ShotMoment};
use contract::control::{FrameRecord, ObjectRecord};
use contract::detection::Landmarks;
use contract::name::StreamName;
use contract::spec::BestShotsSpec;

use crate::crop::Still;
use crate::encode::PictureFormat;
use crate::privacy::Hidden;

pub(crate) use writer::ShotWriter;

/// Tracks whose picture is kept: at most 100 KB each. Of more at the same time the younger
/// ones have none: a rule that wants it gets the object as it is when the rule fires, and at
/// the end of the track the book says so.
pub(crate) const SHOTS_MAX: usize = 128;

/// What the tracker knows of a track that lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Living<'a> {
    /// Its class name.
    pub(crate) label: &'a str,
    /// Event time at which it was first seen.
    pub(crate) began_pts_ns: u64,
    /// What was found on it in this frame.
    pub(crate) landmarks: Landmarks,
}

/// A track that is followed.
#[derive(Debug)]
struct Followed {
    label: String,
    /// The config wants its best picture.
    wanted: bool,
    began_pts_ns: u64,
    seen_pts_ns: u64,
    shot: Option<Shot>,
    /// There was a picture, and [`SHOTS_MAX`] others.
    no_room: bool,
}

/// A picture of a track.
#[derive(Debug)]
struct Shot {
    still: Still,
    moment: ShotMoment,
    /// The config finds it good enough.
    good: bool,
}

/// The best picture of a track, and what is known of both.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) still: Still,
    pub(crate) track: u64,
    pub(crate) label: String,
    pub(crate) moment: ShotMoment,
    pub(crate) began_pts_ns: u64,
    /// When the track was last seen, if it has ended.
    pub(crate) ended_pts_ns: Option<u64>,
}

impl Picture {
    /// What is told of it once it lies at `path`.
    pub(crate) fn told(&self, stream: &StreamName, cause: ShotCause, path: String) -> BestShot {
        BestShot {
            stream: stream.clone(),
            track: self.track,
            label: self.label.clone(),
            cause,
            path,
            picture: self.still.layout.size,
            moment: self.moment.clone(),
            began_pts_ns: self.began_pts_ns,
            ended_pts_ns: self.ended_pts_ns,
        }
    }
}

/// The tracks that ended, of those whose best picture the config wants.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// The pictures to be written.
    pub(crate) pictures: Vec<Picture>,
    /// Tracks of which no picture was good enough.
    pub(crate) poor: u64,
    /// Tracks of which a picture was good enough, but there was no room for it.
    pub(crate) no_room: u64,
}

/// The best pictures of the tracks of one stream.
#[derive(Debug, Default)]
pub(crate) struct BestShots {
    spec: Option<BestShotsSpec>,
    for_rules: bool,
    /// As many as the trackers follow, who bound their number.
    by_track: BTreeMap<u64, Followed>,
}

impl BestShots {
    /// Pictures are kept by `spec`, and any for rules where they ask for the best. What is
    /// kept is judged anew.
    pub(crate) fn configure(&mut self, spec: Option<&BestShotsSpec>, for_rules: bool) {
        self.spec = spec.cloned();
        self.for_rules = for_rules;
        if !self.is_needed() {
            self.by_track.clear();
        }
        for followed in self.by_track.values_mut() {
            followed.wanted = wants(spec, &followed.label);
            if let Some(shot) = &mut followed.shot {
                shot.good = followed.wanted && is_good(spec, &shot.moment);
            }
            followed.shot.take_if(|shot| !shot.good && !for_rules);
        }
    }

    /// Somebody wants pictures.
    pub(crate) fn is_needed(&self) -> bool {
        self.spec.is_some() || self.for_rules
    }

    /// Looks at the tracks of a frame, undrawn; what is kept of it has `hidden` hidden. `living`
    /// knows all tracks that there are; those it does not know any more have ended.
    pub(crate) fn observe<'a>(
        &mut self,
        record: &FrameRecord,
        format: &PictureFormat,
        pixels: &[u8],
        hidden: Hidden<'_>,
        living: impl Fn(u64) -> Option<Living<'a>>,
    ) -> Ended {
        let ends = |track: &u64, _: &mut Followed| living(*track).is_none();
        let ended = take_ended(self.by_track.extract_if(.., ends));
        let mut kept = self.by_track.values().filter(|f| f.shot.is_some()).count();
        for object in &record.objects {
            let (Some(track), Some(score)) = (object.track, object.score) else {
                continue;
            };
            let Some(living) = living(track) else {
                continue;
            };
            let spec = self.spec.as_ref();
            let followed = self.by_track.entry(track).or_insert_with(|| Followed {
                label: living.label.to_owned(),
                wanted: wants(spec, living.label),
                began_pts_ns: living.began_pts_ns,
                seen_pts_ns: record.pts_ns,
                shot: None,
                no_room: false,
            });
            followed.seen_pts_ns = record.pts_ns;
            let Some(moment) = moment_of(record, object, score, living.landmarks) else {
                continue;
            };
            let good = followed.wanted && is_good(spec, &moment);
            if (!good && !self.for_rules) || !followed.is_beaten_by(good, &moment) {
                continue;
            }
            if followed.shot.is_none() && kept == SHOTS_MAX {
                followed.no_room |= good;
                continue;
            }
            if let Some(still) = Still::crop(format, pixels, &object.bounds, hidden) {
                kept += usize::from(followed.shot.is_none());
                followed.shot = Some(Shot {
                    still,
                    moment,
                    good,
                });
            }
        }
        ended
    }

    /// The best picture so far of a track that lives.
    pub(crate) fn of(&self, track: u64) -> Option<Picture> {
        let followed = self.by_track.get(&track)?;
        let shot = followed.shot.as_ref()?;
        Some(Picture {
            still: shot.still.clone(),
            track,
            label: followed.label.clone(),
            moment: shot.moment.clone(),
            began_pts_ns: followed.began_pts_ns,
            ended_pts_ns: None,
        })
    }

    /// All tracks end.
    pub(crate) fn finish(&mut self) -> Ended {
        take_ended(std::mem::take(&mut self.by_track))
    }
}

impl Followed {
    fn is_beaten_by(&self, good: bool, moment: &ShotMoment) -> bool {
        self.shot.as_ref().is_none_or(|shot| {
            if good == shot.good {
                moment.value() > shot.moment.value()
            } else {
                good
            }
        })
    }
}

fn take_ended(tracks: impl IntoIterator<Item = (u64, Followed)>) -> Ended {
    let mut ended = Ended::default();
    for (track, followed) in tracks {
        if !followed.wanted {
            continue;
        }
        match followed.shot.filter(|shot| shot.good) {
            Some(shot) => ended.pictures.push(Picture {
                still: shot.still,
                track,
                label: followed.label,
                moment: shot.moment,
                began_pts_ns: followed.began_pts_ns,
                ended_pts_ns: Some(followed.seen_pts_ns),
            }),
            None if followed.no_room => ended.no_room += 1,
            None => ended.poor += 1,
        }
    }
    ended
}

fn moment_of(
    record: &FrameRecord,
    object: &ObjectRecord,
    score: f32,
    landmarks: Landmarks,
) -> Option<ShotMoment> {
    Some(ShotMoment {
        sequence_number: record.sequence_number,
        pts_ns: record.pts_ns,
        wall_ms: record.wall_ms,
        score,
        quality: object.quality?,
        bounds: object.bounds,
        landmarks,
    })
}

fn wants(spec: Option<&BestShotsSpec>, label: &str) -> bool {
    spec.is_some_and(|spec| spec.labels.is_empty() || spec.labels.iter().any(|own| own == label))
}

#[expect(clippy::cast_precision_loss, reason = "sides are at most SIDE_MAX")]
fn is_good(spec: Option<&BestShotsSpec>, moment: &ShotMoment) -> bool {
    let ShotMoment { score, bounds, .. } = moment;
    spec.is_some_and(|spec| {
        *score >= spec.score_min && bounds.width().max(bounds.height()) >= spec.side_min as f32
    })
}

#[cfg(test)]
mod tests;
