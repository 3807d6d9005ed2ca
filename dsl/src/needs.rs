//! What must be measured for conditions.

use crate::typed::{Condition, Number, Sequence};
use crate::visit::{Node, each_node};
use crate::vocabulary::Field;

/// What a condition needs measured that costs something to measure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Sharpness and brightness of the tracks' boxes.
    pub quality: bool,
    /// The part of each zone that moved.
    pub zone_motion: bool,
}

impl Needs {
    /// What either needs.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            quality: self.quality || other.quality,
            zone_motion: self.zone_motion || other.zone_motion,
        }
    }

    pub(crate) fn of_sequence(sequence: &Sequence) -> Self {
        let mut needs = Self::default();
        for step in &sequence.steps {
            needs = needs.or(Self::of_condition(&step.value.condition.value));
        }
        needs
    }

    pub(crate) fn of_condition(condition: &Condition) -> Self {
        let mut needs = Self::default();
        each_node(condition, &mut |node| match node {
            Node::Number(Number::Field(Field::Sharpness | Field::Brightness | Field::Best)) => {
                needs.quality = true;
            }
            Node::Number(Number::ZoneMotion(_)) => needs.zone_motion = true,
            _ => {}
        });
        needs
    }
}
