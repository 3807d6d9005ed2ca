//! Whether who makes an SDP offer can decode the stream, or encode one for us, and what is answered
//! about it. Pure.
//!
//! An H.264 decoder says by `profile-level-id` what it decodes (RFC 6184, section 8.1). A profile
//! that contains another decodes it too, and a constrained baseline stream is contained in all.
//! The answer names the profile as it was offered, since both sides must name the same, and the
//! level as the stream has it. The offered level is not compared: browsers say 3.1 whatever they
//! can, and ask for `level-asymmetry-allowed`.

use std::collections::BTreeMap;

use str0m::media::Mid;

/// The kind of a NAL unit that is a sequence parameter set.
const SEQUENCE_PARAMETER_SET: u8 = 7;

/// Profile, constraints and level of an H.264 stream: the three bytes of `profile-level-id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProfileLevel {
    profile: u8,
    constraints: u8,
    level: u8,
}

/// The profiles that browsers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    ConstrainedHigh,
    High,
}

impl ProfileLevel {
    /// What is meant when an offer says nothing (RFC 6184, section 8.1): baseline, level 1.
    const UNSAID: Self = Self {
        profile: 66,
        constraints: 0,
        level: 10,
    };

    /// From the first sequence parameter set in an H.264 byte stream.
    pub(super) fn of_stream(data: &[u8]) -> Option<Self> {
        let starts = data.windows(3).enumerate();
        let starts = starts.filter(|(_, bytes)| *bytes == [0, 0, 1]);
        starts
            .filter_map(|(at, _)| data.get(at + 3..at + 7))
            .find(|unit| unit[0] & 0x1f == SEQUENCE_PARAMETER_SET)
            .map(|unit| Self {
                profile: unit[1],
                constraints: unit[2],
                level: unit[3],
            })
    }

    fn parse(text: &str) -> Option<Self> {
        let number = u32::from_str_radix(text, 16).ok()?;
        let [0, profile, constraints, level] = number.to_be_bytes() else {
            return None;
        };
        (text.len() == 6).then_some(Self {
            profile,
            constraints,
            level,
        })
    }

    /// As a number, as `profile-level-id` is written.
    pub(super) fn id(self) -> u32 {
        u32::from_be_bytes([0, self.profile, self.constraints, self.level])
    }

    /// Table 5 of RFC 6184; the bits of `constraints` are set 0 to set 5, from the highest down.
    fn profile(self) -> Option<Profile> {
        let set = |number: u8| self.constraints & (0x80 >> number) != 0;
        match self.profile {
            66 if set(1) => Some(Profile::ConstrainedBaseline),
            66 => Some(Profile::Baseline),
            77 if set(0) => Some(Profile::ConstrainedBaseline),
            77 => Some(Profile::Main),
            88 if set(0) && set(1) => Some(Profile::ConstrainedBaseline),
            100 if set(4) && set(5) => Some(Profile::ConstrainedHigh),
            100 => Some(Profile::High),
            _ => None,
        }
    }
}

impl Profile {
    /// Those whose decoders decode this one, the nearest first.
    fn decoded_by(self) -> &'static [Self] {
        match self {
            Self::ConstrainedBaseline => &[
                Self::ConstrainedBaseline,
                Self::Baseline,
                Self::Main,
                Self::ConstrainedHigh,
                Self::High,
            ],
            Self::Baseline => &[Self::Baseline],
            Self::Main => &[Self::Main, Self::High],
            Self::ConstrainedHigh => &[Self::ConstrainedHigh, Self::High],
            Self::High => &[Self::High],
        }
    }
}

/// Which of the decoders in an offer is to decode the stream: the `profile-level-id` to answer,
/// or what the offer has instead.
pub(super) fn choose(offer: &str, stream: ProfileLevel) -> Result<ProfileLevel, String> {
    let decoders = decoders(offer);
    let wanted = stream.profile();
    let wanted = wanted.map_or(&[][..], Profile::decoded_by);
    let suits = |profile: &Profile| {
        let mut decoders = decoders.iter();
        decoders.find(|decoder| decoder.profile() == Some(*profile))
    };
    if let Some(decoder) = wanted.iter().find_map(suits) {
        return Ok(ProfileLevel {
            level: stream.level,
            ..*decoder
        });
    }
    let ids: Vec<_> = decoders.iter().map(|decoder| decoder.text()).collect();
    Err(if ids.is_empty() {
        "no H.264 with packetization-mode=1".to_owned()
    } else {
        format!("profile-level-id {}", ids.join(", "))
    })
}

impl ProfileLevel {
    /// As `profile-level-id` is written.
    pub(super) fn text(self) -> String {
        format!("{:06x}", self.id())
    }
}

/// The encoders of an offer that are taken, one of each profile: all that a decoder of ours knows.
/// Both sides must name the profile as it was offered.
pub(super) fn encoders(offer: &str) -> Vec<ProfileLevel> {
    let mut encoders: Vec<ProfileLevel> = Vec::new();
    for encoder in decoders(offer) {
        let known = |other: &ProfileLevel| other.profile() == encoder.profile();
        if encoder.profile().is_some() && !encoders.iter().any(known) {
            encoders.push(encoder);
        }
    }
    encoders
}

/// The H.264 codecs of an offer that take fragments of NAL units, without which no picture of
/// use fits into a packet.
fn decoders(offer: &str) -> Vec<ProfileLevel> {
    let mut decoders = Vec::new();
    for section in offer.split("\nm=").skip(1) {
        if !section.starts_with("video ") {
            continue;
        }
        let mut formats = BTreeMap::new();
        for line in section.lines() {
            if let Some((payload_type, rest)) = attribute(line, "a=fmtp:") {
                formats.insert(payload_type, rest);
            }
        }
        for line in section.lines() {
            let Some((payload_type, codec)) = attribute(line, "a=rtpmap:") else {
                continue;
            };
            if !codec.eq_ignore_ascii_case("h264/90000") {
                continue;
            }
            let format = formats.get(payload_type).copied().unwrap_or_default();
            if parameter(format, "packetization-mode") == Some("1") {
                let said = parameter(format, "profile-level-id");
                decoders.extend(said.map_or(Some(ProfileLevel::UNSAID), ProfileLevel::parse));
            }
        }
    }
    decoders
}

/// The names of the videos of an offer.
pub(super) fn videos(offer: &str) -> impl Iterator<Item = Mid> {
    let sections = offer.split("\nm=");
    let videos = sections.filter(|section| section.starts_with("video "));
    videos.filter_map(|section| {
        let mut lines = section.lines();
        let mid = lines.find_map(|line| line.strip_prefix("a=mid:"))?;
        Some(Mid::from(mid.trim()))
    })
}

/// `NAME PAYLOAD_TYPE REST`
fn attribute<'a>(line: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let (payload_type, rest) = line.strip_prefix(name)?.split_once(' ')?;
    Some((payload_type, rest.trim()))
}

fn parameter<'a>(format: &'a str, name: &str) -> Option<&'a str> {
    let mut parameters = format.split(';');
    parameters.find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        let same = key.trim().eq_ignore_ascii_case(name);
        same.then_some(value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The video section of Chrome's offer, shortened.
    const CHROME: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 102 106 39 103\r\na=rtpmap:96 VP8/90000\r\n\
        a=rtpmap:102 H264/90000\r\n\
        a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n\
        a=rtpmap:106 H264/90000\r\n\
        a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=64001f\r\n\
        a=rtpmap:39 H264/90000\r\n\
        a=fmtp:39 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f\r\n";

    fn stream(id: &str) -> ProfileLevel {
        ProfileLevel::parse(id).expect("six digits")
    }

    fn answer(offer: &str, id: &str) -> Result<String, String> {
        choose(offer, stream(id)).map(ProfileLevel::text)
    }

    #[test]
    fn the_profile_is_read_from_the_parameter_set() {
        let data = [
            0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1e, 0xd9,
        ];
        assert_eq!(ProfileLevel::of_stream(&data), Some(stream("42c01e")));
        assert_eq!(ProfileLevel::of_stream(&data[..12]), None);
        assert_eq!(ProfileLevel::of_stream(&[]), None);
    }

    #[test]
    fn a_decoder_of_more_than_the_stream_needs_is_taken() {
        // Constrained baseline, which is contained in baseline; the level is the stream's own.
        assert_eq!(answer(CHROME, "42c01e"), Ok("42001e".to_owned()));
        assert_eq!(answer(CHROME, "4d4028"), Ok("4d0028".to_owned()));
        let exact = CHROME.replace("39 level", "39 x=y; level");
        let exact = exact.replace("4d001f", "42E01F");
        assert_eq!(answer(&exact, "42c01e"), Ok("42e01e".to_owned()));
    }

    #[test]
    fn encoders_of_each_profile_are_taken_once() {
        let taken = |offer: &str| -> Vec<String> {
            let encoders = encoders(offer).into_iter();
            encoders.map(ProfileLevel::text).collect()
        };
        assert_eq!(taken(CHROME), ["42001f", "4d001f"], "64001f has mode 0");
        let twice = CHROME.replace("4d001f", "420028");
        assert_eq!(taken(&twice), ["42001f"]);
        let odd = CHROME.replace("4d001f", "f4001f");
        assert_eq!(taken(&odd), ["42001f"], "4:4:4 is no profile of ours");
        assert_eq!(taken("v=0\r\n"), [""; 0]);
    }

    #[test]
    fn what_is_not_offered_is_an_error_that_says_what_is() {
        let offered = Err("profile-level-id 42001f, 4d001f".to_owned());
        assert_eq!(answer(CHROME, "64001f"), offered, "that has mode 0 only");
        assert_eq!(answer(CHROME, "7a001f"), offered);
        let none = Err("no H.264 with packetization-mode=1".to_owned());
        assert_eq!(answer("v=0\r\n", "42c01e"), none);
        assert_eq!(answer(&CHROME.replace("H264", "VP9"), "42c01e"), none);
        let odd = CHROME.replace("profile-level-id", "x");
        assert_eq!(answer(&odd, "42001e"), Ok("42001e".to_owned()));
    }
}
