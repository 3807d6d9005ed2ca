//! What a caller asks for, in the ways the field writes it.

use ::srt::Refusal;

/// A stream id, understood.
///
/// | written | means |
/// |---|---|
/// | `yard` or `read:yard` | to watch what is at this path |
/// | `publish:yard` | to send it |
/// | `#!::r=yard,m=request` | the same by the convention of libsrt (`AccessControl.md`), `m=publish` to send |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamId<'a> {
    /// To watch what is at this path.
    Read(&'a str),
    /// To send it.
    Publish(&'a str),
}

impl<'a> StreamId<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Refusal> {
        if let Some(keys) = text.strip_prefix("#!::") {
            return Self::parse_keys(keys);
        }
        if text.starts_with("#!:") {
            // Nested keys are in the convention, and nobody sends them.
            return Err(Refusal::BadRequest);
        }
        Ok(match text.split_once(':') {
            Some(("read", path)) => Self::Read(trim(path)),
            Some(("publish", path)) => Self::Publish(trim(path)),
            _ => Self::Read(trim(text)),
        })
    }

    fn parse_keys(keys: &'a str) -> Result<Self, Refusal> {
        let (mut path, mut mode) = (None, "request");
        for pair in keys.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or(Refusal::BadRequest)?;
            match key {
                "r" => path = Some(trim(value)),
                "m" => mode = value,
                "t" if value != "stream" => return Err(Refusal::BadMode),
                // Users, hosts, sessions and keys of others.
                _ => {}
            }
        }
        let path = path.ok_or(Refusal::BadRequest)?;
        match mode {
            "request" => Ok(Self::Read(path)),
            "publish" => Ok(Self::Publish(path)),
            _ => Err(Refusal::BadMode),
        }
    }
}

/// Some write the path as in a URL.
fn trim(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_field_writes_is_understood() {
        use StreamId::{Publish, Read};
        for (text, expected) in [
            ("yard", Ok(Read("yard"))),
            ("/yard", Ok(Read("yard"))),
            ("north/yard", Ok(Read("north/yard"))),
            ("read:yard", Ok(Read("yard"))),
            ("publish:yard", Ok(Publish("yard"))),
            ("#!::r=yard,m=request", Ok(Read("yard"))),
            ("#!::m=publish,r=/yard,u=me", Ok(Publish("yard"))),
            ("#!::r=yard", Ok(Read("yard"))),
            ("#!::r=yard,t=file", Err(Refusal::BadMode)),
            ("#!::r=yard,m=bidirectional", Err(Refusal::BadMode)),
            ("#!::m=request", Err(Refusal::BadRequest)),
            ("#!::yard", Err(Refusal::BadRequest)),
            ("#!:{r=yard}", Err(Refusal::BadRequest)),
            ("", Ok(Read(""))),
            ("write:yard", Ok(Read("write:yard"))),
        ] {
            assert_eq!(StreamId::parse(text), expected, "{text}");
        }
    }
}
