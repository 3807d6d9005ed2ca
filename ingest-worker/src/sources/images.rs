//! Pictures of a directory, one a frame.
//!
//! ```text
//!                             ┌ jpegdec ┐
//! appsrc ─ output-selector ───┤         ├─ funnel ─ (conversion)
//!                             └ pngdec  ┘
//! ```
//!
//! One thread reads a picture, decodes it and hands it on, so that pictures of both kinds and of
//! any sizes keep their order. Which decoder a picture goes to its first bytes say, not its name.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::{Site, unlinked};
use crate::conversion::Conversion;
use crate::decoder::DecoderInfo;
use crate::fault::Fault;
use crate::pipeline::{element, internal, lock};

/// Names of more pictures would be a burden to keep: a million is 11 hours at 25 a second.
const IMAGES_MAX: usize = 1_000_000;
/// A larger file is no picture that this program can take.
const IMAGE_BYTES_MAX: u64 = 256 << 20;
const ENDINGS: [&str; 3] = ["jpg", "jpeg", "png"];

/// The kinds of pictures: media type, first bytes, decoder.
const KINDS: [(&str, &[u8], &str); 2] = [
    ("image/jpeg", &[0xff, 0xd8, 0xff], "jpegdec"),
    ("image/png", b"\x89PNG\r\n\x1a\n", "pngdec"),
];

/// Pictures of a directory, in the natural order of their names.
pub(super) fn add(
    site: &Site<'_>,
    conversion: &Conversion,
    directory: &Path,
    pattern: Option<&str>,
    fps: u32,
) -> Result<(), Fault> {
    let paths = list(directory, pattern)?;
    let good = "gstreamer1.0-plugins-good";
    let core = "libgstreamer1.0-0";
    let selector = element("output-selector", core)?;
    selector.set_property_from_str("pad-negotiation-mode", "active");
    if let Some(sink) = selector.static_pad("sink") {
        // The decoders look at what comes; asked beforehand, they want to know its size.
        sink.set_pad_flags(gst::PadFlags::ACCEPT_TEMPLATE);
    }
    let funnel = element("funnel", core)?;
    let fps = fps.max(1);
    let source = reader(paths, fps);
    site.pipeline
        .add_many([source.upcast_ref(), &selector, &funnel])
        .and_then(|()| gst::Element::link_many([source.upcast_ref(), &selector]))
        .map_err(|_| unlinked())?;
    for (media, _, factory) in KINDS {
        let decoder = element(factory, good)?;
        // A picture that is cut off or damaged is left out, however many there are of them.
        decoder.set_property("max-errors", -1);
        site.pipeline.add(&decoder).map_err(|_| unlinked())?;
        let pad = selector.request_pad_simple("src_%u");
        let pad = pad.ok_or_else(|| internal("output-selector gives no pad"))?;
        let sink = decoder.static_pad("sink");
        let sink = sink.ok_or_else(|| internal("a decoder has no sink pad"))?;
        pad.link(&sink).map_err(|_| unlinked())?;
        decoder.link(&funnel).map_err(|_| unlinked())?;
        choose_by_caps(&selector, pad, media);
    }
    tell_both(&selector);
    lock(site.findings).decoder = DecoderInfo {
        name: "jpegdec, pngdec".to_owned(),
        hardware: false,
    };
    let out = funnel.static_pad("src");
    conversion.link(&out.ok_or_else(|| internal("funnel has no pad"))?)
}

/// Begin, flush and end go to both decoders: by itself `output-selector` tells only the one
/// that is chosen, and `funnel` waits for the end of both.
fn tell_both(selector: &gst::Element) {
    let Some(sink) = selector.static_pad("sink") else {
        return;
    };
    let selector = selector.downgrade();
    let types = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::EVENT_FLUSH;
    sink.add_probe(types, move |_, info| {
        let (Some(event), Some(selector)) = (info.event(), selector.upgrade()) else {
            return gst::PadProbeReturn::Ok;
        };
        let for_both = matches!(
            event.type_(),
            gst::EventType::StreamStart
                | gst::EventType::FlushStart
                | gst::EventType::FlushStop
                | gst::EventType::Eos
        );
        if for_both {
            let chosen = selector.property::<Option<gst::Pad>>("active-pad");
            for pad in selector.src_pads() {
                if Some(&pad) != chosen.as_ref() {
                    pad.push_event(event.to_owned());
                }
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// Pictures of this media type go to this pad.
fn choose_by_caps(selector: &gst::Element, pad: gst::Pad, media: &'static str) {
    let Some(sink) = selector.static_pad("sink") else {
        return;
    };
    let selector = selector.downgrade();
    sink.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        let event = info.event().map(|event| event.view());
        if let (Some(gst::EventView::Caps(caps)), Some(selector)) = (event, selector.upgrade()) {
            let name = caps.caps().structure(0).map(|it| it.name().to_string());
            if name.as_deref() == Some(media) {
                selector.set_property("active-pad", &pad);
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// Reads one picture after the other as they are asked for.
fn reader(paths: Vec<PathBuf>, fps: u32) -> gst_app::AppSrc {
    let count = paths.len() as u64;
    let next = Arc::new(Mutex::new(0));
    let sought = Arc::clone(&next);
    let source = gst_app::AppSrc::builder()
        .name("pictures")
        .format(gst::Format::Time)
        .stream_type(gst_app::AppStreamType::Seekable)
        .duration(time_of(count, fps).nseconds())
        .block(false)
        // One is read while the one before is decoded.
        .max_buffers(1)
        .max_bytes(0)
        .build();
    source.set_callbacks(
        gst_app::AppSrcCallbacks::builder()
            .need_data(move |source, _| {
                let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                push_next(source, &paths, &mut next, fps);
            })
            .seek_data(move |_, offset_ns| {
                let index = index_at(offset_ns, fps);
                *sought.lock().unwrap_or_else(PoisonError::into_inner) = index;
                true
            })
            .build(),
    );
    source
}

/// Pushes the next picture that can be read, or the end.
fn push_next(source: &gst_app::AppSrc, paths: &[PathBuf], next: &mut u64, fps: u32) {
    loop {
        let index = *next;
        let path = usize::try_from(index).ok().and_then(|at| paths.get(at));
        let Some(path) = path else {
            // Refused when the session is being closed.
            let _ = source.end_of_stream();
            return;
        };
        *next += 1;
        match read(path) {
            Ok((media, bytes)) => {
                // Refused when the session is being closed.
                let _ = source.push_sample(&sample(media, bytes, index, fps));
                return;
            }
            Err(why) => {
                tracing::warn!(picture = %path.display(), %why, "a picture is left out");
            }
        }
    }
}

fn read(path: &Path) -> Result<(&'static str, Vec<u8>), String> {
    let length = path.metadata().map_err(|error| error.to_string())?.len();
    if length > IMAGE_BYTES_MAX {
        return Err(format!("it has more than {IMAGE_BYTES_MAX} bytes"));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let kind = KINDS.iter().find(|(_, begin, _)| bytes.starts_with(begin));
    let (media, ..) = kind.ok_or("it is neither JPEG nor PNG")?;
    Ok((media, bytes))
}

fn sample(media: &str, bytes: Vec<u8>, index: u64, fps: u32) -> gst::Sample {
    let mut buffer = gst::Buffer::from_mut_slice(bytes);
    if let Some(buffer) = buffer.get_mut() {
        buffer.set_pts(time_of(index, fps));
        buffer.set_duration(time_of(1, fps));
    }
    let rate = i32::try_from(fps).unwrap_or(i32::MAX);
    let caps = gst::Caps::builder(media)
        .field("framerate", gst::Fraction::new(rate, 1))
        .build();
    gst::Sample::builder().buffer(&buffer).caps(&caps).build()
}

fn time_of(index: u64, fps: u32) -> gst::ClockTime {
    let nanoseconds = u128::from(index) * 1_000_000_000 / u128::from(fps);
    gst::ClockTime::from_nseconds(u64::try_from(nanoseconds).unwrap_or(u64::MAX - 1))
}

/// The picture that is shown at a time.
fn index_at(time_ns: u64, fps: u32) -> u64 {
    // A nanosecond more, because times of pictures are rounded down.
    let index = (u128::from(time_ns) + 1) * u128::from(fps) / 1_000_000_000;
    u64::try_from(index).unwrap_or(u64::MAX)
}

/// The pictures there are now; those that come later are not seen.
fn list(directory: &Path, pattern: Option<&str>) -> Result<Vec<PathBuf>, Fault> {
    let unreadable = |error: std::io::Error| {
        Fault::Unusable(match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such directory".to_owned(),
            std::io::ErrorKind::NotADirectory => "it is not a directory".to_owned(),
            _ => format!("it cannot be read: {error}"),
        })
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let takes = match pattern {
            Some(pattern) => fits(pattern, &name),
            None => is_picture(&name),
        };
        if takes {
            names.push(name);
        }
        if names.len() > IMAGES_MAX {
            let text = format!("it holds more than {IMAGES_MAX} pictures");
            return Err(Fault::Unusable(text));
        }
    }
    if names.is_empty() {
        return Err(Fault::Unusable("it holds no such pictures".to_owned()));
    }
    names.sort_by(|one, other| natural(one, other));
    Ok(names.into_iter().map(|name| directory.join(name)).collect())
}

fn is_picture(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    ending.is_some_and(|ending| ENDINGS.iter().any(|it| ending.eq_ignore_ascii_case(it)))
}

/// Whether `name` is `pattern` with any text, also none, for each `*`.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut left) = name.strip_prefix(begin) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// Natural order: numbers in names count as numbers, `9.jpg` before `10.jpg`.
fn natural(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one.as_bytes(), other.as_bytes());
    loop {
        let (number, rest) = digits(left);
        let (other_number, other_rest) = digits(right);
        let order = if number.is_empty() || other_number.is_empty() {
            match (left.split_first(), right.split_first()) {
                (Some((byte, rest)), Some((other_byte, other_rest))) => {
                    (left, right) = (rest, other_rest);
                    byte.cmp(other_byte)
                }
                // Of `007` and `7`, which are one number, the text decides.
                (None, None) => return one.cmp(other),
                (end, other_end) => return end.is_some().cmp(&other_end.is_some()),
            }
        } else {
            (left, right) = (rest, other_rest);
            let (number, other_number) = (significant(number), significant(other_number));
            let lengths = number.len().cmp(&other_number.len());
            lengths.then_with(|| number.cmp(other_number))
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == b'0').count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_natural_order() {
        let expected = [
            "a", "a1.jpg", "a2.jpg", "a007.jpg", "a7.jpg", "a10.jpg", "a10b.jpg", "b1.jpg",
        ];
        let mut names = expected;
        names.reverse();
        names.sort_by(|one, other| natural(one, other));
        assert_eq!(names, expected);
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("*.jpg", "a.jpg", true),
            ("*.jpg", ".jpg", true),
            ("*.jpg", "a.png", false),
            ("cam*-*.jpg", "cam1-2.jpg", true),
            ("cam*-*.jpg", "cam1.jpg", false),
            ("a*a", "a", false),
            ("a.jpg", "a.jpg", true),
            ("a.jpg", "b.jpg", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn times_and_indices_are_each_others_inverse() {
        for fps in [1, 3, 7, 25, 30, 240] {
            for index in [0, 1, 2, 99, 100_000] {
                assert_eq!(index_at(time_of(index, fps).nseconds(), fps), index);
            }
        }
    }
}
