//! Blanks passwords in texts that are stored or shown.

use std::ops::Range;

/// `text` with its secrets turned into `*`: passwords in addresses (`scheme://user:password@host`), the
/// stream's key at the end of an RTMP address, stream id and passphrase in the query of an SRT address,
/// and the values of `srt_passphrase` and `publish_token`.
///
/// The length in bytes stays the same, so that spans still hold. `${...}` is no
/// secret but the name of one, and stays.
pub(super) fn redact(text: &str) -> String {
    redact_addresses(&redact_options(text))
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
        let (address, after) = address.split_at(end);
        let name = before.trim_end_matches("://");
        let mut secrets = Vec::new();
        secrets.extend(password(address));
        if name.ends_with("rtmp") || name.ends_with("rtmps") {
            secrets.extend(stream_key(address));
        } else if name.ends_with("srt") {
            secrets.extend(query_value(address, "streamid="));
            secrets.extend(query_value(address, "passphrase="));
        }
        redacted.push_str(&blank(address, secrets));
        rest = after;
    }
    redacted.push_str(rest);
    let passphrases = passphrases(&redacted);
    blank(&redacted, passphrases)
}

/// The text with what is in these places turned into `*`, unless it is the name of a secret.
fn blank(text: &str, mut places: Vec<Range<usize>>) -> String {
    places.sort_by_key(|place| place.start);
    let mut blanked = String::with_capacity(text.len());
    let mut at = 0;
    for place in places {
        if place.start < at || is_reference(&text[place.clone()]) {
            continue;
        }
        blanked.push_str(&text[at..place.start]);
        blanked.push_str(&"*".repeat(place.len()));
        at = place.end;
    }
    blanked.push_str(&text[at..]);
    blanked
}

fn password(address: &str) -> Option<Range<usize>> {
    let at = address.rfind('@')?;
    let colon = address[..at].find(':')?;
    Some(colon + 1..at)
}

/// What stands behind the last `/` of an RTMP address, its query included.
fn stream_key(address: &str) -> Option<Range<usize>> {
    let address = without_brackets(address);
    let query = address.find('?').unwrap_or(address.len());
    let slash = address[..query].rfind('/')?;
    Some(slash + 1..address.len())
}

/// The value of a key of a query, which ends with `=`.
fn query_value(address: &str, key: &str) -> Option<Range<usize>> {
    let address = without_brackets(address);
    let query = address.find('?')?;
    let start = query + address[query..].find(key)? + key.len();
    let end = address[start..]
        .find('&')
        .map_or(address.len(), |end| start + end);
    Some(start..end)
}

/// Without the `}` and `]` that end what the address is in.
fn without_brackets(address: &str) -> &str {
    let mut inside = address;
    while let Some(shorter) = inside.strip_suffix(['}', ']']) {
        if inside.matches("${").count() > shorter.matches('}').count() {
            break;
        }
        inside = shorter;
    }
    inside
}

/// The values of the keys that are secrets.
fn passphrases(text: &str) -> Vec<Range<usize>> {
    const KEYS: [&str; 2] = ["srt_passphrase", "publish_token"];
    let value = |(at, key): (usize, &str)| {
        let rest = &text[at + key.len()..];
        let colon = rest.trim_start_matches(['"', '\'']).trim_start();
        let value = colon.strip_prefix(':')?.trim_start();
        let quote = value
            .chars()
            .next()
            .filter(|first| ['"', '\''].contains(first));
        let value = match quote {
            Some(quote) => value[1..].split(quote).next()?,
            None => {
                without_brackets(value.split(['\n', ',']).next()?.split(" #").next()?).trim_end()
            }
        };
        let start = value.as_ptr().addr() - text.as_ptr().addr();
        Some(start..start + value.len())
    };
    let found = KEYS.iter().flat_map(|key| text.match_indices(key));
    found.filter_map(value).collect()
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
            (
                "[{push: rtmp://h/live/geheim}]",
                "[{push: rtmp://h/live/******}]",
            ),
            (
                "push: rtmps://u:pw@h/a/geheim?b=c\n",
                "push: rtmps://u:**@h/a/**********\n",
            ),
            (
                "[{push: rtmp://h/live/${KEY}}]",
                "[{push: rtmp://h/live/${KEY}}]",
            ),
            (
                "{push: \"srt://h:1?streamid=ab&passphrase=geheim&latency=20\"}",
                "{push: \"srt://h:1?streamid=**&passphrase=******&latency=20\"}",
            ),
            (
                "{push: srt://h:1?passphrase=${P}}",
                "{push: srt://h:1?passphrase=${P}}",
            ),
            (
                "gateway: {srt_passphrase: sehr geheim, srt_port: 1}",
                "gateway: {srt_passphrase: ***********, srt_port: 1}",
            ),
            (
                "  srt_passphrase: 'so, geheim'\n",
                "  srt_passphrase: ************\n",
            ),
            (
                "gateway: {publish_token: abc.def, srt_passphrase: geheim}",
                "gateway: {publish_token: *******, srt_passphrase: ******}",
            ),
            ("srt_passphrase: geheim # ja", "srt_passphrase: ***********"),
            ("srt_passphrase: ${P}\n", "srt_passphrase: ${P}\n"),
            ("no address", "no address"),
            ("x://", "x://"),
        ] {
            assert_eq!(redact(text), expected);
            assert_eq!(redact(text).len(), text.len());
        }
    }
}
