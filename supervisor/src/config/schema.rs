//! The JSON Schema of run configs, made from the tables of keys.
//!
//! Editors use it to complete and check while one types. It knows what a value
//! looks like, not whether a file is there or a model has that name.

use serde_json::{Map, Value, json};

use super::run::RUN;
use super::table::{Absent, Key, Kind, Section};

/// The JSON Schema (draft 2020-12) of a run config.
#[must_use]
pub fn schema() -> Value {
    let mut definitions = Map::new();
    definitions.insert(
        "interpolated".to_owned(),
        json!({
            "description": "`${NAME}` is an environment variable, `${file:PATH}` the text of a file.",
            "type": "string",
            "pattern": r"\$\{"
        }),
    );
    let root = object(&RUN, &mut definitions);
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sluice run config",
    });
    if let (Some(schema), Value::Object(root)) = (schema.as_object_mut(), root) {
        schema.extend(root);
        schema.insert("$defs".to_owned(), Value::Object(definitions));
    }
    schema
}

/// A section as a schema of its own; the sections it uses go into `definitions`.
fn object(section: &Section, definitions: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in section.keys {
        properties.insert(key.name.to_owned(), property(key, definitions));
        if matches!(key.absent, Absent::Required) {
            required.push(key.name);
        }
    }
    json!({
        "description": section.doc,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false
    })
}

fn property(key: &Key, definitions: &mut Map<String, Value>) -> Value {
    let mut schema = kind(&key.kind, definitions);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), json!(key.doc));
        if let Absent::Default(text) = key.absent {
            schema.insert("default".to_owned(), default(&key.kind, text));
        }
    }
    // Nothing behind the colon is as good as no key, but for a key that must be there.
    if matches!(key.absent, Absent::Required) {
        return schema;
    }
    json!({ "anyOf": [schema, { "type": "null" }] })
}

/// A default as it stands in the table, in the type it has in YAML.
fn default(kind: &Kind, text: &str) -> Value {
    match kind {
        Kind::Bool | Kind::Integer(..) | Kind::IntegerOr(..) | Kind::Fraction => {
            serde_json::from_str(text).unwrap_or_else(|_| json!(text))
        }
        _ => json!(text),
    }
}

fn kind(kind: &Kind, definitions: &mut Map<String, Value>) -> Value {
    match kind {
        Kind::Text | Kind::Path => {
            json!({ "type": ["string", "number", "boolean"], "pattern": r"\S" })
        }
        Kind::TextOr(section) | Kind::PathOr(section) => {
            let path = self::kind(&Kind::Path, definitions);
            json!({ "anyOf": [path, reference(section, definitions)] })
        }
        Kind::Name(bytes_max) => json!({
            "type": ["string", "integer"], "maxLength": bytes_max, "pattern": "^[a-z0-9][a-z0-9_-]*$"
        }),
        Kind::Bool => or_interpolated(&json!({ "type": "boolean" })),
        Kind::Integer(least, most) => {
            or_interpolated(&json!({ "type": "integer", "minimum": least, "maximum": most }))
        }
        Kind::IntegerOr(least, most, word) => json!({ "anyOf": [
            { "type": "integer", "minimum": least, "maximum": most },
            { "const": word },
            interpolated()
        ] }),
        Kind::Fraction => json!({ "anyOf": [
            { "type": "number", "minimum": 0, "maximum": 1 },
            { "type": "string", "pattern": r"^[0-9.]+ *%$|\$\{" }
        ] }),
        Kind::Duration(..) => {
            json!({ "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$|\$\{" })
        }
        Kind::Size => json!({ "type": "string", "pattern": r"^[0-9]{2,4}x[0-9]{2,4}$|\$\{" }),
        Kind::Height => json!({ "type": "string", "pattern": r"^[0-9]{2,4}p$|\$\{" }),
        Kind::HeightOr(section) => {
            let height = self::kind(&Kind::Height, definitions);
            json!({ "anyOf": [height, reference(section, definitions)] })
        }
        Kind::Bitrate => {
            json!({ "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?[kM]$|\$\{" })
        }
        Kind::Bytes => {
            json!({ "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(MB|GB|TB)$|\$\{" })
        }
        Kind::Address => json!({ "type": "string", "pattern": r"^[0-9a-fA-F:.]+$|\$\{" }),
        Kind::Choice(words) => or_interpolated(&json!({ "enum": words })),
        Kind::Section(section) => reference(section, definitions),
        Kind::SectionOr(section, word) => {
            json!({ "anyOf": [reference(section, definitions), { "const": word }] })
        }
        Kind::Map(inner) => json!({
            "type": "object",
            "additionalProperties": self::kind(inner, definitions)
        }),
        Kind::List(inner) => json!({ "type": "array", "items": self::kind(inner, definitions) }),
        Kind::Channels(least, most) => json!({
            "type": "array",
            "items": or_interpolated(&json!({
                "type": "number", "minimum": f64::from(*least), "maximum": f64::from(*most)
            })),
            "minItems": 3, "maxItems": 3
        }),
        Kind::TextOrList => {
            let text = self::kind(&Kind::Text, definitions);
            json!({ "anyOf": [text, { "type": "array", "items": text, "minItems": 1 }] })
        }
        Kind::Polygons => {
            let coordinate = json!({ "type": "number", "minimum": 0, "maximum": 1 });
            let point = json!({
                "type": "array", "items": coordinate, "minItems": 2, "maxItems": 2
            });
            json!({
                "type": "array",
                "items": { "type": "array", "items": point, "minItems": 3, "maxItems": 64 }
            })
        }
    }
}

fn reference(section: &'static Section, definitions: &mut Map<String, Value>) -> Value {
    if !definitions.contains_key(section.name) {
        let definition = object(section, definitions);
        definitions.insert(section.name.to_owned(), definition);
    }
    json!({ "$ref": format!("#/$defs/{}", section.name) })
}

fn interpolated() -> Value {
    json!({ "$ref": "#/$defs/interpolated" })
}

fn or_interpolated(schema: &Value) -> Value {
    json!({ "anyOf": [schema, interpolated()] })
}
