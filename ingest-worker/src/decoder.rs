//! Which decoder is used.
//!
//! `decodebin` tries decoders by their rank and takes the first that accepts the
//! stream. Ranks are of the process, which decodes one stream only, so that
//! choosing a kind of decoder is choosing ranks, once, before a session is opened.

use contract::geometry::PixelSize;
use gstreamer as gst;
use gstreamer::prelude::*;

/// Above this many pixels one thread may be too slow for a decoder.
const ONE_THREAD_PIXELS_MAX: u32 = 1920 * 1088;
/// Threads for larger pictures: 4K at 30 fps takes about three.
const THREADS_LARGE: &str = "4";

/// A decoder in use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DecoderInfo {
    /// Name of its element factory, `avdec_h264`.
    pub name: String,
    /// It decodes by special hardware.
    pub hardware: bool,
}

/// Prefers hardware decoders to all others, or shuts them out.
pub fn prefer_hardware(wanted: bool) {
    // Debian's VA decoders have no rank, so that players leave them alone.
    let rank = if wanted {
        gst::Rank::PRIMARY + 64
    } else {
        gst::Rank::NONE
    };
    let decoders = gst::ElementFactory::factories_with_type(
        gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_VIDEO,
        gst::Rank::NONE,
    );
    for factory in decoders {
        if is_hardware_factory(&factory) {
            factory.set_rank(rank);
        }
    }
}

/// The element decodes pictures, in software or hardware.
#[must_use]
pub fn is_video_decoder(element: &gst::Element) -> bool {
    let class = element.factory().and_then(|factory| class_of(&factory));
    class.is_some_and(|class| {
        class.contains("Decoder") && (class.contains("Video") || class.contains("Image"))
    })
}

/// The element decodes by special hardware.
#[must_use]
pub fn is_hardware(element: &gst::Element) -> bool {
    let factory = element.factory();
    is_video_decoder(element) && factory.is_some_and(|factory| is_hardware_factory(&factory))
}

/// Name of the element's factory.
#[must_use]
pub fn name_of(element: &gst::Element) -> String {
    let factory = element.factory();
    factory.map_or_else(
        || element.name().to_string(),
        |factory| factory.name().to_string(),
    )
}

/// Sets the decoder's threads: one, unless the picture is large.
///
/// A machine serves as many streams as it has cores and more, so threads inside a decoder
/// gain nothing, and frame threads delay each picture by their number of frames. libav's
/// elements by themselves use slice threads, which delay nothing, on live pipelines.
pub fn set_threads(element: &gst::Element, size: Option<PixelSize>) {
    let large = size.is_some_and(|size| size.width * size.height > ONE_THREAD_PIXELS_MAX);
    let threads = if large { THREADS_LARGE } else { "1" };
    // The names in libav's, libvpx' and dav1d's elements.
    for property in ["max-threads", "threads", "n-threads"] {
        if element.has_property(property) {
            element.set_property_from_str(property, threads);
        }
    }
}

fn is_hardware_factory(factory: &gst::ElementFactory) -> bool {
    class_of(factory).is_some_and(|class| class.contains("Hardware"))
}

fn class_of(factory: &gst::ElementFactory) -> Option<String> {
    let class = factory.metadata(gst::ELEMENT_METADATA_KLASS)?;
    Some(class.to_owned())
}
