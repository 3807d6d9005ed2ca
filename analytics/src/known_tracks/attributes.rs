//! The attributes of all tracks, those of one side by side.

use dsl::Attribute;

/// Attributes of one track; more are ignored.
pub const ATTRIBUTES_MAX: usize = 16;

/// Bytes of an attribute's name or value; longer ones are ignored.
pub const ATTRIBUTE_BYTES_MAX: usize = 256;

/// Attributes by the slot of their track.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    all: Vec<Attribute>,
    /// Of each slot the first in `all`, and how many.
    places: Vec<(usize, usize)>,
}

impl Attributes {
    /// All of them: [`Attributes::place`] points into it.
    pub(crate) fn all(&self) -> &[Attribute] {
        &self.all
    }

    /// The first of a slot, and how many.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "tracks times ATTRIBUTES_MAX"
    )]
    pub(crate) fn place(&self, slot: usize) -> (u32, u32) {
        let (first, count) = self.places.get(slot).copied().unwrap_or_default();
        (first as u32, count as u32)
    }

    /// Sets an attribute.
    pub(crate) fn set(&mut self, slot: usize, name: &str, value: &str) {
        if name.len().max(value.len()) > ATTRIBUTE_BYTES_MAX {
            return;
        }
        if self.places.len() <= slot {
            self.places.resize(slot + 1, (0, 0));
        }
        let (first, count) = self.places[slot];
        let mut own = self.all[first..first + count].iter_mut();
        if let Some(attribute) = own.find(|attribute| attribute.name == name) {
            value.clone_into(&mut attribute.value);
            return;
        }
        if count == ATTRIBUTES_MAX {
            return;
        }
        let first = if count == 0 { self.all.len() } else { first };
        let at = first + count;
        let attribute = Attribute {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        self.all.insert(at, attribute);
        for (other, _) in self.places.iter_mut().filter(|(_, count)| *count > 0) {
            if *other >= at {
                *other += 1;
            }
        }
        self.places[slot] = (first, count + 1);
    }

    /// Removes all of a slot.
    pub(crate) fn remove(&mut self, slot: usize) {
        let Some(place) = self.places.get_mut(slot) else {
            return;
        };
        let (first, count) = std::mem::take(place);
        self.all.drain(first..first + count);
        for (other, _) in self.places.iter_mut().filter(|(_, count)| *count > 0) {
            if *other > first {
                *other -= count;
            }
        }
    }

    /// Removes all of all slots.
    pub(crate) fn clear(&mut self) {
        self.all.clear();
        self.places.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(attributes: &Attributes, slot: usize) -> String {
        let (first, count) = attributes.place(slot);
        let own = &attributes.all()[first as usize..(first + count) as usize];
        let text = |attribute: &Attribute| format!("{}={} ", attribute.name, attribute.value);
        own.iter().map(text).collect()
    }

    #[test]
    fn each_slot_keeps_its_own() {
        let mut attributes = Attributes::default();
        for (slot, name, value) in [
            (1, "a", "1"),
            (3, "c", "3"),
            (1, "b", "2"),
            (2, "x", "y"),
            (1, "a", "9"),
        ] {
            attributes.set(slot, name, value);
        }
        let all = |attributes: &Attributes| [0, 1, 2, 3, 4].map(|slot| of(attributes, slot));
        assert_eq!(all(&attributes), ["", "a=9 b=2 ", "x=y ", "c=3 ", ""]);
        attributes.remove(1);
        assert_eq!(all(&attributes), ["", "", "x=y ", "c=3 ", ""]);
        attributes.set(3, "d", "4");
        attributes.set(0, "e", "5");
        attributes.remove(2);
        assert_eq!(all(&attributes), ["e=5 ", "", "", "c=3 d=4 ", ""]);
        attributes.clear();
        assert_eq!(all(&attributes), [""; 5].map(str::to_owned));
    }

    #[test]
    fn there_is_a_most() {
        let mut attributes = Attributes::default();
        for index in 0..100 {
            attributes.set(0, &format!("n{index}"), "v");
        }
        attributes.set(1, "long", &"v".repeat(ATTRIBUTE_BYTES_MAX + 1));
        assert_eq!(attributes.all().len(), ATTRIBUTES_MAX);
        attributes.set(0, "n3", "still changed");
        assert!(of(&attributes, 0).contains("n3=still changed"));
    }
}
