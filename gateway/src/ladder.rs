//! The encodes of one stream as one protocol serves them: a channel for each.

use contract::spec::quality_name;

use crate::channel::Channel;

/// One encode.
#[derive(Clone)]
pub(crate) struct Rung {
    /// Its height in pixels; `None`: that of full size.
    pub(crate) height: Option<u32>,
    pub(crate) channel: Channel,
}

impl Rung {
    /// What it is called below the path of its stream; that of full size has no name.
    pub(crate) fn name(&self) -> Option<String> {
        self.height.map(quality_name)
    }
}

/// The encodes there are of a stream, that of full size first. Cloning is cheap; what is in the
/// channels is shared.
#[derive(Clone)]
pub(crate) struct Ladder {
    first: Rung,
    smaller: Vec<Rung>,
}

impl Ladder {
    /// Of these heights below the full size; `channel` gives each its channel.
    pub(crate) fn new(heights: &[u32], mut channel: impl FnMut(Option<u32>) -> Channel) -> Self {
        let mut rung = |height| Rung {
            height,
            channel: channel(height),
        };
        Self {
            first: rung(None),
            smaller: heights.iter().map(|height| rung(Some(*height))).collect(),
        }
    }

    /// The channel of the first rung: what a viewer reads who has not said what.
    pub(crate) fn channel(&self) -> &Channel {
        &self.first.channel
    }

    /// All rungs, the largest first.
    pub(crate) fn rungs(&self) -> impl Iterator<Item = &Rung> {
        std::iter::once(&self.first).chain(&self.smaller)
    }

    /// There is nothing to choose.
    pub(crate) fn is_single(&self) -> bool {
        self.smaller.is_empty()
    }

    /// The rung at this place, counted from 0.
    pub(crate) fn get(&self, index: usize) -> Option<&Rung> {
        match index.checked_sub(1) {
            None => Some(&self.first),
            Some(index) => self.smaller.get(index),
        }
    }

    /// One rung alone, by its name.
    pub(crate) fn only(&self, name: &str) -> Option<Self> {
        let mut rungs = self.smaller.iter();
        let rung = rungs.find(|rung| rung.name().as_deref() == Some(name))?;
        Some(Self {
            first: rung.clone(),
            smaller: Vec::new(),
        })
    }
}
