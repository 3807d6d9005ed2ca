//! Labels of a stream: words that rules and gates may ask for.

use std::collections::BTreeMap;

use super::code;
use super::reader::Fields;

/// Most labels of a stream.
pub(super) const LABELS_MAX: usize = 32;
/// Longest name or value, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// Reads `labels`; what is wrong is reported, and `None`.
pub(super) fn read(fields: &Fields<'_>) -> Option<BTreeMap<String, String>> {
    let reader = fields.reader;
    let entries = fields.map("labels");
    let mut right = true;
    if let Some(entry) = entries.get(LABELS_MAX) {
        let message = format!("a stream has {LABELS_MAX} labels at most");
        reader.report(reader.problem(code::WRONG_VALUE, &entry.key.span, message));
        right = false;
    }
    let mut labels = BTreeMap::new();
    for entry in entries {
        let name = &entry.key.text;
        let Some(value) = reader.text(&entry.value, &format!("the label `{name}`")) else {
            right = false;
            continue;
        };
        for (text, span) in [
            (name.as_str(), &entry.key.span),
            (value.text, &entry.value.span),
        ] {
            if text.len() > TEXT_BYTES_MAX {
                let message = format!(
                    "a label has {TEXT_BYTES_MAX} bytes at most, not {}",
                    text.len()
                );
                reader.report(reader.problem(code::WRONG_VALUE, span, message));
                right = false;
            }
        }
        labels.insert(name.clone(), value.text.to_owned());
    }
    right.then_some(labels)
}
