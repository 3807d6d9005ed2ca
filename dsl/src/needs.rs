//! What must be measured for conditions and messages.

use crate::typed::{Condition, Number, Sequence, Value};
use crate::visit::{Node, each_in_value, each_node};
use crate::vocabulary::Field;

/// What a condition or message needs measured that costs something to measure.
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
        each_node(condition, &mut |node| needs.add(node));
        needs
    }

    pub(crate) fn of_value(value: &Value) -> Self {
        let mut needs = Self::default();
        each_in_value(value, &mut |node| needs.add(node));
        needs
    }

    fn add(&mut self, node: Node<'_>) {
        match node {
            Node::Number(Number::Field(Field::Sharpness | Field::Brightness | Field::Best)) => {
                self.quality = true;
            }
            Node::Number(Number::ZoneMotion(_)) => self.zone_motion = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::rule_file::RuleFile;

    use super::*;

    #[test]
    fn conditions_and_messages_say_what_is_to_be_measured() {
        let quality = Needs {
            quality: true,
            ..Needs::default()
        };
        let zone_motion = Needs {
            zone_motion: true,
            ..Needs::default()
        };
        let rules = [
            ("when: score > 60%", Needs::default()),
            ("when: quality.sharpness > 4", quality),
            ("when: 'exists(quality.best > 4)'", quality),
            ("when: 'changed(motion(dock) > 1%)'", zone_motion),
            ("when: score > 60%, message: '{quality.best}'", quality),
            (
                "when: quality.best > 4, message: '{label} {motion(dock)}'",
                quality.or(zone_motion),
            ),
        ];
        for (clauses, needs) in rules {
            let text = format!(
                "zones: {{dock: {{polygon: [[0, 0], [1, 0], [1, 1]]}}}}\nrules: {{r: {{on: track, {clauses}}}}}"
            );
            let file = RuleFile::parse_checked(&text, Path::new("r.yaml")).expect("it is right");
            assert_eq!(file.rules[0].needs(), needs, "{clauses}");
        }
    }
}
