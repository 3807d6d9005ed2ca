//! Values in messages.

use crate::needs::Needs;
use crate::scene::Scene;
use crate::typed::Value;
use crate::walk::{Forgetful, Walk};

/// What stands between the braces of a message, ready to be shown.
#[derive(Debug, Clone)]
pub struct ValueProgram {
    value: Value,
}

impl ValueProgram {
    pub(crate) fn new(value: Value) -> Self {
        Self { value }
    }

    pub(crate) fn needs(&self) -> Needs {
        Needs::of_value(&self.value)
    }

    /// The value as a text: `0.52`, `12.3s`, `person`, `true`; `-` where it is not known.
    ///
    /// `subject` is the index of the rule's track in [`Scene::tracks`].
    #[must_use]
    pub fn text(&self, scene: &Scene<'_>, subject: Option<usize>) -> String {
        Walk {
            scene,
            own: subject,
            remembered: &Forgetful,
        }
        .show(&self.value, subject)
    }
}
