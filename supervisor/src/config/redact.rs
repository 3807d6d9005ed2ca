//! Blanks passwords in texts that are stored or shown.

/// `text` with each password in an address (`scheme://user:password@host`) turned into `*`.
///
/// The length in bytes stays the same, so that spans still hold. `${...}` is no
/// password but the name of one, and stays.
pub(super) fn redact(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(scheme) = rest.find("://") {
        let (before, address) = rest.split_at(scheme + 3);
        redacted.push_str(before);
        let end = address
            .find(|next: char| next.is_whitespace() || matches!(next, '"' | '\'' | ','))
            .unwrap_or(address.len());
        let password = address[..end]
            .rfind('@')
            .and_then(|at| Some((address[..at].find(':')? + 1, at)))
            .filter(|(begin, end)| !is_reference(&address[*begin..*end]));
        if let Some((begin, password_end)) = password {
            redacted.push_str(&address[..begin]);
            redacted.push_str(&"*".repeat(password_end - begin));
            redacted.push_str(&address[password_end..end]);
        } else {
            redacted.push_str(&address[..end]);
        }
        rest = &address[end..];
    }
    redacted.push_str(rest);
    redacted
}

/// Whether the text is one `${...}` and nothing else.
fn is_reference(text: &str) -> bool {
    text.strip_prefix("${")
        .and_then(|text| text.strip_suffix('}'))
        .is_some_and(|name| !name.contains('}'))
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn passwords_go_and_the_rest_stays() {
        for (text, expected) in [
            (
                "a: rtsp://u:geheim@10.0.0.7/s\n",
                "a: rtsp://u:******@10.0.0.7/s\n",
            ),
            (
                "rtsp://u:p@ss@h/s rtsp://h/s",
                "rtsp://u:****@h/s rtsp://h/s",
            ),
            ("rtsp://u:pa/ss@h", "rtsp://u:*****@h"),
            ("'rtsp://u:ä@h'", "'rtsp://u:**@h'"),
            ("rtsp://u:${PASS}@h/s", "rtsp://u:${PASS}@h/s"),
            ("rtsp://u:${A}x${B}@h/s", "rtsp://u:*********@h/s"),
            ("rtsp://10.0.0.7:554/s", "rtsp://10.0.0.7:554/s"),
            ("rtsp://user@h:554/s", "rtsp://user@h:554/s"),
            ("no address", "no address"),
            ("x://", "x://"),
        ] {
            assert_eq!(redact(text), expected);
            assert_eq!(redact(text).len(), text.len());
        }
    }
}
