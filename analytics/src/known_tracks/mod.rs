//! What rules know of tracks, computed from frame records and nothing else.
//!
//! The tracker knows more, but a stored run holds records only; and rules must say the same
//! of a stored run as they said of the live one. All buffers stay from frame to frame.

mod attributes;
mod track;

use contract::control::{FrameRecord, ObjectRecord};
use contract::geometry::{BoundingBox, PixelSize};
use dsl::{Attribute, Line, TrackFacts, Zone};

pub use attributes::{ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX};

use crate::class_names::ClassNames;
use crate::lines::Segment;
use crate::tracker::TRACKS_MAX;
use attributes::Attributes;
use track::{KnownTrack, View};

/// The tracks of a stream, at most [`TRACKS_MAX`] of all its models; further ones take no part
/// in rules until there is room.
///
/// A track has a *slot* from its first frame until it is forgotten: a small index that rules
/// keep their own state by. Slots are used again.
#[derive(Debug)]
pub(crate) struct KnownTracks {
    slots: Vec<KnownTrack>,
    free: Vec<usize>,
    /// Id and slot of each track that is known, by id.
    known: Vec<(u64, usize)>,
    forgotten: Vec<usize>,
    segments: Vec<Segment>,
    /// Size that `segments` were made for.
    size: Option<PixelSize>,
    attributes: Attributes,
    /// Slots of the tracks in this frame, in the order of the record.
    in_frame: Vec<usize>,
    facts: Vec<TrackFacts>,
    dwell_ns: Vec<u64>,
}

/// What tracks are looked at with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) zones: &'a [Zone],
    pub(crate) lines: &'a [Line],
    pub(crate) classes: &'a ClassNames,
    /// A track that no record has had for so long is forgotten.
    pub(crate) forget_after_ns: u64,
}

impl KnownTracks {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            known: Vec::new(),
            forgotten: Vec::new(),
            segments: Vec::new(),
            size: None,
            attributes: Attributes::default(),
            in_frame: Vec::new(),
            facts: Vec::new(),
            dwell_ns: Vec::new(),
        }
    }

    /// Takes in a frame: which tracks are forgotten, and what is known of those in it.
    pub(crate) fn observe(&mut self, record: &FrameRecord, pts_ns: u64, around: Surroundings<'_>) {
        self.in_frame.clear();
        self.facts.clear();
        self.dwell_ns.clear();
        if self.size != Some(record.size) {
            self.measure_lines(around.lines, record.size);
        }
        self.forget(record, pts_ns, around.forget_after_ns);
        for object in &record.objects {
            let Some(slot) = self.slot_for(object, pts_ns, around) else {
                continue;
            };
            let track = &mut self.slots[slot];
            if track.index.is_some() {
                continue;
            }
            track.index = Some(self.in_frame.len());
            self.in_frame.push(slot);
            // The tracker matches within a class only, so a track never changes it.
            let label = around.classes.index(object.model, object.class);
            let view = View {
                pts_ns,
                size: record.size,
                zones: around.zones,
                segments: &self.segments,
                attributes: self.attributes.place(slot),
            };
            self.facts
                .push(track.see(object, label, view, &mut self.dwell_ns));
        }
    }

    /// Slots of the tracks that this frame made forget.
    pub(crate) fn forgotten(&self) -> &[usize] {
        &self.forgotten
    }

    /// Slots of the tracks in this frame, in the order of [`KnownTracks::facts`].
    pub(crate) fn in_frame(&self) -> &[usize] {
        &self.in_frame
    }

    /// Slots of the tracks that are known but not in this frame.
    pub(crate) fn unseen(&self) -> impl Iterator<Item = usize> {
        let slots = self.known.iter().map(|(_, slot)| *slot);
        slots.filter(|slot| self.slots[*slot].index.is_none())
    }

    /// How many slots there are: all are below.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The slot of a track, while it is known.
    pub(crate) fn slot_of(&self, id: u64) -> Option<usize> {
        let place = self.known.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.known[place].1)
    }

    /// The track that has a slot.
    pub(crate) fn id(&self, slot: usize) -> u64 {
        self.slots[slot].id
    }

    /// Where a track was when it was last in a frame, in pixels.
    pub(crate) fn bounds(&self, slot: usize) -> BoundingBox {
        self.slots[slot].bounds
    }

    /// What is known of each track in this frame.
    pub(crate) fn facts(&self) -> &[TrackFacts] {
        &self.facts
    }

    /// As [`dsl::Scene::dwell_ns`].
    pub(crate) fn dwell_ns(&self) -> &[u64] {
        &self.dwell_ns
    }

    /// The attributes of all tracks.
    pub(crate) fn attributes(&self) -> &[Attribute] {
        self.attributes.all()
    }

    /// Sets an attribute of a track; of one that is not known, nothing.
    pub(crate) fn set_attribute(&mut self, id: u64, name: &str, value: &str) {
        if let Some(slot) = self.slot_of(id) {
            self.attributes.set(slot, name, value);
        }
    }

    /// Other zones and lines from now on: for each the old one that it is, whose memory stays.
    pub(crate) fn replace_geometry(&mut self, zones: &[Option<usize>], lines: &[Option<usize>]) {
        self.size = None;
        for track in &mut self.slots {
            track.replace_geometry(zones, lines);
        }
    }

    /// Forgets all tracks. What they leave is not told by [`KnownTracks::forgotten`].
    pub(crate) fn clear(&mut self) {
        self.known.clear();
        self.attributes.clear();
        self.free.clear();
        self.free.extend(0..self.slots.len());
        self.forgotten.clear();
        self.in_frame.clear();
        self.facts.clear();
        self.dwell_ns.clear();
    }

    fn measure_lines(&mut self, lines: &[Line], size: PixelSize) {
        self.size = Some(size);
        self.segments.clear();
        self.segments
            .extend(lines.iter().map(|line| Segment::new(line, size)));
    }

    /// Forgets the tracks that this frame does not have and none has had for long.
    fn forget(&mut self, record: &FrameRecord, pts_ns: u64, forget_after_ns: u64) {
        for (_, slot) in &self.known {
            let track = &mut self.slots[*slot];
            track.index = None;
            track.is_in_record = false;
        }
        for object in &record.objects {
            if let Some(slot) = object.track.and_then(|id| self.slot_of(id)) {
                self.slots[slot].is_in_record = true;
            }
        }
        self.forgotten.clear();
        let Self {
            slots, forgotten, ..
        } = self;
        self.known.retain(|(_, slot)| {
            let track = &slots[*slot];
            let stays =
                track.is_in_record || pts_ns.saturating_sub(track.last_pts_ns) <= forget_after_ns;
            if !stays {
                forgotten.push(*slot);
            }
            stays
        });
        for index in 0..self.forgotten.len() {
            let slot = self.forgotten[index];
            self.attributes.remove(slot);
            self.free.push(slot);
        }
    }

    /// The slot of the track of an object, a new one for a new track; none for an object
    /// without a track or with an impossible box.
    fn slot_for(
        &mut self,
        object: &ObjectRecord,
        pts_ns: u64,
        around: Surroundings<'_>,
    ) -> Option<usize> {
        let id = object.track.filter(|_| object.bounds.is_valid())?;
        let place = match self.known.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(place) => return Some(self.known[place].1),
            Err(_) if self.known.len() == TRACKS_MAX => return None,
            Err(place) => place,
        };
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot].begin(id, pts_ns);
            slot
        } else {
            let (zones, lines) = (around.zones.len(), around.lines.len());
            self.slots.push(KnownTrack::new(id, pts_ns, zones, lines));
            self.slots.len() - 1
        };
        self.known.insert(place, (id, slot));
        Some(slot)
    }
}

#[cfg(test)]
mod tests;
