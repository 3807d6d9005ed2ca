//! Conditions that are asked of each track beside the rules, for something else than events.

use dsl::{Memory, Scene, Shared, When};

use crate::known_tracks::KnownTracks;

/// A condition, and what it remembers of each track.
#[derive(Debug)]
pub(super) struct AskedCondition {
    when: When,
    shared: Shared,
    /// By the slot of the track.
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    memory: Memory,
    /// Of the frame that was taken in last.
    holds: bool,
}

impl AskedCondition {
    pub(super) fn new(when: When) -> Self {
        Self {
            shared: when.shared(),
            keys: Vec::new(),
            when,
        }
    }

    /// Asks it of each track in a frame.
    pub(super) fn observe(&mut self, scene: &Scene<'_>, tracks: &KnownTracks) {
        let Self { when, shared, keys } = self;
        keys.resize_with(tracks.slots(), || Key {
            memory: when.memory(),
            holds: false,
        });
        when.begin_frame(scene, shared);
        for slot in tracks.forgotten() {
            keys[*slot].memory = when.memory();
        }
        for key in keys.iter_mut() {
            key.holds = false;
        }
        for (subject, slot) in tracks.in_frame().iter().enumerate() {
            let Key { memory, holds } = &mut keys[*slot];
            *holds = when.evaluate(scene, Some(subject), shared, memory);
        }
    }

    /// Whether it held for the track with this slot.
    pub(super) fn holds(&self, slot: usize) -> bool {
        self.keys.get(slot).is_some_and(|key| key.holds)
    }

    /// Forgets all tracks.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.shared = self.when.shared();
    }

    pub(super) fn when(&self) -> &When {
        &self.when
    }
}
