//! How a stream is encoded.

use std::time::Duration;

use contract::geometry::PixelSize;
use contract::spec::EncodeSpec;

use super::qualities::QUALITY;
use super::reader::Fields;
use super::table::{Absent, Key, Kind, Section};
use super::{Bitrate, QualityConfig};

/// The keys of `encode`.
pub(super) const ENCODE: Section = Section {
    name: "encode",
    doc: "H.264 encoder settings. One encoder serves all outputs of a stream, and one more for each of its `qualities`.",
    keys: &[
        Key {
            name: "encoder",
            doc: "`auto` takes a hardware encoder where one works, else x264; `software` is always x264.",
            kind: Kind::Choice(&["auto", "software"]),
            absent: Absent::Default("auto"),
        },
        Key {
            name: "preset",
            doc: "A preset of x264: quality against processor time. A hardware encoder has its own.",
            kind: Kind::Choice(Preset::ALL),
            absent: Absent::Default("ultrafast"),
        },
        Key {
            name: "bitrate",
            doc: "Target bit rate.",
            kind: Kind::Bitrate,
            absent: Absent::Default("3M"),
        },
        Key {
            name: "keyframe_interval",
            doc: "Longest time between key frames; a viewer waits so long for the first picture.",
            kind: Kind::Duration(100, 60_000),
            absent: Absent::Default("1s"),
        },
        Key {
            name: "threads",
            doc: "Threads of x264.",
            kind: Kind::Integer(1, 64),
            absent: Absent::Default("1"),
        },
        Key {
            name: "qualities",
            doc: "Smaller encodes of the same picture for viewers whose network is slow: `[480p, 240p]`. At most three; recordings and pushes have the full size.",
            kind: Kind::List(&Kind::HeightOr(&QUALITY)),
            absent: Absent::Optional,
        },
    ],
};

/// H.264 encoder settings of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeConfig {
    /// Use a hardware encoder where one works.
    pub hardware: bool,
    /// Quality against processor time.
    pub preset: Preset,
    /// Target bit rate.
    pub bitrate: Bitrate,
    /// Longest time between key frames.
    pub keyframe_interval: Duration,
    /// Encoder threads, 1 to 64.
    pub threads: u32,
    /// Smaller encodes, the largest first; none where nobody is served.
    pub qualities: Vec<QualityConfig>,
}

impl EncodeConfig {
    /// `size` bounds the picture; `is_served`: there are viewers, for whom alone smaller encodes
    /// are made.
    pub(super) fn read(
        fields: &Fields<'_>,
        size: Option<PixelSize>,
        is_served: bool,
    ) -> Option<Self> {
        let encoder = fields.choice("encoder");
        let preset = fields.choice("preset").and_then(Preset::named);
        let bitrate = fields.bitrate("bitrate");
        let keyframe_interval = fields.duration("keyframe_interval");
        let threads = fields.integer("threads");
        let qualities = QualityConfig::read_all(fields, size, bitrate);
        Some(Self {
            hardware: encoder? == "auto",
            preset: preset?,
            bitrate: bitrate?,
            keyframe_interval: keyframe_interval?,
            threads: threads?,
            qualities: qualities.filter(|_| is_served).unwrap_or_default(),
        })
    }

    /// The settings as the render worker is told.
    #[must_use]
    pub fn spec(&self) -> EncodeSpec {
        EncodeSpec {
            hardware: self.hardware,
            preset: self.preset.as_str().to_owned(),
            bitrate_kbps: self.bitrate.kbps(),
            keyframe_interval_ms: u32::try_from(self.keyframe_interval.as_millis())
                .unwrap_or(u32::MAX),
            threads: self.threads,
            qualities: self.qualities.iter().map(QualityConfig::spec).collect(),
        }
    }
}

/// A preset of x264.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset(&'static str);

impl Preset {
    /// The presets there are, the quickest first.
    pub const ALL: &'static [&'static str] = &[
        "ultrafast",
        "superfast",
        "veryfast",
        "faster",
        "fast",
        "medium",
        "slow",
        "slower",
        "veryslow",
        "placebo",
    ];

    /// The preset of this name.
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
