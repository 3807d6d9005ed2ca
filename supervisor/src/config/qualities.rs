//! The smaller encodes of a stream.

use std::collections::BTreeMap;

use contract::geometry::{PixelSize, SIDE_MAX};
use contract::name::StreamName;
use contract::spec::{QualitySpec, quality_name};
use dsl::yaml::Node;

use super::expand::WrittenStream;
use super::reader::Fields;
use super::reader::Reader;
use super::table::{Absent, Key, Kind, Section};
use super::{Bitrate, StreamConfig, code};

/// Lowest picture: x264 and players take less, and nobody sees anything on it.
const HEIGHT_MIN: u32 = 64;

/// The keys of one item of `qualities`.
pub(super) const QUALITY: Section = Section {
    name: "quality",
    doc: "A smaller encode of the same picture.",
    keys: &[
        Key {
            name: "height",
            doc: "Its height, which is also its name: `360p`. The width follows from the picture.",
            kind: Kind::Height,
            absent: Absent::Required,
        },
        Key {
            name: "bitrate",
            doc: "Target bit rate. When absent it is that of the stream, less by the 3/4 power of the pixels: a quarter of them has 35% of the bits.",
            kind: Kind::Bitrate,
            absent: Absent::Optional,
        },
    ],
};

/// One smaller encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QualityConfig {
    /// Its height in pixels, even.
    pub height: u32,
    /// Target bit rate, below that of all larger ones.
    pub bitrate: Bitrate,
}

impl QualityConfig {
    /// Reads a height in pixels, `360p`: even, because colours have half the rows.
    pub(super) fn read_height(text: &str) -> Option<u32> {
        let height = text.strip_suffix('p')?.parse().ok()?;
        let fits = (HEIGHT_MIN..=SIDE_MAX).contains(&height) && height % 2 == 0;
        fits.then_some(height)
    }

    /// Reads `qualities`, the largest first. `size` and `bitrate` are those of the full picture.
    pub(super) fn read_all(
        fields: &Fields<'_>,
        size: Option<PixelSize>,
        bitrate: Option<Bitrate>,
    ) -> Option<Vec<Self>> {
        let items = fields.list("qualities");
        let read = items.iter().map(|item| Written::read(fields, item));
        // All of them are read, so that no problem hides another.
        let written: Vec<Option<Written<'_>>> = read.collect();
        let mut written = written.into_iter().collect::<Option<Vec<_>>>()?;
        // What they are compared with is wrong, which was reported.
        let (size, bitrate) = (size?, bitrate?);
        let reader = fields.reader;
        let wrong = |node: &Node, code, message: String, help: &str| {
            let problem = reader.problem(code, &node.span, message);
            reader.report(problem.helped(help));
        };
        let mut right = true;
        if let Some(item) = items.get(QualitySpec::MAX) {
            right = false;
            let most = QualitySpec::MAX;
            let message = format!("a stream has {most} qualities at most besides the full one");
            wrong(item, code::WRONG_VALUE, message, "leave one out");
        }
        written.sort_by_key(|quality| std::cmp::Reverse(quality.height));
        let mut larger = (size.height, bitrate);
        let mut qualities = Vec::with_capacity(written.len());
        for (index, quality) in written.iter().enumerate() {
            let (name, node) = (quality_name(quality.height), quality.node);
            if index > 0 && quality.height == larger.0 {
                right = false;
                let message = format!("`{name}` is there twice");
                wrong(node, code::TWICE, message, "leave one out");
                continue;
            }
            if quality.height >= size.height {
                right = false;
                let own = quality_name(size.height);
                let message = format!("`{name}` is not below the stream's own {own}");
                let help = "leave it out: the picture is always encoded in its full size, which `size` bounds";
                wrong(node, code::CONTRADICTION, message, help);
                continue;
            }
            let default = default_bitrate(quality.height, size.height, bitrate);
            let own = quality.bitrate.unwrap_or(default);
            if own >= larger.1 && own.kbps() > Bitrate::KBPS_MIN {
                right = false;
                let (own, larger) = (own.kbps(), larger.1.kbps());
                let message = format!(
                    "`{name}` has {own} kbit/s, and the next larger picture no more than {larger}"
                );
                let help =
                    "a viewer goes to a smaller picture to need less: give it a lower `bitrate`";
                wrong(node, code::CONTRADICTION, message, help);
                continue;
            }
            larger = (quality.height, own);
            qualities.push(Self {
                height: quality.height,
                bitrate: own,
            });
        }
        right.then_some(qualities)
    }

    /// The quality as the render worker is told.
    #[must_use]
    pub fn spec(&self) -> QualitySpec {
        QualitySpec {
            height: self.height,
            bitrate_kbps: self.bitrate.kbps(),
        }
    }
}

/// A quality as it was written.
struct Written<'a> {
    node: &'a Node,
    height: u32,
    bitrate: Option<Bitrate>,
}

impl<'a> Written<'a> {
    fn read(fields: &Fields<'_>, node: &'a Node) -> Option<Self> {
        if node.as_mapping().is_none() {
            let text = node.as_scalar().map(|scalar| scalar.text.as_str());
            let height = text.and_then(QualityConfig::read_height);
            if height.is_none() {
                let code = text.map_or(code::WRONG_TYPE, |_| code::WRONG_VALUE);
                let reader = fields.reader;
                reader.report_wrong(&Kind::HeightOr(&QUALITY), "a quality", node, code);
            }
            return height.map(|height| Self {
                node,
                height,
                bitrate: None,
            });
        }
        let own = Fields::open(fields.reader, &QUALITY, node, (&node.span, "a quality"))?;
        let (height, bitrate) = (own.height("height"), own.bitrate("bitrate"));
        if own.node("bitrate").is_some() {
            // A wrong one was reported, and is not to become the default.
            bitrate?;
        }
        Some(Self {
            node,
            height: height?,
            bitrate,
        })
    }
}

/// Smaller pictures need fewer bits, but more for each pixel: the "power of 0.75 rule" of
/// B. Waggoner (Compression for Great Video and Audio, 2nd edition, 2009). Pixels go by the
/// square of the height.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between the least and that of the full picture"
)]
fn default_bitrate(height: u32, of: u32, full: Bitrate) -> Bitrate {
    let pixels = (f64::from(height) / f64::from(of)).powi(2);
    let kbps = (f64::from(full.kbps()) * pixels.powf(0.75)).round();
    let kbps = kbps.max(f64::from(Bitrate::KBPS_MIN)) as u32;
    Bitrate::from_kbps(kbps).unwrap_or(full)
}

/// Reports streams that are served where another's quality is.
pub(super) fn check_paths(
    reader: &Reader<'_>,
    written: &[WrittenStream],
    streams: &BTreeMap<StreamName, StreamConfig>,
) {
    for (owner, stream) in streams {
        let qualities = stream.encode.iter().flat_map(|encode| &encode.qualities);
        let names: Vec<String> = qualities.map(|one| quality_name(one.height)).collect();
        for (protocol, mount) in &stream.outputs.served {
            for other in written {
                let mut mounts = other.mounts();
                let taken = mounts.find(|(by, node)| {
                    let path = node.as_scalar().map(|scalar| scalar.text.as_str());
                    let below = path.and_then(|path| path.strip_prefix(mount.as_str()));
                    let below = below.and_then(|below| below.strip_prefix('/'));
                    by == protocol && below.is_some_and(|name| names.iter().any(|own| own == name))
                });
                let Some((_, node)) = taken else { continue };
                let (path, name) = (reader.as_written(&node.span), &other.name);
                let message = format!(
                    "by {protocol} `{path}` is a quality of the stream `{owner}`, and the path of `{name}`"
                );
                reader.report(
                    reader
                        .problem(code::TWICE, &node.span, message)
                        .helped("give the stream another path"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_pixels_has_a_third_of_the_bits() {
        let of = |height, kbps| {
            let full = Bitrate::from_kbps(kbps).expect("in bounds");
            default_bitrate(height, 720, full).kbps()
        };
        assert_eq!(of(360, 3000), 1061);
        assert_eq!(of(180, 3000), 375);
        assert_eq!(of(180, 60), Bitrate::KBPS_MIN);
    }

    #[test]
    fn heights_are_even_and_have_their_letter() {
        assert_eq!(QualityConfig::read_height("360p"), Some(360));
        for wrong in ["360", "361p", "p", "32p", "-360p", "9000p", "360P", "36 0p"] {
            assert_eq!(QualityConfig::read_height(wrong), None, "{wrong}");
        }
    }
}
