//! What must not be shown, taken out of texts of others; and percent-decoding.
//!
//! Libraries write addresses into their errors as they were given them, encoded or not.

use std::cmp::Reverse;

/// Parts of an address that no text may hold.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Of those that are there.
    #[must_use]
    pub fn of(secrets: &[Option<&str>]) -> Self {
        let present = secrets.iter().flatten().filter(|secret| !secret.is_empty());
        let mut secrets: Vec<_> = present.map(|secret| (*secret).to_owned()).collect();
        // One may be a part of another.
        secrets.sort_by_key(|secret| Reverse(secret.len()));
        secrets.dedup();
        Self(secrets)
    }

    /// A text without them.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        let hide = |clean: String, secret: &String| clean.replace(secret, "***");
        self.0.iter().fold(text.to_owned(), hide)
    }
}

/// Percent-decoding (RFC 3986); what is no code stays as it is, as in a password that was not
/// encoded.
#[must_use]
pub fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(byte) = bytes.get(index) {
        let code = (*byte == b'%')
            .then(|| text.get(index + 1..index + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(code.unwrap_or(*byte));
        index += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_inside_another_leaves_nothing_of_it() {
        let secrets = Secrets::of(&[Some("horse"), None, Some(""), Some("correct horse")]);
        assert_eq!(secrets.scrub("a correct horse, a horse"), "a ***, a ***");
        assert_eq!(Secrets::default().scrub("as it was"), "as it was");
    }

    #[test]
    fn codes_are_decoded_and_others_left() {
        assert_eq!(percent_decode("p%40ss:%zz%4"), "p@ss:%zz%4");
        assert_eq!(percent_decode("%C3%A4%ff"), "\u{e4}\u{fffd}");
        assert_eq!(percent_decode("%\u{e4}1"), "%\u{e4}1");
    }
}
