//! Sources: what a text of `source` means, with the keys of the stream that go with it.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use contract::geometry::PixelSize;
use contract::name::StreamName;
use contract::spec::{Pace, RtspTransport, Secret, SourceSpec, TlsVerification};

use super::code;
use super::output::Mount;
use super::reader::{Fields, Reader, Text};
use super::table::list_text;
use super::units::millis;

mod address;
mod local;
pub(super) mod mosaic;
mod srt;

pub use mosaic::MosaicConfig;
pub use srt::SrtConfig;

/// 100 ms is the re-ordering of a bad Wi-Fi; `rtspsrc`'s own 2 s would make each lost packet a
/// pause of 2 s.
const RTSP_LATENCY: Duration = Duration::from_millis(100);
/// Four round trips of 30 ms, as the SRT deployment guide has it.
const SRT_LATENCY: Duration = Duration::from_millis(125);
/// Keys of a stream that mean something to some sources only.
const SPECIAL_KEYS: [&str; 8] = [
    "pace",
    "loop",
    "transport",
    "latency",
    "tls",
    "passphrase",
    "on_demand",
    "on_demand_linger",
];
const KINDS: &str = "a source is a file, an address (`rtsp://`, `rtsps://`, `srt://`, `rtmp://`, `rtmps://`, `http://`, \
                     `https://`, `udp://`), `publish:PATH`, `images:DIRECTORY`, `v4l2:/dev/video0`, a pattern like `test:ball`, \
                     or a mosaic of other streams, `{mosaic: [yard, gate]}`";
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
    /// Pictures of a directory, in the natural order of their names.
    Images {
        /// Absolute path of the directory, which was there when the config was checked.
        directory: PathBuf,
        /// Only names that fit, with `*` for any part; `None`: all JPEG and PNG pictures.
        pattern: Option<String>,
        /// Frames a second.
        fps: u32,
        /// At `fps`, or as quickly as the consumers take them.
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
        /// How long a packet that is missing is waited for.
        latency: Duration,
        /// For `rtsps`.
        tls: TlsVerification,
    },
    /// Either end of an SRT connection.
    Srt(SrtConfig),
    /// Pulled from an RTMP server.
    Rtmp {
        /// The address, which may hold a password.
        location: Secret,
        /// For `rtmps`.
        tls: TlsVerification,
    },
    /// A file, HLS, or Motion JPEG by HTTP.
    Http {
        /// The address, which may hold a password.
        location: Secret,
        /// For `https`.
        tls: TlsVerification,
    },
    /// An MPEG transport stream in UDP packets.
    Udp {
        /// A multicast group, or an address of this machine; `None`: all of these.
        address: Option<IpAddr>,
        /// Where packets arrive.
        port: u16,
        /// Interface that the group is joined on.
        interface: Option<String>,
    },
    /// What a sender publishes at this path of the gateway.
    Publish(Mount),
    /// A video device of this machine.
    Device {
        /// `/dev/video0`
        path: PathBuf,
        /// Picture size to ask for.
        size: Option<PixelSize>,
        /// Frames a second to ask for.
        fps: Option<u32>,
    },
    /// Other streams of the run in one picture.
    Mosaic(MosaicConfig),
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
    /// Reads `source` of a stream, and the keys that mean something to some sources only.
    pub(super) fn read(fields: &Fields<'_>) -> Option<Self> {
        let reader = fields.reader;
        let pace = match fields.choice("pace") {
            Some("fast") => Pace::Fast,
            _ => Pace::Live,
        };
        let repeat = fields.boolean("loop");
        let tls = match fields.choice("tls") {
            Some("any") => TlsVerification::Any,
            _ => TlsVerification::Verify,
        };
        let latency = fields.duration("latency");
        if fields.node("source")?.as_mapping().is_some() {
            let mosaic = fields.section("source")?;
            return MosaicConfig::read(&mosaic).map(Self::Mosaic);
        }
        let source = fields.text("source")?;
        if let Some(test) = source.text.strip_prefix("test:") {
            return read_test(reader, &source, test, pace);
        }
        if let Some(device) = source.text.strip_prefix("v4l2:") {
            return local::read_device(reader, &source, device);
        }
        if let Some(images) = source.text.strip_prefix("images:") {
            return local::read_images(reader, &source, images, (pace, repeat?));
        }
        if let Some(path) = source.text.strip_prefix("publish:") {
            return read_publish(reader, &source, path);
        }
        let Some((scheme, rest)) = source.text.split_once("://") else {
            return Some(Self::File {
                path: reader.file("video file", &source)?,
                pace,
                repeat: repeat?,
            });
        };
        let location = Secret::new(source.text.to_owned());
        match scheme {
            "rtsp" | "rtsps" => {
                address::check(reader, &source, rest, address::RTSP)?;
                Some(Self::Rtsp {
                    location,
                    transport: match fields.choice("transport") {
                        Some("tcp") => RtspTransport::Tcp,
                        Some("udp") => RtspTransport::Udp,
                        _ => RtspTransport::Auto,
                    },
                    latency: latency.unwrap_or(RTSP_LATENCY),
                    tls,
                })
            }
            "rtmp" | "rtmps" => {
                address::check(reader, &source, rest, address::RTMP)?;
                Some(Self::Rtmp { location, tls })
            }
            "http" | "https" => {
                address::check(reader, &source, rest, address::HTTP)?;
                Some(Self::Http { location, tls })
            }
            "srt" => SrtConfig::read(fields, &source, rest, latency.unwrap_or(SRT_LATENCY))
                .map(Self::Srt),
            "udp" => address::read_udp(reader, &source, rest),
            scheme if is_scheme(scheme) => {
                let message = format!("`{scheme}://` is not a kind of source");
                let problem = reader
                    .problem(code::WRONG_VALUE, &source.node.span, message)
                    .helped(KINDS);
                reader.report(problem);
                None
            }
            _ => Some(Self::File {
                path: reader.file("video file", &source)?,
                pace,
                repeat: repeat?,
            }),
        }
    }

    /// What it is called in messages, and the settings that mean something to it of those that
    /// do not to all.
    fn traits(&self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::File { .. } => ("a file", &["pace", "loop"]),
            Self::Images { .. } => ("a directory of pictures", &["pace", "loop"]),
            Self::Rtsp { .. } => (
                "an RTSP camera",
                &[
                    "transport",
                    "latency",
                    "tls",
                    "on_demand",
                    "on_demand_linger",
                ],
            ),
            Self::Srt(_) => (
                "an SRT source",
                &["latency", "passphrase", "on_demand", "on_demand_linger"],
            ),
            Self::Rtmp { .. } => ("an RTMP source", &["tls", "on_demand", "on_demand_linger"]),
            Self::Http { .. } => ("an HTTP source", &["tls", "on_demand", "on_demand_linger"]),
            Self::Udp { .. } => ("a UDP source", &["on_demand", "on_demand_linger"]),
            Self::Publish(_) => ("a published source", &[]),
            Self::Device { .. } => ("a video device", &["on_demand", "on_demand_linger"]),
            Self::Mosaic(_) => ("a mosaic", &[]),
            Self::Test { .. } => ("a test pattern", &["pace"]),
        }
    }

    /// What it is called in messages, and the settings that mean nothing to it.
    pub(super) fn foreign_keys(&self) -> (&'static str, Vec<&'static str>) {
        let (what, own) = self.traits();
        let foreign = SPECIAL_KEYS.iter().filter(|key| !own.contains(key));
        (what, foreign.copied().collect())
    }

    /// Pictures come whether or not there is room for them.
    #[must_use]
    pub fn is_camera(&self) -> bool {
        !matches!(
            self,
            Self::File { .. } | Self::Images { .. } | Self::Test { .. }
        )
    }

    /// It is coded by others, and may be coded as H.264.
    pub(super) fn may_send_h264(&self) -> bool {
        !matches!(
            self,
            Self::Images { .. } | Self::Device { .. } | Self::Test { .. } | Self::Mosaic { .. }
        )
    }

    /// A sender publishes it to the gateway.
    #[must_use]
    pub fn is_published(&self) -> bool {
        matches!(self, Self::Publish(_))
    }

    /// The mosaic, where it is one.
    #[must_use]
    pub fn mosaic(&self) -> Option<&MosaicConfig> {
        match self {
            Self::Mosaic(mosaic) => Some(mosaic),
            _ => None,
        }
    }

    /// Whether it ends by itself.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        match self {
            Self::File { repeat, .. } | Self::Images { repeat, .. } => !repeat,
            Self::Test { frames, .. } => frames.is_some(),
            // What is pulled by HTTP may be a file; only its end tells.
            _ => false,
        }
    }

    /// The source as the ingest worker is told. `size` is that of the stream; `book` says where
    /// the book of a mosaic's member lies.
    #[must_use]
    pub fn spec(&self, size: PixelSize, book: impl Fn(&StreamName) -> PathBuf) -> SourceSpec {
        match self.clone() {
            Self::File { path, pace, repeat } => SourceSpec::File { path, pace, repeat },
            Self::Images {
                directory,
                pattern,
                fps,
                pace,
                repeat,
            } => SourceSpec::Images {
                directory,
                pattern,
                fps,
                pace,
                repeat,
            },
            Self::Rtsp {
                location,
                transport,
                latency,
                tls,
            } => SourceSpec::Rtsp {
                location,
                transport,
                latency_ms: narrow(latency),
                tls,
            },
            Self::Srt(srt) => SourceSpec::Srt(srt.spec()),
            Self::Rtmp { location, tls } => SourceSpec::Rtmp { location, tls },
            Self::Http { location, tls } => SourceSpec::Http { location, tls },
            Self::Udp {
                address,
                port,
                interface,
            } => SourceSpec::Udp {
                address,
                port,
                interface,
            },
            Self::Publish(path) => SourceSpec::Publish {
                path: path.to_string(),
            },
            Self::Device { path, size, fps } => SourceSpec::Device { path, size, fps },
            Self::Mosaic(mosaic) => SourceSpec::Mosaic(mosaic.spec(size, book)),
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

fn read_publish(reader: &Reader<'_>, source: &Text<'_>, path: &str) -> Option<SourceConfig> {
    let mount = Mount::new(path);
    if mount.is_none() {
        let span = &source.node.span;
        let message = format!(
            "`{}` is not a path for senders",
            reader.as_written(&reader.part(span, path))
        );
        let problem = reader.problem(code::WRONG_VALUE, span, message);
        reader.report(problem.helped(Mount::HELP));
    }
    mount.map(SourceConfig::Publish)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
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

/// Durations of sources are of seconds at most.
fn narrow(duration: Duration) -> u32 {
    u32::try_from(millis(duration)).unwrap_or(u32::MAX)
}

/// Puts a value in its place; says whether there was none.
fn set<T>(place: &mut T, value: Option<T>) -> bool {
    value.map(|value| *place = value).is_none()
}

fn number_in<T: FromStr + PartialOrd>(text: &str, range: RangeInclusive<T>) -> Option<T> {
    text.parse().ok().filter(|number| range.contains(number))
}
