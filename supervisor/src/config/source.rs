//! Sources: files, RTSP cameras, test patterns.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use contract::geometry::PixelSize;
use contract::spec::{Pace, RtspTransport, Secret, SourceSpec};

use super::code;
use super::reader::{Fields, Reader, Text};
use super::table::list_text;

/// Options of a `test:` source that are not written.
const TEST_SIZE: PixelSize = PixelSize {
    width: 640,
    height: 360,
};
const TEST_FPS: u32 = 25;
const TEST_FPS_MAX: u32 = 240;

/// Whence frames come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceConfig {
    /// A video file.
    File {
        /// Absolute path of a file that was there when the config was checked.
        path: PathBuf,
        /// At the file's own rate, or as quickly as the consumers take it.
        pace: Pace,
        /// Begin again at the end, for ever.
        repeat: bool,
    },
    /// An RTSP camera.
    Rtsp {
        /// The address, which may hold a password.
        location: Secret,
        /// Transport of the media.
        transport: RtspTransport,
    },
    /// A generated picture.
    Test {
        /// What it shows.
        pattern: TestPattern,
        /// Picture size.
        size: PixelSize,
        /// Frames a second.
        fps: u32,
        /// Stop after so many frames; for ever when absent.
        frames: Option<u64>,
        /// At `fps`, or as quickly as the consumers take it.
        pace: Pace,
    },
}

impl SourceConfig {
    /// Reads `source`, `pace`, `loop` and `transport` of a stream.
    pub(super) fn read(fields: &Fields<'_>) -> Option<Self> {
        let pace = match fields.choice("pace") {
            Some("fast") => Pace::Fast,
            _ => Pace::Live,
        };
        let repeat = fields.boolean("loop");
        let transport = match fields.choice("transport") {
            Some("udp") => RtspTransport::Udp,
            _ => RtspTransport::Tcp,
        };
        let source = fields.text("source")?;
        if let Some(test) = source.text.strip_prefix("test:") {
            return read_test(fields.reader, &source, test, pace);
        }
        match source.text.split_once("://") {
            Some(("rtsp", address)) => {
                check_address(fields.reader, &source, address)?;
                Some(Self::Rtsp {
                    location: Secret::new(source.text.to_owned()),
                    transport,
                })
            }
            Some((scheme, _)) if is_scheme(scheme) => {
                let message = format!("`{scheme}://` is not a kind of source");
                let problem = fields
                    .reader
                    .problem(code::WRONG_VALUE, &source.node.span, message)
                    .helped("a source is a file, `rtsp://...`, or a pattern like `test:ball`");
                fields.reader.report(problem);
                None
            }
            _ => Some(Self::File {
                path: fields.reader.file("video file", &source)?,
                pace,
                repeat: repeat?,
            }),
        }
    }

    /// What it is called in messages, and the settings that mean nothing to it.
    pub(super) fn foreign_keys(&self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::File { .. } => ("a file", &["transport"]),
            Self::Rtsp { .. } => ("an RTSP camera", &["pace", "loop"]),
            Self::Test { .. } => ("a test pattern", &["loop", "transport"]),
        }
    }

    /// Whether it ends by itself.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        match self {
            Self::File { repeat, .. } => !repeat,
            Self::Rtsp { .. } => false,
            Self::Test { frames, .. } => frames.is_some(),
        }
    }

    /// The source as the ingest worker is told.
    #[must_use]
    pub fn spec(&self) -> SourceSpec {
        match self.clone() {
            Self::File { path, pace, repeat } => SourceSpec::File { path, pace, repeat },
            Self::Rtsp {
                location,
                transport,
            } => SourceSpec::Rtsp {
                location,
                transport,
            },
            Self::Test {
                pattern,
                size,
                fps,
                frames,
                pace,
            } => SourceSpec::Test {
                pattern: pattern.as_str().to_owned(),
                size,
                fps,
                frames,
                pace,
            },
        }
    }
}

/// A pattern of `GStreamer`'s `videotestsrc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestPattern(&'static str);

impl TestPattern {
    /// The patterns there are.
    pub const ALL: &'static [&'static str] = &[
        "ball",
        "smpte",
        "snow",
        "black",
        "white",
        "bar",
        "checkers-8",
        "circular",
        "gradient",
        "pinwheel",
        "spokes",
    ];

    /// The pattern of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|known| **known == name)
            .copied()
            .map(Self)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Reports an RTSP address without a host or with an impossible port.
fn check_address(reader: &Reader<'_>, source: &Text<'_>, address: &str) -> Option<()> {
    let authority = address.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match host_and_port.rsplit_once(':') {
        // A colon inside brackets belongs to an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (host_and_port, None),
    };
    let wrong_port = port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0));
    let message = if host.is_empty() || host.contains(char::is_whitespace) {
        "this address has no host"
    } else if wrong_port {
        "the port of this address is not a number from 1 to 65535"
    } else {
        return Some(());
    };
    reader.report(
        reader
            .problem(code::WRONG_VALUE, &source.node.span, message)
            .helped(
                "write `rtsp://user:${PASSWORD}@host:554/path`; `%40` stands for `@` in a password",
            ),
    );
    None
}

/// Reads `ball?size=640x360&fps=25&frames=100`.
fn read_test(
    reader: &Reader<'_>,
    source: &Text<'_>,
    text: &str,
    pace: Pace,
) -> Option<SourceConfig> {
    let (name, options) = text.split_once('?').unwrap_or((text, ""));
    let pattern = TestPattern::named(name);
    if pattern.is_none() {
        let written = reader.as_written(&source.node.span);
        let message = format!("`{written}` is not a test pattern");
        let problem = reader.problem(code::WRONG_VALUE, &source.node.span, message);
        let near = dsl::suggest(name, TestPattern::ALL.iter().copied());
        reader.report(problem.suggesting(
            near.map(|word| format!("test:{word}")),
            format!("the patterns are {}", list_text(TestPattern::ALL)),
        ));
    }
    let (mut size, mut fps, mut frames) = (TEST_SIZE, TEST_FPS, None);
    let mut right = true;
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let wrong = match key {
            "size" => set(&mut size, value.parse().ok()),
            "fps" => set(&mut fps, number_in(value, 1..=TEST_FPS_MAX)),
            "frames" => set(&mut frames, number_in(value, 1..=u64::MAX).map(Some)),
            _ => true,
        };
        if wrong {
            right = false;
            let part = reader.part(&source.node.span, option);
            let option = reader.as_written(&part);
            let message = format!("`{option}` is not an option of a test pattern");
            reader.report(reader.problem(code::WRONG_VALUE, &part, message).helped(format!(
                "write `test:ball?size=640x360&fps=25&frames=100`, with fps from 1 to {TEST_FPS_MAX}"
            )));
        }
    }
    right.then_some(())?;
    Some(SourceConfig::Test {
        pattern: pattern?,
        size,
        fps,
        frames,
        pace,
    })
}

/// Puts a value in its place; says whether there was none.
fn set<T>(place: &mut T, value: Option<T>) -> bool {
    value.map(|value| *place = value).is_none()
}

fn number_in<T: FromStr + PartialOrd>(text: &str, range: RangeInclusive<T>) -> Option<T> {
    text.parse().ok().filter(|number| range.contains(number))
}
