//! Blanks passwords in texts that are stored or shown.

/// `text` with each password in an address (`scheme://user:password@host`) turned into `*`.
///
/// The length in bytes stays the same, so that spans still hold. `${...}` is no
/// password but the name of one, and stays.
pub(super) fn redact(text: &str) -> String {
    redact_options(&redact_addresses(text))
}

/// Blanks what stands after `passphrase:`, `passphrase=` and `streamid=`.
fn redact_options(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((begin, end)) = OPTIONS
        .iter()
        .filter_map(|option| secret_after(rest, option))
        .min()
    {
        let secret = &rest[begin..end];
        redacted.push_str(&rest[..begin]);
        if is_reference(secret) {
            redacted.push_str(secret);
        } else {
            redacted.push_str(&"*".repeat(secret.len()));
        }
        rest = &rest[end..];
    }
    redacted.push_str(rest);
    redacted
}

/// Where the value of the first `option` begins and ends.
fn secret_after(text: &str, option: &str) -> Option<(usize, usize)> {
    let after = text.find(option)? + option.len();
    let line = text[after..].lines().next().unwrap_or_default();
    let value = line.trim_start();
    let begin = after + line.len() - value.len();
    let quote = value
        .chars()
        .next()
        .filter(|sign| matches!(sign, '"' | '\''));
    // In `{a: b, c: d}` a comma ends a value; else it may be part of one.
    let line_begin = text[..begin].rfind('\n').map_or(0, |at| at + 1);
    let in_braces = text[line_begin..begin].contains('{');
    let ends = |next: char| match option.ends_with('=') {
        true => next.is_whitespace() || matches!(next, '"' | '\'' | '&' | '}'),
        false => in_braces && matches!(next, ',' | '}'),
    };
    let end = match quote {
        Some(quote) => value[1..].find(quote).map_or(value.len(), |at| at + 2),
        _ if value.starts_with("${") => value.find('}').map_or(value.len(), |at| at + 1),
        _ => value.find(ends).unwrap_or(value.len()),
    };
    Some((begin, begin + end))
}

/// What secrets stand after, besides those in addresses.
const OPTIONS: [&str; 3] = ["passphrase:", "passphrase=", "streamid="];

fn redact_addresses(text: &str) -> String {
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
            (
                "srt://h:1?passphrase=correct horse&mode=caller",
                "srt://h:1?passphrase=******* horse&mode=caller",
            ),
            (
                "{source: 'srt://h:1?streamid=a,k=b&latency=20', x: 1}",
                "{source: 'srt://h:1?streamid=*****&latency=20', x: 1}",
            ),
            (
                "    passphrase: correct horse\n    size: 1x1",
                "    passphrase: *************\n    size: 1x1",
            ),
            ("  passphrase: one, two", "  passphrase: ********"),
            (
                "{passphrase: \"correct, horse\", x: 1}",
                "{passphrase: ****************, x: 1}",
            ),
            ("passphrase: ${SRT}", "passphrase: ${SRT}"),
            ("passphrase:", "passphrase:"),
            ("no address", "no address"),
            ("x://", "x://"),
        ] {
            assert_eq!(redact(text), expected);
            assert_eq!(redact(text).len(), text.len());
        }
    }
}
