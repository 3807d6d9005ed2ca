//! What encrypts a connection.

use std::fmt;

/// A passphrase of 10 to 79 bytes. It never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(String);

/// The passphrase is too short or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a passphrase of SRT has {min} to {max} bytes, this one has {length}",
    min = Passphrase::BYTES_MIN,
    max = Passphrase::BYTES_MAX
)]
pub struct PassphraseError {
    length: usize,
}

impl Passphrase {
    /// Fewest bytes.
    pub const BYTES_MIN: usize = 10;

    /// Most bytes.
    pub const BYTES_MAX: usize = 79;

    /// Takes a text of the right length.
    ///
    /// # Errors
    /// [`PassphraseError`] when it is too short or too long.
    pub fn new(text: &str) -> Result<Self, PassphraseError> {
        if (Self::BYTES_MIN..=Self::BYTES_MAX).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PassphraseError { length: text.len() })
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<passphrase>")
    }
}

/// How long the key is that a caller makes from its passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyLength {
    /// AES-128, which the protocol takes when nothing is said.
    #[default]
    Aes128,
    /// AES-192.
    Aes192,
    /// AES-256.
    Aes256,
}

impl KeyLength {
    /// `None` unless it is 16, 24 or 32.
    #[must_use]
    pub fn from_bytes(bytes: u32) -> Option<Self> {
        match bytes {
            16 => Some(Self::Aes128),
            24 => Some(Self::Aes192),
            32 => Some(Self::Aes256),
            _ => None,
        }
    }

    pub(crate) fn bytes(self) -> i32 {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 => 24,
            Self::Aes256 => 32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_has_10_to_79_bytes_and_never_prints() {
        assert_eq!(
            Passphrase::new("123456789"),
            Err(PassphraseError { length: 9 })
        );
        assert_eq!(
            Passphrase::new(&"x".repeat(80)),
            Err(PassphraseError { length: 80 })
        );
        let passphrase = Passphrase::new("hunter2hunter2").expect("long enough");
        assert_eq!(format!("{passphrase:?}"), "<passphrase>");
        assert_eq!(
            Passphrase::new(&"x".repeat(79))
                .expect("short enough")
                .bytes()
                .len(),
            79
        );
    }
}
