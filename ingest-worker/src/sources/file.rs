//! A file on a disk.

use std::path::Path;

use gstreamer as gst;
use gstreamer::prelude::*;

use super::{Site, decode};
use crate::conversion::Conversion;
use crate::fault::Fault;
use crate::pipeline::element;

/// A file on a disk.
pub(super) fn add(site: &Site<'_>, conversion: Conversion, path: &Path) -> Result<(), Fault> {
    let metadata = path.metadata().map_err(|error| {
        Fault::Unusable(match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => format!("it cannot be opened: {error}"),
        })
    })?;
    if !metadata.is_file() {
        // Opening a pipe would wait for its writer, for ever.
        return Err(Fault::Unusable("it is not a regular file".to_owned()));
    }
    let source = element("filesrc", "libgstreamer1.0-0")?;
    let path = path.to_str();
    let path = path.ok_or_else(|| Fault::Unusable("its path is not UTF-8".to_owned()))?;
    source.set_property("location", path);
    site.pipeline
        .connect_deep_element_added(|_, _, element| read_to_the_end(element));
    decode(site, conversion, &source)
}

/// Lets a demuxer give all pictures of a file that is shorter, by what it says, than it is.
///
/// A segment ends where the file says that it ends, and decoders give no picture after that.
/// Fragmented MP4 says so before its last fragment is known, and dates pictures later than it
/// counts them where some depend on others that are shown later.
fn read_to_the_end(element: &gst::Element) {
    let class = element.factory().and_then(|factory| {
        factory
            .metadata(gst::ELEMENT_METADATA_KLASS)
            .map(str::to_owned)
    });
    if !class.is_some_and(|class| class.contains("Demux")) {
        return;
    }
    element.connect_pad_added(|_, pad| {
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
            if let Some(gst::PadProbeData::Event(event)) = &mut info.data
                && let Some(open) = without_end(event)
            {
                *event = open;
            }
            gst::PadProbeReturn::Ok
        });
    });
}

/// The same segment without an end; `None` for what is no such segment.
fn without_end(event: &gst::Event) -> Option<gst::Event> {
    let gst::EventView::Segment(segment) = event.view() else {
        return None;
    };
    let mut segment = segment.segment().clone();
    let time = segment.downcast_mut::<gst::ClockTime>()?;
    time.stop()?;
    time.set_stop(gst::ClockTime::NONE);
    Some(
        gst::event::Segment::builder(&segment)
            .seqnum(event.seqnum())
            .build(),
    )
}
