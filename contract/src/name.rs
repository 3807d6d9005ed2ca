//! Names that are safe in file names, service names, URLs and SQL.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name, in bytes: names become parts of service and file names.
pub const NAME_BYTES_MAX: usize = 48;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a name cannot be empty")]
    Empty,
    /// The text has more than [`NAME_BYTES_MAX`] bytes.
    #[error("`{0}` is longer than {NAME_BYTES_MAX} characters")]
    TooLong(String),
    /// A character other than a-z, 0-9, `-` and `_`, or a sign in front.
    #[error(
        "`{0}` is not a name: use lower-case letters, digits, `-` and `_`, beginning with a letter or digit"
    )]
    Character(String),
}

fn check(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(text.to_owned()));
    }
    let sign = |byte: u8| byte == b'-' || byte == b'_';
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || sign(byte);
    if !text.bytes().all(fits) || text.bytes().next().is_some_and(sign) {
        return Err(NameError::Character(text.to_owned()));
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                check(&text).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// One camera, file or pattern of a run.
    StreamName
);
name_type!(
    /// One model of a run.
    ModelName
);
name_type!(
    /// One execution of a run config: the run's name and a count, `yard-3`.
    RunId
);

/// One worker process of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerId {
    /// The process that decodes one stream.
    Ingest(StreamName),
    /// The process that runs one model.
    Infer(ModelName),
    /// The process that tracks, draws and encodes one stream.
    Render(StreamName),
    /// The process that serves all encoded streams.
    Gateway,
}

impl WorkerId {
    /// The program this worker runs, as installed beside `sluice`.
    #[must_use]
    pub fn program(&self) -> &'static str {
        match self {
            Self::Ingest(_) => "ingest-worker",
            Self::Infer(_) => "infer-worker",
            Self::Render(_) => "render-worker",
            Self::Gateway => "gateway",
        }
    }

    /// The kind in one word: `ingest`, `infer`, `render`, `gateway`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ingest(_) => "ingest",
            Self::Infer(_) => "infer",
            Self::Render(_) => "render",
            Self::Gateway => "gateway",
        }
    }

    /// The stream this worker belongs to, if it belongs to one only.
    #[must_use]
    pub fn stream(&self) -> Option<&StreamName> {
        match self {
            Self::Ingest(stream) | Self::Render(stream) => Some(stream),
            Self::Infer(_) | Self::Gateway => None,
        }
    }
}

/// `ingest-yard`, `infer-people`, `render-yard`, `gateway`: fit for file and service names.
impl fmt::Display for WorkerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ingest(stream) => write!(formatter, "ingest-{stream}"),
            Self::Infer(model) => write!(formatter, "infer-{model}"),
            Self::Render(stream) => write!(formatter, "render-{stream}"),
            Self::Gateway => formatter.write_str("gateway"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["yard", "gate-01", "a_b", "0"] {
            assert!(good.parse::<StreamName>().is_ok(), "{good}");
        }
        for bad in ["", "-x", "Yard", "a/b", "a b", "..", &"x".repeat(49)] {
            assert!(bad.parse::<StreamName>().is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<StreamName>("\"../etc\"").is_err());
    }
}
